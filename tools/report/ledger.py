"""proofs/LEDGER.md read back: what was proved, how strongly, and the errata of the printed literature."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from experiments.common.errors import ConfigError
from tools.scores import ROOT

LEDGER = ROOT / "proofs" / "LEDGER.md"
COLUMNS = (
    *("statement", "source", "strength", "instances", "largest error", "tolerance", "negative check"),
    *("its error", "pass"),
)


@dataclass(frozen=True)
class Erratum:
    """What is printed where, what is correct, and which checks say so."""

    where: str
    printed: str
    correct: str
    checks: str


@dataclass
class Item:
    """One section of the ledger: its checks, a row each, and its errata."""

    number: int
    title: str
    page: str
    checks: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    errata: list[Erratum] = field(default_factory=list[Erratum])

    @property
    def passed(self) -> int:
        """How many checks pass."""
        return sum(check["pass"] == "yes" for check in self.checks)


def read_ledger(path: Path = LEDGER) -> dict[int, Item]:
    """Return the sections of the ledger by number.

    Raises
    ------
    ConfigError
        If it is missing, or a line of it cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is missing; `make proofs` writes it")
    items: dict[int, Item] = {}
    last: Item | None = None
    for place, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            last = _read(line, items, last)
        except (AttributeError, KeyError, ValueError) as error:
            raise ConfigError(
                f"{path} cannot be read at line {place}; `make proofs` writes it again"
            ) from error
    if not items or any(not item.checks for item in items.values()):
        raise ConfigError(
            f"{path} is cut off: it has a section without checks; `make proofs` writes it again"
        )
    return items


def _read(line: str, items: dict[int, Item], last: Item | None) -> Item | None:
    if heading := re.match(r"## (\d+)\. (.*)$", line):
        item = items[int(heading[1])] = Item(int(heading[1]), heading[2], "")
        return item
    if last is not None and (link := re.match(r"\[Statement and proof\]\(\.\./(.*)\)$", line)):
        last.page = link[1]
    if last is not None and line.startswith("| ") and not line.startswith("| statement |"):
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        last.checks.append(dict(zip(COLUMNS, cells, strict=True)))
    if line.startswith("- **"):
        pattern = r"- \*\*(.*?)\*\* \(item (\d+)\)\. Printed: (.*)\. Correct: (.*)\. Here (.*)\.$"
        where, number, *rest = re.match(pattern, line).groups()  # pyright: ignore[reportOptionalMemberAccess]
        items[int(number)].errata.append(Erratum(where, *rest))
    return last
