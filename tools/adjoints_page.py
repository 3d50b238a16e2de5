"""The tables of docs/choosing.md that say which adjoint serves when, from the tracked run of the study."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from math import inf
from pathlib import Path
from statistics import mean, median

Row = dict[str, str]
Values = dict[tuple[str, str, str], float]

RUN = Path(__file__).resolve().parents[1] / "results" / "differentiation" / "paper" / "auto"
PREFIX = "adjoint="
#: an error below this is that of a derivative that is exact but for rounding
EXACT = 1e-9
FAMILIES = ("regular", "ill conditioned", "margin 1e-6", "repeated row", "linear program")
TASKS = {
    "sudoku": "final_board_error",
    "denoising": "final_mse",
    "path, regularised": "final_regret",
    "path, linear": "final_regret",
}
#: a gradient this near to the segment between both limits, relative to its length, is on it
CLARKE = 1e-3
MIB = 2**20
QUESTIONS = (
    ("one unique derivative, wanted exactly", "regular"),
    ("the same, Q with a condition of 1e6", "ill conditioned"),
    ("close to a kink: a margin of 1e-6", "margin 1e-6"),
    ("constraints that repeat each other", "repeated row"),
    ("a linear program, derivative in its constraints", "linear program"),
)
TRAINED = (
    (
        "equalities learned from examples, as the rules of Sudoku",
        "sudoku",
        "final_board_error",
        "{:.1%} wrong boards",
    ),
    ("an operator in the objective learned, as in denoising", "denoising", "final_mse", "test MSE {:.3g}"),
    ("costs learned through a linear program", "path, linear", "final_regret", "test regret {:.1%}"),
    ("costs learned through a regularised one", "path, regularised", "final_regret", "test regret {:.1%}"),
    ("costs learned by a loss made for it", "path", "final_regret", "test regret {:.1%}"),
)
HEAD = ("regular", "cond(Q) 1e6", "margin 1e-6", "row twice", "LP", "weakly active row selects", "ms", "MiB")


def decisions(run: Path = RUN) -> str:
    """Return a line for each question, its answer taken from the measurements that it cites."""
    if not run.exists():
        return _missing()
    values, time, memory = (
        _summary(run),
        _timings(run, "pareto default"),
        _timings(run, "memory pareto default"),
    )
    refused = _refused(run)
    lines = ["| your case | take | measured |", "|---|---|---|"]

    def add(words: str, names: Iterable[str], order: dict[str, float], cite: Callable[[str], str]) -> None:
        lines.append(_line(words, sorted(names, key=lambda name: order.get(name, inf)), cite))

    for words, family in QUESTIONS:
        errors = _of(values, family, "final_gradient_error")
        exact = [name for name in errors if errors[name] < EXACT and (name, family) not in refused]
        add(
            words,
            exact,
            time,
            lambda name, e=errors: f"error {e[name]:.1e}, {1e3 * time.get(name, inf):.3g} ms",
        )
    inside = _of(values, "weakly active", "final_distance_to_limits")
    place = _of(values, "weakly active", "final_selection")
    clarke = [name for name in inside if inside[name] < CLARKE and (name, "weakly active") not in refused]
    cited = "on a kink, an element of Clarke's derivative"
    add(cited, clarke, time, lambda name: f"{place[name]:.2f} of the way, {1e3 * time.get(name, inf):.3g} ms")
    add("least memory", memory, memory, lambda name: f"{memory[name] / MIB:.2f} MiB")
    for words, split, metric, form in TRAINED:
        found, steps = _of(values, split, metric), _of(values, split, "final_steps")
        whole = max(steps.values(), default=0.0)
        taught = [name for name in found if (name, split) not in refused and steps.get(name, whole) == whole]
        # Of equal results the faster comes first.
        order = {name: (found[name], time.get(name, inf)) for name in taught}
        add(
            words,
            sorted(taught, key=order.__getitem__),
            {},
            lambda name, f=found, t=form: t.format(f[name]).replace("%", " %"),
        )
    return "\n" + "\n".join(lines) + "\n"


def matrix(run: Path = RUN) -> str:
    """Return a line for each adjoint: its error in every family, what it costs, and what it trained."""
    if not run.exists():
        return _missing()
    values, time = _summary(run), _timings(run, "pareto default")
    memory, refused = _timings(run, "memory pareto default"), _refused(run)
    names = [name for name in dict.fromkeys(key[0] for key in values) if name.startswith(PREFIX)]
    heads = ("adjoint", *HEAD, *TASKS)
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in names:
        cells = [f"`{name.removeprefix(PREFIX)}`"]
        cells += [
            _cell(values, refused, name, family, "final_gradient_error", "{:.1e}") for family in FAMILIES
        ]
        cells.append(_cell(values, refused, name, "weakly active", "final_selection", "{:.2f}"))
        cells += [f"{1e3 * time[name]:.3g}" if name in time else "", f"{memory.get(name, 0) / MIB:.2f}"]
        cells += [_trained(values, refused, name, task, metric) for task, metric in TASKS.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n" + "\n".join(lines) + "\n"


def _line(words: str, names: list[str], cite: Callable[[str], str]) -> str:
    shown = [name.removeprefix(PREFIX) for name in names]
    rest = f"; also {', '.join(f'`{name}`' for name in shown[1:4])}" if len(names) > 1 else ""
    return f"| {words} | `{shown[0]}`{rest} | {cite(names[0])} |" if names else f"| {words} | none | |"


def _cell(
    values: Values, refused: set[tuple[str, str]], name: str, split: str, metric: str, form: str
) -> str:
    if (name, split) in refused:
        return "refused"
    value = values.get((name, split, metric))
    return "" if value is None else form.format(value)


def _trained(values: Values, refused: set[tuple[str, str]], name: str, task: str, metric: str) -> str:
    """What training arrived at, and after how many steps if a refusal, or a limit, ended it before the others."""
    value, steps, gave_out = (
        values.get((name, task, metric)),
        _of(values, task, "final_steps"),
        (name, task) in refused,
    )
    if value is None:
        return ""
    if gave_out and not steps.get(name):
        return "refused"
    if steps.get(name, inf) >= max(steps.values(), default=0.0):
        return f"{value:.3g}"
    return f"{value:.3g} ({'refused ' if gave_out else ''}after {steps[name]:.0f})"


def _of(values: Values, split: str, metric: str) -> dict[str, float]:
    return {name: value for (name, where, what), value in values.items() if (where, what) == (split, metric)}


def _summary(run: Path) -> Values:
    """Means over seeds; of errors of gradients, which lie powers of ten apart, the medians."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in _rows(run / "metrics.csv"):
        if row["metric"].startswith("final_"):
            found[row["method"], row["split"], row["metric"]].append(float(row["value"]))
    return {key: (median if "gradient_error" in key[2] else mean)(values) for key, values in found.items()}


def _timings(run: Path, phase: str) -> dict[str, float]:
    return {row["method"]: float(row["value"]) for row in _rows(run / "timings.csv") if row["phase"] == phase}


def _refused(run: Path) -> set[tuple[str, str]]:
    """Methods and splits that were refused on any seed."""
    return {(row["method"], row["split"]) for row in _rows(run / "refusals.csv")}


def _rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _missing() -> str:
    return "\nNo table has been made yet: run `make publish`.\n"
