"""Time against the number of variables, forward and backward, for every engine."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures.benchmarks.engines import curve, present
from figures.style import Frame

GROUP = "size"


def draw(table: Frame) -> Figure:
    """Two panels, forward and backward, medians in milliseconds on logarithmic axes."""
    rows = table[table["group"] == GROUP]
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
    for axes, phase in zip(panels, ("forward", "backward"), strict=True):
        for engine in present(rows):
            curve(axes, rows[rows["phase"] == phase], engine, "n")
        axes.set(xscale="log", yscale="log", xlabel="variables n", title=phase)
    panels[0].set_ylabel("time (ms)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.suptitle(
        "8 problems, m = n, p = n/4; hollow marks: not accurate enough to count",
        fontsize=8,
        x=0.01,
        ha="left",
    )
    return figure
