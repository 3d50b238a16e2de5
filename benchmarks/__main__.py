"""`python -m benchmarks`: every engine on every row; `--rows`, `--engines` and `--quick` for a quick look."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", default="", help="names or groups, separated by commas; all unless given")
    parser.add_argument("--engines", default="", help="names, separated by commas; all unless given")
    parser.add_argument("--keep", action="store_true", help="what the output has of other rows stays there")
    parser.add_argument("--quick", action="store_true", help="few repeats, no memory: the ratios are rough")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every engine")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"), help="folder of the tables")
    parser.add_argument("--list", action="store_true", help="list rows and engines, and run nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    given = parse(arguments)
    # The packages read these when they are loaded, so this comes before anything is imported.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[variable] = str(given.threads)
    # A kernel of an older processor that was asked for would hold back ours, the peers and the peak alike.
    os.environ.pop("OPENBLAS_CORETYPE", None)
    from benchmarks.run import run

    run(given)


if __name__ == "__main__":
    main(sys.argv[1:])
