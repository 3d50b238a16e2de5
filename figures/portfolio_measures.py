"""Portfolios of real stocks: every measure with its block-bootstrap interval, and the gain of learning end to end."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"intervals": "portfolio/intervals"}
# metric -> label, factor
MEASURES = {
    "annual_return": ("return (% a year)", 100),
    "volatility": ("volatility (% a year)", 100),
    "sharpe": ("Sharpe ratio (a year)", 1),
    "turnover": ("turnover (% a year)", 100),
    "drawdown": ("largest drawdown (%)", 100),
}
LEARNED = "end_to_end"


def draw(tables: dict[str, Frame]) -> Figure:
    """One panel for each measure, one bar for each method; last the paired differences of the Sharpe ratio."""
    rows = tables["intervals"].fillna({"baseline": ""})
    own = rows_of(rows, baseline="")
    methods = methods_in(own)
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    for axes, (metric, (label, factor)) in zip(panels, MEASURES.items(), strict=False):
        _bars(axes, rows_of(own, metric=metric).set_index("method").loc[methods], methods, factor)
        axes.set_xlabel(label)
    gain = rows_of(rows, method=LEARNED, metric="sharpe")
    gain = gain[gain["baseline"] != ""].set_index("baseline")
    others = [method for method in methods if method in gain.index]
    _bars(panels[-1], gain.loc[others], others, 1)
    panels[-1].axvline(0, color="0.3", linewidth=0.8)
    panels[-1].set(xlabel="Sharpe ratio (a year)", title=f"{NAMES[LEARNED]}\nminus the method named")
    figure.suptitle("test years, 95 % block-bootstrap intervals", fontsize=9)
    return figure


def _bars(axes: Axes, rows: Frame, methods: list[str], factor: float) -> None:
    for place, method in enumerate(methods):
        mean, lo, hi = factor * rows.loc[method, ["mean", "lo", "hi"]].astype(float)
        axes.barh(place, mean, color=COLOURS[method], alpha=0.75)
        axes.plot([lo, hi], [place, place], color="0.15", linewidth=1.2)
    axes.set_yticks(range(len(methods)), [NAMES[method] for method in methods], fontsize=7)
    axes.invert_yaxis()
