"""The learned operator D of the denoising study, before and after training."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import NAMES, Frame, methods_in, rows_of

TABLES = {"matrices": "denoising/matrices"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Heat maps before and after training; of tuned total variation the change, which is small."""
    matrices = tables["matrices"]
    methods = methods_in(matrices, ("optnet_pure", "optnet_tuned_tv"))
    figure = Figure(figsize=(6.4, 2.8 * len(methods)), layout="constrained")
    for (left, right), method in zip(figure.subplots(len(methods), 2, squeeze=False), methods, strict=True):
        own = rows_of(matrices, method=method)
        before, after = (_matrix(rows_of(own, matrix=name)) for name in ("initial", "final"))
        if method == "optnet_pure":
            _show(left, _sorted(before), "before training")
            _show(right, _sorted(after), "after training")
        else:
            _show(left, before, "before training: differences")
            _show(right, after - before, "after training: change")
        left.set_ylabel(f"{NAMES[method]}\nrow of D")
    return figure


def _show(axes: Axes, entries: np.ndarray, title: str) -> None:
    # Few entries far from the rest would leave the others without colour.
    limit = np.quantile(np.abs(entries[entries != 0]), 0.98) if entries.any() else 1.0
    image = axes.imshow(entries, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.figure.colorbar(image, ax=axes, shrink=0.75, label="entry of D")
    axes.set(title=title, xlabel="sample")
    axes.grid(False)


def _matrix(rows: Frame) -> np.ndarray:
    return rows.pivot(index="row", columns="column", values="value").to_numpy()


def _sorted(entries: np.ndarray) -> np.ndarray:
    """Rows by centre of mass; their sign means nothing, so the largest entry is made positive."""
    weight = entries**2
    centre = weight @ np.arange(entries.shape[1]) / weight.sum(axis=1)
    ordered = entries[np.argsort(centre)]
    largest = np.take_along_axis(ordered, np.abs(ordered).argmax(axis=1)[:, None], axis=1)
    return ordered * np.sign(largest)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
