"""One 9x9 puzzle and the layer's answer after one pass and after several."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.style import COLOURS, NAMES, Frame, NothingToDraw, methods_in, rows_of

TABLES = {"matrices": "sudoku_9x9/matrices"}


def draw(tables: dict[str, Frame]) -> Figure:
    """Digits are as dark as the layer gives them weight; givens are black."""
    matrices = tables["matrices"]
    methods = methods_in(rows_of(matrices, matrix="board_answer"), ("identified", "identified_passes"))
    if not methods:
        raise NothingToDraw("no method that answers a board was run")
    figure = Figure(figsize=(3.6 * len(methods), 3.9), layout="constrained")
    for axes, method in zip(figure.subplots(1, len(methods), squeeze=False)[0], methods, strict=True):
        own = rows_of(matrices, method=method)
        givens, answer = (_cells(rows_of(own, matrix=f"board_{name}")) for name in ("givens", "answer"))
        _board(axes, givens, answer, method)
        sure = int((answer.max(axis=1) > 0.99).sum())
        axes.set(title=NAMES[method], xlabel=f"{sure} of {len(answer)} cells (unit weight on one digit)")
    return figure


def _board(axes: Axes, givens: np.ndarray, answer: np.ndarray, method: str) -> None:
    size = givens.shape[1]
    order = round(size**0.5)
    for cell, weights in enumerate(answer):
        row, column = divmod(cell, size)
        given = givens[cell].any()
        for digit in np.flatnonzero(weights > 0.05):
            sure = weights[digit] > 0.99
            # A cell that is not sure shows its digits where they stand on a keypad of the size of a block.
            down, right = (0.5, 0.5) if sure else ((np.array(divmod(digit, order)) + 0.5) / order)
            axes.text(
                column + right, row + down, str(digit + 1), ha="center", va="center",
                fontsize=11 if sure else 4.5, weight="bold" if given else "normal",
                color=COLOURS["clean"] if given else COLOURS[method],
                alpha=1.0 if sure else float(weights[digit]),
            )  # fmt: skip
    for line in range(size + 1):
        width = 1.4 if line % order == 0 else 0.4
        axes.axhline(line, color="0.3", linewidth=width)
        axes.axvline(line, color="0.3", linewidth=width)
    axes.set(xlim=(0, size), ylim=(size, 0), aspect="equal", xticks=[], yticks=[])


def _cells(rows: Frame) -> np.ndarray:
    return rows.pivot(index="row", columns="column", values="value").to_numpy()


if __name__ == "__main__":
    from figures.program import script

    script(__file__)
