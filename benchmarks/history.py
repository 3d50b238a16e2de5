"""benchmarks/history.csv: a line for each released run and group of rows, so that a change of speed is seen.

A whole run on a clean checkout adds its lines; run again at the same commit it replaces them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import COUNTED, ratios

# A pandas.DataFrame, whose own annotations leave the type of almost every selection open.
Frame = Any

FILE = "history.csv"
FACTS = ("commit", "machine", "threads", "product_gflops", "kernel")
#: means over the rows of a group
MEANS = (
    "ratio",
    "forward_ratio",
    "bare_ratio",
    "alone_ratio",
    "alone_bare_ratio",
    "core_us",
    "alone_core_us",
)


def lines(results: Frame) -> Frame:
    """Geometric means of the ratios and of our core-microseconds by group, and over the counted groups together."""
    table, facts = ratios(results), results.iloc[0]
    groups: dict[str, Frame] = dict(iter(table.groupby("group", sort=False)))
    counted = table[table["group"].isin(COUNTED)]
    return pd.DataFrame(
        [
            {
                **{name: facts[name] for name in FACTS},
                "group": group,
                "rows": len(rows),
                **{name: _mean(rows[name]) for name in MEANS},
            }
            for group, rows in {**groups, "counted": counted}.items()
            if len(rows)
        ]
    )


def record(folder: Path) -> None:
    """Put the lines of `folder`/results.csv into `folder`/history.csv, in place of those of the same commit."""
    path, new = folder / FILE, lines(pd.read_csv(folder / "results.csv"))
    if path.exists():
        old = pd.read_csv(path)
        new = pd.concat([old[old["commit"] != new["commit"].iloc[0]], new], ignore_index=True)
    new.to_csv(path, index=False, float_format="%.4g")


def _mean(values: Frame) -> float:
    known = values.dropna()
    return float(np.exp(np.log(known).mean())) if len(known) else float("nan")
