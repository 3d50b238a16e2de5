"""The rows of the benchmark that are sparse programs: from a row and its engines to lines."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.measure import Check, Contender, Limits, Setting, measure
from benchmarks.reference import RESIDUAL
from benchmarks.sparse import SparseRow
from benchmarks.sparse_engines import SparseEngine
from benchmarks.tables import Line
from benchmarks.timing import Prepare, Sample, Trial
from experiments.common.timing import reference
from experiments.common.timing.programs import Programs

#: relative error of a solution that counts as the residual that has to be met
SOLUTION = 1e-6


def run_sparse_row(row: SparseRow, engines: Sequence[SparseEngine], limits: Limits) -> list[Line]:
    """All lines of a row.

    Raises
    ------
    ArithmeticError
        If the reference does not stand: no active rows are optimal, or they depend on each other.
    """
    draws = [row.make(draw) for draw in (0, 1)]
    cotangents = [_cotangent(programs, draw) for draw, programs in enumerate(draws)]
    right = [_answer(each, w) for each, w in zip(draws, cotangents, strict=True)]
    line = Line(row.group, row.name, "", False, "", *draws[0].sizes, "")

    def contender(engine: SparseEngine) -> Contender:
        def build(setting: Setting) -> Prepare:
            call = engine.build(draws[0], setting)

            def prepare(draw: int) -> Trial:
                leaves = draws[draw].leaves()
                return Trial(lambda: [call(leaves)], list(leaves.values()), [cotangents[draw]])

            return prepare

        threads = engine.threads or torch.get_num_threads()
        return Contender(engine.name, engine.ours, engine.ladders, build, bare=engine.bare, cores=threads)

    able = [engine for engine in engines if draws[0].sizes[1] <= engine.most]
    return measure([contender(engine) for engine in able], _check(right), limits, line)


def _cotangent(programs: Programs, draw: int) -> Tensor:
    return torch.randn(programs.q.shape, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)


def _answer(programs: Programs, w: Tensor) -> list[Tensor]:
    """z and the gradients of what is learned, from active rows whose signs are right."""
    leaves = programs.leaves()
    z = reference.call(programs, leaves, 1e-12, exact=True)
    return [z.detach(), *torch.autograd.grad(z, list(leaves.values()), w)]


def _check(right: Sequence[list[Tensor]]) -> Check:
    def check(draw: int, sample: Sample) -> tuple[float, float]:
        z, *gradients = right[draw]
        residual = RESIDUAL / SOLUTION * _error([sample.outputs[0]], [z])
        return residual, _error(sample.gradients, gradients) if sample.gradients else float("nan")

    return check


def _error(found: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Largest difference over the largest entry, of all together; infinite where something is not finite.

    Together, because rows alone may hold the solution, and the gradient of the objective vanish.
    """
    size = max(float(value.abs().max()) for value in right)
    worst = max(float((a - b).abs().max()) for a, b in zip(found, right, strict=True))
    return worst / size if worst == worst else float("inf")
