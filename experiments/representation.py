"""What a quadratic program represents, and a ReLU network does not: OptNet (arXiv 1703.00443), section 3.2.

Question: Theorem 2 writes piecewise-linear functions as quadratic programs, and Theorem 3 names one, the maximum of
three linear functions, that no network with one hidden layer represents on all of R^n. How large is the difference
when both are learned from the same points?

The function is max_i a_i'x with three a_i of length one, 120 degrees apart, so that it has three creases as in the
paper's figure. Zero lies in their convex hull, so the maximum is never negative; otherwise the program of Theorem 3
would be max(0, max_i a_i'x). Points are uniform on the square of half-width 1 for training, and on one of half-width
`outside` for the second test. Each model is the best of `restarts` starts and of all epochs on validation.

    python -m experiments.run experiment=representation size=companion    # a minute
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.piecewise_linear import (
    MaxOfLinear,
    TwoLayerNetwork,
    interpolation,
    piecewise_linear,
    relu,
)
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.training import Recipe, Split, fit, predict

METHODS = ("exact_layer", "max_layer", "relu_network")
FINAL = ("largest_error", "largest_gradient_error", "rms_error", "parameters")
PIECES = 3
SHOWN = 61


@dataclass
class Data:
    """Numbers of points, and the half-width of the square of the second test; that of training is 1."""

    train: int = 1000  #: to learn from [points]
    validation: int = 500  #: that choose the epoch and the start [points]
    test: int = 2000  #: that are reported [points]
    outside: float = 5.0  #: half-width of the square of the second test; that of training is 1 [1]

    def check(self) -> None:
        """Raise a `ConfigError` unless such points can be drawn."""
        for name in ("train", "validation", "test"):
            count = getattr(self, name)
            require(count > 0, f"data.{name}", count, "a positive number of points")
        require(1 < self.outside < np.inf, "data.outside", self.outside, "a finite half-width above 1")


@dataclass
class Config(RunConfig):
    """Settings. `train` is the recipe of the layer, `network` that of the networks of each of `widths`."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: Data = field(default_factory=Data)
    widths: list[int] = field(default_factory=lambda: [3, 6, 12, 24, 48, 96, 192])  #: of the networks [units]
    knots: int = 12  #: of the function of one variable, at least 3 [knots]
    restarts: int = 3  #: of each training, the best of which counts [starts]
    train: Recipe = field(default_factory=lambda: Recipe(epochs=60, batch=50, lr=0.05, anneal=True))
    network: Recipe = field(default_factory=lambda: Recipe(epochs=400, batch=50, lr=1e-2, anneal=True))

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        positive = len(self.widths) > 0 and min(self.widths) > 0
        require(positive, "widths", self.widths, "positive numbers of hidden units")
        require(self.knots >= 3, "knots", self.knots, "at least 3 knots")
        require(self.restarts > 0, "restarts", self.restarts, "a positive number of starts")
        self.train.check("train")
        self.network.check("network")


def creases(x: np.ndarray) -> np.ndarray:
    """max_i a_i'x at the rows of x, shape (points, 1); the a_i have length one and are 120 degrees apart."""
    angles = np.pi / 2 + 2 * np.pi / PIECES * np.arange(PIECES)
    return (x @ np.stack([np.cos(angles), np.sin(angles)])).max(axis=1, keepdims=True)


def make_data(config: Config, seed: int) -> dict[str, Split]:
    """Points and values by split; `outside` has those outside the square of training."""
    rng, data = np.random.default_rng([seed, 0]), config.data
    splits: dict[str, Split] = {}
    for name in ("train", "validation", "test", "outside"):
        count, half = (data.test, data.outside) if name == "outside" else (getattr(data, name), 1.0)
        x = rng.uniform(-half, half, (4 * count, 2))
        x = x[np.abs(x).max(axis=1) > (1.0 if name == "outside" else 0.0)][:count]
        splits[name] = Split(x, creases(x))
    return splits


