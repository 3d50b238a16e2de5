"""Tuning the manager of a supply chain: cost by step on the published trajectory and on fresh ones."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, band, from_start, methods_in, published, rows_of

TABLES = {"metrics": "cocp_supply_chain/metrics"}
CHARGED = {
    "final_cost": "after the period\n(as published)",
    "final_cost_before": "before the period\n(as foreseen)",
}


def draw(tables: dict[str, Frame]) -> Figure:
    """Left, mean and range over seeds, each against its step 0; right, a point for each seed, by what is charged."""
    metrics = tables["metrics"]
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    curves = rows_of(metrics, metric="cost", method="tuned")
    for split, colour, label in (
        ("test", "tuned", "one trajectory of 20 periods"),
        ("fresh", "tuned_from_search", "fresh trajectories"),
    ):
        band(left, from_start(rows_of(curves, split=split)), colour)
        left.plot([], [], color=COLOURS[colour], label=label)
    printed = rows_of(metrics, metric="cost", method="tuned/published")
    published(left, from_start(printed), from_start(rows_of(curves, split="test")), "tuned")
    left.set(xlabel="step", ylabel="further below zero than at step 0 (%)", title="cost of a period")
    left.legend(fontsize=7)
    _draw_final(right, rows_of(metrics, split="fresh"))
    return figure


def _draw_final(axes: Axes, metrics: Frame) -> None:
    methods = methods_in(metrics[metrics["metric"].isin(CHARGED)], ("untuned", "tuned"))
    for number, method in enumerate(methods):
        shift = 0.24 * (number - (len(methods) - 1) / 2)
        for place, metric in enumerate(CHARGED):
            values = rows_of(metrics, metric=metric, method=method)["value"]
            label = NAMES[method] if place == 0 else None
            axes.plot(
                [place + shift] * len(values), values, "o", color=COLOURS[method], alpha=0.7, label=label
            )
    axes.set_xticks(range(len(CHARGED)), list(CHARGED.values()))
    axes.set(xlim=(-0.5, 1.5), xlabel="prices and stocks charged", title="fresh trajectories")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
