"""Portfolios of real stocks: what learning end to end changes, against each other way, measure by measure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"intervals": "portfolio/intervals"}
# metric -> label, factor
MEASURES = {
    "sharpe": ("Sharpe ratio (a year)", 1),
    "annual_return": ("return (% a year)", 100),
    "volatility": ("volatility (% a year)", 100),
    "drawdown": ("largest drawdown (%)", 100),
    "turnover": ("turnover (% a year)", 100),
}


def draw(tables: dict[str, Frame]) -> Figure:
    """Paired differences over the test years, mean of the seeds; 95 % intervals of a block bootstrap of the months.

    An interval that holds zero shows no difference. Levels stand in the table.
    """
    rows = tables["intervals"].fillna({"baseline": ""})
    others = methods_in(
        rows[rows["baseline"] != ""].drop(columns="method").rename(columns={"baseline": "method"})
    )
    learned = [method for method in methods_in(rows) if method not in others]
    pairs = [(method, other) for method in learned for other in others]
    figure = Figure(figsize=(9.6, 0.5 * len(pairs) + 1.3), layout="constrained")
    panels = figure.subplots(1, len(MEASURES), sharey=True)
    for axes, (metric, (label, factor)) in zip(panels, MEASURES.items(), strict=True):
        _forest(axes, rows_of(rows, metric=metric).set_index(["method", "baseline"]).loc[pairs], factor)
        axes.set_xlabel(label)
    panels[0].set_yticks(range(len(pairs)), [f"against {NAMES[other]}" for _, other in pairs])
    panels[0].invert_yaxis()
    panels[0].set_ylabel(", ".join(NAMES[method] for method in learned))
    figure.supxlabel("paired differences, test years, 95 % intervals", fontsize=9)
    return figure


def _forest(axes: Axes, rows: Frame, factor: float) -> None:
    axes.axvline(0, color="0.3", linewidth=0.8)
    for place, (_, other) in enumerate(rows.index):
        mean, lo, hi = factor * rows.iloc[place][["mean", "lo", "hi"]].astype(float)
        axes.plot([lo, hi], [place, place], color=COLOURS[other], linewidth=1.6)
        axes.plot(mean, place, "o", color=COLOURS[other], markersize=5)
    axes.margins(y=0.3)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
