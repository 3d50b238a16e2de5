"""Time of every engine over ours, row by row."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures.benchmarks.engines import LOOKS, UNKNOWN, present
from figures.style import Frame

GROUP = "peers"
OURS = "auto"
GROUPS = ("peers", "applications", "latency")


def draw(table: Frame) -> Figure:
    """One line a row: how many times as long as ours each accurate engine takes, forward and backward together."""
    rows = table[table["group"].isin(GROUPS) & (table["phase"] == "both") & table["accurate"]]
    names = list(dict.fromkeys(rows["row"]))[::-1]
    ours = rows[rows["engine"] == OURS].set_index("row")["median_ms"]
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(names) + 1.2), layout="constrained")
    for engine in present(rows[~rows["ours"]]):
        mine = rows[(rows["engine"] == engine) & rows["row"].isin(ours.index)]
        label, colour, mark = LOOKS.get(engine, UNKNOWN)
        times = mine["median_ms"].to_numpy() / ours.loc[mine["row"]].to_numpy()
        axes.plot(
            times, [names.index(row) for row in mine["row"]], mark, color=colour, label=label or engine, ms=5
        )
    axes.axvline(1, color=LOOKS[OURS][1], linewidth=1.4)
    axes.set(xscale="log", xlabel="time over ours, forward + backward (ratio)")
    axes.set_yticks(range(len(names)), names)
    figure.legend(loc="outside right upper", fontsize=7)
    return figure
