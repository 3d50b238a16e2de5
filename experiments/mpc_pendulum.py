"""Imitating a controller of the pendulum: Amos et al., "Differentiable MPC for end-to-end planning and control"
(arXiv 1810.13400), sections 5.3 and 5.4.

Question: an expert swings a pendulum by model-predictive control over one second. How well do its torques come out of
a learner that differentiates through its own controller and learns the dynamics, the cost, or both; of one that fits
the dynamics to the expert's trajectories; and of an LSTM? The equations are gymnasium's (Pendulum-v1). Then the
expert's pendulum gets a damping and a bias that the learner's model lacks (`*_misspecified`): which of the two ways to
learn the dynamics imitates better, when no dynamics are right?

The settings are the published program's (imitation_nonconvex): T = 20, 10, 50 or 100 training trajectories, 10 for
validation, which choose the epoch, 10 for the test. Seeds draw trajectories of their own; seed 0 starts them where the
published program does. The controller is a sequence of box-constrained programs solved by the shared layer; its
derivative is that of the control problem itself (experiments/common/mpc/sequential.py says where the published one
differs), and `one_step_error` is by how much.

    python -m experiments.run experiment=mpc_pendulum size=companion    # minutes
    python -m experiments.run experiment=mpc_pendulum size=paper        # three hours, two of them for the LSTM
"""

import math
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.checkpoint import Loop
from experiments.common.config import LayerConfig, RunConfig, check_methods, check_seeds
from experiments.common.errors import require
from experiments.common.mpc.learners import Imitator, Recurrent, true_cost
from experiments.common.mpc.pendulum import Pendulum
from experiments.common.mpc.published import PENDULUM
from experiments.common.mpc.sequential import Controller
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.watch import counted, scalar

IMITATORS = ("sysid", "mpc_dynamics", "mpc_cost", "mpc_cost_dynamics")
MISSPECIFIED = ("sysid_misspecified", "mpc_dynamics_misspecified")
METHODS = ("lstm", *IMITATORS, *MISSPECIFIED)
FINAL = (
    *("final_imitation_loss", "last_imitation_loss", "last_prediction_loss"),
    *("one_step_error", "expert_dropped"),
)
DECADES = FINAL[:3]
UNITS = ("N m", "N^2 m^2")
TRUE, START = (10.0, 1.0, 1.0), (15.0, 3.0, 0.5)
DAMPING, BIAS = 1.0, 0.1
SPLITS = ("validation", "test", "train")
# About so many points of a learning curve go into the tables.
POINTS = 100
# Centre and width of where the learners of the other pendulum start.
CENTRE, WIDTH = (5.0, 1.0, 1.0), (3.0, 1.0, 1.0)


@dataclass
class Data:
    """Steps in a trajectory, and trajectories: training sets of several sizes out of one pool, the rest apart."""

    horizon: int = 20
    train: list[int] = field(default_factory=lambda: [10, 50, 100])
    validation: int = 10
    test: int = 10

    def check(self) -> None:
        """Raise a `ConfigError` unless such trajectories can be drawn."""
        require(self.horizon > 1, "data.horizon", self.horizon, "at least 2 steps, T")
        distinct = len(self.train) > 0 and min(self.train) > 0 and len(set(self.train)) == len(self.train)
        require(distinct, "data.train", self.train, "different positive numbers of trajectories")
        for name in ("validation", "test"):
            count = getattr(self, name)
            require(count > 0, f"data.{name}", count, "a positive number of trajectories")


