"""What a layer costs: beside a linear layer, in batches, from parameters to data, and package by package."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, methods_in

TABLES = {"timings": "layer_timing/timings"}
QUARTILES = ("lower quartile", "median", "upper quartile")
PASSES = {"forward": "-", "backward": "--"}
PROGRAMS = r"(canonical .*|(?:dense|sparse|slack) (?:forward|backward))"
WORDS = {"canonical ": "to data,\n", "slack": "with slack,", "dense": "dense,", "sparse": "sparse,"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Medians with quartiles, means over seeds: against variables, against the batch, and program by program."""
    timings = tables["timings"]
    shown = timings[timings["phase"].str.contains(r"^(?:linear|batch) \d|^(?:canonical|dense|sparse|slack) ")]
    if shown.empty:
        raise NothingToDraw("no part was run that has a panel")
    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1, 1, 1.5])
    for phase, line in PASSES.items():
        _lines(left, shown, rf"linear (\d+) {phase}", line)
    left.set(title="a batch (dashed: backward pass)", xlabel="variables", ylabel="time (unit s)")
    _lines(middle, shown, r"batch (\d+) forward", "-")
    middle.set(title="programs of 100 variables, forward pass", xlabel="programs")
    for axes in (left, middle):
        axes.set(xscale="log", yscale="log")
    _programs(right, shown)
    for method in methods_in(shown):
        left.plot([], [], "o-", color=COLOURS[method], markersize=4, label=NAMES[method])
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _levels(timings: Frame, pattern: str) -> Frame:
    """The levels of the phases `pattern`, one column each, by method and what the pattern catches."""
    words = timings["phase"].str.extract(rf"^{pattern} ({'|'.join(QUARTILES)})$")
    found = timings.assign(at=words[0], level=words[1]).dropna(subset=["level"])
    return found.pivot_table(index=["method", "at"], columns="level", values="value").reset_index()


def _lines(axes: Axes, timings: Frame, pattern: str, line: str) -> None:
    table = _levels(timings, pattern).astype({"at": int})
    for method in methods_in(table):
        own = table[table["method"] == method].sort_values("at")
        axes.plot(own["at"], own["median"], f".{line}", color=COLOURS[method])
        axes.fill_between(
            own["at"], own[QUARTILES[0]], own[QUARTILES[2]], color=COLOURS[method], alpha=0.15, linewidth=0
        )


def _programs(axes: Axes, timings: Frame) -> None:
    table = _levels(timings, PROGRAMS)
    places = {name: place for place, name in enumerate(dict.fromkeys(table["at"].sort_values()))}
    for method in methods_in(table):
        own = table[table["method"] == method]
        axes.plot(own["median"], own["at"].map(places), "o", color=COLOURS[method], markersize=5)
    names = list(places)
    for old, new in WORDS.items():
        names = [name.replace(old, new) for name in names]
    axes.set_yticks(list(places.values()), names, fontsize=7)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="time (unit s)", title="programs of cvxpylayers")


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
