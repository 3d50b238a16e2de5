"""Time and error of the derivative of a controller by the number of iterations that find it."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, dots, methods_in, rows_of

TABLES = {"timings": "mpc_timing/timings", "metrics": "mpc_timing/metrics"}
PASSES = {"forward": "forward pass", "backward": "backward pass"}
QUARTILES = ("lower quartile", "median", "upper quartile")
# An error of exactly zero has no place on a logarithmic axis.
FLOOR = 1e-16


def draw(tables: dict[str, Frame]) -> Figure:
    """Left and middle: seconds, means over seeds of medians and quartiles; right: error of the derivative."""
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (name, title) in zip(panels, PASSES.items(), strict=False):
        _times(axes, tables["timings"], name)
        axes.set(title=title, xscale="log", yscale="log", xlabel="iterations", ylabel="time (unit s)")
    errors = rows_of(tables["metrics"], metric="gradient_error")
    for method in methods_in(errors):
        own = rows_of(errors, method=method).groupby("step")["value"]
        levels = (own.min().clip(lower=FLOOR), own.median().clip(lower=FLOOR), own.max().clip(lower=FLOOR))
        panels[2].plot(levels[1].index, levels[1], ".-", color=COLOURS[method])
        panels[2].fill_between(levels[1].index, levels[0], levels[2], color=COLOURS[method], alpha=0.15)
    panels[2].set(
        title="derivative", xscale="log", yscale="log", xlabel="iterations", ylabel="relative error"
    )
    panels[1].plot(
        [],
        [],
        ".:",
        color="0.4",
        mfc="black",
        mec="black",
        label="published, of its own iteration and machine",
    )
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _times(axes: Axes, timings: Frame, name: str) -> None:
    for method in methods_in(timings):
        slope = rows_of(timings, method=method, phase=f"{name} slope")["value"].mean()
        rows = timings[(timings["method"] == method) & timings["phase"].str.match(rf"{name} \d+ ")]
        words = rows["phase"].str.split(" ", n=2, expand=True)
        rows = rows.assign(count=words[1].astype(int), level=words[2])
        table = rows.pivot_table(index="count", columns="level", values="value", aggfunc="mean")
        if method.endswith("_published"):
            axes.plot(table.index, table["median"], ":", color=COLOURS[method], linewidth=0.9)
            dots(axes, table.index, table["median"], None)
            continue
        axes.plot(
            table.index,
            table["median"],
            ".-",
            color=COLOURS[method],
            label=f"{NAMES[method]}, slope {slope:.2f}",
        )
        lower, upper = table[QUARTILES[0]], table[QUARTILES[2]]
        axes.fill_between(table.index, lower, upper, color=COLOURS[method], alpha=0.15, linewidth=0)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
