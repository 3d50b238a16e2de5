"""9x9 Sudoku rules from puzzles: what is solved by how much was seen, and by the number of givens."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures.style import COLOURS, NAMES, Frame, dots, methods_in, printed, rows_of

TABLES = {
    "summary": "sudoku_rules/summary",
    "metrics": "sudoku_rules/metrics",
    "comparison": "comparison",
}
# The number of puzzles with solutions that SATNet was trained on.
PUBLISHED_SEEN = 9000


def draw(tables: dict[str, Frame]) -> Figure:
    """Shares of solved puzzles with 95 % intervals, of Wilson over all puzzles, or of t over seeds where that is wider.

    Left by the solved boards, unsolved puzzles or puzzles with their solutions that were seen, tested at about 36
    givens; a diamond is the same method on permuted boards. Right by the number of givens, after the most that was
    seen. Black dots are what SATNet reports, another model on other puzzles, the same on permuted boards.
    """
    summary = rows_of(tables["summary"], metric="solved")
    metrics, comparison = tables["metrics"], tables["comparison"]
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    methods = methods_in(summary)
    for place, method in enumerate(methods):
        own = rows_of(summary, method=method)
        _by_seen(left, own, rows_of(metrics, method=method, metric="seen"), method)
        # Side by side, or equal results would hide each other.
        _by_givens(right, own, method, 0.16 * (place - (len(methods) - 1) / 2))
    known = printed(comparison, "sudoku_rules", metric="solved")
    known = known[known["claim"].str.contains("SATNet") & ~known["claim"].str.contains("network")]
    plain = known[known["split"].str.startswith("givens_")].drop_duplicates("split")
    dots(right, plain["split"].str.removeprefix("givens_").astype(int), plain["published"], None)
    most = plain.sort_values("published").tail(1)
    dots(left, [PUBLISHED_SEEN] * len(most), most["published"], "SATNet, published")
    left.set(xscale="log", xlabel="boards or puzzles seen", ylim=(-0.04, 1.04))
    left.set_ylabel("test puzzles solved (unit: all test puzzles)")
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    right.set(xlabel="givens of 81 cells")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return figure


def _by_seen(axes: Axes, own: Frame, seen: Frame, method: str) -> None:
    amounts = seen.groupby("split")["value"].first()
    rows = own[own["split"].isin(amounts.index)]
    rows = rows.assign(seen=rows["split"].map(amounts)).sort_values("seen")
    _bars(axes, rows["seen"], rows, method, NAMES[method])
    permuted = own[own["split"].str.startswith("permuted_")]
    if len(permuted):
        where = [amounts.max() * 1.12] * len(permuted)
        axes.plot(where, permuted["mean"], "D", color=COLOURS[method], markersize=5, fillstyle="none")


def _by_givens(axes: Axes, own: Frame, method: str, shift: float) -> None:
    rows = own[own["split"].str.startswith("givens_")]
    rows = rows.assign(givens=rows["split"].str.removeprefix("givens_").astype(int)).sort_values("givens")
    _bars(axes, rows["givens"] + shift, rows, method, None)


def _bars(axes: Axes, where: Frame, rows: Frame, method: str, label: str | None) -> None:
    bars = [rows["mean"] - rows["lo"], rows["hi"] - rows["mean"]]
    axes.errorbar(where, rows["mean"], bars, fmt=".-", color=COLOURS[method], label=label, linewidth=1)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
