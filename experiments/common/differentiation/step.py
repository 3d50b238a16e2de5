"""One step of training on 9x9 Sudoku: FFOLayer's comparison (arXiv 2512.02494), 729 variables and 249 equalities.

The program is OptNet's, with curvature 0.1 and equalities that are learned. Two moments of the training are timed: the
start, where they are uniform random numbers, and its end, of which all that is known is that they are near the rules:
there they are the rules plus normal noise.
"""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from experiments.common.differentiation.methods import Method, derivative, reason
from experiments.common.differentiation.tasks import start_near_the_rules
from experiments.common.errors import require, require_one_of
from experiments.common.recorder import Recorder
from experiments.common.sudoku.constraints import independent_rows
from experiments.common.sudoku.models import LearnedEqualities
from experiments.common.sudoku.puzzles import puzzles_from, random_grids
from experiments.common.sudoku.rules import true_constraints
from layers import LayerError, third_party

#: givens of a puzzle, by order: of their size, OptNet's and SATNet's
GIVENS = {2: 5, 3: 36}
MOMENTS = ("start", "end")


@dataclass
class Step:
    """Boards of `order`^2 x `order`^2, `batch` of them at once; `noise` is that of the equalities at the end.

    The first `seeds` of the run are timed; of several `repetitions` the median counts. `peers` are whole third-party
    layers that are timed beside our adjoints.
    """

    order: int = 3  #: k of boards of k² x k² [1]
    batch: int = 8  #: solved at once [boards]
    noise: float = 1e-3  #: of the equalities near the end of training [1]
    moments: list[str] = field(default_factory=lambda: list(MOMENTS))  #: of the training that are timed
    seeds: int = 5  #: of the run, the first so many of which are timed [1]
    repetitions: int = 3  #: of a measurement, whose median counts [times]
    #: third-party layers that are timed beside our adjoints
    peers: list[str] = field(default_factory=lambda: ["cvxpylayers"])

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be timed."""
        require_one_of("step.order", self.order, GIVENS)
        for name in ("batch", "seeds", "repetitions"):
            require(getattr(self, name) > 0, f"step.{name}", getattr(self, name), "a positive number")
        require(0 <= self.noise < 1, "step.noise", self.noise, "a number from 0 to below 1")
        for name, given, valid in (("peers", self.peers, third_party()), ("moments", self.moments, MOMENTS)):
            for one in given:
                require_one_of(f"step.{name}", one, valid)


def run_step(settings: Step, method: Method, seed: int, record: Recorder) -> None:
    """Record the seconds of forward and backward at both moments; nothing else may run meanwhile."""
    inputs, targets = _puzzles(settings, seed)
    for moment in settings.moments:
        model = _model(settings, method, seed, moment)
        try:
            spent = [_times(model, inputs, targets) for _ in range(settings.repetitions)]
        except LayerError as error:
            record.refusal(f"step {moment}", 0, reason(error))
            continue
        for way, seconds in zip(("forward", "backward"), zip(*spent, strict=True), strict=True):
            record.timing(f"step {moment}, {way}", statistics.median(seconds))


def _times(model: LearnedEqualities, inputs: Tensor, targets: Tensor) -> tuple[float, float]:
    begin = time.perf_counter()
    loss = (model(inputs) - targets).square().mean()
    middle = time.perf_counter()
    derivative(loss, [model.A, model.log_z0])
    return middle - begin, time.perf_counter() - middle


def _puzzles(settings: Step, seed: int) -> tuple[Tensor, Tensor]:
    order, rng = settings.order, np.random.default_rng([seed, 12])
    grids = random_grids(4 * settings.batch, order, rng)
    return puzzles_from(grids, np.full(settings.batch, GIVENS[order]), order, rng).tensors()


def _model(settings: Step, method: Method, seed: int, moment: str) -> LearnedEqualities:
    generator = torch.Generator().manual_seed(seed)
    rows = len(independent_rows(true_constraints(settings.order)))
    model = LearnedEqualities(settings.order**6, rows, method.config.build(), generator)
    if moment == "end":
        start_near_the_rules(model, settings.order, settings.noise, generator)
    return model
