"""Tables for README.md, docs/results.md and the report, out of what `python -m experiments.compare` wrote."""

import ast
import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from experiments.common.verdicts import NOT_COMPARABLE, VERDICTS, claims, sentence
from figures.style import NAMES

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
Row = dict[str, str]
Rows = list[Row]
#: relative changes that reach so far are shown as factors
LARGE, SMALL = 10, -0.95


def rows_of(name: str, results: Path = RESULTS) -> Rows:
    """Return the rows of a tracked table of the comparison, ``comparison`` or ``contests``."""
    with (results / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Score:
    """One application on the scoreboard: distinct claims that are counted, how many have each verdict, minutes."""

    experiment: str
    title: str
    pictures: tuple[str, ...]
    total: int
    verdicts: dict[str, int]
    minutes: float


def applications(*folders: Path) -> list[str]:
    """Return the experiments that have a run in one of the folders, the tracked ones unless told otherwise."""
    runs = [path for folder in folders or (RESULTS,) for path in folder.glob("*/*/*/provenance.json")]
    return sorted({path.parts[-4] for path in runs})


def docstring(experiment: str) -> str:
    """Return what the program of an experiment says of itself."""
    program = ROOT / "experiments" / f"{experiment}.py"
    return ast.get_docstring(ast.parse(program.read_text("utf-8"))) or experiment


def title(experiment: str) -> str:
    """Return what an experiment is about: the docstring of its program up to the first colon or comma."""
    return re.split(r"[:,.?]", " ".join(docstring(experiment).split()), maxsplit=1)[0]


def pictures(experiment: str) -> list[str]:
    """Return the stems of the figures that are drawn from the tables of an experiment.

    The program ``strip.py`` of a folder draws all figures there.
    """
    folder = ROOT / "figures"
    programs = [*sorted(folder.glob("*.py")), *sorted(folder.glob("*/strip.py"))]
    own = [path for path in programs if re.search(rf'"{experiment}/\w+"', path.read_text("utf-8"))]
    drawn = [sorted(path.parent.glob("*.png")) if path.stem == "strip" else [path] for path in own]
    return [path.relative_to(folder).with_suffix("").as_posix() for each in drawn for path in each]


def program_of(picture: Path) -> Path:
    """Return the program that draws a figure: of its name, or the one of its folder."""
    own = picture.with_suffix(".py")
    return own if own.exists() else picture.with_name("strip.py")


def minutes(experiment: str, *folders: Path) -> float:
    """Return how long the run of the companion's size took, in the first folder that has it; NaN where none has."""
    places = [folder / experiment / "companion" / "auto" for folder in folders or (RESULTS,)]
    for path in (place / "provenance.json" for place in places):
        if path.exists():
            return json.loads(path.read_text("utf-8"))["seconds"] / 60
    return float("nan")


def counted(rows: Rows) -> str:
    """Return the distinct claims by verdict in a sentence."""
    return sentence(rows) + "."


def scores(rows: Rows, *folders: Path) -> list[Score]:
    """Return a line for each application with a run in the folders, minutes from the first that has them."""
    found = claims(rows)
    lines: list[Score] = []
    for experiment in applications(*folders):
        verdicts = [verdict for (name, _), verdict in found.items() if name == experiment]
        lines.append(
            Score(
                experiment,
                title(experiment),
                tuple(pictures(experiment)),
                sum(verdict != NOT_COMPARABLE for verdict in verdicts),
                {name: verdicts.count(name) for name in VERDICTS},
                minutes(experiment, *folders),
            )
        )
    return lines


def scoreboard(rows: Rows) -> str:
    """Return the scores as a table; the title of an application leads to its first figure."""
    head = ["name", "application, figure", "claims", *VERDICTS, "minutes"]
    # No blanks around the cells: README.md is kept short.
    lines = ["|" + "|".join(head) + "|", "|---|---|" + "---:|" * (len(head) - 2)]
    for score in scores(rows):
        cells = [
            f"[`{score.experiment}`](experiments/{score.experiment}.py)",
            f"[{score.title}](figures/{score.pictures[0]}.png)" if score.pictures else score.title,
            *(str(count or "") for count in (score.total, *score.verdicts.values())),
            f"{score.minutes:.1f}",
        ]
        lines.append("|" + "|".join(cells) + "|")
    return "\n" + "\n".join(lines) + "\n"


def losses(rows: Rows) -> str:
    """Return how many meetings the layer wins, and behind whom it ends on which data, by how much at worst."""
    worst: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for row in rows:
        if row["outcome"] == "loses":
            rivals = worst.setdefault(row["experiment"], {}).setdefault(row["method"], {})
            kept = rivals.setdefault(row["rival"], row)
            rivals[row["rival"]] = max(kept, row, key=lambda one: abs(float(one["change"])))
    lines = [f"- `{data}`: {'; '.join(map(_behind, pairs.values()))}" for data, pairs in worst.items()]
    return "\n".join(["", f"{meetings(rows)} Lost (means, at worst):", "", *lines, ""])


def _behind(rivals: dict[str, dict[str, str]]) -> str:
    """Return one method and those that it ends behind, in words."""
    said: list[str] = []
    for name, row in rivals.items():
        relative = row["unit"] == "relative change"
        change = interval(row | {"lo": "", "hi": ""}, "change", relative)
        on = "" if relative else " in " + row["metric"]
        said.append(f"{method_name(name)} ({change}{on})")
    (method,) = {row["method"] for row in rivals.values()}
    return f"{method_name(method)} behind {', '.join(said)}"


def meetings(rows: Rows) -> str:
    """Return how many meetings the layer wins, loses and leaves open, in a sentence."""
    outcomes = [row["outcome"] for row in rows]
    wins, loses, still = (outcomes.count(name) for name in ("wins", "loses", "open"))
    return (
        f"{len(rows)} meetings with methods without a layer, on the same data: {wins} won, {loses} lost, "
        f"{still} open, whose interval holds no difference."
    )


def behind(rows: Rows) -> str:
    """Return the open meetings in which the layer is worse in the mean, by data set, in a sentence."""
    rivals: dict[str, dict[str, None]] = {}
    for row in rows:
        worse = float(row["change"]) * (1 if row["good"] == "down" else -1) > 0
        if row["outcome"] == "open" and worse:
            rivals.setdefault(row["experiment"], {})[method_name(row["rival"])] = None
    said = "; ".join(f"`{experiment}` behind {', '.join(names)}" for experiment, names in rivals.items())
    return f"Worse in the mean, but open: {said}."


def met(rows: Rows) -> str:
    """Return meetings as a table."""
    head = [
        "|data|with a layer|without|on|change, 95 % interval|seeds|",
        "|---|---|---|---|---|---:|",
    ]
    return "\n".join([*head, *(_met(row) for row in rows)]) + "\n"


def _met(row: dict[str, str]) -> str:
    change = interval(row, "change", relative=row["unit"] == "relative change")
    names = (method_name(row["method"]), method_name(row["rival"]))
    cells = [f"`{row['experiment']}`", *names, f"{row['metric']}, {row['split']}", change, row["seeds"]]
    return "|" + "|".join(cells) + "|"


def method_name(method: str) -> str:
    """Return what a method is called in figures, in code type where nobody has named it."""
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
