"""Accuracy against time: every setting of every engine on one set of problems."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from figures.benchmarks.engines import LOOKS, UNKNOWN, present
from figures.style import Frame

GROUP = "accuracy"
# What an answer may be off by for its time to count, and what of an error is drawn at least.
LIMITS = {"residual": 1e-8, "gradient_error": 1e-6}
LABELS = {"residual": "KKT residual", "gradient_error": "relative error of the gradients"}
LEAST = 1e-16


def draw(table: Frame) -> Figure:
    """One column for each set of problems, one row for each kind of error; the limit is dashed."""
    rows = table[(table["group"] == GROUP) & (table["phase"] == "both") & table["median_ms"].notna()]
    names = list(dict.fromkeys(rows["row"]))
    size = (3.2 * len(names) + 1.8, 5)
    figure, panels = plt.subplots(
        2, len(names), figsize=size, squeeze=False, sharex="col", sharey="row", layout="constrained"
    )
    for column, name in enumerate(names):
        for line, (error, limit) in enumerate(LIMITS.items()):
            _panel(panels[line][column], rows[rows["row"] == name], error, limit)
        mine = rows[rows["row"] == name].iloc[0]
        panels[0][column].set_title(
            f"batch {mine['batch']}, n = {mine['n']}, m = {mine['m']}, p = {mine['p']}"
        )
        panels[1][column].set_xlabel("forward + backward (ms)")
    for line, error in enumerate(LIMITS):
        panels[line][0].set_ylabel(LABELS[error])
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    return figure


def _panel(axes: Axes, rows: Frame, error: str, limit: float) -> None:
    for engine in present(rows):
        mine = rows[rows["engine"] == engine].sort_values("median_ms")
        label, colour, mark = LOOKS.get(engine, UNKNOWN)
        values = mine[error].clip(lower=LEAST, upper=10.0)
        axes.plot(mine["median_ms"], values, mark, color=colour, ms=5, label=label or engine)
    axes.axhline(limit, color="#000000", linestyle="--", linewidth=0.8)
    axes.set(xscale="log", yscale="log")
    # The times of a set may span one decade, with one power of ten, or three.
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
