"""Denoising of piecewise constant signals: OptNet (arXiv 1703.00443), section 4.3, and its table.

Question: does a quadratic program that starts at total variation and learns all its matrices beat total
variation? Published test MSE: network 29.8, learned operator 53.3, total variation 16.5, tuned total
variation 14.4. And ours: does it take all matrices? `optnet_stencils` learns a few stencils that tell the weights of
total variation, the same at every sample.

Every seed draws its own signals, initial values and order of training, so intervals over seeds hold the
variation of the data too. The last epoch is not trusted: each trained method is reported at its best epoch on
the validation signals, and the weight of total variation is chosen there as well; `total_variation_on_test`
repeats the paper's choice on the test set.

    python -m experiments.run experiment=denoising size=smoke        # seconds
    python -m experiments.run experiment=denoising size=companion    # minutes, on shorter signals
    python -m experiments.run experiment=denoising size=paper        # hours, the paper's own settings
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.denoisers import FullyConnected, PureOptNet, TunedTV
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.signals import Data, make_signals
from experiments.common.stencils import StencilTV
from experiments.common.total_variation import total_variation, total_variation_path
from experiments.common.training import (
    History,
    NetworkRecipe,
    Recipe,
    Split,
    fit,
    mean_squared_error,
    predict,
    squared_loss,
)

METHODS = ("total_variation", "optnet_tuned_tv", "optnet_pure", "fully_connected", "optnet_stencils")
LEARNED = ("optnet_tuned_tv", "optnet_pure", "optnet_stencils")
FINAL = ("final_mse", "weight")
UNITS = ("signal unit", "signal unit squared")
EXAMPLES = 3


@dataclass
class Weights:
    """Grid of total-variation weights: `count` values from 0 to `largest`."""

    largest: float = 100.0  #: of the grid from 0 on [1]
    count: int = 101  #: in the grid [weights]

    def check(self) -> None:
        """Raise a `ConfigError` unless this is a grid."""
        require(0 < self.largest < np.inf, "weights.largest", self.largest, "a positive, finite weight")
        require(self.count >= 2, "weights.count", self.count, "at least 2 weights")


@dataclass
class Pure(Recipe):
    """Recipe of the learned operator: weight of ||Dz||_1, and of ||D||_1 in the training loss."""

    lr: float = 1e-2
    weight: float = 13.0  #: of ‖Dz‖₁ in the program [1]
    penalty: float = 0.1  #: weight of ‖D‖₁ in the training loss [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless this can be trained."""
        super().check(name)
        require(0 < self.weight < np.inf, f"{name}.weight", self.weight, "a positive, finite weight")
        require(0 <= self.penalty < np.inf, f"{name}.penalty", self.penalty, "zero or a positive number")


@dataclass
class Stencils(Recipe):
    """Recipe of total variation with learned weights: as many stencils as `scales`."""

    epochs: int = 5
    batch: int = 50
    lr: float = 1e-2
    anneal: bool = True
    scales: int = 4  #: of different widths, 1 to 6 [stencils]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless this can be trained."""
        super().check(name)
        require(1 <= self.scales <= 6, f"{name}.scales", self.scales, "1 to 6 stencils")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the paper's. `train` is the recipe of OptNet-tuned total variation."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: Data = field(default_factory=Data)
    weights: Weights = field(default_factory=Weights)
    train: Recipe = field(default_factory=Recipe)
    pure: Pure = field(default_factory=Pure)
    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    stencils: Stencils = field(default_factory=Stencils)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        self.weights.check()
        self.train.check("train")
        self.pure.check("pure")
        self.network.check("network")
        self.stencils.check("stencils")


def make_data(config: Config, seed: int) -> dict[str, Split]:
    """The training, validation and test signals of `seed`."""
    rng = np.random.default_rng([seed, 0])
    sizes = {name: getattr(config.data, name) for name in ("train", "validation", "test")}
    return {name: make_signals(count, config.data, rng) for name, count in sizes.items()}


def best_weight(config: Config, split: Split) -> float:
    """The weight of the grid with the least mean squared error on `split`."""
    grid = np.linspace(0.0, config.weights.largest, config.weights.count)
    errors = [mean_squared_error(z, split.clean) for z in total_variation_path(split.noisy, grid)]
    return float(grid[int(np.argmin(errors))])


