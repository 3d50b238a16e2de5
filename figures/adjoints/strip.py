"""One adjoint in four pictures, the same for all: where it points, when it errs, what that costs, what it trains."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.differentiation_kink import arrows, entries
from figures.differentiation_margin import FLOOR, line
from figures.style import COLOURS, Frame, NothingToDraw, methods_in, rows_of

TABLES = {
    "metrics": "differentiation/metrics",
    "timings": "differentiation/timings",
    "matrices": "differentiation/matrices",
}
PREFIX = "adjoint="
GREY = "0.85"


def adjoints(tables: dict[str, Frame]) -> list[str]:
    """The names of the adjoints of a run."""
    found = [name for name in methods_in(tables["metrics"]) if name.startswith(PREFIX)]
    if not found:
        raise NothingToDraw("the run has no adjoint")
    return [name.removeprefix(PREFIX) for name in found]


def draw(tables: dict[str, Frame], name: str) -> Figure:
    """From left to right: gradients around a kink; error by margin, error by time, Sudoku; grey are the others.

    Arrows are black on the kink itself, crosses are refusals, the large dot has the default settings.
    """
    method = PREFIX + name
    figure = Figure(figsize=(9.6, 2.3), layout="constrained")
    field, margin, front, curve = figure.subplots(1, 4)
    _field(field, tables["matrices"], method)
    _margin(margin, tables["metrics"], method)
    _front(front, tables["metrics"], tables["timings"], method)
    _curve(curve, tables["metrics"], method)
    return figure


def _field(axes: Axes, table: Frame, method: str) -> None:
    x = [entries(table, f"x_{axis}") for axis in (1, 2)]
    own = rows_of(table, method=method)
    if len(own):
        arrows(axes, x, [entries(own, f"gradient_{axis}") for axis in (1, 2)], COLOURS[method])
    axes.set(xlabel="x₁", ylabel="x₂", title="gradient around a kink")


def _margin(axes: Axes, metrics: Frame, method: str) -> None:
    rows = rows_of(metrics, split="margin")
    errors = rows_of(rows, metric="gradient_error")
    for other in methods_in(errors):
        line(axes, rows_of(errors, method=other), COLOURS[method] if other == method else None)
    crosses = rows_of(rows, metric="refused", method=method)["step"].unique()
    axes.plot(10.0**-crosses, 0 * crosses + 30.0, "x", color=COLOURS[method], markersize=4)
    axes.set(xscale="log", yscale="log", ylim=(FLOOR, 300), xlabel="margin", title="relative error")


def _front(axes: Axes, metrics: Frame, timings: Frame, method: str) -> None:
    errors = rows_of(metrics, metric="pareto_error")[["method", "split", "value"]]
    times = timings.rename(columns={"phase": "split"})[["method", "split", "value"]]
    both = errors.merge(times, on=["method", "split"], suffixes=("_error", "_time"))
    both["value_error"] = both["value_error"].clip(lower=FLOOR)
    axes.plot(both["value_time"], both["value_error"], ".", color=GREY, markersize=3, zorder=1)
    own = rows_of(both, method=method)
    axes.plot(own["value_time"], own["value_error"], ".", color=COLOURS[method], markersize=4)
    usual = rows_of(own, split="pareto default")
    axes.plot(usual["value_time"], usual["value_error"], "o", color=COLOURS[method], markersize=7)
    axes.set(xscale="log", yscale="log", ylim=(FLOOR, 300), xlabel="forward and backward (s)")
    axes.set_title("relative error")


def _curve(axes: Axes, metrics: Frame, method: str) -> None:
    rows = rows_of(metrics, split="sudoku")
    errors = rows_of(rows, metric="board_error")
    for other in methods_in(errors):
        means = rows_of(errors, method=other).groupby("step")["value"].mean()
        shade, width = (COLOURS[method], 1.6) if other == method else (GREY, 0.7)
        axes.plot(means.index, means, color=shade, linewidth=width, zorder=2 if other == method else 1)
    ends = rows_of(rows, method=method, metric="refused")["step"].to_numpy(float)
    axes.plot(ends, np.full(len(ends), 1.02), "x", color=COLOURS[method], markersize=4)
    axes.set(xlabel="steps", ylim=(0, 1.05), title="4x4 Sudoku, wrong boards")
