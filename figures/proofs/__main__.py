"""Draw the figures of the proofs: `python -m figures.proofs` writes figures/proofs/<stem>.png and .pdf."""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

from figures import style

FOLDER = Path(__file__).parent


def modules() -> dict[str, ModuleType]:
    """Every module of this folder that draws a figure, by stem."""
    stems = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    return {stem: importlib.import_module(f"figures.proofs.{stem}") for stem in stems}


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m figures.proofs", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results/proofs"), help="folder of the tables")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
    given = parser.parse_args(arguments)
    style.apply()
    given.output.mkdir(parents=True, exist_ok=True)
    drawn = 0
    for stem, module in modules().items():
        files = {name: given.results / f"{place}.csv" for name, place in module.TABLES.items()}
        absent = [str(file) for file in files.values() if not file.exists()]
        if absent:
            print(f"{stem}: no {', '.join(absent)}; run `python -m proofs --timings`")
            continue
        style.save(
            module.draw({name: pd.read_csv(file) for name, file in files.items()}), given.output / stem
        )
        drawn += 1
    if drawn == 0:
        sys.exit("error: no figure drawn; run `python -m proofs --timings` first, or name --results")


if __name__ == "__main__":
    main(sys.argv[1:])
