"""The logarithmic barrier on min ½(y − x)², y ≥ 0: solution, derivative, and the order of the limit."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import Frame, rows_of

TABLES = {"curves": "barrier_limit", "order": "barrier_order"}
PALETTE = {"1.0": "#56B4E9", "10.0": "#0072B2", "100.0": "#009E73", "1000.0": "#E69F00", "limit": "#000000"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Left and middle: solution and derivative for growing t; right: distance to the limit against t."""
    curves, order = tables["curves"], tables["order"]
    figure = Figure(figsize=(9.6, 3.0), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for t in dict.fromkeys(curves["t"].astype(str)):
        own = curves[curves["t"].astype(str) == t]
        name = "limit" if t == "limit" else f"t = {float(t):.0f}"
        colour = PALETTE[t if t == "limit" else str(float(t))]
        left.plot(own["x"], own["y"], color=colour, label=name)
        middle.plot(own["x"], own["slope"], color=colour)
    left.set(xlabel="x", ylabel="g_t(x)", title="solution")
    middle.set(xlabel="x", ylabel="g_t′(x)", title="derivative: ½ at the kink for every t")
    left.legend(fontsize=7)
    for point, colour in (("strictly complementary", "#0072B2"), ("one weakly active", "#D55E00")):
        own = rows_of(order, point=point)
        right.loglog(own["t"], own["distance"], ".-", color=colour, label=point)
    ends = np.array([1e2, 1e12])
    right.loglog(ends, 1 / ends, ":", color="0.4", label="slope −1")
    right.loglog(ends, ends**-0.5, "--", color="0.4", label="slope −½")
    right.set(xlabel="t", ylabel="distance to the limit", title="order of the limit (QP in R⁴)")
    right.legend(fontsize=7)
    return figure
