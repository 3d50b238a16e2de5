"""Two runs in one figure: what the second drew is laid over the first, dashed."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from experiments.common.errors import ConfigError


def lay_over(figure: Figure, other: Figure) -> None:
    """Add the lines and bars of `other` to the axes of `figure`: dashed, hollow, in their own colours.

    Raises
    ------
    ConfigError
        If the figures have not the same panels, or nothing that could be laid over.
    """
    if len(figure.axes) != len(other.axes):
        raise ConfigError(
            f"the runs do not go into one figure: {len(figure.axes)} panels and {len(other.axes)}; draw each alone"
        )
    if not sum([_add(own, theirs) for own, theirs in zip(figure.axes, other.axes, strict=True)]):
        raise ConfigError("the runs do not go into one figure: it has no lines and no bars; draw each alone")


def _add(axes: Axes, other: Axes) -> int:
    # Lines across a panel and the like stand in other coordinates, and say nothing that the first run did not.
    lines = [
        line for line in other.lines if line.get_transform() == other.transData and np.size(line.get_xdata())
    ]
    bars = [
        patch
        for patch in other.patches
        if isinstance(patch, Rectangle) and patch.get_data_transform() == other.transData
    ]
    for line in lines:
        axes.add_line(_dashed(line))
    for bar in bars:
        outline = Rectangle(bar.get_xy(), bar.get_width(), bar.get_height(), fill=False, linestyle="--")
        axes.add_patch(outline)
    axes.autoscale_view()
    return len(lines) + len(bars)


def _dashed(line: Line2D) -> Line2D:
    style: Any = {"-": "--", "--": ":"}.get(str(line.get_linestyle()), line.get_linestyle())
    return Line2D(
        line.get_xdata(),
        line.get_ydata(),
        color=line.get_color(),
        linestyle=style,
        linewidth=line.get_linewidth(),
        marker=line.get_marker(),
        markersize=line.get_markersize(),
        markerfacecolor="none",
    )
