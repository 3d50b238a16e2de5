"""What training cannot find: the loss of a layer's output along curves through its parameters."""

from matplotlib.figure import Figure

from figures.style import Frame, rows_of

TABLES = {"curves": "invariance_curves"}
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def draw(tables: dict[str, Frame]) -> Figure:
    """Left, along the orbits that leave z where it is: five flat lines in one. Right, the same changes of the matrices
    with the vector beside them left behind: the loss moves, so the pair is found, and the place on the orbit is not.
    """
    curves = tables["curves"]
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    for axes, moved, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("together", "alone"),
        ("matrix and vector move together", "the vector is left behind"),
        strict=True,
    ):
        own = rows_of(curves, moved=moved)
        for place, orbit in enumerate(dict.fromkeys(own["orbit"])):
            line = rows_of(own, orbit=orbit).sort_values("t")
            # Equal lines would hide each other.
            width, colour = 1.2 * (5 - place), PALETTE[place % len(PALETTE)]
            wide = width if moved == "together" else 1.4
            axes.plot(line["t"], line["loss"], color=colour, linewidth=wide, label=orbit)
        axes.set(xlabel="t, along the curve", ylabel="loss ½‖z − z₀‖²", title=title)
    figure.axes[0].legend(fontsize=7)
    return figure
