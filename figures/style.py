"""What all figures share: a colour and a name for each method, fonts, how files are written."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import stdtrit

from experiments.common.errors import ConfigError
from experiments.common.sheets import sections

# A pandas.DataFrame, whose own annotations leave the type of almost every selection open.
Frame = Any


class MissingColumn(KeyError):
    """A table lacks a column that a figure needs."""

    def __str__(self) -> str:
        return str(self.args[0])


class NothingToDraw(ValueError):
    """None of the methods of a figure was run."""


class _Known(dict[str, str]):
    """What is settled for each method; one that nobody settled gets `default`, or its own name, and a warning."""

    def __init__(self, entries: dict[str, str], default: str | None = None) -> None:
        super().__init__(entries)
        self.default = default

    def __missing__(self, method: str) -> str:
        # The default stack level names this line whoever asks, so that a method is told of once and not at every use.
        warnings.warn(
            f"no sheet has a label for {method!r}: it is drawn under this name, in a colour that every such method "
            "shares; give it a name and a colour in the section labels of configs/experiment/<name>.yaml"
        )
        return method if self.default is None else self.default


# Okabe and Ito's palette: told apart under every common colour-vision deficiency. Black is the truth, grey
# the data.
COLOURS = _Known(
    {
        "clean": "#000000",
        "noisy": "#9a9a9a",
        "total_variation": "#0072B2",
        "total_variation_on_test": "#56B4E9",
        "optnet_tuned_tv": "#D55E00",
        "optnet_pure": "#009E73",
        "optnet_stencils": "#8C510A",
        "fully_connected": "#CC79A7",
        "wavelet": "#E69F00",
        "linear_filter": "#56B4E9",
        "equal_weight": "#9a9a9a",
        "minimum_variance": "#0072B2",
        "predict_then_optimise": "#E69F00",
        "end_to_end": "#D55E00",
        "untuned": "#9a9a9a",
        "gamma_search": "#0072B2",
        "tuned": "#D55E00",
        "tuned_from_search": "#009E73",
        "tuned/gamma_alone": "#F4A582",
        "tuned_from_search/gamma_alone": "#7FBC41",
        "true_constraints": "#9a9a9a",
        "true_constraints_passes": "#9a9a9a",
        "optnet": "#D55E00",
        "optnet_annealed": "#E69F00",
        "optnet_published": "#D55E00",
        "identified": "#009E73",
        "identified_passes": "#D55E00",
        "identified_refined": "#E69F00",
        "gradient": "#CC79A7",
        "gradient_puzzles": "#56B4E9",
        "solved_boards": "#009E73",
        "pairs": "#92A8D1",
        "pairs_trained": "#0072B2",
        "exclusions": "#D55E00",
        "exclusions_search": "#9a9a9a",
        "hidden": "#CC79A7",
        "hidden_trained": "#E69F00",
        "convolutional": "#0072B2",
        "convolutional_published": "#0072B2",
        "max_layer": "#D55E00",
        "relu_network": "#0072B2",
        "implicit": "#D55E00",
        "unrolled": "#0072B2",
        "implicit_published": "#D55E00",
        "unrolled_published": "#0072B2",
        "lstm": "#CC79A7",
        "sysid": "#0072B2",
        "mpc_dynamics": "#D55E00",
        "mpc_cost": "#009E73",
        "mpc_cost_dynamics": "#E69F00",
        "lstm_published": "#CC79A7",
        "sysid_published": "#0072B2",
        "mpc_dynamics_published": "#D55E00",
        "mpc_cost_published": "#009E73",
        "mpc_cost_dynamics_published": "#E69F00",
        "sysid_misspecified": "#0072B2",
        "mpc_dynamics_misspecified": "#D55E00",
        "adjoint=implicit": "#D55E00",
        "adjoint=optnet": "#E69F00",
        "adjoint=active_set": "#8C510A",
        "adjoint=qp_backward": "#F4A582",
        "adjoint=conic": "#67001F",
        "adjoint=unrolled": "#0072B2",
        "adjoint=alternating": "#56B4E9",
        "adjoint=one_step": "#1B3F5E",
        "adjoint=truncated": "#92A8D1",
        "adjoint=smoothed": "#009E73",
        "adjoint=lpgd": "#CC79A7",
        "adjoint=first_order": "#762A83",
        "adjoint=penalty": "#7FBC41",
        "two_stage": "#9a9a9a",
        "spo_plus": "#D55E00",
        "fenchel_young": "#0072B2",
        "blackbox": "#009E73",
        "optimiser": "#000000",
        "network": "#9a9a9a",
        "penalty": "#0072B2",
        "penalty_projected": "#56B4E9",
        "dc3": "#009E73",
        "projection_layer": "#D55E00",
    },
    default="#882255",
)
NAMES = _Known(
    {
        "clean": "clean",
        "noisy": "noisy",
        "total_variation": "total variation",
        "total_variation_on_test": "total variation, weight chosen on test",
        "optnet_tuned_tv": "tuned total variation (layer)",
        "optnet_pure": "learned operator (layer)",
        "optnet_stencils": "weights from learned stencils (layer)",
        "fully_connected": "fully connected network",
        "wavelet": "wavelet thresholding",
        "linear_filter": "linear filter",
        "equal_weight": "equal weight",
        "minimum_variance": "minimum variance",
        "predict_then_optimise": "predict, then optimise",
        "end_to_end": "end to end (layer)",
        "untuned": "untuned",
        "gamma_search": "risk aversion searched",
        "tuned": "tuned (layer)",
        "tuned_from_search": "searched, then tuned (layer)",
        "tuned/gamma_alone": "risk aversion alone, as far as tuning went",
        "tuned_from_search/gamma_alone": "risk aversion alone, as far as tuning went from the search",
        "true_constraints": "true constraints, one pass",
        "true_constraints_passes": "true constraints, several passes",
        "optnet": "learned equalities (layer)",
        "optnet_annealed": "learned equalities, annealed rate (layer)",
        "optnet_published": "learned equalities, published",
        "identified": "identified (layer)",
        "identified_passes": "identified, several passes (layer)",
        "identified_refined": "identified, refined (layer)",
        "gradient": "gradient, whole boards first (layer)",
        "gradient_puzzles": "gradient, puzzles only, given the rank (layer)",
        "solved_boards": "hull of solved boards (layer)",
        "pairs": "puzzles with solutions, without z >= 0 (layer)",
        "pairs_trained": "puzzles with solutions, trained on (layer)",
        "exclusions": "exclusions in unsolved puzzles (layer)",
        "exclusions_search": "exclusions in unsolved puzzles, then search",
        "hidden": "hidden givens of unsolved puzzles, without z >= 0 (layer)",
        "hidden_trained": "hidden givens of unsolved puzzles, trained on (layer)",
        "convolutional": "convolutional network",
        "convolutional_published": "convolutional network, published",
        "max_layer": "quadratic program",
        "relu_network": "network with one hidden layer",
        "implicit": "implicit derivative (layer)",
        "unrolled": "unrolled",
        "implicit_published": "implicit derivative, published",
        "unrolled_published": "unrolled, published",
        "lstm": "LSTM",
        "sysid": "dynamics fitted to trajectories",
        "mpc_dynamics": "dynamics learned through the controller (layer)",
        "mpc_cost": "cost learned (layer)",
        "mpc_cost_dynamics": "cost and dynamics learned (layer)",
        "lstm_published": "LSTM, published",
        "sysid_published": "dynamics fitted to trajectories, published",
        "mpc_dynamics_published": "dynamics learned through the controller, published",
        "mpc_cost_published": "cost learned, published",
        "mpc_cost_dynamics_published": "cost and dynamics learned, published",
        "sysid_misspecified": "dynamics fitted to trajectories, wrong model",
        "mpc_dynamics_misspecified": "dynamics learned through the controller, wrong model (layer)",
        "adjoint=implicit": "implicit",
        "adjoint=optnet": "optnet",
        "adjoint=active_set": "active_set",
        "adjoint=qp_backward": "qp_backward",
        "adjoint=conic": "conic",
        "adjoint=unrolled": "unrolled",
        "adjoint=alternating": "alternating",
        "adjoint=one_step": "one_step",
        "adjoint=truncated": "truncated",
        "adjoint=smoothed": "smoothed",
        "adjoint=lpgd": "lpgd",
        "adjoint=first_order": "first_order",
        "adjoint=penalty": "penalty",
        "two_stage": "costs fitted, then decided",
        "spo_plus": "SPO+ loss",
        "fenchel_young": "perturbed Fenchel-Young loss",
        "blackbox": "blackbox interpolation",
        "optimiser": "optimiser",
        "network": "network without constraints",
        "penalty": "network with penalty",
        "penalty_projected": "network with penalty, projected at the test (layer)",
        "dc3": "completion and correction (DC3)",
        "projection_layer": "network that ends in a projection (layer)",
    }
)


def settle(sheet: str, labels: Any) -> None:
    """Take names and colours of methods from the section `labels` of a sheet.

    Raises
    ------
    ConfigError
        If a method lacks one of them, or has another one elsewhere: it looks the same in every figure.
    """
    for method, label in labels.items():
        if not isinstance(label, dict) or set(label) != {"name", "colour"}:
            raise ConfigError(f"{sheet}.yaml, labels, {method}: expected name and colour, got {label}")
        for known, entry in ((NAMES, label["name"]), (COLOURS, label["colour"])):
            if known.setdefault(method, entry) != entry:
                raise ConfigError(f"{sheet}.yaml, labels, {method}: {entry}, but elsewhere {known[method]}")


for _sheet, _labels in sections("labels"):
    settle(_sheet, _labels)

SETTINGS: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "svg.hashsalt": "figures",
}


def band(axes: Axes, rows: Frame, method: str, dashed: bool = False) -> None:
    """Mean over seeds of `value` by `step`, with the range from the least to the greatest seed shaded.

    Where seeds end before the others, the number of those that remain stands beside the mean.
    """
    by_step = rows.groupby("step")["value"]
    mean, colour = by_step.mean(), COLOURS[method]
    axes.plot(mean.index, mean, "--" if dashed else "-", color=colour)
    axes.fill_between(mean.index, by_step.min(), by_step.max(), color=colour, alpha=0.15, linewidth=0)
    counts = by_step.count()
    for step, count in counts[counts.diff() < 0].items():
        axes.annotate(f"n={count}", (step, mean[step]), fontsize=6, color=colour)


def published(axes: Axes, rows: Frame, ours: Frame, method: str) -> None:
    """What is printed of a published curve as dots, and our run with the same random numbers, the first seed's."""
    own = rows_of(ours, seed=ours["seed"].min()).sort_values("step")
    axes.plot(
        own["step"],
        own["value"],
        color=COLOURS[method],
        linewidth=0.7,
        label="with the published random numbers",
    )
    ordered = rows.sort_values("step")
    dots(axes, ordered["step"], ordered["value"])


