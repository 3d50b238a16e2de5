"""9x9 Sudoku: puzzles solved by number of givens, solved boards needed, and learning by gradient."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"summary": "sudoku_9x9/summary", "metrics": "sudoku_9x9/metrics"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: mean over seeds, bars are 95 % intervals. Middle: equalities left and puzzles solved. Right: angles."""
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    solved = rows_of(tables["summary"], metric="solved")
    solved = solved.assign(givens=solved["split"].str.removeprefix("givens_").astype(int))
    for place, method in enumerate(methods_in(solved)):
        own = rows_of(solved, method=method).sort_values("givens")
        bars = [own["mean"] - own["lo"], own["hi"] - own["mean"]]
        # Side by side, or equal results would hide each other.
        where = own["givens"] + 0.12 * (place - 2)
        left.errorbar(
            where, own["mean"], bars, fmt=".-", color=COLOURS[method], label=NAMES[method], linewidth=1
        )
    left.set(
        xlabel="givens of 81 cells", ylabel="puzzles solved (unit: all test puzzles)", ylim=(-0.04, 1.04)
    )
    left.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    _sample_efficiency(middle, tables["metrics"])
    _learning(right, tables["metrics"])
    return figure


def _sample_efficiency(axes: Axes, metrics: Frame) -> None:
    equalities = rows_of(metrics, metric="equalities_left")
    for _, own in equalities.groupby("seed"):
        axes.plot(own["step"], own["value"], color="0.4", linewidth=1)
    axes.set(xlabel="solved boards seen", ylabel="equalities that all of them satisfy (grey)")
    axes.axhline(equalities["value"].min(), color="0.4", linewidth=0.7, linestyle=":")
    probe = rows_of(metrics, metric="solved_by_boards")
    other = axes.twinx()
    mean = probe.groupby("step")["value"].mean()
    other.plot(mean.index, mean, "o-", color=COLOURS["identified"], markersize=3)
    givens = ", ".join(sorted({split.removeprefix("givens_") for split in probe["split"]}))
    other.set_ylabel(f"puzzles with {givens} givens solved", color=COLOURS["identified"])
    other.set_ylim(-0.04, 1.04)
    other.yaxis.set_major_formatter(PercentFormatter(1.0))
    other.grid(False)


def _learning(axes: Axes, metrics: Frame) -> None:
    for name, line in (("largest", ":"), ("median", "-")):
        rows = rows_of(metrics, metric=f"{name}_angle_met")
        for method in methods_in(rows, ("gradient", "gradient_puzzles")):
            mean = rows_of(rows, method=method).groupby("step")["value"].mean()
            axes.plot(mean.index, mean, line, color=COLOURS[method])
        axes.plot([], [], line, color="0.4", label=f"{name} angle")
    axes.set(yscale="log", xlabel="steps of training by gradient")
    axes.set_ylabel("angle to the true equalities (unit: degree)")
    axes.legend(fontsize=7)
