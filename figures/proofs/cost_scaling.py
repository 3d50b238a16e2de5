"""What the backward pass costs beside the forward pass: counted operations and measured time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from figures.style import Frame

TABLES = {"counts": "cost_counts", "times": "cost_scaling"}
FORWARD, BACKWARD = "#0072B2", "#D55E00"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: operations, with lines of slope 3 and 2. Right: seconds of the same solver."""
    counts, times = tables["counts"], tables["times"]
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _pair(left, counts["kkt_rows"], counts["forward"], counts["backward"])
    _pair(right, times["kkt_rows"], times["forward_s"], times["backward_s"])
    _slope(left, counts["kkt_rows"], float(counts["forward"].iloc[-1]), 3)
    _slope(left, counts["kkt_rows"], float(counts["backward"].iloc[-1]), 2)
    left.set(title="counted", ylabel="operations")
    right.set(title="measured on one core", ylabel="time (s)")
    left.legend(fontsize=7)
    # A logarithmic plot brings its own ticks with every call, so ours come last.
    for axes in (left, right):
        axes.xaxis.set_major_locator(FixedLocator(sorted(counts["kkt_rows"])))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
    return figure


def _pair(axes: Axes, rows: Frame, forward: Frame, backward: Frame) -> None:
    axes.loglog(
        rows, forward, "o-", color=FORWARD, markersize=3, label="forward: k factorisations, 2k solves"
    )
    axes.loglog(rows, backward, "s-", color=BACKWARD, markersize=3, label="backward: one solve")
    axes.set_xlabel("rows of the KKT matrix, n + m + p")


def _slope(axes: Axes, rows: Frame, last: float, power: int) -> None:
    sizes = np.array([rows.min(), rows.max()], dtype=float)
    # Moved up by a factor of two, beside the curve and not under it.
    line = 2 * last * (sizes / sizes[-1]) ** power
    style = {2: ":", 3: "--"}[power]
    axes.loglog(sizes, line, style, color="0.4", linewidth=1, label=f"slope {power}")
