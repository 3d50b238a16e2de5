"""Tuning the driver of a car: cost of the test drives by step, and of many drives before and after."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, band, methods_in, published, rows_of

TABLES = {"metrics": "cocp_vehicle/metrics"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Bands are the range over seeds; right, a point for each seed."""
    metrics = tables["metrics"]
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[2, 1])
    curves = rows_of(metrics, metric="cost", split="test")
    ours = rows_of(curves, method="tuned")
    band(left, ours, "tuned")
    left.plot([], [], color=COLOURS["tuned"], label=NAMES["tuned"])
    published(left, rows_of(curves, method="tuned/published"), ours, "tuned")
    left.set(xlabel="step", ylabel="cost of a period", title="four test drives")
    left.legend(fontsize=7)
    _draw_final(right, rows_of(metrics, metric="final_cost", split="fresh"))
    return figure


def _draw_final(axes: Axes, rows: Frame) -> None:
    methods = methods_in(rows, ("untuned", "tuned"))
    for place, method in enumerate(methods):
        values = rows_of(rows, method=method)["value"]
        axes.plot([place] * len(values), values, "o", color=COLOURS[method], alpha=0.7)
    axes.set_xticks(range(len(methods)), [NAMES[method] for method in methods])
    axes.set(
        xlim=(-0.5, len(methods) - 0.5),
        ylim=(0, None),
        xlabel="policy",
        ylabel="cost of a period",
        title="many drives",
    )


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
