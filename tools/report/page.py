"""The page as a whole: what stands in it, and its HTML."""

import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.common.errors import ConfigError
from experiments.common.verdicts import VERDICTS, counts
from tools.readme import RATIOS, speed, tally
from tools.report import marks, pieces
from tools.report.ledger import Item, read_ledger
from tools.report.mathml import mathml
from tools.report.prose import inline, paragraphs
from tools.report.sources import BENCHMARK, TRACKED, YOURS, Sources, read_rows, relative
from tools.report.study import Picture, Study, meeting, picture, study
from tools.results_page import rule_of_each
from tools.scores import ROOT, Rows, counted, meetings, scores

HERE = Path(__file__).parent
REPORT = ROOT / "benchmarks" / "report.md"
#: stands where the size of the page goes, and is as long as what replaces it
SIZE = "#SIZE#"


@dataclass(frozen=True)
class Section:
    """A section of the survey: text, applications, items of the ledger with a text and figures each."""

    id: str
    title: str
    text: list[Markup]
    studies: list[Study]
    proofs: list[tuple[Item, list[Markup], list[Picture], str]]


def page(sources: Sources, output: Path) -> str:
    """Return the report as one HTML page for the folder ``output``.

    Raises
    ------
    ConfigError
        Naming the table or figure that is missing or damaged.
    """
    outline = tomllib.loads((HERE / "outline.toml").read_text("utf-8"))
    rows, contests = sources.comparison(), sources.contests()
    board, met = scores(rows, *sources.folders), [meeting(row) for row in contests]
    studies = {score.experiment: study(score, sources, rows, met, output) for score in board}
    sections = _sections(outline, studies, sources, output)
    content = {
        "benchmark": _benchmark(sources, output),
        **_front(outline, rows, contests, sections),
        "sections": sections,
        "meetings": met,
        "hands": pieces.pieces(),
        "origin": _origin(sources),
        "root": relative(ROOT, output),
    }
    text = _environment().get_template("page.html").render(content)
    return _stamped(re.sub(r"\n\s*\n+", "\n", text))


def _front(outline: dict[str, Any], rows: Rows, contests: Rows, sections: list[Section]) -> dict[str, Any]:
    """Return what the page begins with: title, formulas, the four numbers and the scoreboard, in order of sections."""
    shown = [each for section in sections for each in section.studies]
    return {
        "outline": outline,
        "program": Markup(mathml(outline["program"], display=True)),
        "derivative": Markup(mathml(outline["derivative"], display=True)),
        "lead": paragraphs(outline["lead"]),
        "tiles": _tiles(rows, contests),
        "counted": counted(rows),
        "board": [each.score for each in shown],
        "most": max(sum(each.score.verdicts.values()) for each in shown),
        "won": {each.score.experiment: _outcomes(each) for each in shown},
        "met": meetings(contests),
        "rules": rule_of_each(),
        "verdicts": VERDICTS,
        "asset": _asset,
        "bar": marks.verdicts,
    }


def _sections(
    outline: dict[str, Any], studies: dict[str, Study], sources: Sources, output: Path
) -> list[Section]:
    """Return the sections of the outline, applications that it does not place in one of their own before the last."""
    ledger, parts = read_ledger(), [dict(part) for part in outline["sections"]]
    placed = {name for part in parts for name in part["applications"]}
    left = [name for name in studies if name not in placed]
    if left:
        rest = {
            "id": "further",
            "title": "Further applications",
            "text": "",
            "proofs": [],
            "applications": left,
        }
        parts.insert(-1, rest)
    return [
        Section(
            part["id"],
            part["title"],
            paragraphs(part["text"]),
            [studies[name] for name in part["applications"] if name in studies],
            [_proof(ledger, number, outline["items"], sources, output) for number in part["proofs"]],
        )
        for part in parts
    ]


