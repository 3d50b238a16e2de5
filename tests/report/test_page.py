"""The page holds every number, theorem and figure, says where each is from, and is the same every time."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments.common.errors import ConfigError
from experiments.common.verdicts import VERDICTS, counts
from tools.report import __main__ as program
from tools.report import page as builder
from tools.report.ledger import read_ledger
from tools.report.sources import Sources
from tools.scores import ROOT, applications, rows_of

FOLDER = ROOT / "docs" / "report"
VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Collects what is linked, shown and named, and whether every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.claims: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"] or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        for name in ("src", "srcset", "data") if tag != "link" else ("href",):
            self.loaded += [given[name] or ""] if name in given else []
        if tag == "tr" and given.get("class") == "claim":
            self.claims.append(given["data-verdict"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing at {self.getpos()}"


@pytest.fixture(scope="module")
def text() -> str:
    return builder.page(Sources(), FOLDER)


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return Reader(text)


def test_the_tracked_page_is_that_of_the_tracked_tables(text: str):
    tracked = (FOLDER / "index.html").read_text("utf-8")
    assert tracked == text, "run `python -m tools.report --results results --output docs/report`"


def test_built_twice_it_is_the_same_byte_for_byte(text: str):
    assert builder.page(Sources(), FOLDER) == text


def test_every_element_is_closed_and_every_name_is_one(read: Reader):
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))


def test_every_link_leads_somewhere(read: Reader):
    anchors = [link[1:] for link in read.links if link.startswith("#")]
    assert anchors
    assert set(anchors) <= set(read.ids)
    files = [link for link in read.links if not link.startswith("#") and "//arxiv.org/abs/" not in link]
    assert [link for link in files if not (FOLDER / link.partition("#")[0]).exists()] == []


def test_nothing_is_fetched_but_the_figures_beside_it(text: str, read: Reader):
    assert [name for name in read.loaded if not name.startswith("../../figures/")] == ["data:,"]
    assert re.search(r"url\(\s*['\"]?(?!#)|@import|\bfetch\(|XMLHttpRequest|import\(", text) is None


def test_every_number_of_the_comparison_is_there_once_under_its_verdict(read: Reader):
    verdicts = [row["verdict"] for row in rows_of("comparison")]
    assert {name: read.claims.count(name) for name in VERDICTS} == {
        name: verdicts.count(name) for name in VERDICTS
    }


def test_the_scoreboard_counts_distinct_claims(text: str):
    board = text.split('<table class="board">')[1].split("</table>")[0]
    rows = re.findall(r'<tr><td><a href="#(\w+)">.*?</tr>', board, re.DOTALL)
    assert sorted(rows) == applications()
    found = counts(rows_of("comparison"))
    total = re.findall(r'<td class="n wide">(\d+)</td>', board.split("<tfoot>")[1])
    assert [int(number) for number in total[:-1]] == [found[name] for name in VERDICTS]
    cells = [re.findall(r'<td class="n wide">(\d*)</td>', row) for row in board.split("<tr>")[2:]]
    for place, name in enumerate(VERDICTS):
        assert sum(int(row[place] or 0) for row in cells) == found[name]


def test_every_figure_of_the_repository_is_shown(read: Reader):
    drawn = {path.relative_to(ROOT).as_posix() for path in (ROOT / "figures").rglob("*.png")}
    assert {name.removeprefix("../../") for name in read.loaded if name != "data:,"} == drawn


def test_every_check_and_every_erratum_of_the_ledger_is_there(text: str):
    items = read_ledger().values()
    found = [int(passed) for passed in re.findall(r"Ledger <span>(\d+) of \d+ checks pass", text)]
    assert sorted(found) == sorted(item.passed for item in items)
    assert text.count('<div class="erratum">') == sum(len(item.errata) for item in items)


def test_every_run_says_how_to_make_it_and_where_it_was_made(text: str):
    runs = len(list((ROOT / "results").rglob("provenance.json")))
    assert text.count('<details class="run"') == runs
    assert len(re.findall(r'class="command"><code>python -m experiments\.run experiment=', text)) == runs
    assert len(re.findall(r"<dt>revision</dt><dd>[0-9a-f]{12}", text)) == runs


def test_it_says_its_size_and_stays_light(text: str):
    size = len(text.encode("utf-8"))
    assert size < 2**20
    assert int(re.search(r"This page is +(\d+) kB", text).group(1)) == round(size / 1000)


def test_an_application_that_is_placed_nowhere_is_shown_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path
):
    for path in builder.HERE.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_text(
                path.read_text("utf-8").replace('"data_poisoning"', ""), "utf-8"
            )
    monkeypatch.setattr(builder, "HERE", tmp_path)
    found = builder.page(Sources(), FOLDER)
    assert found.index('id="further"') < found.index('id="data_poisoning"') < found.index('id="limits"')


def test_a_ledger_without_a_section_of_the_outline_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(builder, "read_ledger", lambda: {1: read_ledger()[1]})
    with pytest.raises(ConfigError, match=r"LEDGER\.md has no section 2"):
        builder.page(Sources(), FOLDER)


def test_tables_are_read_without_torch():
    code = "import sys, tools.report.page; assert 'torch' not in sys.modules and 'layers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_clone_that_has_run_nothing_gets_the_tracked_results_and_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(program, "ROOT", tmp_path)
    program.main(["--output", str(tmp_path / "report")])
    assert "from the tracked results: nothing was run here" in capsys.readouterr().out
    assert "runs are the tracked ones" in (tmp_path / "report" / "index.html").read_text("utf-8")


def test_a_run_of_one_s_own_is_marked_as_such_and_the_rest_is_not(own: Path):
    text = builder.page(Sources(own), FOLDER)
    assert text.count('<b class="yours">yours</b>') == 1
    assert "1 runs are your own" not in text
    assert "1 run is your own, " in text
    assert "a machine" in text


def test_results_without_a_run_are_refused(tmp_path: Path):
    with pytest.raises(SystemExit, match="no run, expected"):
        program.main(["--results", str(tmp_path), "--output", str(tmp_path)])
