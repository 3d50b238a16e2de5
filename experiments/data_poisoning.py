"""Poisoning training data through the fit: cvxpylayers (arXiv 1910.12430), section 6.1, and a real data set.

A logistic regression with an elastic net is a layer of its training points (experiments/programs/poisoned_fit.py).
An attacker who may move every coordinate by `radius` and knows the test set moves along the sign of the gradient of
the test loss; the gradient predicts by how much that loss will rise. The paper shows the arrows and prints no
number. Here the fit is repeated on the poisoned points: predicted against actual increase at growing radius, for the
paper's single step, for an iterated attack, and for random signs as a control.

Data: the paper's two blobs, rebuilt from its seed, and the Wisconsin breast cancer set inside scikit-learn,
standardised on the training part. The regularisation is the paper's, nothing is chosen on any data.

    python -m experiments.run experiment=data_poisoning size=companion
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.errors import ConfigError, require
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.programs import poisoned_fit
from experiments.programs.engines import builder, require_solvable
from experiments.programs.notebook import numpy_stream, torch_stream
from experiments.programs.poisoned_fit import Task, iterated, make_fit, one_step, random_signs

METHODS = ("blobs", "breast_cancer")
FINAL = ("loss", "accuracy", "increase", "predicted_increase", "ratio")
# Of the features and labels that scikit-learn ships, in this order, as bytes of float64.
DIGEST = "cdd5f37c36cbdfc2e5ee074cec7540fac54340874afb25917a673e446270d0d0"

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass
class Attack:
    """Radii in units of the coordinates, `steps` of the iterated attack, `repeats` of random signs."""

    #: by which every coordinate may be moved [as the coordinates]
    radii: list[float] = field(default_factory=lambda: [0.01, 0.03, 0.1, 0.3, 1.0])
    steps: int = 20  #: of the iterated attack [steps]
    repeats: int = 20  #: of random signs, the control [draws]

    def check(self) -> None:
        """Raise a `ConfigError` unless this is an attack."""
        require(len(self.radii) > 0, "attack.radii", self.radii, "at least one radius")
        for radius in self.radii:
            require(0 < radius < np.inf, "attack.radii", radius, "positive, finite radii")
        require(self.steps > 0, "attack.steps", self.steps, "a positive number of steps")
        require(self.repeats > 0, "attack.repeats", self.repeats, "a positive number of repeats")


@dataclass
class Data:
    """The paper's `points`, half of them to fit; `patients` to fit, all the others are the test."""

    points: int = 60  #: of the paper's two clusters, half of them to fit [points]
    patients: int = 284  #: to fit; the others of the 569 are the test [patients]

    def check(self) -> None:
        """Raise a `ConfigError` unless both data sets can be split and the real one is the one documented."""
        require(self.points >= 8, "data.points", self.points, "at least 8 points")
        require(10 <= self.patients <= 559, "data.patients", self.patients, "10 to 559 of the 569 patients")
        breast_cancer()


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the paper's. `methods` names data sets."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: Data = field(default_factory=Data)
    attack: Attack = field(default_factory=Attack)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        for method in self.methods:
            require_solvable(self.layer.solver, method, poisoned_fit)
        self.data.check()
        self.attack.check()


def blobs(points: int, seed: int) -> Arrays:
    """Training points, test points and their labels: normal with standard deviation 3 around (2, 2) and (-2, -2).

    The notebook of the paper seeds NumPy with 0 and lets both functions draw from it; a `RandomState` of the same
    seed gives the same points.
    """
    stream = numpy_stream(seed)
    centres = np.array([[2.0, 2.0], [-2.0, -2.0]])
    drawn: Any = make_blobs(points, 2, centers=centres, cluster_std=3, random_state=stream)
    parts: list[Any] = train_test_split(*drawn, test_size=0.5, random_state=stream)
    train, test, train_labels, test_labels = parts
    return train, test, train_labels, test_labels


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """The 569 patients' 30 features, and whether the tumour was benign; ConfigError if the file is another."""
    advice = "install scikit-learn at the version of requirements.lock"
    try:
        loaded = load_breast_cancer(return_X_y=True)
    except OSError as error:
        raise ConfigError(f"sklearn.datasets.load_breast_cancer(): {error}; {advice}") from error
    features, labels = (np.ascontiguousarray(part, dtype=np.float64) for part in loaded)
    found = hashlib.sha256(features.tobytes() + labels.tobytes()).hexdigest()
    if features.shape != (569, 30) or found != DIGEST:
        raise ConfigError(
            f"sklearn.datasets.load_breast_cancer(): got {features.shape} with digest {found[:12]}, expected "
            f"(569, 30) with digest {DIGEST[:12]}; {advice}"
        )
    return features, labels


