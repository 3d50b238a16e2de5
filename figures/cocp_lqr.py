"""Controllers learned for linear systems: how far above the optimum, and between which bounds."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, band, published, rows_of

TABLES = {"metrics": "cocp_lqr/metrics"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Left without bounds on the controls, right with; bands are the range over seeds."""
    metrics = tables["metrics"]
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw(left, metrics, "unconstrained", "gap")
    left.set_yscale("symlog", linthresh=1e-3)
    left.set(
        ylabel="cost of a period above the optimum (unit 1)",
        title="controls without bounds; below zero is luck of six trajectories",
    )
    _draw(right, metrics, "box", "cost")
    lines = {
        "lower_bound": (
            "average_cost",
            "minimum_variance",
            "no controller below this, average over all time",
        ),
        "bound_policy": ("final_cost", "tuned_from_search", "policy of that bound, same trajectories"),
    }
    for name, (metric, colour, label) in lines.items():
        rows = rows_of(metrics, method=f"box/{name}", metric=metric)
        rows = rows[rows["split"] != "fresh"]
        right.axhline(rows["value"].mean(), color=COLOURS[colour], linestyle=":", label=label)
    right.set(ylabel="cost of a period (unit 1)", title="controls of at most 0.1")
    right.legend(fontsize=7)
    left.legend(fontsize=7)
    return figure


def _draw(axes: Axes, metrics: Frame, problem: str, metric: str) -> None:
    curves = rows_of(metrics, metric=metric, split="test")
    ours = rows_of(curves, method=problem)
    band(axes, ours, "tuned")
    axes.plot([], [], color=COLOURS["tuned"], label="learned (layer)")
    published(axes, rows_of(curves, method=f"{problem}/published"), ours, "tuned")
    axes.set(xlabel="step")
