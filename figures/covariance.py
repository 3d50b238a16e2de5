"""Portfolios of least variance: how much of the daily variance is left, and what the learned estimate came to."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"intervals": "covariance/intervals", "metrics": "covariance/metrics"}
LEARNED = "covariance_layer"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: volatility of the days of the test years. Middle: paired differences in variance of the learned to each
    other.

    Intervals of 95 % are of a block bootstrap of the months; one that holds zero shows no difference. Right: the shares
    that the learned estimate came to, block of test years by block.
    """
    intervals = tables["intervals"].fillna({"baseline": ""})
    figure = Figure(figsize=(11.0, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    levels = rows_of(intervals, metric="volatility", baseline="")
    _forest(left, levels.assign(other=levels["method"]), 100)
    left.set(xlabel="volatility of daily returns (% a year)", title="each portfolio")
    pairs = rows_of(intervals, metric="variance", method=LEARNED)
    # Equal weights are so far away that nothing else could be told apart.
    pairs = pairs[~pairs["baseline"].isin(("", "equal_weight"))]
    _forest(middle, pairs.assign(other=pairs["baseline"]), 1e4)
    middle.axvline(0, color="0.3", linewidth=0.8)
    middle.set(xlabel="its variance minus theirs (1e-4 a year)", title="the learned one against")
    _shares(right, rows_of(tables["metrics"], method=LEARNED, split="validation"))
    return figure


def _forest(axes: Axes, rows: Frame, factor: float) -> None:
    methods = methods_in(rows.drop(columns="method").rename(columns={"other": "method"}))
    for place, method in enumerate(methods):
        (row,) = rows_of(rows, other=method).to_dict("records")
        ends = [factor * row["lo"], factor * row["hi"]]
        axes.plot(ends, [place, place], color=COLOURS[method], linewidth=1.6)
        axes.plot(factor * row["mean"], place, "o", color=COLOURS[method], markersize=5)
    axes.set_yticks(range(len(methods)), [NAMES[method] for method in methods], fontsize=7)
    axes.invert_yaxis()
    axes.margins(y=0.2)


def _shares(axes: Axes, rows: Frame) -> None:
    if rows.empty:
        axes.set_axis_off()
        return
    wide = rows.pivot(index="step", columns="metric", values="value")
    below = 0.0
    names = [name for name in wide if name.startswith("correlation")]
    names.sort(key=lambda name: float(name.split()[1]))
    for place, name in enumerate(names):
        above = below + wide[name]
        shade = str(0.85 - 0.6 * place / max(len(names) - 1, 1))
        label = f"half-life {name.split()[1]} days"
        axes.fill_between(wide.index, below, above, color=shade, label=label, linewidth=0)
        below = above
    shrunk = 1 - wide["shrinkage sample"]
    axes.plot(wide.index, shrunk, "-", color=COLOURS[LEARNED], label="shrinkage")
    axes.set(ylim=(0, 1), xlabel="first test year", title="learned correlations")
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
