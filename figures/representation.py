"""The maximum of three linear functions learned by a quadratic program and by ReLU networks of growing width."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"summary": "representation/summary", "matrices": "representation/matrices"}
LINES = {"test": "-", "outside": "--"}
PLACES = {"test": "inside the square of training", "outside": "outside it"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: error by width. Middle: along a diagonal. Right: a piecewise-linear function as a program."""
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _errors(left, rows_of(tables["summary"], metric="rms_error"))
    _diagonal(middle, tables["matrices"])
    curve = rows_of(tables["matrices"], matrix="piecewise_linear")
    curve = curve.pivot(index="row", columns="column", values="value")
    if len(curve):
        right.plot(curve[0], curve[1], color="0.6", label="sin x")
        right.plot(
            curve[0], curve[2], color=COLOURS["max_layer"], label="its interpolant, a quadratic program"
        )
    right.set(xlabel="x", title="Theorem 2")
    right.legend(fontsize=7)
    return figure


def _errors(axes: Axes, rows: Frame) -> None:
    if rows.empty:
        axes.set_axis_off()
        return
    rows = rows.assign(
        place=rows["split"].str.rpartition("_")[0], width=rows["split"].str.rpartition("_")[2].astype(int)
    )
    for method in methods_in(rows):
        for place, line in LINES.items():
            own = rows_of(rows, method=method, place=place).sort_values("width")
            bars = [own["mean"] - own["lo"], own["hi"] - own["mean"]]
            axes.errorbar(own["width"], own["mean"], bars, fmt=f".{line}", color=COLOURS[method])
        axes.plot([], [], color=COLOURS[method], label=NAMES[method])
    for place, line in LINES.items():
        axes.plot([], [], line, color="0.4", label=PLACES[place])
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="hidden units, or pieces",
        title="maximum of three linear functions",
    )
    axes.set_ylabel("relative error (unit: r.m.s. of the function)")
    axes.legend(fontsize=7)


def _diagonal(axes: Axes, matrices: Frame) -> None:
    methods = methods_in(matrices[matrices["matrix"].str.startswith("diagonal")])
    for place, method in enumerate(methods):
        own = rows_of(matrices, method=method)
        names = sorted(set(own["matrix"]), key=lambda name: int(name.rpartition("_")[2]))
        name = names[len(names) // 2]
        values = rows_of(own, matrix=name).pivot(index="row", columns="column", values="value")
        if place == 0:
            axes.plot(values[0], values[1], color="0.6", linewidth=3, label="function")
        label = f"{NAMES[method]}, {name.rpartition('_')[2]}"
        axes.plot(values[0], values[2], color=COLOURS[method], label=label)
    axes.set(xlabel="place on the line in direction (1, 1)", title="trained between -1 and 1")
    axes.legend(fontsize=7)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
