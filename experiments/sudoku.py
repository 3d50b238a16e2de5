"""Sudoku 4x4 learned from examples alone: OptNet (arXiv 1703.00443), section 4.4.

Question: does a quadratic program with learned equalities find the rules of Sudoku from solved puzzles, and does it
carry over to boards that training has never shown? Published: 0 to 1.4 % wrong test boards after the third epoch,
against 6 to 9 % of a convolutional network.

All 288 solved boards of the published data occur in training and in test. Here `held_out` of them are kept from
training: `test` draws its puzzles from the same boards as training, so that boards, and some puzzles, repeat as in the
paper; `test_strict` draws from the boards never seen. `identified` takes the constraints from the training solutions
by a singular value decomposition instead of training, and `true_constraints` are the rules themselves.
`optnet` is trained by the published recipe, whose high constant rate makes the error jump now and then, and
`optnet_annealed` by one of ours, chosen on the validation puzzles of seed 100, which is none of those reported. Each
trained method is reported at its best epoch on validation puzzles. The networks answer for all cells and do not take
over the givens: the published error before training, 3/16, is that of equal scores in every cell, and on seed 100 they
learn sooner so and end better. A network whose error stays there has a layer of dead units, which `dead_units` counts.

    python -m experiments.run experiment=sudoku size=smoke        # seconds
    python -m experiments.run experiment=sudoku size=companion    # minutes, smaller networks and batches
    python -m experiments.run experiment=sudoku size=paper        # the paper's own settings: hours on a CPU
    python -m experiments.run experiment=sudoku size=paper convolutional.device=cuda
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.sudoku.constraints import affine_hull, dimensions, principal_angles, row_space
from experiments.common.sudoku.models import (
    LearnedEqualities,
    Network,
    convolutional,
    fully_connected,
)
from experiments.common.sudoku.published import EPOCH, GIVENS, TEST_ERROR
from experiments.common.sudoku.puzzles import Puzzles, all_grids, puzzles_from
from experiments.common.sudoku.recipes import ConvolutionalRecipe, FullyConnectedRecipe, LayerRecipe
from experiments.common.sudoku.rules import one_hot, true_constraints
from experiments.common.sudoku.training import History, Scores, dead_units, fit, predict, score

ORDER = 2
SIZE = 64
TRAINED = ("optnet", "optnet_annealed", "convolutional", "fully_connected")
# Of these the parameters are kept; networks are large.
LEARNED = TRAINED[:2]
METHODS = (*TRAINED, "identified", "true_constraints")
FINAL = (
    *("final_mse", "final_board_error", "final_strict_error", "repeated_puzzles", "dead_units"),
    *("largest_angle", "median_angle", "violation", "boards_needed", "equalities"),
)
# The section of the settings that says how a method is trained.
RECIPES: dict[str, str] = dict(
    zip(TRAINED, ("train", "annealed", "convolutional", "fully_connected"), strict=True)
)
UNITS = {"mse": "1", "board_error": "fraction", "strict_error": "fraction"}


@dataclass
class Data:
    """Numbers of puzzles, and of solved boards that only `test_strict` may use."""

    train: int = 8500  #: to learn from [puzzles]
    validation: int = 500  #: that choose the epoch [puzzles]
    test: int = 1000  #: that are reported [puzzles]
    held_out: int = 29  #: of the 288, that only `test_strict` may use [solved boards]

    def check(self) -> None:
        """Raise a `ConfigError` unless such puzzles can be drawn."""
        for name in ("train", "validation", "test"):
            count = getattr(self, name)
            require(count > 0, f"data.{name}", count, "a positive number of puzzles")
        require(0 < self.held_out < 288, "data.held_out", self.held_out, "1 to 287 of the 288 solved boards")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the paper's. `rows` is the number of equalities that the layer learns.

    `train` is the published recipe of the layer, `annealed` one of ours: smaller batches and a rate that falls to zero.
    """

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: Data = field(default_factory=Data)
    rows: int = 40  #: that the layer learns [equalities]
    train: LayerRecipe = field(default_factory=LayerRecipe)
    annealed: LayerRecipe = field(
        default_factory=lambda: LayerRecipe(epochs=6, batch=50, lr=0.05, anneal=True)
    )
    convolutional: ConvolutionalRecipe = field(default_factory=ConvolutionalRecipe)
    fully_connected: FullyConnectedRecipe = field(default_factory=FullyConnectedRecipe)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        require(0 < self.rows <= SIZE, "rows", self.rows, f"1 to {SIZE} equalities")
        for name in RECIPES.values():
            getattr(self, name).check(name)


