"""Reruns the committed runs and compares: `python -m experiments.verify` fails with a list of every number
that drifted.

Each folder results/<experiment>/<size>/<layer> is run again into build/verify and its tables of metrics and
summary are compared under the tolerances of its sheet. `--experiment denoising` takes one.

The first rule whose keys all match a row decides; a row that no rule matches must be equal to the last digit written.
On the machine and at the revision of the committed run everything is equal. Another rounding is magnified by training.
Widths marked "seen" are at most twice what the rounding of another revision of the library moved the table of the
companion's size by; where that moved nothing they are for processors that were not at hand, and as narrow as what is
said of the numbers allows.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.errors import one_line
from experiments.common.records import selected
from experiments.common.results import NUMBERS, Frame, columns_of, read_table
from experiments.common.sheets import sections
from experiments.job import check_run, composed, run

TABLES = ("metrics", "summary")
# Ends of intervals follow from the values, and of few that span decades they move more than any of them.
COMPARED = tuple(name for name in NUMBERS if name not in ("lo", "hi"))
WIDTHS = {"relative", "absolute", "factor"}
SHOWN = 40


def drift(name: str, old: Frame, new: Frame, rules: list[dict[str, Any]]) -> Iterator[str]:
    """A line for every number of table `name` that is missing, new, or further off than its rule allows."""
    # The step is compared as a number where it is a result: which epoch was best may move with the rounding.
    free = ["step"] if name == "metrics" else ["seeds"]
    keys = [key for key in columns_of(Path(name)) if key not in (*NUMBERS, *free)]
    old, new = _indexed(old, keys), _indexed(new, keys)
    both = old.merge(new, how="outer", left_index=True, right_index=True, suffixes=("_old", "_new"))
    for index, row in both.iterrows():
        labels = dict(zip(both.index.names, index, strict=True))
        for number in (column for column in COMPARED if f"{column}_old" in both):
            before, after = row[f"{number}_old"], row[f"{number}_new"]
            if pd.isna(before) and pd.isna(after):
                continue
            if not agrees(labels, before, after, rules):
                label = ", ".join(str(value) for value in labels.values())
                yield f"{name}: {label}: {number} {before:.6g} committed, {after:.6g} now"


def agrees(labels: dict[str, Any], before: float, after: float, rules: list[dict[str, Any]]) -> bool:
    """Whether `after` is as near to `before` as the first matching rule demands: equal if none matches.

    A rule allows |after - before| <= absolute + relative |before|, or, where losses span decades, a `factor`:
    both numbers positive and neither more than so many times the other.
    """
    rule = next((rule for rule in rules if all(labels.get(k) == rule[k] for k in rule.keys() - WIDTHS)), {})
    if min(before, after) > 0 and max(before, after) <= rule.get("factor", 0.0) * min(before, after):
        return True
    return abs(after - before) <= rule.get("absolute", 0.0) + rule.get("relative", 0.0) * abs(before)


def rules_of(experiment: str) -> list[dict[str, Any]]:
    """The rules of the sheet of an experiment; none, and every number has to be equal, if it has none."""
    return dict(sections("tolerances")).get(experiment, [])


def verify(
    results: Path,
    build: Path,
    sizes: list[str] | None = None,
    layers: list[str] | None = None,
    experiments: list[str] | None = None,
) -> list[str]:
    """Rerun every committed run (of `experiments`, `sizes` and `layers`) into `build` and return the lines of `drift`.

    Raises
    ------
    ConfigError
        Before anything is run, if there is no such run, or one is damaged or was made with other settings.
    """
    chosen = selected(results, experiments, sizes, layers)
    for place in chosen:
        check_run(results, place)
    lines: list[str] = []
    for place in chosen:
        run(composed(place.experiment, place.size, place.layer), build / place.path)
        rules = rules_of(place.experiment)
        for name in TABLES:
            old, new = (read_table(where / place.path / f"{name}.csv") for where in (results, build))
            lines += [f"{place}: {line}" for line in drift(name, old, new, rules)]
    return lines


def _indexed(table: Frame, keys: list[str]) -> Frame:
    # Rows that differ only in their step, the points of a learning curve, are numbered in their order.
    place = table.groupby(keys).cumcount().rename("place")
    return table.set_index([*(table[key] for key in keys), place])[[c for c in NUMBERS if c in table.columns]]


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.verify", description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of the committed tables"
    )
    parser.add_argument("--build", type=Path, default=Path("build/verify"), help="folder of the new tables")
    parser.add_argument("--experiment", action="append", help="only this experiment; may be repeated")
    parser.add_argument("--size", action="append", help="only runs of this size; may be repeated")
    parser.add_argument("--layer", action="append", help="only runs with this layer; may be repeated")
    given = parser.parse_args(arguments)
    with one_line():
        lines = verify(given.results, given.build, given.size, given.layer, given.experiment)
    if lines:
        more = [f"... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        sys.exit("\n".join([f"{len(lines)} numbers drifted:", *lines[:SHOWN], *more]))
    print("every committed number was found again within its tolerance")


if __name__ == "__main__":
    main(sys.argv[1:])
