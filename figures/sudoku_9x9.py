"""9x9 Sudoku: puzzles solved by number of givens, solved boards needed, and learning by gradient."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures.style import COLOURS, NAMES, Frame, dots, methods_in, printed, rows_of

TABLES = {"summary": "sudoku_9x9/summary", "metrics": "sudoku_9x9/metrics", "comparison": "comparison"}
# The rules themselves, read off boards, learned by gradient, and no layer; the others stand in the table. Rules and
# learned equalities are shown with the same number of passes where the run has both.
SHOWN = ("true_constraints_passes", "identified_passes", "gradient", "convolutional")


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: share of solved puzzles, 95 % intervals of Wilson over all puzzles, or of t over seeds where that is wider.

    Black dots are what SATNet reports, another model on other puzzles. Right, a line for each seed: equalities that all
    boards seen so far satisfy, and puzzles that they solve; angles to the true equalities are means over seeds.
    """
    metrics = tables["metrics"]
    figure = Figure(figsize=(10.5, 6.2), layout="constrained")
    left, boards, solved, angles = figure.subplot_mosaic(
        [["a", "a", "b"], ["a", "a", "c"], ["a", "a", "d"]]
    ).values()
    _by_givens(left, tables["summary"], tables["comparison"])
    _equalities(boards, rows_of(metrics, metric="equalities_left"))
    _by_boards(solved, rows_of(metrics, metric="solved_by_boards"))
    boards.sharex(solved)
    solved.set_xlim(left=0)
    _learning(angles, metrics)
    return figure


def _by_givens(axes: Axes, summary: Frame, comparison: Frame) -> None:
    rows = rows_of(summary, metric="solved")
    rows = rows.assign(givens=rows["split"].str.removeprefix("givens_").astype(int))
    order = SHOWN if SHOWN[0] in set(rows["method"]) else ("true_constraints", *SHOWN[1:])
    methods = methods_in(rows, order)
    methods = [method for method in methods if method in order or method not in NAMES]
    for place, method in enumerate(methods):
        own = rows_of(rows, method=method).sort_values("givens")
        bars = [own["mean"] - own["lo"], own["hi"] - own["mean"]]
        # Side by side, or equal results would hide each other.
        where = own["givens"] + 0.14 * (place - (len(methods) - 1) / 2)
        axes.errorbar(
            where, own["mean"], bars, fmt=".-", color=COLOURS[method], label=NAMES[method], linewidth=1
        )
    known = printed(comparison, "sudoku_9x9", metric="solved")
    known = known[
        known["claim"].str.contains("SATNet") & ~known["method"].eq("convolutional")
    ].drop_duplicates("split")
    dots(
        axes, known["split"].str.removeprefix("givens_").astype(int), known["published"], "SATNet, published"
    )
    axes.set(
        xlabel="givens of 81 cells", ylabel="puzzles solved (unit: all test puzzles)", ylim=(-0.04, 1.04)
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xticks(range(rows["givens"].min(), rows["givens"].max() + 1, 2))
    axes.legend(fontsize=8)


def _equalities(axes: Axes, equalities: Frame) -> None:
    for _, own in equalities.groupby("seed"):
        axes.plot(own["step"], own["value"], color=COLOURS["identified"], linewidth=1)
    axes.axhline(equalities["value"].min(), color="0.4", linewidth=0.7, linestyle=":")
    axes.set(xlabel="solved boards seen", ylabel="equalities that\nall of them satisfy")


def _by_boards(axes: Axes, probe: Frame) -> None:
    for _, own in probe.sort_values("step").groupby("seed"):
        axes.plot(own["step"], own["value"], ".-", color=COLOURS["identified"], linewidth=1, markersize=4)
    givens = ", ".join(sorted({split.removeprefix("givens_") for split in probe["split"]}))
    axes.set(xlabel="solved boards seen", ylabel=f"puzzles with {givens}\ngivens solved", ylim=(-0.04, 1.04))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _learning(axes: Axes, metrics: Frame) -> None:
    for name, line in (("largest", ":"), ("median", "-")):
        rows = rows_of(metrics, metric=f"{name}_angle_met")
        for method in methods_in(rows, ("gradient", "gradient_puzzles")):
            mean = rows_of(rows, method=method).groupby("step")["value"].mean()
            label = NAMES[method] if line == "-" else None
            axes.plot(mean.index, mean, line, color=COLOURS[method], label=label)
    axes.plot([], [], ":", color="0.4", label="largest angle, else the median")
    axes.set(
        yscale="log",
        xlabel="steps of training by gradient",
        ylabel="angle to the true\nequalities (unit: degree)",
    )
    axes.legend(fontsize=6)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
