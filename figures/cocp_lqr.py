"""Controllers learned for linear systems: beside the published numbers, and what is left on fresh trajectories."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, band, half_width, published, rows_of

TABLES = {"metrics": "cocp_lqr/metrics"}
# What a learned policy is compared with on the same fresh trajectories: policy, other policy, what is said of the pair.
PAIRS = (
    ("unconstrained", "unconstrained/optimal", "without bounds:\nlearned against the optimum"),
    ("box", "box/bound_policy", "with bounds: learned against\nthe policy of the lower bound"),
)


def draw(tables: dict[str, Frame]) -> Figure:
    """Left and middle: mean and range over seeds; the thin line is the seed with the published random numbers.

    Right: paired difference of the cost on fresh trajectories: a dot for each seed, the mean, the 95 % interval of t.
    """
    metrics = tables["metrics"]
    figure = Figure(figsize=(10.5, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw(left, metrics, "unconstrained", "gap")
    left.axhline(0, color="0.3", linewidth=0.8)
    left.set(ylabel="cost of a period above the optimum", title="without bounds")
    left.set_xlim(-0.5, 20)
    _draw(middle, metrics, "box", "cost")
    for name, metric, colour, label in (
        ("lower_bound", "average_cost", "minimum_variance", "no controller below, over all time"),
        ("bound_policy", "final_cost", "tuned_from_search", "policy of that bound"),
    ):
        rows = rows_of(metrics, method=f"box/{name}", metric=metric)
        mean = rows[rows["split"] != "fresh"]["value"].mean()
        middle.axhline(mean, color=COLOURS[colour], linestyle=":", label=label)
    middle.set(ylabel="cost of a period", title="controls of at most 0.1")
    for axes in (left, middle):
        axes.legend(fontsize=7)
    _gaps(right, rows_of(metrics, metric="final_cost", split="fresh"))
    return figure


def _draw(axes: Axes, metrics: Frame, problem: str, metric: str) -> None:
    curves = rows_of(metrics, metric=metric, split="test")
    ours = rows_of(curves, method=problem)
    band(axes, ours, "tuned")
    axes.plot([], [], color=COLOURS["tuned"], label="learned (layer)")
    published(axes, rows_of(curves, method=f"{problem}/published"), ours, "tuned")
    axes.set(xlabel="step, on six test trajectories")


def _gaps(axes: Axes, costs: Frame) -> None:
    pairs = [pair for pair in PAIRS if set(pair[:2]) <= set(costs["method"])]
    if not pairs:
        axes.set_axis_off()
        return
    for place, (learned, other, _) in enumerate(pairs):
        ours, theirs = (rows_of(costs, method=name).set_index("seed")["value"] for name in (learned, other))
        change = 100 * (ours / theirs - 1).dropna().to_numpy()
        axes.plot(change, [place] * len(change), "o", color=COLOURS["tuned"], alpha=0.45, markersize=3.5)
        axes.errorbar(
            change.mean(), place + 0.15, xerr=half_width(change), fmt="o", color=COLOURS["tuned"], capsize=3
        )
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(pairs)), [said for *_, said in pairs], fontsize=7)
    axes.set(
        xlabel="cost, learned against the other (%)",
        ylim=(len(pairs) - 0.5, -0.5),
        title="fresh trajectories, paired",
    )


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
