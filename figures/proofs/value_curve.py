"""The optimal value against a bound h, with tangents of slope −λ: the multiplier is the shadow price."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import Frame

TABLES = {"curve": "value_curve"}
# Where tangents are drawn, and half their length.
POINTS, REACH = (0.5, 1.0, 2.0, 3.0, 3.5), 0.45
LINE, TANGENT = "#0072B2", "#D55E00"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left, optimal value with tangents; right, the multiplier beside difference quotients of the value (dots).

    At h = 1 and h = 3 the active set changes: the multiplier has a kink there, the value has none.
    """
    curve = tables["curve"].sort_values("bound")
    bound, value, multiplier = (curve[name].to_numpy() for name in ("bound", "value", "multiplier"))
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(bound, value, color=LINE, label="optimal value p*(h)")
    for number, point in enumerate(POINTS):
        nearest = np.abs(bound - point).argmin()
        ends = bound[nearest] + REACH * np.array([-1.0, 1.0])
        tangent = value[nearest] - multiplier[nearest] * (ends - bound[nearest])
        left.plot(ends, tangent, color=TANGENT, linewidth=1.6, label="slope −λ" if number == 0 else None)
        left.plot(bound[nearest], value[nearest], "o", color=TANGENT, markersize=3.5)
    left.set(xlabel="bound h", ylabel="optimal value", title="min ½‖z‖² − 2z₁ − z₂, z₁ + z₂ ≤ h, z ≥ 0")
    right.plot(bound, multiplier, color=TANGENT, label="multiplier λ(h)")
    quotients = -(value[2::4] - value[:-2:4]) / (bound[2::4] - bound[:-2:4])
    right.plot(bound[1:-1:4], quotients, ".", color="black", label="−(p*(h + ε) − p*(h − ε)) / 2ε")
    right.set(xlabel="bound h", ylabel="multiplier λ", title="kinks where the active set changes")
    for axes in (left, right):
        axes.legend(fontsize=7)
    return figure
