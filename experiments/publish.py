"""Carries finished runs to the tracked tables: `python -m experiments.publish`, or `--experiment denoising` for one.

Only runs of the sizes companion and paper go, whole and with the settings of today, and those with changed settings,
which show a cause, with `--changed` alone; a table above a mebibyte, which is for looking at, stays behind.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from experiments.common.errors import one_line
from experiments.common.records import PROVENANCE, Place, selected
from experiments.common.results import write_bytes, write_text
from experiments.common.weights import FILE
from experiments.job import check_run

SIZES = ["companion", "paper"]
HEAVIEST = 2**20


def publish(
    build: Path, results: Path, experiments: list[str] | None = None, changed: bool = False
) -> list[Place]:
    """Copy every run of `build` (of `experiments`; `changed` ones too) to `results`, and return where they belong.

    Raises
    ------
    ConfigError
        Before anything is copied, if there is no run, or one is damaged or was made with other settings.
    """
    chosen = selected(build, experiments, SIZES, changed=changed)
    records = {place: check_run(build, place) for place in chosen}
    for place, record in records.items():
        _copy(build / place.path, results / place.path, record)
    return chosen


def _copy(source: Path, target: Path, record: dict[str, Any]) -> None:
    # As in a run: provenance goes first and comes last, and stands only beside tables that are its own.
    (target / PROVENANCE).unlink(missing_ok=True)
    for path in (*target.glob("*.csv"), target / FILE):
        path.unlink(missing_ok=True)
    found = sorted([*source.glob("*.csv"), *source.glob(FILE)])
    carried = [path for path in found if path.stat().st_size <= HEAVIEST]
    for path in carried:
        write_bytes(target / path.name, path.read_bytes())
    names = {path.name for path in carried}
    tables = {name: digest for name, digest in record.get("tables", {}).items() if name in names}
    write_text(target / PROVENANCE, json.dumps(record | {"tables": tables}, indent=2) + "\n")


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.publish", description=__doc__)
    parser.add_argument(
        "--build", type=Path, default=Path("build/results"), help="folder of the finished runs"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tracked tables")
    parser.add_argument("--experiment", action="append", help="only this experiment; may be repeated")
    parser.add_argument("--changed", action="store_true", help="runs with changed settings too")
    given = parser.parse_args(arguments)
    with one_line():
        for place in publish(given.build, given.results, given.experiment, given.changed):
            print(place)


if __name__ == "__main__":
    main(sys.argv[1:])
