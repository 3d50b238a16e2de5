"""Imitating a controller of the cart-pole: every learner by number of trajectories, beside the published means."""

from matplotlib.figure import Figure

from figures.mpc_pendulum import by_size
from figures.style import Frame, rows_of

TABLES = {"metrics": "mpc_cartpole/metrics", "comparison": "comparison"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Test loss at the epoch that is best on validation: a small dot is a seed, a bar their geometric mean.

    Black dots are the published means of four trials.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    rows = rows_of(tables["metrics"], metric="final_imitation_loss")
    by_size(axes, rows, tables["comparison"], "mpc_cartpole")
    axes.set(title="test, best epoch on validation", ylabel="imitation loss (unit N²)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