def make_model(config: Config, method: str, width: int, seed: int) -> nn.Module:
    """The untrained model: `width` pieces or hidden units."""
    generator = torch.Generator().manual_seed(seed)
    if method == "max_layer":
        return MaxOfLinear(2, width, config.layer.build(), generator)
    return TwoLayerNetwork(2, width, generator)


def train(config: Config, method: str, width: int, seed: int, splits: dict[str, Split]) -> nn.Module:
    """The best of `restarts` models on validation, each at its best epoch."""
    known = {name: splits[name] for name in ("train", "validation")}
    recipe = config.train if method == "max_layer" else config.network
    best, chosen = np.inf, None
    for start in range(config.restarts):
        model = make_model(config, method, width, 1000 * seed + start)
        rng = np.random.default_rng([seed, METHODS.index(method), width, start])
        history = fit(model, known, recipe, rng, evaluate_every=max(1, recipe.epochs // 20))
        error = history.mse["validation"][history.chosen]
        if chosen is None or error < best:
            best, chosen = error, model
    assert chosen is not None
    return chosen


def evaluate(model: nn.Module, splits: dict[str, Split]) -> dict[str, float]:
    """Root-mean-square error by test split, relative to the root-mean-square value of the function there."""
    errors: dict[str, float] = {}
    for name in ("test", "outside"):
        value, wrong = splits[name].clean, predict(model, splits[name].noisy) - splits[name].clean
        errors[name] = float(np.sqrt(np.mean(wrong**2) / np.mean(value**2)))
    return errors


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the points of one seed."""
    record = Recorder("representation", method, seed, ("1", "1"), examples=seed == config.seeds[0])
    if method == "exact_layer":
        _record_exact(config, seed, record)
        return record.tables
    splits = make_data(config, seed)
    for width in (PIECES,) if method == "max_layer" else config.widths:
        with record.timed(f"train width {width}"):
            model = train(config, method, width, seed, splits)
        for split, error in evaluate(model, splits).items():
            record.metric("rms_error", f"{split}_{width}", width, error, "fraction")
        count = sum(parameter.numel() for parameter in model.parameters())
        record.metric("parameters", f"width_{width}", width, count, "1")
        record.matrix(f"diagonal_{width}", _along_diagonal(config, model))
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)


def _along_diagonal(config: Config, model: nn.Module) -> np.ndarray:
    """Place, function and model on the line through zero in direction (1, 1), shape (places, 3)."""
    places = np.linspace(-config.data.outside, config.data.outside, SHOWN)[:, None]
    x = places * np.full(2, 0.5**0.5)
    return np.hstack([places, creases(x), predict(model, x)])


def _record_exact(config: Config, seed: int, record: Recorder) -> None:
    """Theorem 2: the programs of ReLU and of a piecewise-linear function beside the formulas, derivatives too."""
    layer, generator = config.layer.build(), torch.Generator().manual_seed(seed)
    v = torch.randn(200, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    _compare(record, "relu", v, relu(v, layer), v.clamp(min=0))
    knots = torch.linspace(-np.pi, np.pi, config.knots, dtype=torch.float64)
    terms = interpolation(knots, knots.sin())
    x = torch.rand(200, dtype=torch.float64, generator=generator) * 2 * np.pi - np.pi
    x = x.sort().values.requires_grad_()
    program = piecewise_linear(x, *terms, layer)
    slopes, offsets, weights = terms
    _compare(record, "piecewise_linear", x, program, (torch.outer(x, slopes) + offsets).relu() @ weights)
    record.matrix("piecewise_linear", torch.stack([x, x.sin(), program], dim=1).detach().numpy())


def _compare(
    record: Recorder, name: str, at: torch.Tensor, program: torch.Tensor, formula: torch.Tensor
) -> None:
    error = (program - formula).abs().max().item()
    slopes = [torch.autograd.grad(value.sum(), at)[0] for value in (program, formula)]
    record.metric("largest_error", name, 0, error, "1")
    wrong = (slopes[0] - slopes[1]).abs().max().item()
    record.metric("largest_gradient_error", name, 0, wrong, "1")
