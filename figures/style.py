"""What all figures share: a colour and a name for each method, fonts, how files are written."""

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from experiments.common.errors import ConfigError
from experiments.common.sheets import sections

# A pandas.DataFrame, whose own annotations leave the type of almost every selection open.
Frame = Any


class MissingColumn(KeyError):
    """A table lacks a column that a figure needs."""

    def __str__(self) -> str:
        return str(self.args[0])


class NothingToDraw(ConfigError):
    """None of the methods of a figure was run."""


class _Known(dict[str, str]):
    """What is settled for each method; one that nobody settled gets `default`, or its own name, and a warning."""

    def __init__(self, default: str | None = None) -> None:
        super().__init__()
        self.default = default

    def __missing__(self, method: str) -> str:
        # The default stack level names this line whoever asks, so that a method is told of once and not at every use.
        warnings.warn(
            f"no sheet has a label for {method!r}: it is drawn under this name, in a colour that every such method "
            "shares; give it a name and a colour in the section labels of configs/experiment/<name>.yaml"
        )
        return method if self.default is None else self.default


# The sheets take them from Okabe and Ito's palette: told apart under every common colour-vision deficiency. Black is
# the truth, grey the data.
COLOURS = _Known(default="#882255")
NAMES = _Known()
# The methods as they stand in legends: those of each sheet in its order.
ORDER: list[str] = []


def settle(sheet: str, labels: Any) -> None:
    """Take names and colours of methods from the section `labels` of a sheet.

    Raises
    ------
    ConfigError
        If a method lacks one of them, or has another one elsewhere: it looks the same in every figure.
    """
    # A method that is new stands behind the one before it in its sheet.
    place = min((ORDER.index(method) for method in labels if method in ORDER), default=len(ORDER))
    for method, label in labels.items():
        if not isinstance(label, dict) or set(label) != {"name", "colour"}:
            raise ConfigError(f"{sheet}.yaml, labels, {method}: expected name and colour, got {label}")
        for known, entry in ((NAMES, label["name"]), (COLOURS, label["colour"])):
            if known.setdefault(method, entry) != entry:
                raise ConfigError(f"{sheet}.yaml, labels, {method}: {entry}, but elsewhere {known[method]}")
        if method not in ORDER:
            ORDER.insert(place, method)
        place = ORDER.index(method) + 1


for _sheet, _labels in sections("labels"):
    settle(_sheet, _labels)

SETTINGS: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "svg.hashsalt": "figures",
}


def band(axes: Axes, rows: Frame, method: str, dashed: bool = False) -> None:
    """Mean over seeds of `value` by `step`, with the range from the least to the greatest seed shaded.

    Where seeds end before the others, the number of those that remain stands beside the mean.
    """
    by_step = rows.groupby("step")["value"]
    mean, colour = by_step.mean(), COLOURS[method]
    axes.plot(mean.index, mean, "--" if dashed else "-", color=colour)
    axes.fill_between(mean.index, by_step.min(), by_step.max(), color=colour, alpha=0.15, linewidth=0)
    counts = by_step.count()
    for step, count in counts[counts.diff() < 0].items():
        axes.annotate(f"n={count}", (step, mean[step]), fontsize=6, color=colour)


def published(axes: Axes, rows: Frame, ours: Frame, method: str) -> None:
    """What is printed of a published curve as dots, and our run with the same random numbers, the first seed's."""
    own = rows_of(ours, seed=ours["seed"].min()).sort_values("step")
    axes.plot(
        own["step"],
        own["value"],
        color=COLOURS[method],
        linewidth=0.7,
        label="with the published random numbers",
    )
    ordered = rows.sort_values("step")
    dots(axes, ordered["step"], ordered["value"])


def printed(comparison: Frame, experiment: str, **labels: object) -> Frame:
    """The published numbers of `experiment` whose columns have the given values, once each, sorted by step.

    `comparison` is the table of `python -m experiments.compare`: each number stands there once for each of our runs.
    """
    rows = rows_of(comparison, experiment=experiment, **labels)
    return rows.drop_duplicates(["method", "split", "metric", "step", "printed"]).sort_values("step")


def dots(axes: Axes, steps: Any, values: Any, label: str | None = "published") -> None:
    """Published numbers: black dots, in every figure."""
    axes.plot(steps, values, ".", color="black", markersize=6, zorder=5, label=label)


def from_start(rows: Frame) -> Frame:
    """The rows of one curve with the change against the first step, seed by seed, in per cent, as their value."""
    first = rows.sort_values("step").groupby("seed")["value"].transform("first")
    return rows.assign(value=100 * (rows.sort_values("step")["value"] / first - 1))


def geometric_mean(values: Any) -> float:
    """Of positive values, which span decades."""
    return float(np.exp(np.log(np.asarray(values, dtype=float)).mean()))


def half_width(values: Any) -> float:
    """Half of the 95 % interval of Student's t for the mean of `values`, zero where there is one value alone."""
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return 0.0
    return float(stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / np.sqrt(values.size))


def note(figure: Figure, text: str) -> None:
    """A line above everything else, since legends stand below: which run the tables are of."""
    figure.suptitle(text, x=0.995, ha="right", fontsize=6, color="0.4")


def rows_of(table: Frame, **labels: object) -> Frame:
    """The rows of `table` whose columns have the given values; raises MissingColumn."""
    for column, value in labels.items():
        if column not in table:
            raise MissingColumn(f"a table has no column {column!r}, its columns are {list(table.columns)}")
        table = table[table[column] == value]
    return table


def methods_in(table: Frame, order: Iterable[str] = ORDER) -> list[str]:
    """The methods of `order` that occur in `table`, always in the same order, then those that have no entry in NAMES.

    An `order` that leaves out methods of NAMES leaves them out of the figure; a method that nobody has heard of here is
    drawn all the same.
    """
    present = set(table["method"])
    return [method for method in order if method in present] + sorted(present.difference(NAMES))


# Same figure, same bytes: no dates and no versions inside.
BARE: dict[str, Any] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "pgf": None,
}


def save(figure: Figure, stem: Path, formats: Iterable[str] = ("png", "pdf")) -> None:
    """Write the figure to `stem` with each of `formats` as suffix; an old file stays until the new one is whole."""
    for name in formats:
        with TemporaryDirectory(prefix=".", dir=stem.parent) as folder:
            figure.savefig(Path(folder, stem.name).with_suffix(f".{name}"), metadata=BARE[name])
            for path in Path(folder).iterdir():
                os.replace(path, stem.parent / path.name)


def panels(figure: Figure, methods: list[str], columns: int, xlabel: str, ylabel: str) -> dict[str, Axes]:
    """A panel for each of `methods`, under its name in its colour; all share their axes, labelled outside."""
    rows = -(-len(methods) // columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(methods) :]:
        axes.remove()
    found = dict(zip(methods, grid.flat, strict=False))
    for place, (method, axes) in enumerate(found.items()):
        axes.set_title(NAMES[method], color=COLOURS[method])
        if place + columns >= len(methods):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(xlabel)
        if place % columns == 0:
            axes.set_ylabel(ylabel)
    return found


def apply() -> None:
    """Set matplotlib's defaults for a program that draws our figures."""
    mpl.use("Agg")
    mpl.rcParams.update(SETTINGS)
