"""The real electrocardiogram: the test part as each method sees it, and how much noise is left."""

from matplotlib.figure import Figure, SubFigure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, methods_in, rows_of

TABLES = {"signals": "denoising_ecg/signals", "summary": "denoising_ecg/summary"}
SHOWN = ("wavelet", "optnet_tuned_tv", "optnet_wavelet")


def draw(tables: dict[str, Frame]) -> Figure:
    """Left the test heartbeat at the noisiest setting, right the output ratios with intervals."""
    signals, summary = tables["signals"], tables["summary"]
    levels = sorted(signals["experiment"].unique(), key=_decibels)
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1], squeeze=False)[0]
    methods = methods_in(signals, SHOWN)
    if not methods:
        raise NothingToDraw(f"none of {SHOWN} was run")
    for axes, method in zip(
        left.subplots(len(methods), sharex=True, squeeze=False)[:, 0], methods, strict=True
    ):
        for name, style in (("noisy", {"lw": 0.5}), ("clean", {"lw": 1.0}), (method, {"lw": 1.3})):
            own = rows_of(signals, experiment=levels[0], method=name)
            axes.plot(own["index"], own["value"], color=COLOURS[name], **style)
        axes.set_title(NAMES[method], color=COLOURS[method])
    left.axes[0].set_title(f"{_decibels(levels[0]):g} dB; black: clean, grey: noisy", loc="right", fontsize=8)
    left.axes[-1].set_xlabel("sample of the recording")
    left.supylabel("recorded unit", fontsize=9)
    _draw_ratios(right, rows_of(summary, metric="output_snr", split="test"), levels)
    return figure


def _draw_ratios(figure: SubFigure, ratios: Frame, levels: list[str]) -> None:
    axes = figure.subplots()
    methods = methods_in(ratios)
    for level, marker in zip(levels, ("o", "s", "^", "D"), strict=False):
        own = rows_of(ratios, experiment=level).set_index("method").reindex(methods)
        for place, method in enumerate(methods):
            mean, lo, hi = own.loc[method, ["mean", "lo", "hi"]]
            axes.plot([lo, hi], [place, place], color=COLOURS[method], linewidth=2.5, alpha=0.5)
            axes.plot(mean, place, marker, color=COLOURS[method], markersize=6)
        axes.plot([], [], marker, color="0.3", label=f"noise at {_decibels(level):g} dB")
    axes.set_yticks(range(len(methods)), [NAMES[method] for method in methods])
    axes.invert_yaxis()
    axes.set_xlabel("output signal-to-noise ratio (dB)\nmean, 95 % interval over seeds")
    axes.legend(loc="lower center", bbox_to_anchor=(0.3, 1.0), ncols=len(levels), fontsize=7)


def _decibels(experiment: str) -> float:
    return float(experiment.rpartition("_")[2].removesuffix("dB"))


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
