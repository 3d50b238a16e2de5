"""Tuning a Markowitz policy: test utility by step, and what tuning does to the expected returns."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, band, methods_in, rows_of

TABLES = {"metrics": "markowitz/metrics"}
PREFIX = "expected return "


def draw(tables: dict[str, Frame]) -> Figure:
    """Left the utility, bands the range over seeds, lines the policies that are not learned; right the returns."""
    metrics = tables["metrics"]
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1], squeeze=False)[0]
    _draw_utility(left, metrics)
    _draw_returns(right, metrics[metrics["metric"].str.startswith(PREFIX)])
    return figure


def _draw_utility(axes: Axes, metrics: Frame) -> None:
    curves = rows_of(metrics, metric="utility", split="test")
    final = rows_of(metrics, metric="final_utility", split="test")
    learned = methods_in(curves)
    for method in learned:
        band(axes, curves[curves["method"] == method], method)
    for method in (name for name in methods_in(final) if name not in learned):
        axes.axhline(rows_of(final, method=method)["value"].mean(), color=COLOURS[method], linestyle=":")
    for method in methods_in(final):
        style = "-" if method in learned else ":"
        axes.plot([], [], style, color=COLOURS[method], label=NAMES[method])
    axes.set(xlabel="step", ylabel="utility of a month (share of wealth)", title="test trajectories")
    axes.legend(fontsize=7)


def _draw_returns(axes: Axes, rows: Frame) -> None:
    assets = sorted(rows["metric"].unique())
    for method in methods_in(rows, ("untuned", "tuned")):
        own = rows_of(rows, method=method).groupby("metric")["value"]
        means = own.mean()
        places = [100 * means[asset] for asset in assets]
        axes.plot(places, range(len(assets)), "o", color=COLOURS[method], label=NAMES[method])
        axes.hlines(
            range(len(assets)),
            100 * own.min()[assets],
            100 * own.max()[assets],
            color=COLOURS[method],
            alpha=0.4,
        )
    axes.set_yticks(range(len(assets)), [asset.removeprefix(PREFIX) for asset in assets])
    axes.invert_yaxis()
    axes.set(xlabel="expected return of a month (%)", title="what the policy believes")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
