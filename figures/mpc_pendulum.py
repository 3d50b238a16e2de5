"""Imitating a controller of the pendulum: test loss by epoch, by number of trajectories, and with the wrong model."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, band, methods_in, rows_of

TABLES = {"metrics": "mpc_pendulum/metrics"}
WRONG = "_misspecified"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: by epoch, largest training set. Middle: by its size, with published values. Right: wrong model."""
    metrics = tables["metrics"]
    wrong = metrics["method"].str.endswith(WRONG)
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, rows, split, title in (
        (panels[0], metrics[~wrong], "test", "right model, test"),
        (panels[2], metrics[wrong], "train", "model without damping and bias, training"),
    ):
        _by_epoch(axes, rows_of(rows, metric="imitation_loss"), split)
        axes.set(title=title, yscale="log", xlabel="epoch")
    _by_size(panels[1], metrics[~wrong])
    panels[0].set(ylabel="imitation loss (unit N² m²)")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


def _by_epoch(axes: Axes, rows: Frame, split: str) -> None:
    counts = rows["split"].str.extract(rf"^{split}_(\d+)$")[0].dropna().astype(int)
    largest = rows[rows["split"] == f"{split}_{counts.max()}"]
    for method in methods_in(largest):
        band(axes, rows_of(largest, method=method), method)


def _by_size(axes: Axes, rows: Frame) -> None:
    run = set(rows_of(rows, metric="final_imitation_loss")["method"])
    rows = rows[rows["method"].str.removesuffix("_published").isin(run)]
    for metric, style in (("final_imitation_loss", "o-"), ("published_imitation_loss", "x:")):
        chosen = rows_of(rows, metric=metric)
        chosen = chosen.assign(count=chosen["split"].str.removeprefix("test_").astype(int))
        for method in methods_in(chosen):
            own = rows_of(chosen, method=method).groupby("count")["value"]
            label = None if method.endswith("_published") else NAMES[method]
            axes.plot(own.mean().index, own.mean(), style, color=COLOURS[method], markersize=4, label=label)
            axes.vlines(own.mean().index, own.min(), own.max(), color=COLOURS[method], linewidth=0.8)
    axes.plot([], [], "x:", color="0.4", label="published")
    axes.set(
        title="best epoch on validation, test", xscale="log", yscale="log", xlabel="training trajectories"
    )
