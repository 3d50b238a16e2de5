"""The picture that explains: the gradient that each adjoint returns around a kink of the solution map.

The solution is the projection of x on the half-plane below the line. Below, the gradient of w'z in x is w itself;
above, its part along the line; on the line either is a limit, and anything between them is in Clarke's derivative.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, NothingToDraw, methods_in, panels, rows_of

TABLES = {"matrices": "differentiation/matrices"}
COLUMNS = 5


def draw(tables: dict[str, Frame]) -> Figure:
    """An arrow at every x, black on the kink itself; a cross where the adjoint refuses."""
    table = tables["matrices"]
    methods = methods_in(rows_of(table, matrix="gradient_1"))
    if not methods or not len(rows_of(table, matrix="x_1")):
        raise NothingToDraw("no adjoint around the kink")
    x = [entries(table, f"x_{axis}") for axis in (1, 2)]
    figure = Figure(figsize=(9.6, 1.0 + 2.0 * -(-len(methods) // COLUMNS)), layout="constrained")
    for method, axes in panels(figure, methods, COLUMNS, "x₁", "x₂").items():
        own = rows_of(table, method=method)
        arrows(axes, x, [entries(own, f"gradient_{axis}") for axis in (1, 2)], COLOURS[method])
    return figure


def arrows(axes: Axes, x: list[np.ndarray], gradient: list[np.ndarray], colour: str) -> None:
    """Gradients at points of the plane, the half-plane of the constraint in grey."""
    reach = float(max(abs(part).max() for part in x)) + 0.4
    axes.fill_between([-reach, reach], [reach, -reach], -reach, color="0.93", zorder=0)
    axes.plot([-reach, reach], [reach, -reach], color="0.5", linewidth=0.8, zorder=1)
    refused, at_kink = np.isnan(gradient[0]), np.abs(x[0] + x[1]) < 1e-12
    for chosen, shade in ((~at_kink & ~refused, colour), (at_kink & ~refused, "black")):
        shown = [part[chosen] for part in (*x, *gradient)]
        axes.quiver(*shown, color=shade, angles="xy", scale_units="xy", scale=3.0, width=0.012, zorder=2)
    axes.plot(x[0][refused], x[1][refused], "x", color="black", markersize=4)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.grid(visible=False)


def entries(table: Frame, name: str) -> np.ndarray:
    """A recorded matrix."""
    return rows_of(table, matrix=name).pivot(index="row", columns="column", values="value").to_numpy()


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
