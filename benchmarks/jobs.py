"""Everything that a run can measure, as jobs with a name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import torch

from benchmarks.convex import convex_rows
from benchmarks.convex_engines import ConvexEngine, convex_engines
from benchmarks.convex_programs import GROUP, construction, run_convex_row
from benchmarks.engines import Engine, all_engines
from benchmarks.measure import Limits
from benchmarks.programs import run_row
from benchmarks.rows import Row, all_rows
from benchmarks.sparse import sparse_rows
from benchmarks.sparse_engines import SparseEngine, sparse_engines
from benchmarks.sparse_programs import run_sparse_row
from benchmarks.tables import Line

Work = Callable[[Collection[str], tuple[float, float]], list[Line]]
Named = TypeVar("Named", ConvexEngine, SparseEngine)


@dataclass(frozen=True)
class Job:
    """One row.

    Attributes
    ----------
    name, group, family : str
        As in :class:`benchmarks.rows.Row`.
    work : callable
        ``(names of the engines to leave out, peaks) -> lines``; peaks are those of :mod:`benchmarks.machine`.
    """

    name: str
    group: str
    family: str
    work: Work


def engine_names() -> list[str]:
    """Every engine, of quadratic, convex and sparse programs."""
    return list(dict.fromkeys([*all_engines(), *convex_engines(), *sparse_engines()]))


def absent(names: Collection[str]) -> dict[str, str]:
    """Which of the engines cannot be used here, and why."""
    everyone = [*all_engines().values(), *convex_engines().values(), *sparse_engines().values()]
    reasons = {engine.name: engine.unavailable() for engine in everyone if engine.name in names}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def all_jobs(names: Collection[str], limits: Limits) -> list[Job]:
    """The jobs of this machine in order, on the engines `names`; those on CUDA where there is a device."""
    engines = [engine for engine in all_engines().values() if engine.name in names]
    layers = [engine for engine in convex_engines().values() if engine.name in names]
    sparse = [engine for engine in sparse_engines().values() if engine.name in names]
    jobs = [
        Job(row.name, row.group, row.family, _program(row, engines, limits))
        for row in all_rows().values()
        if row.device == "cpu" or torch.cuda.is_available()
    ]
    jobs += [
        Job(
            row.name,
            GROUP,
            row.family,
            lambda out, _, row=row: run_convex_row(row, _without(layers, out), limits),
        )
        for row in convex_rows().values()
    ]
    jobs.append(Job("construction", GROUP, "", lambda out, _: construction(_without(layers, out), limits)))
    return jobs + [
        Job(
            row.name,
            row.group,
            row.family,
            lambda out, _, row=row: run_sparse_row(row, _without(sparse, out), limits),
        )
        for row in sparse_rows().values()
    ]


def _program(row: Row, engines: list[Engine], limits: Limits) -> Work:
    def work(out: Collection[str], peaks: tuple[float, float]) -> list[Line]:
        mine = [e for e in engines if e.name not in out and (e.cuda or row.device == "cpu")]
        return run_row(row, mine, limits, peaks)

    return work


def _without(layers: list[Named], out: Collection[str]) -> list[Named]:
    return [layer for layer in layers if layer.name not in out]
