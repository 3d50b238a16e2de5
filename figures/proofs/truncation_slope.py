"""Alt-Diff stopped early: the error of the gradient against that of the iterate, on logarithmic axes."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import Frame, rows_of

TABLES = {"errors": "truncation_slope"}
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def draw(tables: dict[str, Frame]) -> Figure:
    """One cloud of points for each quadratic program, and a line of slope 1."""
    errors = tables["errors"]
    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for colour, instance in zip(PALETTE, sorted(set(errors["instance"])), strict=False):
        own = rows_of(errors, instance=instance)
        label = f"program {instance + 1}"
        axes.loglog(own["iterate_error"], own["gradient_error"], ".", color=colour, markersize=4, label=label)
    ends = np.array([errors["iterate_error"].min(), errors["iterate_error"].max()])
    axes.loglog(ends, ends, color="0.3", linewidth=1, label="slope 1")
    axes.set(xlabel="error of the iterate, ‖x_k − x*‖", ylabel="error of the gradient, ‖∂x_k − ∂x*‖")
    axes.set_title("the later the sweep, the further to the left")
    axes.legend(fontsize=7)
    return figure