def patients(count: int, seed: int) -> Arrays:
    """A random split with `count` patients to fit, every feature standardised by them."""
    features, labels = breast_cancer()
    parts: list[Any] = train_test_split(
        features, labels, train_size=count, stratify=labels, random_state=numpy_stream(seed)
    )
    train, test, train_labels, test_labels = parts
    centre, spread = train.mean(axis=0), train.std(axis=0)
    return (train - centre) / spread, (test - centre) / spread, train_labels, test_labels


def make_data(config: Config, method: str, seed: int) -> tuple[Tensor, ...]:
    """Training points, test points and their labels, float64."""
    arrays = blobs(config.data.points, seed) if method == "blobs" else patients(config.data.patients, seed)
    return tuple(torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in arrays)


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one data set and seed."""
    record = Recorder("data_poisoning", method, seed, ("1", "1"), examples=seed == config.seeds[0])
    train, test, labels, test_labels = make_data(config, method, seed)
    task = Task(train, test, test_labels, make_fit(labels, train.shape[1], builder(config.layer)))
    clean = task.loss(train).item()
    record.metric("loss", "test", 0, clean, "nat")
    record.metric("accuracy", "test", 0, task.accuracy(train), "1")
    with record.timed("differentiate"):
        gradient = task.gradient(train)
    for step, radius in enumerate(config.attack.radii):
        poisoned, predicted = one_step(task, radius, gradient)
        place = (f"radius {radius:g}", step)
        record.metric("predicted_increase", *place, predicted, "nat")
        rise = measure(task, "one_step", poisoned, clean, place, record)
        record.metric("ratio", *place, rise / predicted, "1")
        farther = iterated(task, poisoned, radius, config.attack.steps)
        measure(task, "iterated", farther, clean, place, record)
        stream = torch_stream(seed + 1000 * step)
        moved = random_signs(task, radius, config.attack.repeats, stream)
        measure(task, "random", moved, clean, place, record)
    record_picture(task, labels, gradient, record)
    return record.tables


def measure(
    task: Task, attack: str, points: Tensor, clean: float, place: tuple[str, int], record: Recorder
) -> float:
    """Record by how much the test loss rises after a fit to `points`, the mean over a batch if there is one."""
    name = f"{record.method}/{attack}"
    with torch.no_grad():
        rise = task.loss(points).mean().item() - clean
    record.metric("increase", *place, rise, "nat", name)
    record.metric("accuracy", *place, task.accuracy(points), "1", name)
    return rise


def record_picture(task: Task, labels: Tensor, gradient: Tensor, record: Recorder) -> None:
    """Record points, arrows and both hyperplanes of a data set of two features; others cannot be drawn."""
    if task.train.shape[1] != 2:
        return
    record.signals(torch.cat((task.train, labels[:, None], gradient), 1).numpy(), f"{record.method}/points")
    a, b = task.fit(task.train)
    record.signals(torch.cat((a, b.reshape(1)))[None].detach().numpy(), f"{record.method}/fitted")
    # The notebook draws this one for comparison: fitted to the test itself, at scikit-learn's default ridge.
    best = LogisticRegression().fit(task.test.numpy(), task.test_labels.numpy())
    record.signals(np.append(best.coef_[0], best.intercept_)[None], f"{record.method}/fitted to the test")


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)
