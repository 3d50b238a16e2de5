"""Does training succeed? Curves of every adjoint on four tasks, and of the losses made for linear programs."""

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, band, dots, methods_in, printed, rows_of

TABLES = {"metrics": "differentiation/metrics", "comparison": "comparison"}
REGRET = "test regret (share of the optimum)"
TASKS = {
    "sudoku": ("mse", "4x4 Sudoku", "test MSE"),
    "denoising": ("mse", "denoising", "test MSE (signal unit squared)"),
    "path, regularised": ("regret", "shortest path, regularised", REGRET),
    "path, linear": ("regret", "shortest path, linear program", REGRET),
    "path": ("regret", "shortest path, losses made for it", REGRET),
}


def draw(tables: dict[str, Frame]) -> Figure:
    """Means over seeds and their range; who was refused, so that training ended, is told in the panel.

    Dots are the published regrets of one run of each loss after 20 epochs, the end of the axis.
    """
    figure = Figure(figsize=(9.6, 6.2), layout="constrained")
    grid = figure.subplots(2, 3).flat
    for axes, (split, (metric, title, label)) in zip(grid, TASKS.items(), strict=False):
        _curves(axes, rows_of(tables["metrics"], split=split), metric)
        axes.set(title=title, xlabel="steps", ylabel=label, ylim=(0, None))
    losses, empty = figure.axes[len(TASKS) - 1], figure.axes[-1]
    losses.set_ylim(0, 0.3)
    known = printed(tables["comparison"], "differentiation", split="path", metric="final_regret")
    end = rows_of(tables["metrics"], split="path", metric="regret")["step"].max()
    dots(losses, [end] * len(known), known["published"], "published" if len(known) else None)
    losses.legend(fontsize=8)
    empty.axis("off")
    handles: dict[str, Artist] = {}
    for axes in figure.axes[: len(TASKS) - 1]:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    empty.legend(handles.values(), handles.keys(), loc="center", fontsize=8, ncols=2)
    return figure


def _curves(axes: Axes, task: Frame, metric: str) -> None:
    curves, refused = rows_of(task, metric=metric), methods_in(rows_of(task, metric="refused"))
    for place, method in enumerate(methods_in(task)):
        own = rows_of(curves, method=method)
        if len(own):
            band(axes, own, method)
        # Many adjoints give one curve: markers at different places show all of them.
        mean = own.groupby("step")["value"].mean()
        some = mean.iloc[[place % len(mean)]] if len(mean) else mean
        axes.plot(some.index, some, "o", color=COLOURS[method], markersize=4, label=NAMES[method])
    if refused:
        words = "refused:\n" + "\n".join(NAMES[method] for method in refused)
        corner = axes.transAxes
        axes.text(0.97, 0.97, words, transform=corner, fontsize=7, ha="right", va="top")


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
