"""Whose tables the report shows: a run of your own where there is one, the tracked one elsewhere."""

import csv
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.common.errors import ConfigError
from experiments.common.records import Place, again, check_table, places, read_record
from experiments.common.rivals import OUTCOMES
from experiments.common.verdicts import VERDICTS
from tools.scores import RESULTS, ROOT, Rows

TRACKED, YOURS = "tracked", "yours"
COLUMNS = {
    "comparison": (
        *("experiment", "id", "claim", "source", "printed", "published", "ours", "lo", "hi", "unit"),
        *("size", "layer", "seeds", "command", "verdict", "post_hoc", "reason", "note"),
    ),
    "contests": (
        *("experiment", "method", "rival", "split", "metric", "change", "lo", "hi", "unit", "good", "seeds"),
        *("outcome", "size", "command"),
    ),
}
#: columns that hold numbers, and those that hold one of a few words
NUMBERS = ("published", "ours", "change", "ours_ms", "peer_ms", "ratio")
WORDS = {"verdict": VERDICTS, "outcome": OUTCOMES}
BENCHMARK = ("group", "row", "ours_ms", "peer", "peer_ms", "ratio", "backward_share", "memory_ratio")


@dataclass(frozen=True)
class Run:
    """One run: where it belongs, what it recorded of itself, and whose it is."""

    place: Place
    record: dict[str, Any]
    whose: str


@dataclass(frozen=True)
class Sources:
    """The folders that the report reads.

    Attributes
    ----------
    own : Path or None
        Results of runs made here, which come before the tracked ones; None to show the tracked ones alone.
    own_figures : Path
        Figures drawn from them.
    tracked, figures : Path
        The tracked tables and figures.
    """

    own: Path | None = None
    own_figures: Path = ROOT / "build" / "figures"
    tracked: Path = RESULTS
    figures: Path = ROOT / "figures"
    runs: dict[Place, Run] = field(default_factory=dict[Place, Run], init=False)

    def __post_init__(self) -> None:
        """Read every run and check that its tables are what it wrote."""
        for folder in reversed(self.folders):
            whose = YOURS if folder == self.own else TRACKED
            self.runs.update({place: Run(place, _checked(folder, place), whose) for place in places(folder)})

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of results, the first one first asked."""
        return (self.tracked,) if self.own is None else (self.own, self.tracked)

    def comparison(self) -> Rows:
        """Return the rows of published numbers beside ours, each with whose run it is of."""
        return self._rows("comparison", _place)

    def contests(self) -> Rows:
        """Return the meetings of methods with a layer and without one; yours of an experiment replace the tracked."""
        return self._rows("contests", lambda row: row["experiment"])

    def picture(self, stem: str) -> tuple[Path, str]:
        """Return the figure ``stem`` and whose it is.

        Raises
        ------
        ConfigError
            If there is none.
        """
        own, tracked = self.own_figures / f"{stem}.png", self.figures / f"{stem}.png"
        if self.own is not None and own.exists():
            return own, YOURS
        if not tracked.exists():
            raise ConfigError(f"{tracked} is missing; `make figures` draws it")
        return tracked, TRACKED

    def _rows(self, name: str, key: Callable[[dict[str, str]], object]) -> Rows:
        tracked = read_rows(self.tracked / f"{name}.csv", COLUMNS[name], _compare(self.tracked))
        mine: Rows = []
        if self.own is not None and any(run.whose == YOURS for run in self.runs.values()):
            mine = read_rows(self.own / f"{name}.csv", COLUMNS[name], _compare(self.own))
        replaced = {key(row) for row in mine}
        kept = [{**row, "whose": TRACKED} for row in tracked if key(row) not in replaced]
        rows = kept + [{**row, "whose": YOURS} for row in mine]
        return sorted(rows, key=lambda row: row["experiment"])


def read_rows(path: Path, columns: Iterable[str], remedy: str) -> Rows:
    """Return the rows of a table that has at least these columns.

    Raises
    ------
    ConfigError
        Naming the table and the line, if it is missing, cut off, lacks a column or holds what is no number, and what
        makes it again.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing; {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); {remedy}") from error
    reader = csv.DictReader(text.splitlines(keepends=True))
    lacking = [name for name in columns if name not in (reader.fieldnames or ())]
    if lacking:
        raise ConfigError(f"{path} has no column {', '.join(lacking)}; {remedy}")
    rows: Rows = []
    for row in reader:
        if fault := "it ends early" if not text.endswith("\n") else _fault(row):
            raise ConfigError(f"{path} is damaged at line {reader.line_num}: {fault}; {remedy}")
        rows.append(row)
    return rows


def _fault(row: dict[Any, Any]) -> str:
    """Return what is wrong with a row, nothing if it can be read."""
    if None in row or None in row.values():
        return "it has another number of columns than the first line"
    for name in NUMBERS:
        try:
            float(row.get(name) or "nan")
        except ValueError:
            return f"{name} is {row[name]!r}, expected a number"
    wrong = [name for name, words in WORDS.items() if row.get(name, words[0]) not in words]
    return f"{wrong[0]} is {row[wrong[0]]!r}, expected one of {', '.join(WORDS[wrong[0]])}" if wrong else ""


def size_of(picture: Path) -> tuple[int, int]:
    """Return width and height of a PNG in pixels, so that the page keeps its place before it is loaded.

    Raises
    ------
    ConfigError
        If the file is no PNG.
    """
    head = picture.read_bytes()[:24]
    if head[:8] != b"\x89PNG\r\n\x1a\n" or len(head) < 24:
        raise ConfigError(f"{picture} is no PNG; `make figures` draws the tracked figures again")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def relative(path: Path, output: Path) -> str:
    """Return the link from a page in ``output`` to ``path``."""
    return Path(os.path.relpath(path.resolve(), output.resolve())).as_posix()


def _checked(folder: Path, place: Place) -> dict[str, Any]:
    record = read_record(folder, place)
    tables = record.get("tables", [path.name for path in (folder / place.path).glob("*.csv")])
    for name in sorted(tables):
        check_table(folder / place.path / name, record, place)
    if not {"config", "git", "seconds", "cpu", "python", "packages"} <= set(record):
        raise ConfigError(f"{folder / place.path}: its provenance lacks fields; {again(place)}")
    return record


def _compare(folder: Path) -> str:
    return f"`python -m experiments.compare --results {folder}` makes it again"


def _place(row: dict[str, str]) -> Place:
    size, _, changes = row["size"].partition("/")
    return Place(row["experiment"], size, row["layer"], changes)
