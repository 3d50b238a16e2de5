"""Draw the figures of the benchmark: `python -m figures.benchmarks` writes figures/benchmarks/<stem>.png and .pdf."""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

from figures import style

FOLDER = Path(__file__).parent
HELPERS = ("engines",)


def modules() -> dict[str, ModuleType]:
    """Every module of this folder that draws a figure, by stem."""
    stems = sorted(path.stem for path in FOLDER.glob("[!_]*.py") if path.stem not in HELPERS)
    return {stem: importlib.import_module(f"figures.benchmarks.{stem}") for stem in stems}


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m figures.benchmarks", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("benchmarks"), help="folder of results.csv")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
    given = parser.parse_args(arguments)
    file = given.results / "results.csv"
    if not file.exists():
        sys.exit(f"error: no {file}; run `make bench` first, or name --results")
    style.apply()
    given.output.mkdir(parents=True, exist_ok=True)
    table = pd.read_csv(file)
    for stem, module in modules().items():
        # A partial run has not the rows of every figure.
        if module.GROUP in set(table["group"]):
            style.save(module.draw(table), given.output / stem)


if __name__ == "__main__":
    main(sys.argv[1:])
