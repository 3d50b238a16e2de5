"""The example programs of cvxpylayers: what each learned, beside its baselines."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from figures.style import COLOURS, Frame, rows_of

TABLES = {"metrics": "gallery/metrics", "signals": "gallery/signals", "matrices": "gallery/matrices"}
LAYER, TRUTH, BASELINE = COLOURS["optnet_tuned_tv"], COLOURS["clean"], COLOURS["total_variation"]
NETWORK = COLOURS["fully_connected"]

# Program: title, label of the curve, split of the curve, metric of the curve.
CURVES = {
    "monotone_regression": ("monotone regression", "validation MSE", "validation", "mse"),
    "resource_allocation": ("resource allocation", "validation MSE", "validation", "mse"),
    "signal_denoising": ("signal denoising", "validation MSE", "validation", "mse"),
    "constrained_mpc": ("imitated MPC", "validation MSE", "validation", "mse"),
    "relu_network": ("ReLU layers", "training MSE", "train", "mse"),
    "stiffness": ("stiffness of springs", "squared distance", "train", "distance"),
}
LINES = {
    "least_squares": ("least squares", BASELINE),
    "identity": (r"$\theta = I$, best $\lambda$", BASELINE),
    "network": ("network", NETWORK),
    "true_parameters": ("true parameters", TRUTH),
}


def draw(tables: dict[str, Frame]) -> Figure:
    """One panel for each program; bands are the range over seeds, lines across are means of baselines."""
    metrics = tables["metrics"]
    draws: list[Callable[[Axes], None]] = [
        lambda axes, name=name: _draw_curve(axes, metrics, name)
        for name in CURVES
        if name in set(metrics["method"])
    ]
    if "elastic_net/alpha" in set(tables["signals"]["method"]):
        draws.append(lambda axes: _draw_derivative(axes, tables["signals"]))
    if "optimal_transport" in set(tables["matrices"]["method"]):
        draws.append(lambda axes: _draw_plan(axes, tables["matrices"]))
    columns = min(4, len(draws))
    rows = -(-len(draws) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, draws, strict=False):
        panel(axes)
    for axes in grid[len(draws) :]:
        axes.set_axis_off()
    return figure


def _draw_curve(axes: Axes, metrics: Frame, name: str) -> None:
    title, label, split, metric = CURVES[name]
    own = rows_of(metrics, method=name, split=split, metric=metric).groupby("step")["value"]
    axes.plot(own.mean().index, own.mean(), color=LAYER, label="layer")
    axes.fill_between(own.mean().index, own.min(), own.max(), color=LAYER, alpha=0.15, linewidth=0)
    for suffix, (text, colour) in LINES.items():
        final = rows_of(metrics, method=f"{name}/{suffix}", split=split, metric="final_mse")["value"]
        if len(final):
            axes.axhline(final.mean(), color=colour, linewidth=1, linestyle="--", label=text)
    if own.max().max() > 5 * own.min().min() > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set(title=title, xlabel="step" if split == "train" else "epoch", ylabel=label)
    axes.legend(fontsize=6)


def _draw_derivative(axes: Axes, signals: Frame) -> None:
    table = rows_of(signals, method="elastic_net/alpha")
    weight, _, gradient, numeric = (
        rows_of(table, signal=signal).sort_values("index")["value"].to_numpy() for signal in range(4)
    )
    axes.semilogx(weight, gradient, color=LAYER, label="through the layer")
    axes.semilogx(weight, numeric, "--", color=TRUTH, linewidth=1, label="differences")
    axes.set(title="elastic net", xlabel=r"ridge $\alpha$", ylabel="slope of the test loss")
    axes.legend(fontsize=6)


def _draw_plan(axes: Axes, matrices: Frame) -> None:
    table = rows_of(matrices, method="optimal_transport", matrix="plan")
    plan: np.ndarray = table.pivot(index="row", columns="column", values="value").to_numpy()
    image = axes.imshow(plan, cmap="Blues", vmin=0)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="mass (unit 1)")
    axes.set(title="optimal transport", xlabel="to point", ylabel="from point")
    axes.set_xticks(range(plan.shape[1]))
    axes.set_yticks(range(plan.shape[0]))
    axes.grid(False)
