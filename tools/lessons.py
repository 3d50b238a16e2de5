"""What was learned, one passage for each application that says so: words out of its sheet, numbers out of its tables.

The section `lesson` of configs/experiment/<name>.yaml has the words, `says`, with names of `numbers` in braces. A
number is one of the summary, with its 95 % interval; with a `baseline` it is the change against another method, seed
by seed, and with `table: intervals` a row of that table. With `table: timings` it is how many times as long as its
baseline a phase, the `metric`, takes; of the baseline's phase `over` if that is given. It is of the run of the paper's
size where there is one, else of the companion's, unless the lesson names its `size`.
"""

import re
from pathlib import Path
from typing import Any

from experiments.common.errors import ConfigError
from experiments.common.results import Frame, read_table
from experiments.common.sheets import SHEETS, sections
from experiments.common.stats import change_interval
from tools.scores import RESULTS, interval, title

ENDS = ("mean", "lo", "hi")


def lessons(results: Path = RESULTS, sheets: Path = SHEETS) -> str:
    """Return a passage for each application with a lesson and a tracked run."""
    said = [
        f"- {title(name)} (`{name}`): {told(name, lesson, results)}"
        for name, lesson in sections("lesson", sheets)
        if run_of(name, lesson, results) is not None
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
    if not {"says", "numbers"} <= set(lesson) <= {"says", "numbers", "size"}:
        raise ConfigError(f"{place}: expected says, numbers and perhaps size, got {sorted(lesson)}")
    asked = set(re.findall(r"\{(\w+)\}", lesson["says"]))
    if asked != set(lesson["numbers"]):
        raise ConfigError(
            f"{place}: the words name {sorted(asked)}, the numbers are {sorted(lesson['numbers'])}"
        )
    run = run_of(name, lesson, results)
    assert run is not None
    return lesson["says"].format(**{key: number(run, at, place) for key, at in lesson["numbers"].items()})


def run_of(name: str, lesson: dict[str, Any], results: Path) -> Path | None:
    """Return the folder of the tracked run that a lesson is of."""
    sizes = [lesson["size"]] if "size" in lesson else ["paper", "companion"]
    runs = (results / name / size / "auto" for size in sizes)
    return next((run for run in runs if (run / "summary.csv").exists()), None)


def number(run: Path, where: dict[str, Any], place: str) -> str:
    """Return the number at `where` in the tables of a run, with its interval."""
    where = dict(where)
    baseline = where.pop("baseline", None)
    kind = where.pop("table", "summary")
    if kind == "timings":
        phases = read_table(run / "timings.csv").rename(columns={"phase": "metric"})
        other = {"method": baseline, "metric": where.pop("over", where.get("metric"))}
        found = change_interval(*_paired(phases, where, {**where, **other}, place))
        return _shown({end: getattr(found, end) + 1 for end in ENDS})
    if kind == "intervals":
        where["baseline"] = baseline or ""
        return _shown(_row(read_table(run / "intervals.csv").fillna({"baseline": ""}), where, place))
    if baseline is None:
        return _shown(_row(read_table(run / "summary.csv"), where, place))
    table = read_table(run / "metrics.csv")
    found = change_interval(*_paired(table, where, {**where, "method": baseline}, place))
    return _shown({end: getattr(found, end) for end in ENDS}, relative=True)


def _paired(table: Frame, where: dict[str, Any], other: dict[str, Any], place: str) -> tuple[Any, Any]:
    """Return the values at both places, seed by seed."""
    mine, theirs = (_rows(table, at).set_index("seed")["value"].sort_index() for at in (where, other))
    if mine.empty or len(mine) != len(theirs) or mine.index.has_duplicates or theirs.index.has_duplicates:
        raise ConfigError(
            f"{place}: {len(mine)} rows at {where}, {len(theirs)} at {other}: no pairs of seeds"
        )
    return mine.to_numpy(), theirs.to_numpy()


def _rows(table: Frame, where: dict[str, Any]) -> Frame:
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def _row(table: Frame, where: dict[str, Any], place: str) -> dict[str, Any]:
    rows = _rows(table, where)
    if len(rows) != 1:
        raise ConfigError(f"{place}: {len(rows)} rows at {where}, expected one")
    (row,) = rows.to_dict("records")
    return row


def _shown(row: dict[str, Any], relative: bool = False) -> str:
    # An end that is not a number is none.
    ends = {end: "" if row[end] != row[end] else str(row[end]) for end in ENDS}
    return interval(ends, "mean", relative)
