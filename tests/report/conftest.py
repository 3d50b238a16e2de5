"""What the tests of the report share: results that hold a run of the reader's own."""

import csv
import shutil
from pathlib import Path

import pytest

from experiments.common.records import Place
from tests.experiments.recorded import record
from tools.report.sources import COLUMNS
from tools.scores import RESULTS

RUN = Place("adp", "companion", "auto")
SELF = {
    "git": {"revision": "0" * 40, "dirty": True},
    "cpu": "a machine",
    "python": "3.11",
    "packages": {"torch": "2"},
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return results that hold one run of the reader's own, and their comparison."""
    folder = tmp_path / "results"
    run = folder / RUN.path
    run.mkdir(parents=True)
    for path in (RESULTS / RUN.path).glob("*.csv"):
        shutil.copy(path, run)
    record(run, seconds=6.0, **SELF)
    for name in COLUMNS:
        with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if row["experiment"] == "adp" and row["size"] == "companion"]
            columns = reader.fieldnames or ()
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, "seeds": "99"} for row in rows)
    return folder
