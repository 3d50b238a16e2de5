"""Projection on five cones along a line: distance to the cone, and trace of the derivative with its jumps."""

from matplotlib.figure import Figure

from figures.style import Frame, rows_of

TABLES = {"curves": "cone_projections"}
CONES = {
    "nonnegative": ("nonnegative orthant", "#000000"),
    "second_order": ("second-order cone", "#0072B2"),
    "semidefinite": ("semidefinite cone", "#009E73"),
    "exponential": ("exponential cone", "#D55E00"),
    "power": ("power cone, α = 0.3", "#CC79A7"),
}


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: ‖v − Π(v)‖. Right: trace DΠ(v), as points, so that a jump shows as a jump."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for cone, (name, colour) in CONES.items():
        own = rows_of(tables["curves"], cone=cone)
        left.plot(own["position"], own["distance"], color=colour, label=name)
        right.plot(own["position"], own["trace"], ".", color=colour, markersize=3)
    left.set(title="continuous", xlabel="position τ on the line", ylabel="distance to the cone, ‖v − Π(v)‖")
    right.set(title="a jump at every kink", xlabel="position τ on the line", ylabel="trace of DΠ(v)")
    left.legend(fontsize=7)
    return figure
