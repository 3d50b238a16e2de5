"""Imitating a controller of the pendulum: every learner by number of trajectories, beside the published means."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, dots, geometric_mean, methods_in, printed, rows_of

TABLES = {"metrics": "mpc_pendulum/metrics", "comparison": "comparison"}
WRONG = "_misspecified"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left, test loss at the epoch that is best on validation; right, last training loss, model without damping.

    A small dot is a seed, a bar their geometric mean, black dots are the published means (of four trials left, of eight
    right). Lines join runs of the same seed.
    """
    metrics = tables["metrics"]
    wrong = metrics["method"].str.endswith(WRONG)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 1.2])
    final = rows_of(metrics[~wrong], metric="final_imitation_loss")
    by_size(left, final, tables["comparison"], "mpc_pendulum")
    left.set(title="right model, test, best epoch on validation", ylabel="imitation loss (unit N² m²)")
    _wrong_model(right, rows_of(metrics[wrong], metric="last_imitation_loss"), tables["comparison"])
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def by_size(axes: Axes, rows: Frame, comparison: Frame, experiment: str) -> None:
    """Every learner by number of training trajectories: seeds, their geometric mean, what is published."""
    rows = rows.assign(count=rows["split"].str.removeprefix("test_").astype(int))
    methods, counts = methods_in(rows), sorted(set(rows["count"]))
    for number, method in enumerate(methods):
        for group, count in enumerate(counts):
            values = rows_of(rows, method=method, count=count)["value"]
            if len(values):
                place = group + 0.8 * (number - (len(methods) - 1) / 2) / len(methods)
                _seeds(axes, place, values, method, NAMES[method] if group == 0 else None)
                known = printed(
                    comparison,
                    experiment,
                    method=method,
                    metric="final_imitation_loss",
                    split=f"test_{count}",
                )
                known = known[known["unit"] != "relative change"]["published"]
                dots(axes, [place] * len(known), known, "published" if (number, group) == (0, 0) else None)
    axes.set_yscale("log")
    axes.set_xticks(range(len(counts)), [f"{count}" for count in counts])
    axes.set_xlabel("training trajectories")
    axes.grid(False, axis="x")


def _seeds(axes: Axes, place: float, values: Frame, method: str, label: str | None) -> None:
    axes.plot([place] * len(values), values, "o", color=COLOURS[method], alpha=0.45, markersize=3.5)
    axes.plot(
        [place - 0.06, place + 0.06],
        [geometric_mean(values)] * 2,
        color=COLOURS[method],
        linewidth=2.5,
        label=label,
    )


def _wrong_model(axes: Axes, rows: Frame, comparison: Frame) -> None:
    """The largest training set of the wrong model: both ways to learn its dynamics, seed by seed."""
    counts = rows["split"].str.extract(r"^train_(\d+)$")[0].dropna().astype(int)
    if counts.empty:
        axes.set_axis_off()
        return
    rows = rows_of(rows, split=f"train_{counts.max()}")
    methods = methods_in(rows)
    wide = rows.pivot(index="seed", columns="method", values="value")[methods]
    for _, pair in wide.iterrows():
        axes.plot(range(len(methods)), pair, "-", color="0.75", linewidth=0.8, zorder=1)
    for place, method in enumerate(methods):
        _seeds(axes, place, wide[method].dropna(), method, None)
    change = comparison[
        (comparison["experiment"] == "mpc_pendulum") & (comparison["metric"] == "last_imitation_loss")
    ]
    for above, below in {tuple(map(float, said.split(" / "))) for said in change["printed"]}:
        known = {"mpc_dynamics_misspecified": above, "sysid_misspecified": below}
        where = [place for place, method in enumerate(methods) if method in known]
        dots(axes, where, [known[methods[place]] for place in where], None)
    axes.set_xticks(
        range(len(methods)),
        [
            NAMES[method].split(", wrong")[0].replace(" to ", "\nto ").replace(" through", "\nthrough")
            for method in methods
        ],
        fontsize=7,
    )
    axes.set(
        title=f"wrong model, {counts.max()} trajectories,\nlast epoch, training",
        xlim=(-0.5, len(methods) - 0.5),
    )
    axes.grid(False, axis="x")


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
