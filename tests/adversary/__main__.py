"""``python -m tests.adversary --minutes N``: programs with proved answers against the layer, until the time is over.

Blocks of programs are a function of (seed, number), and consecutive ones are run, in processes of their own, so that a
crash or a hang is a finding as well. What is found is made small and written to build/adversary/ as scripts; the exit
status tells whether there is any. With ``--record`` the counts are kept in results/adversary.csv as they come, and a
later run of the same revision and seed goes on behind the last block that stands there.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.adversary.campaign import Report
from tests.adversary.workers import reports

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "results" / "adversary.csv"
COLUMNS = ("revision", "seed", "blocks", "programs", "family", "outcome", "answers")


def revision() -> str:
    """Of the tree that is tested."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


class Record:
    """Counts of one revision and seed in a table, which other rows of it survive.

    Attributes
    ----------
    blocks, total
        What has been run, from block 0 on.
    """

    def __init__(self, path: Path, name: str, seed: int) -> None:
        self.path, self.key = path, (name, str(seed))
        self.blocks, self.total, self._others = 0, Report(), list[Sequence[str]]()
        for row in self._rows():
            if tuple(row[:2]) != self.key:
                self._others.append(row)
                continue
            self.blocks, self.total.programs = int(row[2]), int(row[3])
            self.total.answers[row[4], row[5]] += int(row[6])

    def _rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))[1:]

    def add(self, report: Report) -> None:
        """A block more; the table is replaced as a whole, so that there is never half of one."""
        self.blocks += 1
        self.total.add(report)
        head = (*self.key, self.blocks, self.total.programs)
        own = [(*head, *key, count) for key, count in sorted(self.total.answers.items())]
        fresh = self.path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *self._others, *own])
        fresh.replace(self.path)


def campaign(arguments: argparse.Namespace) -> tuple[Report, int]:
    """Everything that was found until the time is over, or so many blocks are done; and how many were."""
    total, done, written = Report(), 0, 0
    record = Record(TABLE, revision(), arguments.seed) if arguments.record else None
    first = record.blocks if record else arguments.first
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    for report in reports(arguments.seed, first, arguments.blocks, end, arguments.workers):
        done += 1
        total.add(report)
        for name, text in report.scripts.items():
            written += 1
            path = arguments.out / f"{written:03d}_{name}.py"
            path.write_text(text, "utf-8")
            print(f"\n# {path}\n{text}", flush=True)
        if record:
            record.add(report)
    return total, done


def show(total: Report, done: int, seconds: float) -> None:
    """Counts by outcome, then by family."""
    outcomes: Counter[str] = Counter()
    for (_, outcome), count in total.answers.items():
        outcomes[outcome] += count
    print(f"{total.programs} programs in {done} blocks, {total.programs / seconds:.0f} a second")
    for outcome, count in sorted(outcomes.items()):
        families = Counter({f: c for (f, o), c in total.answers.items() if o == outcome})
        listed = ", ".join(f"{family} {c}" for family, c in families.most_common(6))
        print(f"{count:9d}  {outcome:32s}{'' if outcome.startswith('right') else listed}")


def main() -> int:
    """Run, show, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--blocks", type=int, default=0, help="stop after so many blocks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first block; --record knows its own"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--record", action="store_true", help="keep the counts in results/adversary.csv, and go on there"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "adversary")
    arguments = parser.parse_args()
    start = time.monotonic()
    total, done = campaign(arguments)
    show(total, done, time.monotonic() - start)
    return int(total.found > 0)


if __name__ == "__main__":
    sys.exit(main())
