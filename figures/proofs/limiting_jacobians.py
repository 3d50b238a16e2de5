"""What is selected at a kink, against the scaling of the degenerate row: least squares, barrier, limits."""

from matplotlib.figure import Figure

from figures.style import Frame, rows_of

TABLES = {"selections": "limiting_jacobians"}
LIMITS, BARRIER, LEAST_SQUARES = "#000000", "#0072B2", "#D55E00"


def draw(tables: dict[str, Frame]) -> Figure:
    """Left: one entry of the Jacobian against the scaling; right: its first row in the plane."""
    first, second = (rows_of(tables["selections"], entry=f"dz1/dq{column}") for column in (1, 2))
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogx(first["scale"], first["inactive"], color=LIMITS, label="limit, inactive")
    left.semilogx(first["scale"], first["active"], "--", color=LIMITS, label="limit, active")
    left.semilogx(first["scale"], first["midpoint"], color=BARRIER, label="barrier, t → ∞")
    left.semilogx(first["scale"], first["least_squares"], color=LEAST_SQUARES, label="least squares")
    left.set(xlabel="factor of the degenerate row", ylabel="∂z₁/∂q₁")
    left.set_title("the problem does not depend on the factor")
    left.legend(fontsize=7, loc="center left", bbox_to_anchor=(0.0, 0.3))
    ends = [[frame[name].iloc[0] for name in ("inactive", "active")] for frame in (first, second)]
    right.plot(*ends, "o-", color=LIMITS, label="Clarke's Jacobian")
    middle = [frame["midpoint"].iloc[0] for frame in (first, second)]
    right.plot(*middle, "s", color=BARRIER, label="barrier, t → ∞")
    right.plot(first["least_squares"], second["least_squares"], color=LEAST_SQUARES, label="least squares")
    right.set(xlabel="∂z₁/∂q₁", ylabel="∂z₁/∂q₂", title="least squares leaves Clarke's Jacobian")
    right.legend(fontsize=7)
    return figure
