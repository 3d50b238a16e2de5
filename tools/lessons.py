"""What was learned, one passage for each application that says so: words out of its sheet, numbers out of its tables.

The section `lesson` of configs/experiment/<name>.yaml has the words, `says`, with names of `numbers` in braces. A
number is the mean over seeds with its 95 % interval, of the paper's size where that was run, else of the companion's;
with a `baseline` it is the change against another method, seed by seed, and with `table: intervals` a row of that
table.
"""

import re
from pathlib import Path
from typing import Any

from experiments.common.errors import ConfigError
from experiments.common.results import read_table
from experiments.common.sheets import SHEETS, sections
from experiments.common.stats import change_interval, log_t_interval, t_interval
from tools.scores import RESULTS, interval, title

PARTS = {"says", "numbers"}


def lessons(results: Path = RESULTS, sheets: Path = SHEETS) -> str:
    """Return a passage for each application with a lesson and a tracked run."""
    said = [
        f"- {title(name)} (`{name}`): {told(name, lesson, results)}"
        for name, lesson in sections("lesson", sheets)
        if run_of(name, results) is not None
    ]
    return "\n".join(said)


def told(name: str, lesson: dict[str, Any], results: Path = RESULTS) -> str:
    """Return the words of a lesson with its numbers in them.

    Raises
    ------
    ConfigError
        If words and numbers do not fit together, or a number is of no row.
    """
    place = f"{name}.yaml, lesson"
    if set(lesson) != PARTS:
        raise ConfigError(f"{place}: expected {sorted(PARTS)}, got {sorted(lesson)}")
    numbers = lesson["numbers"] or {}
    asked = set(re.findall(r"\{(\w+)\}", lesson["says"]))
    if asked != set(numbers):
        raise ConfigError(f"{place}: the words name {sorted(asked)}, the numbers are {sorted(numbers)}")
    run = run_of(name, results)
    assert run is not None
    return lesson["says"].format(**{key: number(run, where, place) for key, where in numbers.items()})


def run_of(name: str, results: Path) -> Path | None:
    """Return the folder of the tracked run of an application: of the paper's size, else of the companion's."""
    runs = (results / name / size / "auto" for size in ("paper", "companion"))
    return next((run for run in runs if (run / "metrics.csv").exists()), None)


def number(run: Path, where: dict[str, Any], place: str) -> str:
    """Return the number at `where` in the tables of a run, with its interval."""
    where = dict(where)
    table, decades = where.pop("table", "metrics"), where.pop("decades", False)
    baseline = where.pop("baseline", None)
    rows = read_table(run / f"{table}.csv")
    for column, value in where.items():
        rows = rows[rows[column] == value] if column != "method" else rows
    if table == "intervals":
        rows = rows.assign(baseline=rows["baseline"].fillna(""))
        rows = rows[(rows["method"] == where["method"]) & (rows["baseline"] == (baseline or ""))]
        if len(rows) == 1:
            (row,) = rows.to_dict("records")
            return interval({end: str(row[end]) for end in ("mean", "lo", "hi")}, "mean", relative=False)
        raise ConfigError(f"{place}: {len(rows)} rows of {table} at {where}")
    mine, theirs = (
        rows[rows["method"] == method].set_index("seed")["value"] for method in (where["method"], baseline)
    )
    if baseline is not None:
        mine, theirs = mine.align(theirs, join="inner")
    if mine.empty or mine.index.has_duplicates:
        raise ConfigError(f"{place}: {len(mine)} rows of {table} at {where}, baseline {baseline}")
    values = mine.to_numpy()
    if baseline is not None:
        found = change_interval(values, theirs.to_numpy())
    else:
        found = (log_t_interval if decades else t_interval)(values)
    ends = {"mean": found.mean, "lo": found.lo, "hi": found.hi}
    shown = {end: "" if value != value else str(value) for end, value in ends.items()}
    return interval(shown, "mean", relative=baseline is not None)
