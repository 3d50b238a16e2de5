"""Every adjoint side by side: how accurate is it, what does it cost, and does it train?

The survey tells the ways to differentiate a quadratic program one after the other; here each is the word after
`adjoint=`, and the rest stays as it is.

- Accuracy: programs whose solution is known to the last bit and the derivative to 50 digits (common/differentiation);
  sweeps over the margin of strict complementarity, the condition of Q, the size, the accuracy of the solve and the
  settings of the adjoint; a weakly active row, where the gradient is a choice; a row that stands there twice; a linear
  program.
- Cost: seconds and peak memory of forward and backward, and the error that they buy.
- Training: OptNet's 4x4 Sudoku and denoising, and shortest paths with predicted costs, a benchmark of PyEPO: through
  the linear program, whose true derivative is zero, through a regularised one, and by losses made for the purpose.

What an adjoint refuses is in the table of refusals, with its reason. The settings of adjoints in `options`, for the
linear program, are those that trained best on seed 100, which is none of those reported.

    python -m experiments.run experiment=differentiation size=smoke        # seconds
    python -m experiments.run experiment=differentiation size=companion    # minutes
    python -m experiments.run experiment=differentiation size=paper        # hours
    python -m experiments.run experiment=differentiation methods=[implicit,smoothed] layer=qpth
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.differentiation import tasks
from experiments.common.differentiation.accuracy import Accuracy, run_accuracy
from experiments.common.differentiation.cost import Cost, run_cost
from experiments.common.differentiation.kink import record_field, record_points
from experiments.common.differentiation.methods import NAMED, Method, methods
from experiments.common.differentiation.shortest_path import Paths
from experiments.common.differentiation.training import Recipe, Task, train
from experiments.common.errors import require, require_one_of
from experiments.common.recorder import Recorder
from experiments.common.results import Tables, merge

METHODS = (*NAMED, *tasks.LOSSES)
FINAL = (
    *("final_gradient_error", "final_selection", "final_distance_to_limits", "final_order"),
    *("final_board_error", "final_mse", "final_regret"),
)
# How far an adjoint has to be from the derivative of a linear program, which says nothing: chosen on seed 100.
OPTIONS: dict[str, dict[str, float]] = {
    "smoothed": {"kappa": 1.0},
    "lpgd": {"tau": 1000.0},
    "penalty": {"beta": 1.0},
}
PARTS = ("accuracy", "kink", "sudoku", "denoising", "regularised", "linear", "losses", "cost")
UNITS = ("1", "1")


@dataclass
class Config(RunConfig):
    """Settings; `parts` are what is run of each method, `paths` the published data, `losses` the published recipe.

    `iterate_to` is the accuracy to which adjoints that differentiate an iteration run it in training, Alt-Diff's own;
    `weight` that of the blackbox interpolation, PyEPO's.
    """

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    parts: list[str] = field(default_factory=lambda: list(PARTS))
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    accuracy: Accuracy = field(default_factory=Accuracy)
    cost: Cost = field(default_factory=Cost)
    paths: Paths = field(default_factory=Paths)
    signal_length: int = 30
    sudoku: Recipe = field(default_factory=lambda: Recipe(samples=9000, steps=360, batch=150, lr=0.1))
    denoising: Recipe = field(default_factory=lambda: Recipe(samples=2000, steps=400, batch=50, lr=1e-2))
    regularised: Recipe = field(default_factory=lambda: Recipe(1000, steps=640, batch=32, lr=1e-2, points=20))
    linear: Recipe = field(default_factory=lambda: Recipe(1000, steps=640, batch=32, lr=1e-2, points=20))
    losses: Recipe = field(default_factory=lambda: Recipe(1000, steps=640, batch=32, lr=1e-2, points=20))
    options: dict[str, Any] = field(default_factory=lambda: {name: dict(o) for name, o in OPTIONS.items()})
    iterate_to: float = 1e-3
    weight: float = 20.0

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        require(0 < self.iterate_to < 1, "iterate_to", self.iterate_to, "a number between 0 and 1")
        require(0 < self.weight < math.inf, "weight", self.weight, "a positive, finite weight")
        for name in self.options:
            require_one_of("options", name, NAMED)
        check_methods(self.methods, METHODS)
        chosen = self.layer.derivative()
        require(chosen == "auto", "layer.adjoint", chosen, "auto: methods=[...] chooses")
        for part in self.parts:
            require_one_of("parts", part, PARTS)
        require(self.signal_length >= 4, "signal_length", self.signal_length, "at least 4 samples")
        for name in ("accuracy", "cost", "paths"):
            getattr(self, name).check()
        for name in ("sudoku", "denoising", "regularised", "linear", "losses"):
            getattr(self, name).check(name)
        for name in ("regularised", "linear", "losses"):
            samples = getattr(self, name).samples
            require(samples <= self.paths.train, f"{name}.samples", samples, "at most paths.train")


def run_cell(config: Config, cell: str, seed: int) -> Tables:
    """The tables of one part of one method on one seed; `cell` is both, with a blank between."""
    part, _, label = cell.partition(" ")
    record = Recorder("differentiation", label, seed, UNITS, examples=seed == config.seeds[0])
    if part == "losses":
        loss = tasks.decision_loss(label, config.paths, seed, config.weight)
        _train(tasks.path("path", loss, config.paths, seed), config.losses, seed, record)
        return record.tables
    method = next(one for one in methods(config.methods, config.layer) if one.label == label)
    if part == "accuracy":
        run_accuracy(config.accuracy, method, seed, record)
    elif part == "kink":
        record_field(method, record)
    elif part == "cost":
        run_cost(config.cost, method, seed, record)
    else:
        task = _task(config, part, method, seed)
        _train(task, getattr(config, part), seed, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole study; finished cells are kept in `directory` for a restart.

    The picture of the kink and the costs are those of the first seed; what is timed has the machine to itself.
    """
    losses = [name for name in config.methods if name in tasks.LOSSES]
    every = [method.label for method in methods(config.methods, config.layer)]
    once = {"kink", "cost"}
    cells = [
        (f"{part} {label}", seed)
        for seed in config.seeds
        for part in config.parts
        for label in (losses if part == "losses" else every)
        if seed == config.seeds[0] or part not in once
    ]
    timed = [cell for cell in cells if cell[0].startswith("cost ")]
    tables = run_cells(run_cell, config, [cell for cell in cells if cell not in timed], directory)
    alone = run_cells(run_cell, replace(config, workers=1), timed, directory)
    picture = Recorder("differentiation", "kink", config.seeds[0], UNITS, examples="kink" in config.parts)
    record_points(picture)
    return merge([tables, alone, picture.tables])


def _task(config: Config, part: str, method: Method, seed: int) -> Task:
    """The task of a part that trains through the layer."""
    recipe: Recipe = getattr(config, part)
    method = method.at(config.iterate_to) if method.iterates else method
    if part == "sudoku":
        return tasks.sudoku(method, seed, recipe.samples, recipe.test)
    if part == "denoising":
        return tasks.denoising(method, seed, recipe.samples, recipe.test, config.signal_length)
    if part == "regularised":
        return tasks.path("path, regularised", tasks.regularised(method, config.paths), config.paths, seed)
    informative = method.with_options(config.options.get(method.name, {}))
    return tasks.path("path, linear", tasks.linear(informative, config.paths), config.paths, seed)


def _train(task: Task, recipe: Recipe, seed: int, record: Recorder) -> None:
    train(task, recipe, np.random.default_rng([seed, 20]), record)
