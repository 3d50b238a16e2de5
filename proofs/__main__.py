"""``python -m proofs [item ...]``: run the checks, show them, and after a full run write the ledger."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

# One thread for each worker: set before numpy is imported there, and it keeps sums in one order.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

from rich.console import Console  # noqa: E402

from proofs.ledger import CHECKS, ERRATA, TABLES  # noqa: E402
from proofs.report import comma_separated, markdown, terminal  # noqa: E402
from proofs.runner import load, run_named  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the selected items; 0 if every check passed, 1 if one did not or there is none."""
    parser = argparse.ArgumentParser(prog="python -m proofs", description=__doc__)
    parser.add_argument("items", nargs="*", type=int, help="items to run; all of them if none is given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    parser.add_argument("--timings", action="store_true", help="rewrite the tables of timings as well")
    options = parser.parse_args(arguments)
    load()
    selected = [entry for entry in CHECKS if not options.items or entry.item in options.items]
    names = [entry.name for entry in selected]
    if options.jobs == 1:
        verdicts = [run_named(name) for name in names]
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
            verdicts = list(pool.map(run_named, names))
    entries = list(zip(selected, verdicts, strict=True))
    Console(width=None if sys.stdout.isatty() else 160).print(terminal(entries))
    if not options.items:
        (ROOT / "proofs" / "LEDGER.md").write_text(markdown(entries, ERRATA, ROOT / "docs" / "proofs"))
        for entry in TABLES:
            if options.timings or not entry.timed:
                path = ROOT / "results" / f"{entry.name}.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(comma_separated(entry.rows()))
    return 0 if entries and all(verdict.passed for verdict in verdicts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
