"""Error of each adjoint against the margin of strict complementarity: one panel an adjoint, the others in grey."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, NothingToDraw, methods_in, panels, rows_of

TABLES = {"metrics": "differentiation/metrics"}
# An error of exactly zero has no place on a logarithmic axis.
FLOOR = 1e-17
COLUMNS = 5


def draw(tables: dict[str, Frame]) -> Figure:
    """Medians over seeds and the range between them; a cross where the adjoint refuses."""
    margin = rows_of(tables["metrics"], split="margin")
    errors, refused = rows_of(margin, metric="gradient_error"), rows_of(margin, metric="refused")
    methods = methods_in(margin)
    if not methods:
        raise NothingToDraw("no adjoint at any margin")
    figure = Figure(figsize=(9.6, 0.8 + 1.7 * -(-len(methods) // COLUMNS)), layout="constrained")
    for method, axes in panels(figure, methods, COLUMNS, "margin", "relative error").items():
        for other in methods_in(errors):
            line(axes, rows_of(errors, method=other), COLOURS[method] if other == method else None)
        crosses = rows_of(refused, method=method)["step"].unique()
        axes.plot(10.0**-crosses, 0 * crosses + 30.0, "x", color=COLOURS[method], markersize=4)
        axes.set(xscale="log", yscale="log", ylim=(FLOOR, 300))
    return figure


def line(axes: Axes, rows: Frame, colour: str | None) -> None:
    """Median and range over seeds against the margin; without a colour the median alone, in grey."""
    by_step = rows.groupby("step")["value"]
    levels = [level.clip(lower=FLOOR) for level in (by_step.min(), by_step.median(), by_step.max())]
    x = 10.0 ** -levels[1].index.to_numpy(float)
    if colour is None:
        axes.plot(x, levels[1], color="0.85", linewidth=0.7, zorder=1)
        return
    axes.plot(x, levels[1], ".-", color=colour, markersize=4)
    axes.fill_between(x, levels[0], levels[2], color=colour, alpha=0.2, linewidth=0)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
