"""The columns of benchmarks/results.csv, one line for each row, engine and phase."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# A pandas.DataFrame, whose own annotations leave the type of almost every selection open.
Frame = Any


@dataclass(frozen=True)
class Line:
    """What was measured of one phase of one engine on one row.

    Attributes
    ----------
    group, row, engine, ours, setting
        What was run; `setting` is what the ladder of the engine ended at, as JSON.
    batch, n, m, p : int
    phase : str
        ``forward``, ``backward``, ``both``; ``alone`` for a forward pass that no gradient is asked of; ``construction``
        or ``canonicalisation`` for convex layers.
    bare : bool
        A solver in a Python loop, no layer; its backward pass, if it has one, is written by us.
    cores : int
        Threads that it works on.
    median_ms, q1_ms, q3_ms : float
        Over `repeats` interleaved runs; NaN for an engine that did not run.
    core_us : float
        Core-microseconds for each problem, `cores` times the median over the batch.
    accurate : bool
        Residual at most 1e-8 and gradient error at most 1e-6, on both mini-batches.
    residual, gradient_error : float
        KKT residual (for convex layers the relative error of the solution), relative error of the gradients, NaN
        without any.
    memory_mib : float
        Peak beyond the baseline of a fresh process; NaN where it was not measured.
    floor_ms : float
        Of our forward: the time that the machine's peaks allow a dense solve of as many iterations.
    note : str
        Why there is no time, or no accuracy.
    """

    group: str
    row: str
    engine: str
    ours: bool
    setting: str
    batch: int
    n: int
    m: int
    p: int
    phase: str
    bare: bool = False
    cores: int = 1
    median_ms: float = float("nan")
    q1_ms: float = float("nan")
    q3_ms: float = float("nan")
    repeats: int = 0
    core_us: float = float("nan")
    accurate: bool = False
    residual: float = float("nan")
    gradient_error: float = float("nan")
    memory_mib: float = float("nan")
    floor_ms: float = float("nan")
    note: str = ""


@dataclass(frozen=True)
class Run:
    """What all lines of a run have in common; `kernel` is what made the matrix product of `product_gflops`.

    `versions` are those of the packages, as JSON.
    """

    commit: str
    threads: int
    machine: str
    accelerator: str
    product_gflops: float
    kernel: str
    copy_gbytes: float
    versions: str


def quartiles(seconds: Sequence[float]) -> dict[str, float | int]:
    """Median and quartiles in milliseconds, and their number."""
    q1, median, q3 = np.quantile(np.asarray(seconds) * 1e3, (0.25, 0.5, 0.75))
    return {"median_ms": float(median), "q1_ms": float(q1), "q3_ms": float(q3), "repeats": len(seconds)}


def kept(path: Path, run: Run, measured: Sequence[str]) -> Frame:
    """The lines of the table that is there, without those of the rows that are `measured` now.

    Raises
    ------
    SystemExit
        If they are of another machine or number of threads, or of other versions of the packages.
    """
    table = pd.read_csv(path)
    then = {name: sorted(set(table[name])) for name in ("machine", "threads")}
    then["versions"] = [json.loads(path.with_name("versions.json").read_text("utf-8"))]
    now = {"machine": [run.machine], "threads": [run.threads], "versions": [json.loads(run.versions)]}
    differ = [name for name in now if then[name] != now[name]]
    if differ:
        sys.exit(
            f"error: {path} is of other {' and '.join(differ)}; measure all rows, or write elsewhere (--output)"
        )
    return table[~table["row"].isin(measured)]


def write(path: Path, lines: Sequence[Line], run: Run, others: Frame | None = None) -> None:
    """Write the table, `others` before the lines, with five significant digits, and versions.json beside it."""
    common = asdict(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Once, since it would be most of the table.
    path.with_name("versions.json").write_text(common.pop("versions") + "\n", encoding="utf-8")
    table = pd.DataFrame([asdict(line) | common for line in lines])
    table = table if others is None else pd.concat([others, table], ignore_index=True)
    table.to_csv(path, index=False, float_format="%.5g")
