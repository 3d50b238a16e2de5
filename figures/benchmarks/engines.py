"""Name, colour and mark of each engine, the same in every figure."""

from matplotlib.axes import Axes

from figures.style import Frame

# Okabe and Ito's palette again; ours are the two strongest.
LOOKS = {
    "auto": ("ours", "#D55E00", "o"),
    "auto_dense": ("ours, data copied over the batch", "#E69F00", "o"),
    "auto_warm": ("ours, started warm", "#E69F00", "v"),
    "interior_point": ("ours, torch", "#000000", "o"),
    "native": ("ours, native", "#000000", "v"),
    "admm": ("ours, ADMM", "#000000", "D"),
    "moreau_active_set": ("moreau, active set", "#0072B2", "s"),
    "moreau_interior_point": ("moreau, interior point", "#56B4E9", "s"),
    "proxsuite": ("proxsuite", "#009E73", "^"),
    "qpth": ("qpth", "#CC79A7", "D"),
    "cvxpylayers_diffcp": ("cvxpylayers, diffcp", "#9a9a9a", "P"),
    "cvxpylayers_moreau": ("cvxpylayers, moreau", "#9a9a9a", "X"),
    "dqp": ("dQP", "#F0E442", "*"),
    "elastiqp": ("elastiqp", "#8C510A", "h"),
    "pounce": ("pounce", "#762A83", "<"),
    "ffolayer": ("FFOLayer", "#7FBC41", ">"),
    "daqp": ("DAQP in a loop", "#1B3F5E", "p"),
    "clarabel": ("Clarabel in a loop", "#92A8D1", "d"),
    "piqp": ("PIQP in a loop", "#67001F", "d"),
    "quadprog": ("quadprog in a loop", "#F4A582", "d"),
}
UNKNOWN = ("", "#9a9a9a", ".")


def present(table: Frame) -> list[str]:
    """The engines of a table, ours first."""
    names = set(table["engine"])
    return [name for name in LOOKS if name in names] + sorted(names - set(LOOKS))


def curve(axes: Axes, table: Frame, engine: str, x: str) -> None:
    """Median time of `engine` over `x` with quartiles; hollow where the answer was not accurate enough to count."""
    rows = table[(table["engine"] == engine) & table["median_ms"].notna()].sort_values(x)
    label, colour, mark = LOOKS.get(engine, UNKNOWN)
    axes.plot(
        rows[x], rows["median_ms"], "-", color=colour, linewidth=1, label=label or engine, marker=mark, ms=4
    )
    axes.fill_between(rows[x], rows["q1_ms"], rows["q3_ms"], color=colour, alpha=0.15, linewidth=0)
    missed = rows[~rows["accurate"]]
    axes.plot(missed[x], missed["median_ms"], mark, color=colour, mfc="white", ms=4)
