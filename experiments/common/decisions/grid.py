"""What the study of decisions does with the load of a grid: its settings, its methods, what they are judged by."""

import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from experiments.common.decisions.demand import load_demand
from experiments.common.decisions.learning import Forecast, Pair, Recipe, fit
from experiments.common.decisions.scheduling import Plant, nearest, schedule
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from layers import QPLayer

TRAINED: tuple[str, ...] = (
    *("rmse", "rmse_last", "weighted_rmse"),
    *("mle", "policy", "task", "task_varying"),
)
# What is trained first, where a method does not begin at least squares.
BEGINS = {"policy": "rmse", "task": "rmse", "task_varying": "mle"}
VARYING = ("mle", "task_varying")


def _recipe() -> Recipe:
    """The published settings where they are known: all of the data in a batch, but for the weighted errors."""
    epochs, batch = dict.fromkeys(TRAINED, 1000), dict.fromkeys(TRAINED, 10_000)
    lr = dict.fromkeys(TRAINED, 1e-3) | {"policy": 1e-4, "task": 1e-4, "task_varying": 1e-4}
    return Recipe(epochs | {"weighted_rmse": 100}, batch | {"weighted_rmse": 100}, lr, dropout=0.2)


@dataclass
class Grid:
    """The last `test` of the days are for the test; of the others the share `held`, drawn, judges every method.

    Loads are the demand times `scale`. The weights of weighted errors are renewed for every one of `rounds` networks.
    """

    scale: float = 1.5  #: of the normalised demand [load]
    test: float = 0.2  #: of all days, the last ones [share]
    held: float = 0.2  #: of the other days, held out [share]
    rounds: int = 10  #: of weights of errors, a network each [networks]
    plant: Plant = field(default_factory=Plant)
    recipe: Recipe = field(default_factory=_recipe)

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be run."""
        load_demand()
        for part in ("test", "held"):
            share = getattr(self, part)
            require(0.01 <= share <= 0.9, f"{name}.{part}", share, "a share from 0.01 to 0.9")
        require(0 < self.scale < math.inf, f"{name}.scale", self.scale, "a positive, finite number")
        require(self.rounds > 0, f"{name}.rounds", self.rounds, "a positive number of networks")
        self.plant.check(f"{name}.plant")
        self.recipe.check(f"{name}.recipe", TRAINED)


def days(grid: Grid, seed: int) -> dict[str, Pair]:
    """Inputs, normalised by the days before the test, and loads: `train`, `held` and `test`."""
    x, y = load_demand().examples(grid.scale)
    first = int(len(x) * (1 - grid.test))
    x = (x - x[:first].mean(0)) / x[:first].std(0)
    order = np.random.default_rng([seed, 0]).permutation(first)
    kept = int(first * (1 - grid.held))
    rows = {"train": order[:kept], "held": order[kept:], "test": np.arange(first, len(x))}
    return {part: (torch.from_numpy(x[each]), torch.from_numpy(y[each])) for part, each in rows.items()}


def run_grid(grid: Grid, layer: QPLayer, record: Recorder) -> None:
    """The costs of the schedules of one method on the test days."""
    parts, method = days(grid, record.seed), record.method
    with record.timed("train load"):
        model, epoch = _trained(grid, layer, method, record.seed, parts)
    x, y = parts["test"]
    with torch.no_grad():
        z = decide(grid, layer, method, model, x)
        mean = model(x)[0]
    record.metric("cost", "load", epoch, grid.plant.of(z, y).sum(-1).mean().item(), "1")
    if method != "policy":
        record.metric("rmse", "load", epoch, (mean - y).square().mean().sqrt().item(), "1")
    bound = z.diff(dim=-1).abs() > grid.plant.ramp - 1e-6
    record.metric("ramps_binding", "load", epoch, bound.double().mean().item(), "1")


def decide(grid: Grid, layer: QPLayer, method: str, model: Forecast, x: Tensor) -> Tensor:
    """The schedules of a method: of the policy its output, brought within the ramps, else the best ones it expects."""
    mean, deviation = model(x)
    if method == "policy":
        return nearest(grid.plant, layer, mean)
    return schedule(grid.plant, layer, mean, deviation)


def _trained(
    grid: Grid, layer: QPLayer, method: str, seed: int, parts: dict[str, Pair]
) -> tuple[Forecast, int]:
    if method == "weighted_rmse":
        return _reweighted(grid, layer, seed, parts)
    model = Forecast(parts["train"], grid.recipe, varying=method in VARYING)
    if method == "rmse_last":
        rng = np.random.default_rng([seed, 1 + TRAINED.index(method)])
        loss = partial(_loss, grid, layer, model, "rmse")
        epoch, _ = fit(model, parts["train"], grid.recipe, method, rng, loss, None)
        model.deviate(parts["train"])
        return model, epoch
    if method in BEGINS:
        _fit(grid, layer, model, BEGINS[method], seed, parts, parts["train"])
    return model, _fit(grid, layer, model, method, seed, parts, parts["train"])[0]


def _reweighted(grid: Grid, layer: QPLayer, seed: int, parts: dict[str, Pair]) -> tuple[Forecast, int]:
    """The best of several networks, each of which weighs errors by what those of the one before have cost."""
    x, y = parts["train"]
    weights, best = torch.ones_like(y), math.inf
    found: tuple[Forecast, int] | None = None
    for turn in range(grid.rounds):
        model = Forecast(parts["train"], grid.recipe)
        train = x, torch.cat((y, weights), 1)
        epoch, cost = _fit(grid, layer, model, "weighted_rmse", seed + turn, parts, train)
        if found is None or cost < best:
            found, best = (model, epoch), cost
        with torch.no_grad():
            weights = grid.plant.of(decide(grid, layer, "weighted_rmse", model, x), y)
    assert found is not None
    return found


def _fit(
    grid: Grid, layer: QPLayer, model: Forecast, method: str, seed: int, parts: dict[str, Pair], train: Pair
) -> tuple[int, float]:
    x, y = parts["held"]

    def score() -> float:
        if method.endswith("rmse"):
            # They know of no deviation: that of held-out days is nearer the truth than that of days fitted to.
            model.deviate(parts["held"])
        with torch.no_grad():
            return grid.plant.of(decide(grid, layer, method, model, x), y).sum(-1).mean().item()

    rng = np.random.default_rng([seed, 1 + TRAINED.index(method)])
    return fit(model, train, grid.recipe, method, rng, partial(_loss, grid, layer, model, method), score)


def _loss(grid: Grid, layer: QPLayer, model: Forecast, method: str, x: Tensor, y: Tensor) -> Tensor:
    mean, deviation = model(x)
    if method.startswith("task"):
        return grid.plant.of(schedule(grid.plant, layer, mean, deviation), y).sum(-1).mean()
    if method == "policy":
        return grid.plant.of(mean, y).sum(-1).mean()
    if method == "mle":
        return (((mean - y) / deviation).square() / 2 + deviation.log()).sum(-1).mean()
    y, weights = y[:, : model.hours], y[:, model.hours :]
    if method == "rmse":
        return (mean - y).square().mean()
    return (weights * (mean - y).square()).mean(0).sqrt().sum()
