"""Draw figures from the tables of runs: `python -m figures sudoku_curves --format svg --run companion/auto`.

A name is that of a figure, or else of an experiment; without one every figure is drawn. With `--run` given twice the
second run is laid over the first, dashed. A figure that cannot be drawn is told at the end and stops no other one.
"""

import argparse
import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from experiments.common.errors import ConfigError, one_line, require_one_of
from experiments.common.records import PROVENANCE, Place, read_csv
from figures import style
from figures.overlay import lay_over

FOLDER = Path(__file__).parent
HELPERS = ("__init__", "__main__", "style", "program", "overlay", "sweep")
FORMATS = ("png", "pdf", "svg", "pgf")
# Inches: what journals give to a column and to a page.
WIDTHS = {"column": 3.5, "page": 7.2}


def modules() -> dict[str, ModuleType]:
    """Every module of this folder that draws a figure, by stem."""
    stems = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in HELPERS)
    return {stem: importlib.import_module(f"figures.{stem}") for stem in stems}


def load(results: Path, run: str, wanted: dict[str, str]) -> dict[str, style.Frame]:
    """The tables `wanted`, name -> <experiment>/<table>, of `run`: <size>/<layer>, then /<changes> if there are any.

    A name without an experiment is a table of `results` itself.

    Raises
    ------
    ConfigError
        If a table is missing or damaged, or is that of another run.
    """
    size, layer, *changes = [*run.split("/", 2), ""][:3] if "/" in run else (run, "", "")
    if not layer:
        raise ConfigError(f"--run {run}: expected <size>/<layer>, for example companion/auto")
    tables: dict[str, style.Frame] = {}
    for name, wish in wanted.items():
        experiment, slash, table = wish.partition("/")
        if slash:
            tables[name] = read_csv(results, Place(experiment, size, layer, *changes), table)
        else:
            tables[name] = _of_all(results / f"{wish}.csv")
    return tables


def found(results: Path, run: str, wanted: dict[str, str]) -> tuple[dict[str, style.Frame], str]:
    """The tables of `run` and the line that names it; of the companion's size where the paper's lacks one."""
    smaller = run.replace("paper/", "companion/", 1)
    if smaller == run or all(_is_there(results, run, wish) for wish in wanted.values() if "/" in wish):
        return load(results, run, wanted), f"tables of {run}"
    return load(results, smaller, wanted), f"tables of {smaller}: those of {run} are not there"


def _is_there(results: Path, run: str, wish: str) -> bool:
    """Whether the run wrote this table, damaged or not; a table too heavy to be tracked is not there."""
    experiment, table = wish.split("/")
    folder = results / experiment / run
    record = folder / PROVENANCE
    listed = record.exists() and f'"{table}.csv"' in record.read_text(encoding="utf-8")
    return listed or (folder / f"{table}.csv").exists()


def _of_all(path: Path) -> style.Frame:
    if not path.exists():
        raise ConfigError(f"{path} is missing; run `python -m experiments.compare --results {path.parent}`")
    return pd.read_csv(path)


def drawn(module: ModuleType, results: Path, runs: list[str]) -> Figure:
    """The figure of `module` from the first of `runs`, with the others laid over it.

    Raises
    ------
    ConfigError
        Naming what is missing of what the figure draws.
    """
    read = [found(results, run, module.TABLES) for run in runs]
    first, *others = [_of_one_run(module, tables) for tables, _ in read]
    for other in others:
        lay_over(first, other)
    said = [text for _, text in read]
    style.note(first, f"solid: {said[0]}; dashed: {'; '.join(said[1:])}" if others else said[0])
    return first


def _of_one_run(module: ModuleType, tables: dict[str, Any]) -> Figure:
    try:
        return module.draw(tables)
    except style.MissingColumn as error:
        raise ConfigError(str(error)) from error
    except style.NothingToDraw as error:
        raise ConfigError(f"nothing to draw, {error}") from error
    except (LookupError, ValueError, TypeError, StopIteration) as error:
        columns = {name: list(table.columns) for name, table in tables.items()}
        key = error.args[0] if isinstance(error, KeyError) and error.args else None
        if isinstance(key, str) and not any(key in names for names in columns.values()):
            raise ConfigError(f"no column {key!r} in its tables, which have {columns}") from error
        methods = sorted({str(m) for table in tables.values() for m in table.get("method", [])})
        raise ConfigError(
            f"its tables lack what it draws ({type(error).__name__}: {error}); they hold {methods}"
        ) from error


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    given = _parsed(arguments)
    style.apply()
    failed: list[str] = []
    with one_line():
        chosen = _chosen(given.names)
        check_formats(given.format)
        given.output.mkdir(parents=True, exist_ok=True)
        for stem, module in chosen.items():
            try:
                figure = drawn(module, given.results, given.run)
            except ConfigError as error:
                failed.append(f"{stem}: {error}")
                continue
            _resize(figure, given.width)
            style.save(figure, given.output / stem, given.format)
    if failed:
        sys.exit("\n".join([f"error: {len(failed)} of {len(chosen)} figures not drawn", *failed]))


def script(file: str) -> None:
    """Draw the one figure whose module `file` was run as a script, with the options of its command line."""
    main([Path(file).stem, *sys.argv[1:]])


def check_formats(formats: list[str]) -> None:
    """Raise a `ConfigError` if one of `formats` needs a program that is not here."""
    engine = mpl.rcParams["pgf.texsystem"]
    if "pgf" in formats and shutil.which(engine) is None:
        raise ConfigError(f"--format pgf needs TeX: there is no {engine} on the path; svg and pdf do without")


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="figures or experiments; all if none is given"
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the tables")
    parser.add_argument(
        "--run",
        action="append",
        help="<size>/<layer>[/<changes>]; paper/auto unless given, or companion/auto",
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the figures")
    parser.add_argument(
        "--format", action="append", choices=FORMATS, help="png and pdf unless given; repeatable"
    )
    parser.add_argument(
        "--width", choices=sorted(WIDTHS), help="of a column or a page, instead of the figure's own"
    )
    given = parser.parse_args(arguments)
    given.run, given.format = given.run or ["paper/auto"], given.format or ["png", "pdf"]
    return given


def _chosen(names: list[str]) -> dict[str, ModuleType]:
    known = modules()
    of_experiment: dict[str, set[str]] = {}
    for stem, module in known.items():
        for table in module.TABLES.values():
            if "/" in table:
                of_experiment.setdefault(table.split("/")[0], set()).add(stem)
    wanted: set[str] = set()
    for name in names:
        require_one_of("figure", name, sorted({*known, *of_experiment}))
        wanted |= {name} if name in known else of_experiment[name]
    return {stem: module for stem, module in known.items() if stem in wanted or not names}


def _resize(figure: Figure, width: str | None) -> None:
    if width is not None:
        factor = WIDTHS[width] / figure.get_figwidth()
        figure.set_size_inches(WIDTHS[width], factor * figure.get_figheight())
