"""Learning a controller's dynamics: imitation loss and model loss of every trial, beside the published final values."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, Frame, dots, rows_of

TABLES = {"metrics": "mpc_imitation/metrics", "intervals": "mpc_imitation/intervals"}
TITLES = {"unbounded": "the published program", "bounded": "controls in [-1, 1], batches of 32"}
FOUND, LOST = COLOURS["mpc_dynamics"], COLOURS["sysid"]
# A loss of exactly zero has no place on a logarithmic axis.
FLOOR = 1e-7


def draw(tables: dict[str, Frame]) -> Figure:
    """A column for each setting; above the imitation loss, below the model loss."""
    figure = Figure(figsize=(7.6, 5.2), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    metrics, intervals = tables["metrics"], tables["intervals"]
    for column, (method, title) in enumerate(TITLES.items()):
        own, share = rows_of(metrics, method=method), rows_of(intervals, method=method)
        if own.empty:
            continue
        _curves(panels[0, column], own, "imitation_loss")
        _curves(panels[1, column], own, "model_loss")
        found, lo, hi = (float(share[name].iloc[0]) for name in ("mean", "lo", "hi"))
        panels[0, column].set(
            title=f"{title}\n{100 * found:.0f} % converge (95 %: {100 * lo:.0f} to {100 * hi:.0f} %)"
        )
        panels[1, column].set(xlabel="step")
    published = rows_of(metrics, method="published", metric="published_imitation_loss")
    dots(panels[0, 0], published["step"], published["value"], "published, at step 1,000")
    panels[0, 0].plot([], [], color=FOUND, label="the trial ends at the true dynamics")
    panels[0, 0].plot([], [], color=LOST, label="it does not")
    panels[0, 0].set(ylabel="imitation loss", yscale="log")
    panels[1, 0].set(ylabel="model loss", yscale="log")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _curves(axes: Axes, rows: Frame, metric: str) -> None:
    converged = rows_of(rows, metric="converged").set_index("seed")["value"]
    for seed, found in converged.items():
        own = rows_of(rows, metric=metric, seed=seed).sort_values("step")
        colour = FOUND if found == 1.0 else LOST
        axes.plot(own["step"], own["value"].clip(lower=FLOOR), color=colour, linewidth=0.9)


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
