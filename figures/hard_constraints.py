"""Constraints by a penalty, by completion and correction, and by a projection layer: gap against violation."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, dots, methods_in, printed, rows_of

TABLES = {"metrics": "hard_constraints/metrics", "comparison": "comparison"}
PANELS = {
    "convex": "quadratic program",
    "nonconvex": "the same with sines in the objective",
    "piecewise": "function of one variable, four bounds",
}
# The published optimum that a published objective is measured against.
OPTIMA = {"convex": "50 inequalities, 50 equalities", "nonconvex": "sines, hardnet"}
ROWS = ("max_inequality", "max_equality")
# What is smaller than this is rounding of the layer's solve; a published 0.00 may be anything up to half a hundredth.
LEAST, PRINTED = 1e-9, 0.005


def draw(tables: dict[str, Frame]) -> Figure:
    """One dot a seed: how far from the optimum, or the squared error, against the largest violation of an answer.

    Violations are means over the test inputs, those below 1e-9 stand at 1e-9. Black dots are the published means, of
    programs of 100 variables; a violation that is printed as 0.00 stands at 0.005, the most that it can be. Of the
    function, whose published weights are rebuilt, they stand at our violations.
    """
    metrics = rows_of(tables["metrics"])
    figure = Figure(figsize=(9.6, 3.7), layout="constrained")
    for place, (axes, (name, title)) in enumerate(zip(figure.subplots(1, 3), PANELS.items(), strict=True)):
        rows = rows_of(metrics, split=name)
        _seeds(axes, rows, name)
        _published(axes, tables["comparison"], rows, name, "published" if place == 0 else None)
        axes.set(xscale="log", title=title, xlabel="largest violation (mean over inputs)")
        if name == "piecewise":
            axes.set(yscale="log", ylabel="mean squared error")
        else:
            axes.set_ylabel("above the optimum (%)")
            axes.axhline(0, color="0.6", linewidth=0.8)
    drawn = {}
    for axes in figure.axes:
        drawn |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=4, fontsize=7)
    return figure


def _seeds(axes: Axes, rows: Frame, name: str) -> None:
    wide = rows.pivot(index=["method", "seed"], columns="metric", values="value").reset_index()
    for method in methods_in(wide):
        own = rows_of(wide, method=method)
        violation = own[[row for row in ROWS if row in own]].max(axis=1).clip(lower=LEAST)
        height = own["objective"] if name == "piecewise" else 100 * own["gap"]
        axes.plot(
            violation,
            height,
            "o",
            color=COLOURS[method],
            alpha=0.6,
            markersize=4.5,
            label=NAMES[method],
        )


def _published(axes: Axes, comparison: Frame, rows: Frame, name: str, label: str | None) -> None:
    """The published methods; without a published violation, at ours, which has the published random numbers."""
    known = printed(comparison, "hard_constraints", split=name)
    known = known[~known["claim"].str.contains("another version")]
    best = printed(comparison, "hard_constraints", split=OPTIMA.get(name, ""), metric="objective")[
        "published"
    ]
    for method in sorted(set(rows_of(known, metric="objective")["method"])):
        own = rows_of(known, method=method).set_index("metric")["published"]
        place = max(own[own.index.isin(ROWS)].max(), PRINTED)
        height = own["objective"]
        if name in OPTIMA:
            if best.empty or not own.index.isin(ROWS).any():
                continue
            height = 100 * (height / best.iloc[0] - 1) * (-1 if best.iloc[0] < 0 else 1)
        else:
            seen = rows_of(rows, method=method)
            place = max(seen[seen["metric"].isin(ROWS)]["value"].mean(), LEAST)
        dots(axes, [place], [height], label)
        label = None


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
