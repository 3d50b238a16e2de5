"""Sudoku 9x9: its rules from puzzles with their solutions, and from puzzles that nobody solved.

Question: trained on puzzles from a random start the layer of `sudoku_9x9` solves none. What can puzzles teach it, and
how many does it take? Every method ends in argmin c/2 |z|^2 - x'z subject to z >= 0 and A(z - m) = 0, x the givens;
they differ in where A comes from, and in what has to be told beforehand.

=================  ===============  ===================================================================================
method             sees             is told
=================  ===============  ===================================================================================
solved_boards      solved boards    nothing: A is their affine hull, the yardstick
pairs              puzzles, solved  which entries are one cell, hidden as a whole; the number of equalities
pairs_trained      the same         the same; then trained with z >= 0
exclusions         puzzles          a rule says of nine entries that one is 1, and every entry is in equally many rules
exclusions_search  the same         the same; and no layer: depth-first search with the rules found
hidden             puzzles          the same
hidden_trained     the same         the same; then trained with z >= 0 to predict givens that are hidden
=================  ===============  ===================================================================================

`exclusions` finds all sets of nine entries no two of which were ever given together; the rules are among them
(common/sudoku/exclusions.py). It cannot see how the entries of a board are arranged; on boards whose 729 entries are
permuted, as SATNet's are (arXiv 1905.12149), it is the same method, which the split `permuted_*` shows. `pairs` and
`hidden` are what the layer learns without z >= 0, an eigenvalue problem (common/sudoku/moments.py). m is 1/9
everywhere, except for `solved_boards`, which takes their mean.

    python -m experiments.run experiment=sudoku_rules size=smoke        # seconds, on 4x4
    python -m experiments.run experiment=sudoku_rules size=companion    # minutes, few puzzles
    python -m experiments.run experiment=sudoku_rules size=paper        # most of an hour

With puzzles of your own: 'methods=[exclusions]' data.file=puzzles.txt 'data.unsolved=[900]' 'data.hidden=[900]'.
"""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.errors import require, require_one_of
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.sudoku.constraints import affine_hull, principal_angles, row_space
from experiments.common.sudoku.cover import Search
from experiments.common.sudoku.exclusions import TooMany, as_rows, equally_many, exclusive_sets, have_met
from experiments.common.sudoku.moments import covariance_of_givens, covariance_of_pairs, least_normals
from experiments.common.sudoku.puzzles import Puzzles, puzzles_from, random_grids, read_puzzles
from experiments.common.sudoku.rules import Array, one_hot, true_constraints
from experiments.common.sudoku.subspace import Draw, Stage, Subspace, fit_stage, hiding, pairs
from experiments.common.sudoku.training import repeated, score

# What each method sees: the setting that lists how much of it, and its unit.
SEES = {
    "solved_boards": ("solved", "solved board"),
    "pairs": ("maskings", "puzzle with its solution"),
    "pairs_trained": ("maskings", "puzzle with its solution"),
    "exclusions": ("unsolved", "unsolved puzzle"),
    "exclusions_search": ("unsolved", "unsolved puzzle"),
    "hidden": ("hidden", "unsolved puzzle"),
    "hidden_trained": ("hidden", "unsolved puzzle"),
}
METHODS = tuple(SEES)
# These learn from the most there is alone: training takes longest, and search has the rules of the layer.
LAST = ("pairs_trained", "hidden_trained", "exclusions_search")
FINAL = ("solved", "largest_angle", "median_angle", "sets_found", "sets_false")
TRIALS = {"solved": "data.test"}
WATCH = 10


