"""Learning curves of the denoising study: test and training error by epoch, beside total variation."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from figures.style import COLOURS, NAMES, Frame, band, methods_in, rows_of

TABLES = {"metrics": "denoising/metrics"}
TICKS = (5, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)


def draw(tables: dict[str, Frame]) -> Figure:
    """One panel for each trained method; bands are the range over seeds."""
    metrics = tables["metrics"]
    curves = rows_of(metrics, metric="mse")
    baseline = rows_of(metrics, metric="final_mse", method="total_variation", split="test")["value"]
    methods = methods_in(curves)
    figure = Figure(figsize=(3.0 * len(methods), 3.0), layout="constrained")
    panels = figure.subplots(1, len(methods), squeeze=False)[0]
    for axes, method in zip(panels, methods, strict=True):
        own = rows_of(curves, method=method)
        band(axes, rows_of(own, split="test"), method)
        band(axes, rows_of(own, split="train"), method, dashed=True)
        axes.axhline(baseline.mean(), color=COLOURS["total_variation"], linewidth=1)
        axes.axhspan(
            baseline.min(), baseline.max(), color=COLOURS["total_variation"], alpha=0.12, linewidth=0
        )
        axes.set(title=NAMES[method], xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        _scale(axes, min(own["value"].min(), baseline.min()), max(own["value"].max(), baseline.max()))
    panels[0].set_ylabel("mean squared error (signal unit squared)")
    panels[0].plot([], [], color="0.3", label="test")
    panels[0].plot([], [], "--", color="0.3", label="training, met on the way")
    panels[0].plot([], [], color=COLOURS["total_variation"], label="total variation, test")
    panels[0].legend(fontsize=7)
    return figure


def _scale(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis where the curve falls by more than a factor, with ticks that can be read."""
    axes.set_ylim(0.95 * low, 1.05 * high)
    if high > 3 * low > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(FixedLocator(TICKS))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
