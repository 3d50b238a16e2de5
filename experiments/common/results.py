"""Tidy tables: a row for each number, fixed columns, sorted; same numbers, same bytes."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.errors import ConfigError

Row = Mapping[str, object]
Tables = dict[str, list[Row]]
# A pandas.DataFrame, whose own annotations leave the type of almost every selection open.
Frame = Any

# Columns of each table, in the order in which they are written; rows are sorted by all of them but the last
# numbers.
COLUMNS = {
    "metrics": ("experiment", "method", "seed", "split", "step", "metric", "value", "unit"),
    "timings": ("experiment", "method", "seed", "phase", "value", "unit"),
    "refusals": ("experiment", "method", "seed", "split", "step", "reason"),
    "signals": ("experiment", "method", "seed", "signal", "index", "value", "unit"),
    "matrices": ("experiment", "method", "seed", "matrix", "row", "column", "value", "unit"),
    "summary": ("experiment", "method", "split", "metric", "mean", "lo", "hi", "interval", "seeds", "unit"),
    "intervals": ("experiment", "method", "baseline", "split", "metric", "mean", "lo", "hi", "unit"),
    "contests": (
        *(
            "experiment",
            "method",
            "rival",
            "split",
            "metric",
            "change",
            "lo",
            "hi",
            "interval",
            "unit",
            "good",
        ),
        *("seeds", "outcome", "size", "command"),
    ),
    "comparison": (
        *("experiment", "id", "claim", "method", "split", "metric", "step", "source", "printed", "published"),
        *("ours", "lo", "hi", "interval"),
        *("unit", "size", "layer", "seeds", "command", "verdict", "post_hoc", "reason", "note"),
    ),
}
NUMBERS = ("value", "mean", "lo", "hi", "ours", "published", "change")
# How numbers are written.
DIGITS = "%.10g"
# Wall-clock times differ from run to run; every other table repeats bit for bit on one machine.
UNREPEATABLE = ("timings",)


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write `rows` as CSV to `path`, whose stem names the table; the file appears whole or not at all.

    Raises
    ------
    ValueError
        If the table is unknown or a row lacks a column or has one too many.
    """
    columns = columns_of(path)
    rows = list(rows)
    for row in rows:
        if set(row) != set(columns):
            raise ValueError(f"{path.name}: expected columns {list(columns)}, got {sorted(row)}")
    keys = [name for name in columns if name not in NUMBERS]
    frame = pd.DataFrame(rows, columns=list(columns)).sort_values(keys, kind="stable", ignore_index=True)
    write_text(path, frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n"))


def read_table(path: Path) -> Frame:
    """The table at `path`; raises ConfigError if its columns are not those of its name."""
    frame = pd.read_csv(path, keep_default_na=False, na_values={name: [""] for name in NUMBERS})
    if tuple(frame.columns) != columns_of(path):
        raise ConfigError(
            f"{path.name}: expected columns {list(columns_of(path))}, got {list(frame.columns)}"
        )
    return frame


def columns_of(path: Path) -> tuple[str, ...]:
    """The columns of the table that `path` names by its stem."""
    if path.stem not in COLUMNS:
        raise ValueError(f"{path.name}: no table of this name; tables are {sorted(COLUMNS)}")
    return COLUMNS[path.stem]


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` so that an interruption leaves the old file or the new one, whole."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that an interruption leaves the old file or the new one, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        # A full disk does not say which file it was.
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def merge(parts: Iterable[Tables]) -> Tables:
    """The rows of several sets of tables, table by table."""
    merged: Tables = {}
    for part in parts:
        for name, rows in part.items():
            merged.setdefault(name, []).extend(rows)
    return merged