@dataclass
class Data:
    """Boards of k^2 x k^2 for order k, and how many of them each method sees.

    `pairs` makes `maskings` puzzles of each of `boards` boards; test puzzles are of boards of their own.
    """

    order: int = 3  #: k of boards of k² x k², 2 or 3 [1]
    #: to learn from, increasing [solved boards]
    solved: list[int] = field(default_factory=lambda: [240, 360, 420, 450, 465, 475, 480, 485, 600])
    #: to learn from, for `exclusions`, increasing [puzzles]
    unsolved: list[int] = field(default_factory=lambda: [400, 500, 600, 700, 800, 1000, 1500])
    #: to learn from, for `hidden`, increasing [puzzles]
    hidden: list[int] = field(default_factory=lambda: [1000, 3000, 10000])
    boards: int = 3000  #: behind the puzzles of `pairs` [boards]
    #: of each of these, increasing [puzzles]
    maskings: list[int] = field(default_factory=lambda: [1, 4, 16, 64, 256])
    #: of givens that `pairs` shows, least and most [1]
    shares: list[float] = field(default_factory=lambda: [0.3, 0.9])
    mean_givens: float = 36.2  #: of an unsolved puzzle, the two nearest integers [givens]
    shown: float = 0.7  #: share of the givens that `hidden` shows while it trains [1]
    givens: list[int] = field(default_factory=lambda: list(range(24, 41, 2)))  #: of the test puzzles [givens]
    test: int = 60  #: for each number of givens [puzzles]
    file: str = ""  #: unsolved puzzles of yours, one a line, in place of drawn ones

    def check(self) -> None:
        """Raise a `ConfigError` unless such boards can be drawn."""
        require_one_of("data.order", self.order, (2, 3))
        for name in ("solved", "unsolved", "hidden", "maskings"):
            counts: list[int] = getattr(self, name)
            increasing = bool(counts) and counts[0] > 0 and counts == sorted(set(counts))
            require(increasing, f"data.{name}", counts, "increasing positive numbers, at least one")
        for name in ("boards", "test"):
            require(getattr(self, name) > 1, f"data.{name}", getattr(self, name), "at least 2 boards")
        inside = len(self.shares) == 2 and 0 < self.shares[0] <= self.shares[1] <= 1
        require(inside, "data.shares", self.shares, "two shares of givens, increasing, above 0 and at most 1")
        require(0 < self.shown < 1, "data.shown", self.shown, "a share between 0 and 1")
        # Fewer givens than this hardly ever remain when cells are emptied in random order.
        low, high = {2: 4, 3: 23}[self.order], self.order**4
        expected = f"numbers of givens from {low} to {high}"
        within = bool(self.givens) and low <= min(self.givens) and max(self.givens) <= high
        require(within, "data.givens", self.givens, expected)
        require(low <= self.mean_givens <= high - 1, "data.mean_givens", self.mean_givens, expected)
        if self.file:
            own = len(read_puzzles(Path(self.file), self.order, "data.file"))
            for name in ("unsolved", "hidden"):
                most = getattr(self, name)[-1]
                require(most <= own, f"data.{name}", most, f"at most the {own} puzzles of data.file")


