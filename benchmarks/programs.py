"""The rows of the benchmark that are quadratic programs: from a row and its engines to lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from benchmarks import memory
from benchmarks.engines import Engine
from benchmarks.machine import dense_floor
from benchmarks.measure import Check, Contender, Limits, Setting, measure
from benchmarks.problems import Data
from benchmarks.reference import Reference, gradient_error, kkt_residual, make_reference
from benchmarks.rows import Row
from benchmarks.tables import Line
from benchmarks.timing import Prepare, Sample, Trial
from layers import solve_qp

#: problems by which the time of the whole batch is guessed
PREVIEW = 4
#: tolerance of the multipliers that certify a z without its own
CERTIFICATE = 1e-10


def run_row(row: Row, engines: Sequence[Engine], limits: Limits, peaks: tuple[float, float]) -> list[Line]:
    """All lines of a row.

    Raises
    ------
    ArithmeticError
        If the reference of the row does not stand (:func:`benchmarks.reference.make_reference`).
    """
    draws = [row.make(draw).to(row.device) for draw in (0, 1)]
    references = [make_reference(data) for data in draws]
    n, m, p = draws[0].sizes
    line = Line(row.group, row.name, "", False, "", draws[0].batch, n, m, p, "")
    contenders = [_contender(engine, draws, references) for engine in engines if engine.applies(draws[0])]
    lines = measure(contenders, _check(draws, references), limits, line, row.group == "accuracy")
    if row.memory and limits.memory:
        lines = _with_memory(row, lines)
    if row.device != "cpu":
        return lines
    floor = dense_floor(draws[0].batch, n, m, p, _iterations(draws[0]), *peaks) * 1e3
    return [
        replace(line, floor_ms=floor) if line.ours and line.phase == "forward" else line for line in lines
    ]


def _contender(engine: Engine, draws: Sequence[Data], references: Sequence[Reference]) -> Contender:
    def build_on(setting: Setting, programs: Sequence[Data]) -> Prepare:
        solve = engine.build(programs[0], setting)

        def prepare(draw: int) -> Trial:
            leaves = programs[draw].leaves()
            asked = [getattr(leaves, name) for name in leaves.learned]
            w = references[draw].cotangent[: leaves.batch]
            return Trial(lambda: solve(leaves), asked, [w])

        return prepare

    def preview(setting: Setting) -> tuple[Prepare, float]:
        return build_on(setting, [data.first(PREVIEW) for data in draws]), draws[0].batch / PREVIEW

    # A batched engine gains from its batch, a loop does not: the estimate is that of a loop, so only loops are cut off.
    few = preview if draws[0].batch >= 8 * PREVIEW and not engine.ours and not engine.cuda else None
    return Contender(
        engine.name,
        engine.ours,
        engine.ladders,
        lambda setting: build_on(setting, draws),
        few,
        engine.bare,
        engine.forward_only,
        engine.threads or torch.get_num_threads(),
    )


def _check(draws: Sequence[Data], references: Sequence[Reference]) -> Check:
    def check(draw: int, sample: Sample) -> tuple[float, float]:
        data = draws[draw]
        z, *multipliers = (x.double() for x in sample.outputs)
        if (
            not multipliers
        ):  # z alone: it is optimal if any multipliers say so, and those of our solution should
            known = solve_qp(*(t.detach() for t in data.tensors), tol=CERTIFICATE, on_failure="ignore")
            multipliers = [known.lam, known.nu]
        lam, nu = multipliers
        if not sample.gradients:
            return kkt_residual(data, (z, lam, nu)), float("nan")
        found = dict(zip(data.learned, sample.gradients, strict=True))
        return kkt_residual(data, (z, lam, nu)), gradient_error(found, references[draw])

    return check


def _with_memory(row: Row, lines: Sequence[Line]) -> list[Line]:
    """Peak memory beside the total time of each accurate engine; two processes at a time."""
    chosen = [line for line in lines if line.phase == "both" and line.accurate and line.engine != "auto_warm"]

    def peak(line: Line) -> float | None:
        return memory.peak(row.name, line.engine, json.loads(line.setting))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(peak, chosen))
    peaks = dict(zip((line.engine for line in chosen), found, strict=True))
    return [
        replace(line, memory_mib=peaks[line.engine] or float("nan"))
        if line.phase == "both" and line.engine in peaks
        else line
        for line in lines
    ]


def _iterations(data: Data) -> float:
    """Interior-point iterations per problem, averaged."""
    solution = solve_qp(*(t.detach() for t in data.tensors), on_failure="ignore")
    return float(solution.iterations.clamp(min=1).double().mean())
