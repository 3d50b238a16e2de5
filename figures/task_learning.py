"""Learning to decide: what decisions cost, after training through them and after fitting first, one dot a seed."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, dots, methods_in, printed, rows_of

TABLES = {"metrics": "task_learning/metrics", "comparison": "comparison"}
SPLIT = r"(?P<truth>\w+) truth, (?P<model>\w+) model, (?P<examples>\d+) examples"
MODELS = {"linear": "full", "nonlinear": "none"}
# Methods stand side by side on the axis of the numbers of examples: by so much from one to the next.
ASIDE = 1.09
# What the published gain is measured against.
BASE = "rmse_last"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: regret of orders, against the true probabilities. Right: cost of schedules, against a network fitted by
    squared errors as published.

    Black dots are the published changes of the load's cost, on other data; that of weighted errors follows from the
    two that are printed of the trained schedule.
    """
    metrics = tables["metrics"]
    regrets = rows_of(metrics, metric="regret")
    regrets = regrets.join(regrets["split"].str.extract(SPLIT))
    costs = rows_of(metrics, metric="cost", split="load")
    truths = [truth for truth in MODELS if truth in set(regrets["truth"])]
    if not truths and costs.empty:
        raise NothingToDraw("no method was trained")
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    panels = list(figure.subplots(1, len(truths) + 1, squeeze=False)[0])
    for axes, truth in zip(panels, truths, strict=False):
        _regrets(axes, rows_of(regrets, truth=truth))
        axes.set_title(f"newsvendor: {truth} truth")
    if truths:
        panels[0].set_ylabel("cost above that of the true probabilities (%)")
    _costs(panels[-1], costs, tables["comparison"])
    for method in methods_in(
        metrics[metrics["metric"].isin(("regret", "cost")) & (metrics["method"] != "true_model")]
    ):
        figure.axes[0].plot([], [], "o", color=COLOURS[method], markersize=4.5, label=NAMES[method])
    for model, fill in MODELS.items():
        name = "linear model" if model == "linear" else "network"
        figure.axes[0].plot([], [], "o", color="0.3", fillstyle=fill, markersize=4.5, label=name)
    drawn = {}
    for axes in figure.axes:
        drawn |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


def _regrets(axes: Axes, rows: Frame) -> None:
    methods = methods_in(rows)
    for place, method in enumerate(methods):
        for offset, (model, fill) in enumerate(MODELS.items()):
            own = rows_of(rows, method=method, model=model)
            where = own["examples"].astype(float) * ASIDE ** (2 * place - len(methods) + offset)
            axes.plot(
                where,
                100 * own["value"],
                "o",
                color=COLOURS[method],
                fillstyle=fill,
                alpha=0.7,
                markersize=4.5,
            )
    counts = sorted({int(count) for count in rows["examples"]})
    axes.set(xscale="log", yscale="log", xlabel="training examples")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()


def _costs(axes: Axes, rows: Frame, comparison: Frame) -> None:
    base = rows_of(rows, method=BASE).set_index("seed")["value"]
    if base.empty:
        axes.set_axis_off()
        return
    methods = methods_in(rows)
    for place, method in enumerate(methods):
        own = rows_of(rows, method=method).set_index("seed")["value"]
        change = 100 * (own / base - 1).dropna()
        axes.plot([place] * len(change), change, "o", color=COLOURS[method], alpha=0.7, markersize=4.5)
    known = rows_of(printed(comparison, "task_learning", split="load"), method="task")
    if len(known) == 2 and {"task", "weighted_rmse"} <= set(methods):
        against = known.set_index(known["id"].str.contains("weighted"))["published"]
        weighted = (1 + against[False]) / (1 + against[True]) - 1
        where = [methods.index("task"), methods.index("weighted_rmse")]
        dots(axes, where, [100 * against[False], 100 * weighted], "published, other data")
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set_xticks([])
    axes.set(title="load of a day", ylabel="cost against squared errors as published (%)")


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