@dataclass
class Config(RunConfig):
    """Settings.

    `curvature` is that of the layer when it is tested, `learned_curvature` that where the equalities hold only nearly
    and such programs would take many times longer; `branches` bounds the search for sets, and that of a board.
    """

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: Data = field(default_factory=Data)
    curvature: float = 1e-3  #: of the layer that is tested, equalities exact [1]
    learned_curvature: float = 1e-2  #: of the layer that is tested, equalities learned [1]
    passes: int = 3  #: of an answer [passes]
    branches: int = 4_000_000  #: most of the search for sets, and of that for a board [branches]
    pairs_stage: Stage = field(default_factory=lambda: Stage(steps=100, lr=1e-4, curvature=0.1))
    hidden_stage: Stage = field(default_factory=lambda: Stage(steps=100, lr=1e-4, curvature=0.1))

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check()
        for name in ("curvature", "learned_curvature"):
            value = getattr(self, name)
            require(0 < value < np.inf, name, value, "a positive, finite number")
        for name in ("passes", "branches"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        for name in ("pairs_stage", "hidden_stage"):
            getattr(self, name).check(name)


def test_splits(config: Config, seed: int) -> dict[int, Puzzles]:
    """The test puzzles of `seed` by number of givens, from boards that no method has seen."""
    data, splits = config.data, {}
    for givens in data.givens:
        rng = np.random.default_rng([seed, 1, givens])
        grids = random_grids(4 * data.test, data.order, rng)
        splits[givens] = puzzles_from(grids, np.full(data.test, givens), data.order, rng)
    return splits


@cache
def solved_boards(count: int, order: int, seed: int) -> Array:
    """Solved boards to learn from, shape (count, N^2)."""
    return random_grids(count, order, np.random.default_rng([seed, 0]))


def unsolved_puzzles(data: Data, seed: int) -> Array:
    """Puzzles to learn from, shape (puzzles, N^2); their solutions are left behind here."""
    if data.file:
        return read_puzzles(Path(data.file), data.order, "data.file")
    return _drawn(max(*data.unsolved, *data.hidden), data.mean_givens, data.order, seed)


@cache
def _drawn(count: int, mean_givens: float, order: int, seed: int) -> Array:
    rng = np.random.default_rng([seed, 2])
    grids = random_grids(count, order, rng)
    return puzzles_from(grids, _around(mean_givens, count, rng), order, rng).givens


def _around(mean: float, count: int, rng: np.random.Generator) -> Array:
    """`count` integers next to `mean`, which is their expectation."""
    return int(mean) + (rng.random(count) < mean - int(mean))


def learn(config: Config, method: str, seed: int, count: int, record: Recorder) -> nn.Module | None:
    """What answers puzzles after `count` of what `method` sees; None where that is too little to tell a rule."""
    data, order = config.data, config.data.order
    if method == "solved_boards":
        hull = affine_hull(one_hot(solved_boards(data.solved[-1], order, seed)[:count], order))
        return _layer(config, hull.normals, config.curvature, hull.mean)
    rng = np.random.default_rng([seed, 3 + METHODS.index(method)])
    if method.startswith("pairs"):
        return _learn_pairs(config, method, seed, count, rng, record)
    puzzles = one_hot(unsolved_puzzles(data, seed)[:count], order)
    if method.startswith("exclusions"):
        sets = find_sets(config, puzzles, np.arange(order**6), f"seen_{count}", record)
        return None if sets is None else _with_sets(config, method, sets)
    model = _layer(config, least_normals(covariance_of_givens(puzzles, order), rank(order)))
    if method == "hidden_trained":
        _train(config, model, hiding(torch.from_numpy(puzzles), order**2, data.shown), rng, record)
    return model


def _learn_pairs(
    config: Config, method: str, seed: int, count: int, rng: np.random.Generator, record: Recorder
) -> Subspace:
    data, order, stage = config.data, config.data.order, config.pairs_stage
    boards = solved_boards(data.boards, order, seed)
    shares: list[float] = rng.uniform(data.shares[0], data.shares[1], count).tolist()
    covariance = covariance_of_pairs(one_hot(boards, order), shares, order, rng)
    model = _layer(config, least_normals(covariance, rank(order)))
    if method == "pairs_trained":
        givens = _around(data.mean_givens, stage.steps * stage.batch, rng)
        _train(config, model, pairs(*puzzles_from(boards, givens, order, rng).tensors()), rng, record)
    return model


def rank(order: int) -> int:
    """The number of independent equalities, 249 for order 3."""
    return len(row_space(true_constraints(order)))


def find_sets(config: Config, puzzles: Array, entries: Array, split: str, record: Recorder) -> Array | None:
    """The rules that `puzzles` tell, counted beside the true ones; None if they tell too little.

    Column i of `puzzles` is entry entries[i] of a board, which only the counting knows.
    """
    order = config.data.order
    try:
        seen = exclusive_sets(have_met(puzzles), order**2, config.branches)
    except TooMany:
        record.refusal(split, 0, f"more than {config.branches} branches in the search for sets")
        return None
    sets = equally_many(seen, order**6)
    record.metric("sets_seen", split, 0, len(seen), "1")
    if sets is None:
        record.refusal(split, 0, f"{len(seen)} sets, and no telling which of them are rules")
        return None
    true = {tuple(np.flatnonzero(row).tolist()) for row in true_constraints(order)}
    found = sum(tuple(sorted(each)) in true for each in entries[sets].tolist())
    record.metric("sets_found", split, 0, found, "1")
    record.metric("sets_false", split, 0, len(sets) - found, "1")
    return sets


def _with_sets(config: Config, method: str, sets: Array) -> nn.Module:
    entries = config.data.order**6
    if method == "exclusions_search":
        return Search(sets, entries, config.branches)
    return _layer(config, row_space(as_rows(sets, entries)), config.curvature)


def _layer(
    config: Config, rows: Array, curvature: float | None = None, point: Array | None = None
) -> Subspace:
    """The layer with equalities rows (z - point) = 0, where all digits are equally likely if no point is given."""
    point = np.full(rows.shape[1], config.data.order**-2.0) if point is None else point
    tensors = torch.from_numpy(rows), torch.from_numpy(point)
    return Subspace(*tensors, curvature or config.learned_curvature, config.layer.build())


def _train(config: Config, model: Subspace, draw: Draw, rng: np.random.Generator, record: Recorder) -> None:
    stage: Stage = config.pairs_stage if record.method == "pairs_trained" else config.hidden_stage
    losses: list[float] = []

    def watch(step: int, loss: float) -> None:
        losses.append(loss)
        if step % WATCH == 0:
            record.metric("loss", "train", step - WATCH + 1, float(np.mean(losses)), "1")
            losses.clear()

    fit_stage(model, draw, stage, rng, watch, record.tables["metrics"])
    model.curvature, model.nonnegative = config.learned_curvature, True


class Permuted(nn.Module):
    """A model of boards whose entry i is entry order[i] of a plain one, as a model of plain boards."""

    def __init__(self, model: nn.Module, order: Tensor):
        super().__init__()
        self.model, self.order = model, order

    def forward(self, givens: Tensor) -> Tensor:
        """Scores for one-hot puzzles, shape (boards, n)."""
        answer = torch.empty_like(givens)
        answer[:, self.order] = self.model(givens[:, self.order])
        return answer


def learn_permuted(config: Config, seed: int, record: Recorder) -> nn.Module | None:
    """`exclusions` on the most puzzles there are, all 729 entries of a board permuted."""
    data = config.data
    puzzles = one_hot(unsolved_puzzles(data, seed)[: data.unsolved[-1]], data.order)
    order = np.random.default_rng([seed, 3]).permutation(puzzles.shape[1])
    sets = find_sets(config, puzzles[:, order], order, "permuted", record)
    return None if sets is None else Permuted(_with_sets(config, "exclusions", sets), torch.from_numpy(order))


def evaluate(config: Config, model: nn.Module | None, puzzles: Puzzles) -> float:
    """The share of `puzzles` whose solution is the answer; none without a model."""
    if model is None:
        return 0.0
    passes = 1 if isinstance(model, Search) else config.passes
    return 1 - score(repeated(model, puzzles.tensors()[0], passes), puzzles)["strict_error"]


def probe(data: Data) -> int:
    """The number of givens at which what every amount of data teaches is tested."""
    return min(data.givens, key=lambda givens: abs(givens - data.mean_givens))


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the boards of one seed."""
    record = Recorder("sudoku_rules", method, seed, ("1", "1"), examples=False)
    data, model = config.data, None
    with record.timed("make puzzles"):
        splits = test_splits(config, seed)
    setting, unit = SEES[method]
    counts: list[int] = getattr(data, setting)
    for count in counts[-1:] if method in LAST else counts:
        split = f"seen_{count}"
        with record.timed(f"learn from {count}"):
            model = learn(config, method, seed, count, record)
        record.metric("seen", split, 0, count * (data.boards if setting == "maskings" else 1), unit)
        record.metric("solved", split, 0, evaluate(config, model, splits[probe(data)]), "fraction")
        if isinstance(model, Subspace):
            _record_angles(config, model, split, record)
    with record.timed("evaluate"):
        for givens, puzzles in splits.items():
            record.metric("solved", f"givens_{givens}", 0, evaluate(config, model, puzzles), "fraction")
    if method == "exclusions":
        share = evaluate(config, learn_permuted(config, seed, record), splits[probe(data)])
        record.metric("solved", f"permuted_{probe(data)}", 0, share, "fraction")
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for seed in config.seeds for method in config.methods]
    return run_cells(run_cell, config, cells, directory)


def _record_angles(config: Config, model: Subspace, split: str, record: Recorder) -> None:
    record.metric("equalities", split, 0, len(model.normals), "1")
    angles = principal_angles(model.rows().detach().numpy(), row_space(true_constraints(config.data.order)))
    record.metric("largest_angle", split, 0, angles[-1], "degree")
    record.metric("median_angle", split, 0, float(np.median(angles)), "degree")
