"""Convex approximate dynamic programming: the cost that is descended, and that on trajectories never descended on."""

from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, band, from_start, published, rows_of

TABLES = {"metrics": "adp/metrics"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Change of the cost against step 0, seed by seed: mean and range over seeds."""
    costs = rows_of(tables["metrics"], metric="cost")
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    tuned = rows_of(costs, method="tuned")
    train = from_start(rows_of(tuned, split="train"))
    band(axes, train, "tuned")
    axes.plot([], [], color=COLOURS["tuned"], label="the same eight trajectories in every step")
    band(axes, from_start(rows_of(tuned, split="fresh")), "tuned_from_search")
    axes.plot([], [], color=COLOURS["tuned_from_search"], label="fresh trajectories")
    published(axes, from_start(rows_of(costs, method="tuned/published")), train, "tuned")
    axes.set(
        xlabel="step",
        ylabel="cost of a period against step 0 (%)",
        title="a bounded controller tuned by its derivative",
    )
    axes.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
