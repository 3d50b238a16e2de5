"""The equalities found for 4x4 Sudoku: angles to the true ones, and how many solved boards tell them."""

import numpy as np
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, methods_in, rows_of

TABLES = {"matrices": "sudoku/matrices", "metrics": "sudoku/metrics"}
# Angles below this stand at the lower edge: those of identified constraints, which are rounding, and the first
# sixteen of any two spaces of 40 in 64 dimensions, which are zero.
FLOOR = 1e-2
STYLES = (
    ("optnet", "initial", ":"),
    ("optnet", "final", "-"),
    ("optnet_annealed", "final", "-"),
    ("identified", "final", "-"),
)


def draw(tables: dict[str, Frame]) -> Figure:
    """Principal angles of the first seed, and equalities left by the number of solved boards, all seeds."""
    figure = Figure(figsize=(7.2, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    unknown = tuple((method, "final", "-") for method in methods_in(tables["matrices"], order=()))
    for method, name, line in STYLES + unknown:
        rows = rows_of(tables["matrices"], method=method, matrix=f"angles_{name}").sort_values("column")
        values = np.maximum(rows["value"], FLOOR)
        when = " before training" if name == "initial" else ""
        if rows.empty:
            continue
        left.plot(rows["column"] + 1, values, line, color=COLOURS[method], label=NAMES[method] + when)
    left.set(yscale="log", xlabel="principal angle, by size", ylim=(0.7 * FLOOR, 120))
    left.set_ylabel("angle to the true equalities (unit: degree)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=7)
    rows = rows_of(tables["metrics"], metric="equalities_left")
    for _, own in rows.groupby("seed"):
        right.step(own["step"], own["value"], where="post", color=COLOURS["identified"], alpha=0.7)
    last = rows["value"].min()
    right.axhline(last, color=COLOURS["clean"], linewidth=0.8)
    right.text(right.get_xlim()[1], last + 0.5, f"{last:.0f}", ha="right", va="bottom", fontsize=8)
    right.set(xscale="log", xlabel="solved boards seen", ylabel="equalities that all of them satisfy")
    return figure


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
