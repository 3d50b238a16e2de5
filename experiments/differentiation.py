"""Every adjoint side by side: how accurate is it, what does it cost, and does it train?

The survey tells the ways to differentiate a quadratic program one after the other; here each is the word after
`adjoint=`, and the rest stays as it is.

- Accuracy: programs whose solution is known to the last bit and the derivative to 50 digits (common/differentiation);
  sweeps over the margin of strict complementarity, the condition of Q, the size, the accuracy of the solve and the
  settings of the adjoint; a weakly active row, where the gradient is a choice; a row that stands there twice; a linear
  program.
- Cost: seconds and peak memory of forward and backward, and the error that they buy.
- Step: forward and backward of one step on 9x9 Sudoku, beside cvxpylayers, as FFOLayer's authors measured it.
- Training: OptNet's 4x4 Sudoku and denoising, and shortest paths with predicted costs, a benchmark of PyEPO: through
  the linear program, whose true derivative is zero, through a regularised one, and by losses made for the purpose.

What an adjoint refuses is in the table of refusals, with its reason. The settings of adjoints in `options`, for the
linear program, are those that trained best on seed 100, which is none of those reported. What an adjoint takes too long
for stands in `limits`: the most steps of a task, the most variables of a program; `final_steps` counts the steps taken.

    python -m experiments.run experiment=differentiation size=smoke        # seconds
    python -m experiments.run experiment=differentiation size=companion    # minutes
    python -m experiments.run experiment=differentiation size=paper        # an hour
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
from experiments.common.differentiation.step import Step, run_step
from experiments.common.differentiation.training import Recipe, Task, train
from experiments.common.errors import require, require_one_of
from experiments.common.recorder import Recorder
from experiments.common.results import Tables, merge
from layers import engines, third_party

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
# The reduced system and the full one, whose derivatives are said to be the same.
BESIDE = {"active_set": "optnet"}
TRAINED = ("sudoku", "denoising", "regularised", "linear")
TIMED = ("cost", "step")
# To what a peer solves in the part `step`: as in its file of configs/layer.
PEER = 1e-3
PARTS = ("accuracy", "kink", *TRAINED, "losses", *TIMED)
ONCE = ("kink", "cost")
UNITS = ("1", "1")


@dataclass
class Config(RunConfig):
    """Settings; `parts` are what is run of each method, `paths` the published data, `losses` the published recipe.

    With `sudoku_noise` the equalities of Sudoku start at the rules plus that much noise, otherwise at OptNet's start.

    `iterate_to` is the accuracy to which adjoints that differentiate an iteration run it in training, Alt-Diff's own;
    `weight` that of the blackbox interpolation, PyEPO's. `limits` has, for an adjoint, the most steps of a task by its
    name, and under `size` the most variables in the sweep of sizes; `step: 0` leaves that part out.
    """

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    parts: list[str] = field(default_factory=lambda: list(PARTS))  #: of the study that are run
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    accuracy: Accuracy = field(default_factory=Accuracy)
    cost: Cost = field(default_factory=Cost)
    step: Step = field(default_factory=Step)
    paths: Paths = field(default_factory=Paths)
    signal_length: int = 30  #: of the signals of `denoising` [samples]
    #: added to the rules, where Sudoku's equalities start; 0: they start where OptNet's do [1]
    sudoku_noise: float = 0.0
    sudoku: Recipe = field(default_factory=lambda: Recipe(samples=9000, steps=360, batch=150, lr=0.1))
    denoising: Recipe = field(default_factory=lambda: Recipe(samples=2000, steps=400, batch=50, lr=1e-2))
    regularised: Recipe = field(default_factory=lambda: Recipe(1000, steps=640, batch=32, lr=1e-2, points=20))
    linear: Recipe = field(default_factory=lambda: Recipe(1000, steps=640, batch=32, lr=1e-2, points=20))
    losses: Recipe = field(default_factory=lambda: Recipe(1000, steps=640, batch=32, lr=1e-2, points=20))
    #: settings of adjoints, by name [1]
    options: dict[str, Any] = field(default_factory=lambda: {name: dict(o) for name, o in OPTIONS.items()})
    #: by adjoint: most steps of a task, under `size` most variables, `step: 0` leaves that part out
    limits: dict[str, Any] = field(default_factory=dict[str, Any])
    #: accuracy to which adjoints that differentiate an iteration run it, Alt-Diff's own [1]
    iterate_to: float = 1e-3
    weight: float = 20.0  #: of the blackbox interpolation, PyEPO's [1]

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        require(0 < self.iterate_to < 1, "iterate_to", self.iterate_to, "a number between 0 and 1")
        require(0 < self.weight < math.inf, "weight", self.weight, "a positive, finite weight")
        for name in self.options:
            require_one_of("options", name, NAMED)
        for name, those in self.limits.items():
            require_one_of("limits", name, NAMED)
            for key, most in those.items():
                require_one_of(f"limits.{name}", key, ("size", "step", *TRAINED))
                require(isinstance(most, int) and most >= 0, f"limits.{name}.{key}", most, "a whole number")
        check_methods(self.methods, METHODS)
        chosen = self.layer.derivative()
        require(chosen == "auto", "layer.adjoint", chosen, "auto: methods=[...] chooses")
        for part in self.parts:
            require_one_of("parts", part, PARTS)
        require(0 <= self.sudoku_noise < 1, "sudoku_noise", self.sudoku_noise, "a number from 0 to below 1")
        require(self.signal_length >= 4, "signal_length", self.signal_length, "at least 4 samples")
        for name in ("accuracy", "cost", "step", "paths"):
            getattr(self, name).check()
        for name in (*TRAINED, "losses"):
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
    method = _method(config, label)
    limit = config.limits.get(method.name, {})
    other = BESIDE.get(method.name)
    beside = None if other is None else methods([other], config.layer)[0]
    if part == "accuracy":
        run_accuracy(config.accuracy, method, seed, record, limit.get("size"), beside)
    elif part == "kink":
        record_field(method, record)
    elif part == "cost":
        run_cost(config.cost, method, seed, record, beside)
    elif part == "step":
        run_step(config.step, method, seed, record)
    else:
        _train(_task(config, part, method, seed), getattr(config, part), seed, record, limit.get(part))
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole study; finished cells are kept in `directory` for a restart.

    The picture of the kink and the costs are those of the first seed; what is timed has the machine to itself.
    """
    cells = [
        (f"{part} {label}", seed)
        for part in config.parts
        for seed in _seeds(config, part)
        for label in _labels(config, part)
    ]
    timed = [cell for cell in cells if cell[0].startswith(TIMED)]
    tables = run_cells(run_cell, config, [cell for cell in cells if cell not in timed], directory)
    alone = run_cells(run_cell, replace(config, workers=1), timed, directory)
    picture = Recorder("differentiation", "kink", config.seeds[0], UNITS, examples="kink" in config.parts)
    record_points(picture)
    return merge([tables, alone, picture.tables])


