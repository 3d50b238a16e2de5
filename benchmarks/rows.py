"""The rows of the benchmark that are quadratic programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks import degenerate, problems
from benchmarks.problems import Data


@dataclass(frozen=True)
class Row:
    """One set of problems that all engines solve.

    Attributes
    ----------
    name : str
    group : str
        ``peers``: random programs with nothing shared. ``applications``: real layers. ``latency``. ``batch``,
        ``size``: sweeps. ``degenerate``: active rows that depend on each other or have no multiplier. ``accuracy``:
        every setting of every engine, chosen or not. ``gpu``: on CUDA.
    make : callable
        ``draw -> Data``.
    memory : bool
        Peak memory is measured too: where the data are more than what a process needs anyway.
    family : str
        In a family, rows grow: an engine that was too slow for one row is left out of the following.
    device : str
    """

    name: str
    group: str
    make: Callable[[int], Data]
    memory: bool = False
    family: str = ""
    device: str = "cpu"


#: (batch, n, m, p) of the comparison with the peers
RANDOM = (
    (512, 10, 20, 1),
    (32, 8, 16, 4),
    (64, 20, 40, 1),
    (150, 64, 64, 40),
    (128, 100, 100, 0),
    (150, 199, 198, 0),
)
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
SIZES = (2, 5, 10, 20, 50, 100, 200, 500)
#: batch of the sweep over n
BATCH_OF_SIZES = 8
GPU_SIZES, GPU_BATCHES = (10, 100, 500), (128, 1024, 4096)
#: entries of a batch of matrices beyond which the work arrays of an engine do not fit a device
GPU_ENTRIES = 1024 * 500**2


def _random(batch: int, n: int, m: int, p: int) -> Callable[[int], Data]:
    return partial(problems.random_programs, batch=batch, n=n, m=m, p=p)


def all_rows() -> dict[str, Row]:
    """Every row by name, the small ones first within each group."""
    rows = [
        Row(f"random_{batch}x{n}_{m}_{p}", "peers", _random(batch, n, m, p), memory=batch >= 128)
        for batch, n, m, p in RANDOM
    ]
    rows += [
        Row("sudoku_4x4", "applications", problems.sudoku_4x4, memory=True),
        Row("sudoku_4x4_second_epoch", "applications", problems.sudoku_4x4_second_epoch),
        Row("denoising", "applications", problems.denoising, memory=True),
        Row("portfolio", "applications", problems.portfolio),
        Row("control_1", "applications", partial(problems.control, batch=1)),
        Row("control_32", "applications", partial(problems.control, batch=32)),
        Row("sudoku_9x9", "applications", problems.sudoku_9x9, memory=True),
        Row("single", "latency", _random(1, 8, 8, 2)),
        Row(
            "dependent_64x20",
            "degenerate",
            partial(degenerate.dependent, batch=64, n=20, active=8, dependent=6),
        ),
        Row("weak_64x20", "degenerate", partial(degenerate.weak, batch=64, n=20, weak=5)),
        Row("transport_32x100", "degenerate", partial(degenerate.transport, batch=32, side=10)),
        Row("corners_64x50", "degenerate", partial(degenerate.corners, batch=64, n=50)),
        Row("accuracy_32x8", "accuracy", _random(32, 8, 16, 4)),
        Row("accuracy_64x64", "accuracy", _random(64, 64, 64, 40)),
    ]
    rows += [Row(f"batch_{batch}", "batch", _random(batch, 10, 20, 1), family="batch") for batch in BATCHES]
    rows += [Row(f"size_{n}", "size", _random(BATCH_OF_SIZES, n, n, n // 4), family="size") for n in SIZES]
    rows += [
        Row(f"gpu_{batch}x{n}", "gpu", _random(batch, n, n, 0), family=f"gpu_{n}", device="cuda")
        for n in GPU_SIZES
        for batch in GPU_BATCHES
        if batch * n**2 <= GPU_ENTRIES
    ]
    return {row.name: row for row in rows}