@cache
def solved_boards(held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The 288 solved boards: those for training, and the `held_out` ones for `test_strict`."""
    grids = np.random.default_rng([seed, 0]).permutation(all_grids(ORDER))
    return grids[held_out:], grids[:held_out]


def make_data(config: Config, seed: int) -> dict[str, Puzzles]:
    """The puzzles of `seed` by split; numbers of givens as often as in the published data."""
    rng = np.random.default_rng([seed, 1])
    seen, unseen = solved_boards(config.data.held_out, seed)
    weights = np.array(list(GIVENS.values())) / sum(GIVENS.values())
    sizes = {name: getattr(config.data, name) for name in ("train", "validation", "test")}
    splits: dict[str, Puzzles] = {}
    for name, count in {**sizes, "test_strict": config.data.test}.items():
        givens = rng.choice(list(GIVENS), size=count, p=weights)
        splits[name] = puzzles_from(unseen if name == "test_strict" else seen, givens, ORDER, rng)
    return splits


def make_model(config: Config, method: str, seed: int) -> nn.Module:
    """The untrained model of `method`; those that are not trained hold their constraints already."""
    generator = torch.Generator().manual_seed(seed)
    if method == "convolutional":
        recipe = config.convolutional
        body = convolutional(ORDER, recipe.channels, recipe.depth)
        return Network(body, ORDER, generator, copies=False).to(recipe.device)
    if method == "fully_connected":
        body = fully_connected(ORDER, config.fully_connected.widths)
        return Network(body, ORDER, generator, copies=False)
    model = LearnedEqualities(SIZE, config.rows, config.layer.build(), generator)
    if method == "identified":
        hull = affine_hull(one_hot(solved_boards(config.data.held_out, seed)[0], ORDER))
        model.hold(torch.from_numpy(hull.normals), torch.from_numpy(hull.mean))
    elif method == "true_constraints":
        rules = row_space(true_constraints(ORDER))
        model.hold(torch.from_numpy(rules), torch.full((SIZE,), ORDER**-2.0, dtype=torch.float64))
    return model


def train(config: Config, method: str, seed: int, model: nn.Module, splits: dict[str, Puzzles]) -> History:
    """Train `model` in place; it ends at its best epoch on validation."""
    recipe: LayerRecipe = getattr(config, RECIPES[method])
    rng = np.random.default_rng([seed, 2 + METHODS.index(method)])
    return fit(model, splits, recipe, rng, recipe.epoch)


def evaluate(model: nn.Module, splits: dict[str, Puzzles]) -> dict[str, Scores]:
    """Scores of `model` by split, without the training puzzles."""
    measured = {name: puzzles for name, puzzles in splits.items() if name != "train"}
    return {name: score(predict(model, p.tensors()[0]), p) for name, p in measured.items()}


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the puzzles of one seed."""
    record = Recorder("sudoku", method, seed, ("1", "1"), examples=seed == config.seeds[0])
    with record.timed("make data"):
        splits = make_data(config, seed)
    model, chosen = make_model(config, method, seed), 0
    if method == "optnet":
        _record_constraints("initial", model, record)
        _record_published(record)
        repeated = _repeated(splits["train"], splits["test"])
        record.metric("repeated_puzzles", "test", 0, repeated, "fraction")
    if method in TRAINED:
        with record.timed(config.convolutional.phase if method == "convolutional" else "train"):
            history = _trained(config, model, splits, record)
        if history is not None:
            _record_curves(history, getattr(config, RECIPES[method]).epoch, record)
            chosen = history.chosen
    elif method == "identified":
        _record_identification(config, seed, record)
    with record.timed("evaluate"):
        _record_final(evaluate(model, splits), chosen, record)
    if isinstance(model, Network):
        dead = dead_units(model, splits["test"].tensors()[0])
        record.metric("dead_units", "test", chosen, dead, "fraction")
    _record_constraints("final", model, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)


def _trained(
    config: Config, model: nn.Module, splits: dict[str, Puzzles], record: Recorder
) -> History | None:
    """Train `model`; what a layer has learned is kept."""

    def found() -> History:
        return train(config, record.method, record.seed, model, splits)

    return record.learned(model, found) if record.method in LEARNED else found()


def _record_curves(history: History, epoch: int, record: Recorder) -> None:
    """Scores by split; the step is the number of puzzles met in training, comparable between methods."""
    for split, by_epoch in history.scores.items():
        for step, scores in by_epoch.items():
            for name, value in scores.items():
                record.metric(name, split, step * epoch, value, UNITS[name])


def _record_final(scores: dict[str, Scores], step: int, record: Recorder) -> None:
    for split, values in scores.items():
        for name, value in values.items():
            record.metric(f"final_{name}", split, step, value, UNITS[name])


def _record_published(record: Recorder) -> None:
    if record.examples:
        for method, curve in TEST_ERROR.items():
            for epoch, error in enumerate(curve):
                name = f"{method}_published"
                record.metric("board_error", "test", epoch * EPOCH, error, "fraction", name)


def _record_constraints(name: str, model: nn.Module, record: Recorder) -> None:
    """How far the learned equalities are from the true ones.

    Angles between the row spaces, and the largest |a'y - b| over all solved boards y and orthonormal combinations a of
    the rows.
    """
    if not isinstance(model, LearnedEqualities):
        return
    A, b = (tensor.detach().numpy() for tensor in (model.A, model.b))
    rows = row_space(A)
    angles = principal_angles(rows, row_space(true_constraints(ORDER)))
    record.matrix(f"angles_{name}", angles[None])
    if name == "final":
        record.metric("largest_angle", "constraints", 0, angles[-1], "degree")
        record.metric("median_angle", "constraints", 0, float(np.median(angles)), "degree")
        feasible = np.linalg.lstsq(A, b, rcond=None)[0]
        violation = np.abs((one_hot(all_grids(ORDER), ORDER) - feasible) @ rows.T).max()
        record.metric("violation", "constraints", 0, violation, "1")


def _record_identification(config: Config, seed: int, record: Recorder) -> None:
    """Equalities left after the first k solved boards, and the k at which their number has reached its end."""
    points = one_hot(solved_boards(config.data.held_out, seed)[0], ORDER)
    left = SIZE - dimensions(points)
    needed = 1 + int(left.argmin())
    for count, equalities in enumerate(left[:needed], start=1):
        record.metric("equalities_left", "train", count, equalities, "1")
    record.metric("equalities", "constraints", 0, left[-1], "1")
    record.metric("boards_needed", "constraints", 0, needed, "solved board")


def _repeated(train: Puzzles, test: Puzzles) -> float:
    """Fraction of the test puzzles that occur in training."""
    known = {board.tobytes() for board in train.givens}
    return float(np.mean([board.tobytes() in known for board in test.givens]))
