"""What the report says of one application: figures, numbers beside published ones, meetings, and their origin."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import cast

from markupsafe import Markup

from experiments.common.records import command
from experiments.common.verdicts import COUNTED, NOT_COMPARABLE, VERDICTS
from tools.readme import described
from tools.report import marks
from tools.report.prose import inline, paragraphs
from tools.report.sources import Run, Sources, relative, size_of
from tools.results_page import cause_of_miss, ours, printed, run_of
from tools.scores import ROOT, Row, Rows, Score, docstring, interval, method_name, program_of


@dataclass(frozen=True)
class Picture:
    """A figure: where it is as seen from the page, its size, and what its script says of it."""

    link: str
    width: int
    height: int
    title: str
    caption: str
    script: str
    command: str
    whose: str = ""


@dataclass(frozen=True)
class Claim:
    """One published number beside ours."""

    text: str
    printed: str
    ours: str
    mark: Markup
    seeds: str
    verdict: str
    post_hoc: bool
    cause: Markup


@dataclass(frozen=True)
class Numbers:
    """The numbers of one run: its claims, its provenance, whose run it is, and what of it cannot be compared."""

    name: str
    whose: str
    command: str
    note: str
    provenance: list[tuple[str, str]]
    claims: list[Claim] = field(default_factory=list[Claim])
    aside: list[tuple[str, list[Claim]]] = field(default_factory=list[tuple[str, list[Claim]]])


@dataclass(frozen=True)
class Meeting:
    """A method with a layer against one without."""

    experiment: str
    method: str
    rival: str
    on: str
    change: str
    mark: Markup
    seeds: str
    outcome: str
    command: str


@dataclass(frozen=True)
class Study:
    """One application of the report."""

    score: Score
    subtitle: Markup
    text: list[Markup]
    more: list[Markup]
    source: str
    pictures: list[Picture]
    numbers: list[Numbers]
    meetings: list[Meeting]


def study(score: Score, sources: Sources, rows: Rows, meetings: list[Meeting], output: Path) -> Study:
    """Return what the page shows of the application that ``score`` counts, for a page in ``output``."""
    name = score.experiment
    mine = [row for row in rows if row["experiment"] == name]
    first, _, said = docstring(name).partition("\n\n")
    text = paragraphs(said)
    # A list belongs to the sentence that announces it.
    head = 2 if text and text[0].endswith(":</p>") else 1
    runs = [run for run in sources.runs.values() if run.place.experiment == name]
    return Study(
        score,
        _subtitle(first, score.title),
        text[:head],
        text[head:],
        mine[0]["source"] if mine else "",
        [picture(stem, sources, output) for stem in score.pictures],
        # The paper's size decides, and comes first.
        [_numbers(run, mine) for run in sorted(runs, key=lambda run: _order(run.place.run))],
        [each for each in meetings if f"experiment={name} " in each.command],
    )


def _subtitle(first: str, title: str) -> Markup:
    """Return the first paragraph of a program less the title that it begins with."""
    rest = " ".join(first.split()).removeprefix(title).lstrip(":,.? ")
    return inline(rest[:1].upper() + rest[1:])


def meeting(row: Row) -> Meeting:
    """Return one row of the meetings as the page shows it."""
    change = interval(row, "change", relative=row["unit"] == "relative change")
    method, rival = (method_name(row[side]).strip("`") for side in ("method", "rival"))
    on = f"{row['metric']}, {row['split']}".replace("_", " ")
    return Meeting(
        row["experiment"], method, rival, on, change, marks.meeting(row), row["seeds"], row["outcome"],
        row["command"],
    )  # fmt: skip


def picture(stem: str, sources: Sources, output: Path) -> Picture:
    """Return the figure ``stem`` as the page shows it."""
    path, whose = sources.picture(stem)
    program = program_of(ROOT / "figures" / f"{stem}.png")
    title, caption = described(program.relative_to(ROOT))
    folder, _, name = stem.rpartition("/")
    module = ".".join(filter(None, ("figures", folder)))
    drawn = f"python -m {module}" + ("" if folder else f" {name}")
    script = relative(program, output)
    return Picture(relative(path, output), *size_of(path), title, caption, script, drawn, whose)


def _numbers(run: Run, rows: Rows) -> Numbers:
    size = f"{run.place.size}/{run.place.changes}".rstrip("/")
    mine = [row for row in rows if (row["size"], row["layer"]) == (size, run.place.layer)]
    mine.sort(key=lambda row: VERDICTS.index(row["verdict"]))
    made = mine[0]["command"] if mine else command(run.place, run.record.get("changes"))
    name = run_of({"size": size, "layer": run.place.layer})
    counted = [_claim(row) for row in mine if row["verdict"] in COUNTED]
    return Numbers(
        name, run.whose, made, mine[0]["note"] if mine else "", list(_provenance(run)), counted, _aside(mine)
    )


def _aside(rows: Rows) -> list[tuple[str, list[Claim]]]:
    left = sorted((row for row in rows if row["verdict"] == NOT_COMPARABLE), key=lambda row: row["reason"])
    return [(why, [_claim(row) for row in group]) for why, group in groupby(left, lambda row: row["reason"])]


def _claim(row: Row) -> Claim:
    cause = cause_of_miss(row)
    numbers = (printed(row), ours(row), marks.claim(row), row["seeds"], row["verdict"])
    return Claim(row["claim"], *numbers, bool(row["post_hoc"]), inline(f"{cause}.") if cause else Markup(""))


def _provenance(run: Run) -> Iterator[tuple[str, str]]:
    record = run.record
    git = record["git"]
    changed = " with uncommitted changes" if git.get("dirty") else ""
    yield "revision", f"{(git.get('revision') or 'unknown')[:12]}{changed}"
    yield from ((name, _plain(value)) for name, value in git.items() if name not in ("revision", "dirty"))
    yield "seeds", ", ".join(str(seed) for seed in record["config"].get("seeds", []))
    yield "took", f"{record['seconds'] / 60:.1f} minutes"
    yield "Python", record["python"]
    # What an older program did not record yet is left out.
    for name in ("cpu", "system", "threads_per_process", "engine", "timings", "mixed", "packages"):
        if record.get(name):
            yield name.replace("_", " "), _plain(record[name])
    if "tables" in record:
        yield "tables", ", ".join(f"{name} {digest[:12]}" for name, digest in record["tables"].items())


def _plain(value: object) -> str:
    """Return what a program recorded as a sentence: mappings and lists without their brackets."""
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return ", ".join(f"{name} {_plain(each)}" for name, each in entries.items())
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in cast("list[object]", value))
    return str(value)


def _order(run: str) -> tuple[int, str]:
    first = run.split("/", 1)[0]
    sizes = ("paper", "companion")
    return (sizes.index(first) if first in sizes else len(sizes)), run