def _proof(
    ledger: dict[int, Item], number: int, items: dict[str, Any], sources: Sources, output: Path
) -> tuple[Item, list[Markup], list[Picture], str]:
    if number not in ledger:
        raise ConfigError(f"proofs/LEDGER.md has no section {number}; `make proofs` writes it again")
    item = ledger[number]
    said = (ROOT / item.page).read_text("utf-8")
    stems = re.findall(r"\]\((?:\.\./)*figures/(proofs/\w+)\.png\)", said)
    drawn = [picture(stem, sources, output) for stem in dict.fromkeys(stems)]
    return item, paragraphs(items[str(number)]["text"]), drawn, relative(ROOT / item.page, output)


def _tiles(rows: Rows, contests: Rows) -> list[tuple[str, str, str]]:
    """Return the four numbers at the top: number, what it is, where it leads."""
    found, outcomes = counts(rows), [row["outcome"] for row in contests]
    total = sum(found[name] for name in VERDICTS[:-1])
    proved = re.match(r"(\d+) of (\d+) checks pass", tally())
    times = re.match(r"[\d.]+", speed())
    if proved is None or times is None:
        raise ConfigError(
            f"proofs/LEDGER.md or {RATIOS} is cut off; `make proofs`, `make bench` write them again"
        )
    return [
        (
            f"{found['matches'] + found['reproduced']} of {total}",
            "published claims matched or reproduced",
            "scores",
        ),
        (f"{proved[1]} of {proved[2]}", "checks of theorems and equations pass", "argmin"),
        (f"{times[0]} ×", "as fast as the fastest accurate peer, geometric mean", "benchmark"),
        (
            f"{outcomes.count('loses')} of {len(contests)}",
            "meetings with methods without a layer lost",
            "losses",
        ),
    ]


def _outcomes(each: Study) -> dict[str, int]:
    return {name: sum(met.outcome == name for met in each.meetings) for name in ("wins", "open", "loses")}


def _benchmark(sources: Sources, output: Path) -> dict[str, Any]:
    """Return ratios against the fastest accurate peer, the targets, the machine and the figures."""
    rows = read_rows(RATIOS, BENCHMARK, "`make bench` makes it again")
    report = REPORT.read_text("utf-8")
    targets = re.findall(r"^\| (.+) \| (.+) \| (.+) \| (reached|missed) \|$", report, re.MULTILINE)
    if not targets:
        raise ConfigError(f"{REPORT} has lost its targets; `make bench` writes it again")
    timed = [row for row in rows if row["ratio"]]
    return {
        "machine": report.partition("\n")[0],
        "rows": [{**row, "mark": marks.ratio(float(row["ratio"]))} for row in timed],
        "targets": targets,
        "speed": inline(speed()),
        "pictures": [
            picture(f"benchmarks/{path.stem}", sources, output)
            for path in sorted((sources.figures / "benchmarks").glob("*.png"))
        ],
    }


def _origin(sources: Sources) -> str:
    """Return whose runs the page shows, in a sentence."""
    of = [run.whose for run in sources.runs.values()]
    if YOURS not in of:
        return f"All {of.count(TRACKED)} runs are the tracked ones, those of the last release."
    mine = of.count(YOURS)
    said = f"{mine} runs are your own" if mine > 1 else "1 run is your own"
    return f"{said}, {of.count(TRACKED)} are tracked ones of the last release."


def _stamped(text: str) -> str:
    """Return the page with its own size in kB where it says so."""
    return text.replace(SIZE, f"{len(text.encode('utf-8')) / 1000:.0f} kB".rjust(len(SIZE)))


def _asset(name: str) -> Markup:
    """Return a style sheet or script, to stand inside the page."""
    return Markup((HERE / name).read_text("utf-8"))


def _compact(data: object) -> Markup:
    """Return plain data as JSON without a blank, to stand inside a script."""
    return Markup(json.dumps(data, separators=(",", ":"), sort_keys=True))


@cache
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    found.filters |= {"inline": inline, "compact": _compact}
    return found
