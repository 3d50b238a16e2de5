"""Tables for README.md and docs/results.md, out of what `python -m experiments.compare` wrote."""

import ast
import csv
import json
import re
from pathlib import Path

from experiments.common.verdicts import NOT_COMPARABLE, VERDICTS, claims, sentence
from figures.style import NAMES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
Rows = list[dict[str, str]]
#: how many figures of one experiment the scoreboard links: README.md is short, docs/gallery.md has all
SHOWN = 1
#: relative changes that reach so far are shown as factors
LARGE, SMALL = 10, -0.95


def rows_of(name: str, results: Path = RESULTS) -> Rows:
    """Return the rows of a tracked table of the comparison, ``comparison`` or ``contests``."""
    with (results / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def applications() -> list[str]:
    """Return the experiments that have a tracked run."""
    return sorted({path.parts[-4] for path in RESULTS.glob("*/*/*/provenance.json")})


def title(experiment: str) -> str:
    """Return what an experiment is about: the docstring of its program up to the first colon or comma."""
    said = (
        ast.get_docstring(ast.parse((ROOT / "experiments" / f"{experiment}.py").read_text("utf-8")))
        or experiment
    )
    return re.split(r"[:,.?]", " ".join(said.split()), maxsplit=1)[0]


def pictures(experiment: str) -> list[str]:
    """Return the stems of the figures that are drawn from the tables of an experiment."""
    drawn = sorted((ROOT / "figures").glob("*.py"))
    return [path.stem for path in drawn if re.search(rf'"{experiment}/\w+"', path.read_text("utf-8"))]


def minutes(experiment: str) -> float:
    """Return how long the tracked run of the companion's size took."""
    record = json.loads((RESULTS / experiment / "companion" / "auto" / "provenance.json").read_text("utf-8"))
    return record["seconds"] / 60


def counted(rows: Rows) -> str:
    """Return the distinct claims by verdict in a sentence."""
    return sentence(rows) + "."


def scoreboard(rows: Rows) -> str:
    """Return a line for each application: its first figures, distinct claims, how many have each verdict, minutes."""
    found = claims(rows)
    head = ["name", "application", "figures", "claims", *VERDICTS, "minutes"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|" + "---:|" * (len(head) - 3)]
    for experiment in applications():
        verdicts = [verdict for (name, _), verdict in found.items() if name == experiment]
        total = sum(verdict != NOT_COMPARABLE for verdict in verdicts)
        links = ", ".join(
            f"[{stem.removeprefix(experiment).replace('_', ' ').strip() or 'figure'}](figures/{stem}.png)"
            for stem in pictures(experiment)[:SHOWN]
        )
        counts = [str(verdicts.count(name) or "") for name in VERDICTS]
        cells = [
            f"[`{experiment}`](experiments/{experiment}.py)",
            title(experiment),
            links,
            *(str(total or ""), *counts),
            f"{minutes(experiment):.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n" + "\n".join(lines) + "\n"


def losses(rows: Rows) -> str:
    """Return how many meetings the layer wins, those that it loses as a table, and where it lies behind."""
    outcomes = [row["outcome"] for row in rows]
    wins, loses, still = (outcomes.count(name) for name in ("wins", "loses", "open"))
    said = (
        f"Of {len(rows)} meetings with methods that do not learn through a layer, on the same data, it wins {wins}, "
        f"loses {loses}, and in {still} the interval holds no difference. It loses:\n"
    )
    return f"\n{said}\n{met([row for row in rows if row['outcome'] == 'loses'])}\n{behind(rows)}\n"


def behind(rows: Rows) -> str:
    """Return the open meetings in which the layer is worse in the mean, by data set, in a sentence."""
    rivals: dict[str, dict[str, None]] = {}
    for row in rows:
        worse = float(row["change"]) * (1 if row["good"] == "down" else -1) > 0
        if row["outcome"] == "open" and worse:
            rivals.setdefault(row["experiment"], {})[_name(row["rival"])] = None
    said = "; ".join(f"`{experiment}` behind {', '.join(names)}" for experiment, names in rivals.items())
    return f"Worse in the mean, but open: {said}."


def met(rows: Rows) -> str:
    """Return meetings as a table."""
    head = [
        "| data | with a layer | without | on | change, 95 % interval | seeds |",
        "|---|---|---|---|---|---:|",
    ]
    return "\n".join([*head, *(_met(row) for row in rows)]) + "\n"


def _met(row: dict[str, str]) -> str:
    change = interval(row, "change", relative=row["unit"] == "relative change")
    names = (_name(row["method"]), _name(row["rival"]))
    cells = [f"`{row['experiment']}`", *names, f"{row['metric']}, {row['split']}", change, row["seeds"]]
    return "| " + " | ".join(cells) + " |"


def _name(method: str) -> str:
    return NAMES[method].replace(" (layer)", "") if method in NAMES else f"`{method}`"


def interval(row: dict[str, str], middle: str, relative: bool) -> str:
    """Return a number of a row with its interval, if any: three digits, relative changes in per cent or as factors."""
    values = [float(row[name]) for name in (middle, "lo", "hi") if row[name]]
    before, after, shown = "", "", [f"{value:.3g}" for value in values]
    if relative and (max(values) >= LARGE or -1 <= min(values) <= SMALL):
        before, shown = "× ", [f"{1 + value:.3g}" for value in values]
    elif relative:
        after, shown = " %", [f"{100 * value:+.1f}" for value in values]
    ends = f" [{shown[1]}, {shown[2]}]" if len(shown) > 1 else ""
    return f"{before}{shown[0]}{ends}{after}"
