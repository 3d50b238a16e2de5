"""Wrong boards while learning 4x4 Sudoku, beside the published curves."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, band, dots, methods_in, rows_of

TABLES = {"metrics": "sudoku/metrics"}
TITLES = {"test": "boards that training has shown", "test_strict": "boards that training has not shown"}
# Zero has no place on a logarithmic axis: no wrong board stands here, under a tick of its own; one of 1,000 is 0.1 %.
FLOOR = 4e-4
TICKS = {FLOOR: "0", 1e-3: "0.1 %", 1e-2: "1 %", 1e-1: "10 %", 1.0: "100 %"}


def draw(tables: dict[str, Frame]) -> Figure:
    """A panel for each test split; bands are the range over seeds, dots the published curves, of their own data."""
    curves = rows_of(tables["metrics"], metric="board_error")
    curves = curves.assign(value=curves["value"].clip(lower=FLOOR), step=curves["step"] / 1000)
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (split, title) in zip(panels, TITLES.items(), strict=True):
        _panel(axes, rows_of(curves, split=split))
        axes.set(title=title, xlabel="puzzles met in training (thousands)")
    panels[0].set(ylabel="wrong boards (unit: all test boards)", ylim=(0.8 * FLOOR, 1.2))
    panels[0].set_yscale("log")
    panels[0].set_yticks(list(TICKS), list(TICKS.values()))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _panel(axes: Axes, rows: Frame) -> None:
    for method in methods_in(rows):
        own = rows_of(rows, method=method)
        if method.endswith("_published"):
            axes.plot(own["step"], own["value"], ":", color=COLOURS[method], linewidth=0.9)
            axes.plot([], [], ".:", color=COLOURS[method], mfc="black", mec="black", label=NAMES[method])
            dots(axes, own["step"], own["value"], None)
        else:
            band(axes, own, method)
            axes.plot([], [], color=COLOURS[method], label=NAMES[method])


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
