"""``python -m tests.adversary --minutes N``: programs with proved answers against the layer, until the time is over.

Blocks of programs are a function of (seed, number). They run in a process of their own, so that a crash or a hang is a
finding as well. What is found is made small and written to build/adversary/ as scripts; the exit status tells whether
there is any.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.adversary.campaign import Report
from tests.adversary.workers import Worker

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "results" / "adversary.csv"
COLUMNS = ("revision", "seed", "first", "blocks", "programs", "family", "outcome", "answers")


def campaign(arguments: argparse.Namespace) -> tuple[Report, int]:
    """Everything that was found until the time is over, or so many blocks are done; and how many were."""
    total, done, written = Report(), 0, 0
    end = time.monotonic() + 60 * arguments.minutes
    workers = [Worker(arguments.seed, arguments.first + i, arguments.jobs) for i in range(arguments.jobs)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    while time.monotonic() < end and (not arguments.blocks or done < arguments.blocks):
        for worker in workers:
            report = worker.hear(0.2 if len(workers) > 1 else 1.0)
            if report is None:
                continue
            done += 1
            total.programs += report.programs
            total.answers.update(report.answers)
            total.found += report.found
            for name, text in report.scripts.items():
                written += 1
                path = arguments.out / f"{written:03d}_{name}.py"
                path.write_text(text, "utf-8")
                print(f"\n# {path}\n{text}")
    for worker in workers:
        worker.stop()
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


def record(arguments: argparse.Namespace, total: Report, done: int) -> None:
    """A line of results/adversary.csv for each family and outcome."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    head = (asked.stdout.strip() or "unknown", arguments.seed, arguments.first, done, total.programs)
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(COLUMNS)
        table.writerows((*head, *key, count) for key, count in sorted(total.answers.items()))


def main() -> int:
    """Run, show, record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--blocks", type=int, default=0, help="stop after so many blocks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first block")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--record", action="store_true", help="add the counts to results/adversary.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "adversary")
    arguments = parser.parse_args()
    start = time.monotonic()
    total, done = campaign(arguments)
    show(total, done, time.monotonic() - start)
    if arguments.record:
        record(arguments, total, done)
    return int(total.found > 0)


if __name__ == "__main__":
    sys.exit(main())