def _seeds(config: Config, part: str) -> list[int]:
    """With which seeds a part is run: what is no average over seeds with the first, a step with as many as it says."""
    return config.seeds[: config.step.seeds if part == "step" else 1 if part in ONCE else None]


def _labels(config: Config, part: str) -> list[str]:
    """What a part is run with, by its label in the tables."""
    if part == "losses":
        return [name for name in config.methods if name in tasks.LOSSES]
    every = methods(config.methods, config.layer)
    if part != "step":
        return [method.label for method in every]
    here = [method.label for method in every if config.limits.get(method.name, {}).get("step") != 0]
    peers = [name for name in config.step.peers if engines()[name] is None]
    return list(dict.fromkeys([*here, *peers]))


def _method(config: Config, label: str) -> Method:
    """The method with a label; a peer of the part `step` has the accuracy that its file under configs/layer says."""
    if label in third_party() and label != config.layer.solver:
        return Method(label, replace(config.layer, solver=label, tol=PEER))
    return next(one for one in methods(config.methods, config.layer) if one.label == label)


def _task(config: Config, part: str, method: Method, seed: int) -> Task:
    """The task of a part that trains through the layer."""
    recipe: Recipe = getattr(config, part)
    method = method.at(config.iterate_to) if method.iterates else method
    if part == "sudoku":
        return tasks.sudoku(method, seed, recipe.samples, recipe.test, config.sudoku_noise)
    if part == "denoising":
        return tasks.denoising(method, seed, recipe.samples, recipe.test, config.signal_length)
    if part == "regularised":
        return tasks.path("path, regularised", tasks.regularised(method, config.paths), config.paths, seed)
    informative = method.with_options(config.options.get(method.name, {}))
    return tasks.path("path, linear", tasks.linear(informative, config.paths), config.paths, seed)


def _train(task: Task, recipe: Recipe, seed: int, record: Recorder, limit: int | None = None) -> None:
    train(task, recipe, np.random.default_rng([seed, 20]), record, limit)
