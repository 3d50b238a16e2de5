"""What a sweep found: each final metric over the setting that was changed, as `experiments.collect` gathers it."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

COLUMNS = 3


def draw(table: Frame, labels: Sequence[str]) -> Figure:
    """A panel for each metric, on the test split where there is one; bars are the intervals of the table.

    `labels` are the columns of the table that are no settings. One setting of numbers that varies is the axis; else
    every combination of settings has a place of its own.
    """
    varying = [name for name in table.columns if name not in labels and table[name].nunique(dropna=False) > 1]
    places, ticks, title = _axis(table, varying)
    table = table.assign(place=places)
    metrics = list(dict.fromkeys(table["metric"]))
    rows = -(-len(metrics) // COLUMNS)
    columns, height = min(COLUMNS, len(metrics)), 3.6 if ticks else 2.5
    figure = Figure(figsize=(2.8 * columns, height * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, metric in zip_longest(grid, metrics):
        if metric is None:
            axes.set_axis_off()
            continue
        _panel(axes, rows_of(table, metric=metric), title)
        if ticks:
            axes.set_xticks(range(len(ticks)), ticks, rotation=90, fontsize=5)
    handles = [
        Line2D([], [], color=COLOURS[each], marker="o", label=NAMES[each]) for each in methods_in(table)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _axis(table: Frame, varying: list[str]) -> tuple[Frame, list[str], str]:
    """Where each row stands, the names of the places if they are no numbers, and the title of the axis."""
    if len(varying) == 1 and table[varying[0]].dtype.kind in "if" and table[varying[0]].notna().all():
        return table[varying[0]], [], varying[0]
    names = [
        ", ".join(f"{name}={row[name]}" for name in varying if row[name] == row[name])
        for row in table.to_dict("records")
    ]
    ticks = sorted(set(names))
    return np.array([ticks.index(name) for name in names]), [tick or "unchanged" for tick in ticks], ""


def _panel(axes: Axes, rows: Frame, title: str) -> None:
    split = "test" if "test" in set(rows["split"]) else rows["split"].iloc[0]
    own = rows_of(rows, split=split)
    for method in methods_in(own):
        line = rows_of(own, method=method).sort_values("place")
        ends = np.nan_to_num([line["mean"] - line["lo"], line["hi"] - line["mean"]])
        look: dict[str, Any] = {
            "color": COLOURS[method],
            "marker": "o",
            "markersize": 3,
            "linestyle": "-" if title else "none",
        }
        axes.errorbar(line["place"], line["mean"], np.maximum(ends, 0), **look)
    values = own["place"].to_numpy()
    if title and values.min() > 0 and values.max() > 20 * values.min():
        axes.set_xscale("log")
    axes.set(title=f"{own['metric'].iloc[0]}, {split}", xlabel=title, ylabel=own["unit"].iloc[0])
