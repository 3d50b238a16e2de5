"""Denoising: how far each trained method is below or above total variation on the same test signals, by epoch."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from figures.style import COLOURS, NAMES, Frame, band, dots, methods_in, printed, rows_of

TABLES = {"metrics": "denoising/metrics", "comparison": "comparison"}
BASELINE = "total_variation_on_test"
# Methods that stay further above total variation than this are named with their last number instead.
REACH = 10.0


def draw(tables: dict[str, Frame]) -> Figure:
    """Change of the test error against total variation, its weight chosen on test, paired over seeds: mean and range.

    Dots are the published curve, full against the published error of total variation, open against its own first epoch,
    where the method is total variation.
    """
    metrics = tables["metrics"]
    curves = rows_of(metrics, metric="mse", split="test")
    below = rows_of(metrics, metric="final_mse", split="test", method=BASELINE).set_index("seed")["value"]
    curves = curves.assign(value=100 * (curves["value"] / curves["seed"].map(below) - 1))
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=COLOURS[BASELINE], linewidth=1)
    axes.text(
        1,
        0,
        "total variation ",
        color=COLOURS[BASELINE],
        fontsize=8,
        ha="right",
        va="bottom",
        transform=axes.get_yaxis_transform(),
    )
    far: list[str] = []
    for method in methods_in(curves):
        own = rows_of(curves, method=method)
        mean = own.groupby("step")["value"].mean()
        if mean.iloc[-1] > REACH:
            far.append(f"{NAMES[method]}: {mean.iloc[-1]:+.0f} % after {mean.index[-1]} epochs")
            continue
        band(axes, own, method)
        axes.plot([], [], color=COLOURS[method], label=NAMES[method])
        _published(axes, tables["comparison"], method)
    axes.set(xlabel="epoch", ylabel="test error against total variation (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    above = [f"above the picture: {said}" for said in far]
    axes.set_title("\n".join(["mean squared error on the same test signals", *above]))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="lower left")
    return figure


def _published(axes: Axes, comparison: Frame, method: str) -> None:
    """The published curve of `method`, against the published number of total variation."""
    curve = printed(comparison, "denoising", method=method, metric="mse", split="test")
    curve = curve[curve["unit"] != "relative change"].drop_duplicates("step")
    below = printed(comparison, "denoising", method=BASELINE, metric="final_mse", split="test")["published"]
    if len(curve) == 0 or len(below) == 0:
        return
    dots(
        axes,
        curve["step"],
        100 * (curve["published"] / below.iloc[0] - 1),
        "published, against its table's total variation",
    )
    start = curve["published"].iloc[0]
    own = 100 * (curve["published"] / start - 1)
    axes.plot(
        curve["step"],
        own,
        "o",
        color="black",
        markersize=4,
        mfc="none",
        label="published, against its own first epoch",
    )


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
