"""Makes one table and a figure of the runs of a sweep: `python -m experiments.collect build/results/denoising/smoke`.

Every finished run below the folder is read, changed and unchanged ones. Runs that differ in nothing but their seeds or
methods go together; every setting in which others differ is a column. Written are <output>/<experiment>.csv and .png.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.errors import ConfigError, one_line
from experiments.common.records import PROVENANCE, Place, flat, read_csv, read_record
from experiments.common.results import Frame, read_table, write_text
from experiments.common.stats import scales, summarise
from experiments.job import EXPERIMENTS
from figures import style, sweep

# These say which cells are computed, and not how.
CHOOSING = ("seeds", "methods")
LABELS = ["method", "split", "metric", "mean", "lo", "hi", "interval", "seeds", "unit"]


def collect(folder: Path) -> dict[str, Frame]:
    """The final metrics of every run below `folder`, by experiment: a row for each setting, method, split and metric.

    Raises
    ------
    ConfigError
        If there is no run, or one is damaged.
    """
    runs = [_run(path.parent) for path in sorted(folder.rglob(PROVENANCE))]
    if not runs:
        raise ConfigError(
            f"{folder}: no run below it has finished, expected <experiment>/<size>/<layer>/{PROVENANCE}"
        )
    names = list(dict.fromkeys(name for told, _ in runs for name in told["changes"] if name not in CHOOSING))
    groups: dict[str, tuple[dict[str, Any], dict[str, Any], list[Frame]]] = {}
    for told, metrics in runs:
        settings = told["place"] | {name: told["settings"].get(name) for name in names}
        groups.setdefault(str(settings), (settings, told["config"], []))[2].append(metrics)
    rows: dict[str, list[dict[str, Any]]] = {}
    for settings, config, tables in groups.values():
        metrics = _merged(tables)
        known = scales(EXPERIMENTS[settings["experiment"]], config)
        found = summarise(metrics, tuple(metrics["metric"].unique()), **known)
        rows.setdefault(settings["experiment"], []).extend({**settings, **row} for row in found)
    return {experiment: _table(each) for experiment, each in rows.items()}


def _run(folder: Path) -> tuple[dict[str, Any], Frame]:
    """Place, changes and settings of a run, and the rows of its final metrics."""
    place, results = _place(folder)
    record = read_record(results, place)
    read_csv(results, place, "metrics")
    metrics, summary = (read_table(folder / f"{name}.csv") for name in ("metrics", "summary"))
    where = {"experiment": place.experiment, "size": place.size, "layer": place.layer}
    config = record["config"]
    told = {
        "place": where,
        "changes": record.get("changes", {}),
        "config": config,
        "settings": dict(flat(config)),
    }
    return told, metrics[metrics["metric"].isin(set(summary["metric"]))]


def _place(folder: Path) -> tuple[Place, Path]:
    """The place of a run and the folder of results around it, of which the run's own depth decides."""
    for depth in (3, 4):
        parts = folder.resolve().parts[-depth:]
        results = folder.resolve().parents[depth - 1]
        try:
            read_record(results, Place(*parts))
        except ConfigError as error:
            problem = error
        else:
            return Place(*parts), results
    raise problem


def _merged(tables: list[Frame]) -> Frame:
    # A seed that two runs share has the same rows in both.
    return pd.concat(tables, ignore_index=True).drop_duplicates(
        ["experiment", "method", "seed", "split", "step", "metric"], ignore_index=True
    )


def _table(rows: list[dict[str, Any]]) -> Frame:
    """The rows in order, settings before numbers."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in LABELS))
    table: Frame = pd.DataFrame(rows)
    for name in names:
        table[name] = [str(value) if isinstance(value, list) else value for value in table[name]]
    return table[[*names, *LABELS]].sort_values([*LABELS[:3], *names], ignore_index=True)


def write(folder: Path, output: Path) -> Iterator[Path]:
    """Write the table and the figure of each experiment and return the paths as they are finished."""
    style.apply()
    for experiment, table in collect(folder).items():
        path = output / f"{experiment}.csv"
        write_text(path, table.to_csv(index=False, float_format="%.10g", lineterminator="\n"))
        yield path
        style.save(sweep.draw(table, LABELS), output / experiment, ["png"])
        yield path.with_suffix(".png")


def main(arguments: list[str]) -> None:
    """Entry point of the command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.collect", description=__doc__)
    parser.add_argument("folder", type=Path, help="the runs below it are collected")
    parser.add_argument(
        "--output", type=Path, default=Path("build/collected"), help="folder of table and figure"
    )
    given = parser.parse_args(arguments)
    with one_line():
        for path in write(given.folder, given.output):
            print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
