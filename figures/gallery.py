"""The example programs of cvxpylayers: what each learned, beside its baselines."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from figures.style import COLOURS, Frame, dots, printed, rows_of

TABLES = {"metrics": "gallery/metrics", "signals": "gallery/signals", "comparison": "comparison"}
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
    """One panel for each program: mean and range over seeds; the thin line is the seed with the notebook's numbers.

    Lines across are means of baselines. Black dots are what the notebooks print; that of a line stands at its end. The
    last panel has the printed numbers that are no points of a curve.
    """
    metrics = tables["metrics"]
    draws: list[Callable[[Axes], None]] = [
        lambda axes, name=name: _draw_curve(axes, metrics, name, tables["comparison"])
        for name in CURVES
        if name in set(metrics["method"])
    ]
    if "elastic_net/alpha" in set(tables["signals"]["method"]):
        draws.append(lambda axes: _draw_derivative(axes, tables["signals"]))
    single = printed(tables["comparison"], "gallery")
    single = single[single["step"].isna() & (single["verdict"] != "not comparable")]
    if len(single):
        draws.append(lambda axes: _draw_single(axes, single))
    columns = min(4, len(draws))
    rows = -(-len(draws) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, panel in zip(grid, draws, strict=False):
        panel(axes)
    for axes in grid[len(draws) :]:
        axes.set_axis_off()
    return figure


def _draw_curve(axes: Axes, metrics: Frame, name: str, comparison: Frame) -> None:
    title, label, split, metric = CURVES[name]
    curve = rows_of(metrics, method=name, split=split, metric=metric)
    first = rows_of(curve, seed=curve["seed"].min()).sort_values("step")
    axes.plot(first["step"], first["value"], color=LAYER, linewidth=0.7)
    own = curve.groupby("step")["value"]
    axes.plot(own.mean().index, own.mean(), color=LAYER, label="layer")
    axes.fill_between(own.mean().index, own.min(), own.max(), color=LAYER, alpha=0.15, linewidth=0)
    for suffix, (text, colour) in LINES.items():
        final = rows_of(metrics, method=f"{name}/{suffix}", split=split, metric="final_mse")["value"]
        if len(final):
            axes.axhline(final.mean(), color=colour, linewidth=1, linestyle="--", label=text)
            known = printed(comparison, "gallery", method=f"{name}/{suffix}", split=split)
            known = known[known["metric"].isin(("mse", "final_mse"))].tail(1)
            dots(axes, [own.mean().index.max()] * len(known), known["published"], None)
    known = printed(comparison, "gallery", method=name, split=split)
    known = known[known["metric"].isin((metric, f"initial_{metric}", f"final_{metric}"))]
    ends = known["metric"].map(
        {f"initial_{metric}": own.mean().index.min(), f"final_{metric}": own.mean().index.max()}
    )
    dots(axes, known["step"].fillna(ends), known["published"], "printed" if len(known) else None)
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


def _draw_single(axes: Axes, rows: Frame) -> None:
    """Ours against the printed number, both as they are; what agrees lies on the line."""
    ends = [
        min(rows["published"].min(), rows["ours"].min()),
        max(rows["published"].max(), rows["ours"].max()),
    ]
    axes.plot(ends, ends, color="0.7", linewidth=0.8)
    dots(axes, rows["published"], rows["ours"], None)
    axes.set_xscale("symlog", linthresh=1e-2)
    axes.set_yscale("symlog", linthresh=1e-2)
    axes.set_xticks([-1, -0.01, 0.01, 1], ["-1", "-0.01", "0.01", "1"])
    axes.set_yticks([-1, -0.01, 0.01, 1], ["-1", "-0.01", "0.01", "1"])
    axes.set(title=f"{len(rows)} single numbers", xlabel="printed", ylabel="ours")


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