def printed(comparison: Frame, experiment: str, **labels: object) -> Frame:
    """The published numbers of `experiment` whose columns have the given values, once each, sorted by step.

    `comparison` is the table of `python -m experiments.compare`: each number stands there once for each of our runs.
    """
    rows = rows_of(comparison, experiment=experiment, **labels)
    return rows.drop_duplicates(["method", "split", "metric", "step", "printed"]).sort_values("step")


def dots(axes: Axes, steps: Any, values: Any, label: str | None = "published") -> None:
    """Published numbers: black dots, in every figure."""
    axes.plot(steps, values, ".", color="black", markersize=6, zorder=5, label=label)


def from_start(rows: Frame) -> Frame:
    """The rows of one curve with the change against the first step, seed by seed, in per cent, as their value."""
    first = rows.sort_values("step").groupby("seed")["value"].transform("first")
    return rows.assign(value=100 * (rows.sort_values("step")["value"] / first - 1))


def geometric_mean(values: Any) -> float:
    """Of positive values, which span decades."""
    return float(np.exp(np.log(np.asarray(values, dtype=float)).mean()))


def half_width(values: Any) -> float:
    """Half of the 95 % interval of Student's t for the mean of `values`, zero where there is one value alone."""
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return 0.0
    return float(stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / np.sqrt(values.size))


