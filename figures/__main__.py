"""Draw every figure whose tables are there: `python -m figures` writes figures/<stem>.png and .pdf."""

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

from figures import style

FOLDER = Path(__file__).parent
HELPERS = ("__init__", "__main__", "style")


def modules() -> dict[str, ModuleType]:
    """Every module of this folder that draws a figure, by stem."""
    stems = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)
    return {stem: importlib.import_module(f"figures.{stem}") for stem in stems}


def load(results: Path, run: str, wanted: dict[str, str]) -> dict[str, style.Frame] | None:
    """The tables `wanted`, name -> <experiment>/<table>, of `run`, <size>/<layer>; None if one is missing.

    A name without an experiment is a table of `results` itself.
    """
    paths = {name: results / place.replace("/", f"/{run}/", 1) for name, place in wanted.items()}
    files = {name: path.with_suffix(".csv") for name, path in paths.items()}
    if not all(file.exists() for file in files.values()):
        return None
    return {name: pd.read_csv(file) for name, file in files.items()}


def found(results: Path, run: str, wanted: dict[str, str]) -> tuple[dict[str, style.Frame], str] | None:
    """The tables of `run` and the line that names it; of the companion's size where one of the paper's is missing."""
    tables = load(results, run, wanted)
    if tables is not None:
        return tables, f"tables of {run}"
    smaller = run.replace("paper/", "companion/", 1)
    tables = load(results, smaller, wanted) if smaller != run else None
    return None if tables is None else (tables, f"tables of {smaller}: those of {run} are not there")


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    parser.add_argument(
        "--run", default="paper/auto", help="size and layer; companion where paper is not there"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
    given = parser.parse_args(arguments)
    style.apply()
    given.output.mkdir(parents=True, exist_ok=True)
    drawn, wrong = 0, []
    for stem, module in modules().items():
        read = found(given.results, given.run, module.TABLES)
        if read is None:
            print(f"{stem}: no tables of {given.run} under {given.results}")
            continue
        tables, said = read
        try:
            figure = module.draw(tables)
        except style.NothingToDraw as error:
            print(f"{stem}: nothing to draw, {error}")
            continue
        except style.MissingColumn as error:
            wrong.append(f"{stem}: {error}")
            continue
        style.note(figure, said)
        style.save(figure, given.output / stem)
        drawn += 1
    if wrong:
        sys.exit("\n".join(f"error: {line}" for line in wrong))
    if drawn == 0:
        sys.exit("error: no figure drawn; run `python -m experiments.run` first, or name --results")


if __name__ == "__main__":
    main(sys.argv[1:])
