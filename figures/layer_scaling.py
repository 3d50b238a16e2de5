"""How a layer grows: time against the number of variables for banded, random and grid-structured sparse programs."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, methods_in, rows_of

TABLES = {"timings": "layer_timing/timings"}
FAMILIES = {"banded": "banded", "random": "random places", "grid": "grid"}
PASSES = {"forward": "-", "backward": "--"}


def draw(tables: dict[str, Frame]) -> Figure:
    """A family a panel: medians over seeds, the range of seeds shaded, slopes in the legend."""
    timings = tables["timings"]
    shown = timings[timings["phase"].str.match(rf"(?:{'|'.join(FAMILIES)}) \d+ \w+ median")]
    if shown.empty:
        raise NothingToDraw("the part scaling was not run")
    figure = Figure(figsize=(10.0, 3.7), layout="constrained")
    for axes, (family, title) in zip(figure.subplots(1, 3, sharey=True), FAMILIES.items(), strict=True):
        for method in methods_in(shown):
            for phase, line in PASSES.items():
                _line(axes, timings[timings["method"] == method], family, phase, line)
        axes.set(title=title, xscale="log", yscale="log", xlabel="variables")
        axes.legend(fontsize=6.5, loc="upper left")
    figure.axes[0].set_ylabel("time of one program (unit s)")
    return figure


def _line(axes: Axes, own: Frame, family: str, phase: str, line: str) -> None:
    sizes = own["phase"].str.extract(rf"^{family} (\d+) {phase} median$")[0]
    rows = own.assign(size=sizes).dropna(subset=["size"]).astype({"size": int})
    if rows.empty:
        return
    method = rows["method"].iloc[0]
    slope = rows_of(own, phase=f"{family} {phase} slope")["value"].mean()
    levels = rows.groupby("size")["value"].agg(["min", "median", "max"])
    name = NAMES[method].split(",")[0]
    axes.plot(
        levels.index,
        levels["median"],
        f".{line}",
        color=COLOURS[method],
        label=f"{name}, {phase}: slope {slope:.2f}",
    )
    axes.fill_between(
        levels.index, levels["min"], levels["max"], color=COLOURS[method], alpha=0.12, linewidth=0
    )


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
