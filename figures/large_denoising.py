"""Whole signals as one sparse program: what each method makes of record and image, and how much noise is left."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, methods_in, rows_of

TABLES = {
    "signals": "large_denoising/signals",
    "matrices": "large_denoising/matrices",
    "summary": "large_denoising/summary",
}
SHOWN = ("noisy", "total_variation", "map_windows", "map_whole", "clean")
WHOLE = "map_whole"
SHORT = {
    "noisy": "noisy",
    "clean": "clean",
    "total_variation": "one weight",
    "map_windows": "map, windows",
    "map_whole": "map, whole",
}


def draw(tables: dict[str, Frame]) -> Figure:
    """Above the middle of the image, test blocks alone, and the learned weights; below the record and what is left."""
    signals = tables["signals"]
    methods = methods_in(rows_of(signals, experiment="large_denoising_image"), SHOWN)
    if "clean" not in methods:
        raise NothingToDraw(f"none of {SHOWN} was run")
    figure = Figure(figsize=(10.0, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.1], squeeze=False)[:, 0]
    _pictures(above, tables, methods)
    left, right = below.subfigures(1, 2, width_ratios=[1, 1], squeeze=False)[0]
    _record(left.subplots(), rows_of(signals, experiment="large_denoising_ecg"))
    _ratios(right, rows_of(tables["summary"], metric="output_snr", split="test"))
    return figure


def _pictures(figure: SubFigure, tables: dict[str, Frame], methods: list[str]) -> None:
    maps = rows_of(tables["matrices"], experiment="large_denoising_image", method=WHOLE, matrix="weights")
    panels = figure.subplots(1, len(methods) + bool(len(maps)), squeeze=False)[0]
    seen = _grid(tables["signals"], "clean") > 0  # answers are kept where they count
    for axes, method in zip(panels, methods, strict=False):
        grid = _grid(tables["signals"], method)
        axes.imshow(grid if method == "noisy" else np.where(seen, grid, np.nan), cmap="gray", vmin=0, vmax=1)
        axes.set_title(SHORT.get(method) or NAMES[method], color=COLOURS[method])
    if len(maps):
        grid = maps.pivot_table(index="row", columns="column", values="value")
        drawn = panels[-1].imshow(grid.to_numpy(), cmap="viridis")
        panels[-1].set_title("weights of the map")
        figure.colorbar(drawn, ax=panels[-1], shrink=0.75)
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)


def _grid(signals: Frame, method: str) -> np.ndarray:
    own = rows_of(signals, experiment="large_denoising_image", method=method)
    return own.pivot_table(index="signal", columns="index", values="value").to_numpy()


def _record(axes: Axes, record: Frame) -> None:
    for method, width in (("noisy", 0.5), ("clean", 1.0), ("total_variation", 1.0), (WHOLE, 1.3)):
        own = rows_of(record, method=method)
        axes.plot(own["index"], own["value"], color=COLOURS[method], linewidth=width)
        axes.plot([], [], color=COLOURS[method], label=SHORT[method])
    axes.set(xlabel="sample of the recording", ylabel="recorded unit", title="electrocardiogram, test part")
    axes.legend(fontsize=7)


def _ratios(figure: SubFigure, ratios: Frame) -> None:
    methods = methods_in(ratios)
    axes = figure.subplots()
    for task, marker in (("ecg", "o"), ("image", "s")):
        own = rows_of(ratios, experiment=f"large_denoising_{task}").set_index("method").reindex(methods)
        for place, method in enumerate(methods):
            mean, lo, hi = own.loc[method, ["mean", "lo", "hi"]]
            axes.plot([lo, hi], [place, place], color=COLOURS[method], linewidth=2.5, alpha=0.5)
            axes.plot(mean, place, marker, color=COLOURS[method], markersize=6)
        axes.plot([], [], marker, color="0.3", label={"ecg": "record", "image": "image"}[task])
    axes.set_yticks(range(len(methods)), [NAMES[method] for method in methods], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("output signal-to-noise ratio (dB)\nmean, 95 % interval over seeds")
    axes.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=2, fontsize=7)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