@dataclass
class Training:
    """RMSprop with rate `lr` and memory `alpha` for the controllers, Adam with `lstm_lr` for the LSTM.

    `misspecified_epochs` is for the other pendulum. Warm starts are forgotten every `restart` epochs; when both
    parts of a cost are learned they take turns of `turn` epochs. Training ends early when `patience` epochs have not
    improved the loss on validation.
    """

    epochs: int = 10_000
    misspecified_epochs: int = 250
    lstm_epochs: int = 10_000
    batch: int = 32
    lr: float = 1e-2
    alpha: float = 0.5
    lstm_lr: float = 1e-4
    width: int = 256
    restart: int = 50
    turn: int = 10
    evaluate_every: int = 1
    patience: int = 10_000

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be run."""
        for name in (f.name for f in fields(self) if f.type is int):
            count = getattr(self, name)
            require(count > 0, f"train.{name}", count, "a positive integer")
        for name in ("lr", "lstm_lr"):
            rate = getattr(self, name)
            require(0 < rate < math.inf, f"train.{name}", rate, "a positive, finite rate")
        require(0 <= self.alpha < 1, "train.alpha", self.alpha, "a number from 0 to less than 1")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the published program's. `misspecified_seeds` are those of the other pendulum."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    misspecified_seeds: list[int] = field(default_factory=lambda: list(range(8)))
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    data: Data = field(default_factory=Data)
    train: Training = field(default_factory=Training)
    iterations: int = 100
    bound: float = 2.0

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        check_seeds("misspecified_seeds", self.misspecified_seeds)
        self.data.check()
        self.train.check()
        require(self.iterations > 0, "iterations", self.iterations, "a positive number of linearisations")
        require(0 < self.bound < math.inf, "bound", self.bound, "a positive, finite torque")

    def controller(self) -> Controller:
        """The model-predictive controller."""
        return Controller(self.layer.build(), self.bound, self.iterations)


@dataclass
class Trajectories:
    """Where the expert starts, (count, 2), what it does, (count, T), and where it goes, (count, T, 2)."""

    start: Tensor
    torques: Tensor
    states: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> "Trajectories":
        return Trajectories(self.start[chosen], self.torques[chosen], self.states[chosen])


Model = Imitator | Recurrent


def make_data(config: Config, method: str, seed: int) -> dict[str, Trajectories]:
    """The expert's trajectories: angles uniform within a quarter turn of upright, speeds within 1."""
    other = method in MISSPECIFIED
    pendulum = Pendulum(torch.tensor(TRUE, dtype=torch.float64), *((DAMPING, BIAS) if other else ()))
    apart, pool = config.data.validation + config.data.test, max(config.data.train)
    generator = torch.Generator().manual_seed(seed)
    angle, speed = (torch.rand(pool + apart, generator=generator).double() for _ in range(2))
    start = torch.stack((math.pi * (angle - 0.5), 2 * speed - 1), -1)
    zero = torch.zeros(len(start), config.data.horizon, dtype=torch.float64)
    torques, converged = config.controller().solve(pendulum, true_cost(), start, zero)
    states = torch.stack(pendulum.rollout(start, torques), -1)
    # An expert that has not made up its mind is no example.
    keep = converged.nonzero()[:, 0]
    everything = Trajectories(start, torques, states)
    train, rest = everything[keep[keep < pool]], everything[keep[keep >= pool]]
    return {
        "train": train,
        "validation": rest[: config.data.validation],
        "test": rest[config.data.validation :],
    }


def make_model(config: Config, method: str, seed: int) -> Model:
    """The learner before training."""
    generator = torch.Generator().manual_seed(seed)
    if method == "lstm":
        return Recurrent(config.train.width, config.data.horizon, generator)
    if method in MISSPECIFIED:
        spread = torch.tensor(WIDTH) * (torch.rand(3, generator=generator) - 0.5)
        return Imitator(config.controller(), (torch.tensor(CENTRE) + spread).double(), True, False)
    learns_dynamics, learns_cost = method != "mpc_cost", "cost" in method
    start = torch.tensor(START if learns_dynamics else TRUE, dtype=torch.float64)
    return Imitator(config.controller(), start, learns_dynamics, learns_cost)


def predict(model: Model, given: Trajectories, warm: Tensor) -> Tensor:
    """The learner's torques, constants, from `warm` ones, which are brought up to date."""
    with torch.no_grad():
        if isinstance(model, Recurrent):
            return model(given.start)
        warm[:] = model.plan(given.start, warm)[0]
        return warm


def imitation_loss(model: Model, given: Trajectories, warm: Tensor) -> Tensor:
    """Mean squared distance from the expert's torques, differentiable; `warm` is brought up to date."""
    if isinstance(model, Recurrent):
        return (model(given.start) - given.torques).square().mean()
    warm[:], converged = model.plan(given.start, warm)
    return (model.attach(given.start, warm, converged) - given.torques).square().mean()


def evaluate(model: Model, *parts: Trajectories) -> tuple[float, ...]:
    """Mean squared distances from the expert's torques, of a learner that starts to think from zero torques.

    One for each of the parts, which share the calls of the controller.
    """
    given = Trajectories(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Trajectories)))
    errors = (predict(model, given, torch.zeros_like(given.torques)) - given.torques).square()
    return tuple(part.mean().item() for part in errors.split([len(part.start) for part in parts]))