def make_model(config: Config, method: str, seed: int, splits: dict[str, Split]) -> nn.Module:
    """The untrained model of `method`; what starts at total variation has the weight chosen on validation."""
    length = config.data.length
    generator = torch.Generator().manual_seed(seed)
    if method == "optnet_tuned_tv":
        return TunedTV(length, best_weight(config, splits["validation"]), config.layer.build())
    if method == "optnet_stencils":
        weight = best_weight(config, splits["validation"])
        return StencilTV(length, weight, config.stencils.scales, config.data.noise, config.layer.build())
    if method == "optnet_pure":
        return PureOptNet(length, config.pure.weight, config.layer.build(), generator)
    return FullyConnected(length, config.network.width, generator)


def train(config: Config, method: str, seed: int, model: nn.Module, splits: dict[str, Split]) -> History:
    """Train `model` in place; it ends at its best epoch on validation."""
    recipes = {
        "optnet_tuned_tv": config.train,
        "optnet_pure": config.pure,
        "fully_connected": config.network,
        "optnet_stencils": config.stencils,
    }
    rng = np.random.default_rng([seed, 1 + METHODS.index(method)])

    def sparse_operator_loss(model: PureOptNet, noisy: Tensor, clean: Tensor) -> Tensor:
        return squared_loss(model, noisy, clean) + config.pure.penalty * model.D.abs().sum()

    loss = sparse_operator_loss if method == "optnet_pure" else squared_loss
    return fit(model, splits, recipes[method], rng, loss)


def evaluate(splits: dict[str, Split], denoise: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Mean squared error of `denoise` by split; of the training signals, as many as of the test's."""
    count = len(splits["test"].clean)
    errors: dict[str, float] = {}
    for name, split in splits.items():
        errors[name] = mean_squared_error(denoise(split.noisy[:count]), split.clean[:count])
    return errors


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the signals of one seed."""
    splits = make_data(config, seed)
    record = Recorder("denoising", method, seed, UNITS, examples=seed == config.seeds[0])
    if method == "total_variation":
        _run_total_variation(config, splits, record)
    else:
        _run_trained(config, splits, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)


def _run_total_variation(config: Config, splits: dict[str, Split], record: Recorder) -> None:
    record.errors(evaluate(splits, lambda noisy: noisy), method="noisy")
    for split, name in (("validation", "total_variation"), ("test", "total_variation_on_test")):
        with record.timed("choose weight", method=name):
            weight = best_weight(config, splits[split])
        record.metric("weight", split, 0, weight, record.unit, method=name)
        record.errors(evaluate(splits, partial(total_variation, weight=weight)), method=name)
    shown = examples(splits["test"])
    record.signals(shown.clean, method="clean")
    record.signals(shown.noisy, method="noisy")
    record.signals(total_variation(shown.noisy, best_weight(config, splits["validation"])))


def _run_trained(config: Config, splits: dict[str, Split], record: Recorder) -> None:
    model = make_model(config, record.method, record.seed, splits)
    record_operator("initial", model, record)
    work = partial(train, config, record.method, record.seed, model, splits)
    with record.timed("train"):
        history = record.learned(model, work) if record.method in LEARNED else work()
    if history is not None:
        record.curves(history.mse)
    with record.timed("evaluate"):
        record.errors(evaluate(splits, partial(predict, model)), step=history.chosen if history else 0)
    record.signals(predict(model, examples(splits["test"]).noisy))
    record_operator("final", model, record)


def examples(split: Split) -> Split:
    """The signals to look at: those with most jumps, the first ones among equals."""
    jumps = np.count_nonzero(np.diff(split.clean, axis=1), axis=1)
    chosen = np.argsort(-jumps, kind="stable")[:EXAMPLES]
    return Split(split.noisy[chosen], split.clean[chosen])


def record_operator(name: str, model: nn.Module, record: Recorder) -> None:
    """Record what a model learned for an operator: D itself, the first block of G in its place, or the stencils."""
    if isinstance(model, PureOptNet):
        record.matrix(name, model.D.detach().numpy())
    elif isinstance(model, StencilTV):
        record.matrix(name, model.v.detach().numpy())
    elif isinstance(model, TunedTV):
        record.matrix(name, model.G.detach().numpy()[: model.length - 1, : model.length])
