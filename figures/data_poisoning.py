"""Poisoned training data: the arrows of the attack, and the rise of the test loss that they predict and cause."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, rows_of

TABLES = {"metrics": "data_poisoning/metrics", "signals": "data_poisoning/signals"}
CLASSES = (COLOURS["total_variation"], COLOURS["wavelet"])
PREDICTED, ACTUAL, ITERATED, CONTROL = (
    COLOURS[name] for name in ("clean", "optnet_tuned_tv", "fully_connected", "noisy")
)
TITLES = {"blobs": "two blobs", "breast_cancer": "breast cancer"}
# The longest arrow, in units of the picture.
LONGEST = 2.0


def draw(tables: dict[str, Frame]) -> Figure:
    """Left the paper's picture, right the rise of the test loss against the radius of the attack, by data set."""
    metrics, signals = tables["metrics"], tables["signals"]
    present = [name for name in TITLES if name in set(metrics["method"])]
    pictured = "blobs/points" in set(signals["method"])
    figure = Figure(figsize=(3.3 * (len(present) + pictured), 3.2), layout="constrained")
    panels = figure.subplots(1, len(present) + pictured, squeeze=False)[0]
    if pictured:
        _draw_points(panels[0], signals)
    for axes, name in zip(panels[pictured:], present, strict=True):
        _draw_rise(axes, metrics, name)
    return figure


def _draw_points(axes: Axes, signals: Frame) -> None:
    points = _rows(signals, "blobs/points")
    places, labels, gradients = points[:, :2], points[:, 2], points[:, 3:]
    arrows = LONGEST * gradients / np.linalg.norm(gradients, axis=1).max()
    for label, colour in enumerate(CLASSES):
        axes.plot(*places[labels == label].T, "o", markersize=4, color=colour, label=f"class {label}")
    axes.quiver(*places.T, *arrows.T, angles="xy", scale_units="xy", scale=1, width=0.004, color="0.2")
    low, high = places.min(axis=0) - 1, places.max(axis=0) + 1
    across = np.linspace(low[0], high[0], 2)
    for name, style, text in (
        ("blobs/fitted", "--", "fitted to the training points"),
        ("blobs/fitted to the test", "-", "fitted to the test"),
    ):
        first, second, offset = _rows(signals, name)[0]
        axes.plot(across, -(first * across + offset) / second, style, color="0.4", linewidth=1.2, label=text)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set(title="arrows: gradient of the test loss", xlabel="first coordinate")
    axes.set_ylabel("second coordinate")
    axes.legend(fontsize=6)


def _draw_rise(axes: Axes, metrics: Frame, name: str) -> None:
    curves = (
        (f"{name}", "predicted_increase", "predicted by the gradient", PREDICTED, "--"),
        (f"{name}/one_step", "increase", "one step", ACTUAL, "o-"),
        (f"{name}/iterated", "increase", "iterated", ITERATED, "s-"),
        (f"{name}/random", "increase", "random signs", CONTROL, "^-"),
    )
    for method, metric, label, colour, style in curves:
        own = rows_of(metrics, method=method, metric=metric)
        radius = own["split"].str.removeprefix("radius ").astype(float)
        rise = own["value"].groupby(radius)
        axes.plot(rise.mean().index, rise.mean(), style, color=colour, markersize=3.5, label=label)
        axes.fill_between(rise.mean().index, rise.min(), rise.max(), color=colour, alpha=0.12, linewidth=0)
    smallest = rows_of(metrics, method=name, metric="predicted_increase")["value"].min()
    axes.set_xscale("log")
    # Random signs lower the loss as often as they raise it.
    axes.set_yscale("symlog", linthresh=float(smallest))
    axes.set_ylim(bottom=-float(smallest))
    axes.set(title=TITLES[name], xlabel="radius of the attack (unit of a coordinate)")
    axes.set_ylabel("rise of the test loss (nat)")
    axes.legend(fontsize=6)


def _rows(signals: Frame, method: str) -> np.ndarray:
    table = rows_of(signals, method=method)
    return table.pivot(index="signal", columns="index", values="value").to_numpy()


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