def train(
    config: Config,
    method: str,
    seed: int,
    model: Model,
    data: dict[str, Trajectories],
    record: Recorder,
    label: int,
) -> dict[int, tuple[float, ...]]:
    """Train `model` and return the losses of `SPLITS` by epoch; `label` is the nominal number of trajectories."""
    given, epochs = data["train"], _epochs(config, method)
    rng, optimiser = np.random.default_rng([seed, label]), _optimiser(config, model)
    loop = Loop(model, optimiser, rng)
    kept = loop.restored({"next": 0, "warm": torch.zeros_like(given.torques), "history": {}})
    warm, history = kept["warm"], kept["history"]
    for epoch in counted(kept["next"], epochs):
        if epoch % config.train.evaluate_every == 0 or epoch == epochs:
            history[epoch] = evaluate(model, *(data[name] for name in SPLITS))
            for name, loss in zip(SPLITS, history[epoch], strict=True):
                scalar(f"imitation_loss/{name}_{label}", epoch, loss)
            if epoch == epochs or epoch - _best(history) >= config.train.patience:
                break
        if epoch % config.train.restart == 0:
            warm.zero_()
        for part in torch.from_numpy(rng.permutation(len(warm))).split(config.train.batch):
            guess = warm[part]
            _step(config, method, model, optimiser, given[part], guess, epoch)
            warm[part] = guess
        loop.keep({"next": epoch + 1, "warm": warm, "history": history})
    spacing = math.ceil(epochs / POINTS / config.train.evaluate_every) * config.train.evaluate_every
    for epoch in (epoch for epoch in history if epoch % spacing == 0):
        for name, loss in zip(SPLITS, history[epoch], strict=True):
            record.metric("imitation_loss", f"{name}_{label}", epoch, loss, record.squared_unit)
    return history


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the trajectories of one seed, for every size of the training set."""
    record = Recorder("mpc_pendulum", method, seed, UNITS, examples=False)
    data = make_data(config, method, seed)
    _record_dropped(config, data, record)
    for count in config.data.train if method not in MISSPECIFIED else [max(config.data.train)]:
        split = f"test_{count}"
        model = make_model(config, method, seed)
        own = data | {"train": data["train"][:count]}
        if isinstance(model, Imitator):
            error = model.one_step_error(own["train"].start, own["train"].torques)
            record.metric("one_step_error", split, 0, error, "1")
        with record.timed(f"train {count}"):
            history = train(config, method, seed, model, own, record, count)
        best, last = _best(history), max(history)
        record.metric("final_imitation_loss", split, best, history[best][1], record.squared_unit)
        for name, loss in zip(SPLITS, history[last], strict=True):
            record.metric("last_imitation_loss", f"{name}_{count}", last, loss, record.squared_unit)
        if isinstance(model, Imitator):
            _record_model(model, own["test"], split, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment, with the published losses; finished cells are kept for a restart."""
    cells = [
        (method, seed)
        for method in config.methods
        for seed in (config.misspecified_seeds if method in MISSPECIFIED else config.seeds)
    ]
    tables = run_cells(run_cell, config, cells, directory)
    record = Recorder("mpc_pendulum", "published", 0, UNITS, examples=False)
    for method, losses in PENDULUM.items():
        for count, loss in losses.items():
            name = f"{method}_published"
            record.metric("published_imitation_loss", f"test_{count}", 0, loss, record.squared_unit, name)
    tables["metrics"] += record.tables["metrics"]
    return tables


def _best(history: dict[int, tuple[float, ...]]) -> int:
    """The epoch of the least loss on validation, the first split."""
    return min(history, key=lambda epoch: history[epoch])


def _epochs(config: Config, method: str) -> int:
    if method == "lstm":
        return config.train.lstm_epochs
    return config.train.misspecified_epochs if method in MISSPECIFIED else config.train.epochs


def _optimiser(config: Config, model: Model) -> torch.optim.Optimizer:
    if isinstance(model, Recurrent):
        return torch.optim.Adam(model.parameters(), lr=config.train.lstm_lr)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.RMSprop(learned, lr=config.train.lr, alpha=config.train.alpha)


def _step(
    config: Config,
    method: str,
    model: Model,
    optimiser: torch.optim.Optimizer,
    part: Trajectories,
    warm: Tensor,
    epoch: int,
) -> None:
    optimiser.zero_grad()
    if isinstance(model, Imitator) and method.startswith("sysid"):
        model.prediction_loss(part.states, part.torques).backward()
    else:
        imitation_loss(model, part, warm).backward()
    if isinstance(model, Imitator) and model.learns_cost:
        # The published order: linear terms first.
        resting = model.logits if epoch // config.train.turn % 2 == 0 else model.p
        resting.grad = torch.zeros_like(resting)
    optimiser.step()
    if isinstance(model, Imitator):
        model.project()


def _record_dropped(config: Config, data: dict[str, Trajectories], record: Recorder) -> None:
    """How many of the expert's trajectories had not converged and are in no split, and so how many tests remain."""
    kept = {name: len(part.start) for name, part in data.items()}
    apart = config.data.validation + config.data.test
    dropped = {"train": max(config.data.train) - kept["train"]}
    dropped["validation and test"] = apart - kept["validation"] - kept["test"]
    for split, count in dropped.items():
        record.metric("expert_dropped", split, 0, count, "trajectory")


def _record_model(model: Imitator, test: Trajectories, split: str, record: Recorder) -> None:
    """What the learner believes in the end: gains of gravity and torque, and its prediction loss."""
    with torch.no_grad():
        gains, epoch = model.pendulum().gains(), record.tables["metrics"][-1]["step"]
        assert isinstance(epoch, int)
        for name, gain in zip(("gain_gravity", "gain_torque"), gains, strict=True):
            record.metric(name, split, epoch, gain.item(), "1/s^2 per unit of sin or N m")
        loss = model.prediction_loss(test.states, test.torques).item()
        record.metric("last_prediction_loss", split, epoch, loss, "1 and rad^2/s^2")