def note(figure: Figure, text: str) -> None:
    """A line above everything else, since legends stand below: which run the tables are of."""
    figure.suptitle(text, x=0.995, ha="right", fontsize=6, color="0.4")


def rows_of(table: Frame, **labels: object) -> Frame:
    """The rows of `table` whose columns have the given values; raises MissingColumn."""
    for column, value in labels.items():
        if column not in table:
            raise MissingColumn(f"a table has no column {column!r}, its columns are {list(table.columns)}")
        table = table[table[column] == value]
    return table


def methods_in(table: Frame, order: Iterable[str] = tuple(NAMES)) -> list[str]:
    """The methods of `order` that occur in `table`, always in the same order, then those that have no entry in NAMES.

    An `order` that leaves out methods of NAMES leaves them out of the figure; a method that nobody has heard of here is
    drawn all the same.
    """
    present = set(table["method"])
    return [method for method in order if method in present] + sorted(present.difference(NAMES))


# Same figure, same bytes: no dates and no versions inside.
BARE: dict[str, Any] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "pgf": None,
}


def save(figure: Figure, stem: Path, formats: Iterable[str] = ("png", "pdf")) -> None:
    """Write the figure to `stem` with each of `formats` as suffix."""
    for name in formats:
        figure.savefig(stem.with_suffix(f".{name}"), metadata=BARE[name])


def panels(figure: Figure, methods: list[str], columns: int, xlabel: str, ylabel: str) -> dict[str, Axes]:
    """A panel for each of `methods`, under its name in its colour; all share their axes, labelled outside."""
    rows = -(-len(methods) // columns)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(methods) :]:
        axes.remove()
    found = dict(zip(methods, grid.flat, strict=False))
    for place, (method, axes) in enumerate(found.items()):
        axes.set_title(NAMES[method], color=COLOURS[method])
        if place + columns >= len(methods):
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(xlabel)
        if place % columns == 0:
            axes.set_ylabel(ylabel)
    return found


def apply() -> None:
    """Set matplotlib's defaults for a program that draws our figures."""
    mpl.use("Agg")
    mpl.rcParams.update(SETTINGS)
