"""Whose tables the page shows, and that a damaged or missing one is named with what makes it again."""

from pathlib import Path

import pytest

from experiments.common.errors import ConfigError
from tests.experiments.recorded import record
from tests.report.conftest import RUN
from tools.report.sources import Sources, read_rows, relative, size_of
from tools.scores import ROOT


def sources(own: Path | None, figures: Path | None = None) -> Sources:
    return Sources(own, figures or Path("nowhere"))


def test_without_runs_of_one_s_own_every_row_is_a_tracked_one():
    found = sources(None)
    assert {run.whose for run in found.runs.values()} == {"tracked"}
    for rows in (found.comparison(), found.contests()):
        assert {row["whose"] for row in rows} == {"tracked"}


def test_a_run_of_one_s_own_replaces_the_tracked_one_and_nothing_else(own: Path):
    found = sources(own)
    assert [place for place, run in found.runs.items() if run.whose == "yours"] == [RUN]
    assert found.runs[RUN].record["seconds"] == 6.0
    mine = {(row["experiment"], row["size"]) for row in found.comparison() if row["whose"] == "yours"}
    assert mine == {("adp", "companion")}
    assert {row["seeds"] for row in found.comparison() if row["whose"] == "yours"} == {"99"}
    tracked = sources(None).comparison()
    assert len(found.comparison()) == len(tracked)
    kept = [row for row in tracked if (row["experiment"], row["size"]) != ("adp", "companion")]
    assert [row for row in found.comparison() if row["whose"] == "tracked"] == kept


def test_a_figure_of_one_s_own_comes_before_the_tracked_one(own: Path, tmp_path: Path):
    (tmp_path / "adp.png").write_bytes((ROOT / "figures" / "adp.png").read_bytes())
    found = sources(own, tmp_path)
    assert found.picture("adp") == (tmp_path / "adp.png", "yours")
    assert found.picture("gallery") == (ROOT / "figures" / "gallery.png", "tracked")
    assert sources(None, tmp_path).picture("adp")[1] == "tracked"
    with pytest.raises(ConfigError, match=r"unheard\.png is missing; `make figures`"):
        found.picture("unheard")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda own: (own / "comparison.csv").unlink(), r"comparison\.csv is missing.*experiments\.compare"),
        (lambda own: (own / "contests.csv").write_text("a,b\n1,2\n"), r"contests\.csv has no column"),
        (
            lambda own: (own / "comparison.csv").write_text((own / "comparison.csv").read_text()[:-40]),
            r"comparison\.csv is damaged at line",
        ),
        (lambda own: (own / "contests.csv").write_bytes(b"\xff\xfe"), r"contests\.csv cannot be read"),
        (lambda own: (own / RUN.path / "metrics.csv").unlink(), r"metrics\.csv is missing"),
        (lambda own: (own / RUN.path / "metrics.csv").write_text("x\n"), r"metrics\.csv is damaged"),
        (
            lambda own: (own / RUN.path / "provenance.json").write_text("{"),
            r"provenance\.json cannot be read",
        ),
        (lambda own: (own / RUN.path / "provenance.json").unlink(), r"provenance\.json is missing"),
        (lambda own: record(own / RUN.path), "its provenance lacks fields"),
    ],
)
def test_a_damaged_or_missing_table_is_named(own: Path, damage, message):
    def read() -> None:
        found = sources(own)
        found.comparison()
        found.contests()

    read()
    damage(own)
    with pytest.raises(ConfigError, match=message):
        read()


def test_a_line_that_ends_early_is_told_with_its_number(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n3\n", "utf-8")
    with pytest.raises(
        ConfigError, match=r"table\.csv is damaged at line 3: .* number of columns.*; make it"
    ):
        read_rows(path, ("a", "b"), "make it")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("ours", "1.2.3", "ours is '1.2.3', expected a number"),
        ("verdict", "matched", "verdict is 'matched', expected one of matches, reproduced"),
        ("outcome", "won", "outcome is 'won', expected one of wins, open, loses"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_line(tmp_path: Path, column, value, message):
    path = tmp_path / "table.csv"
    path.write_text(f"{column}\n{value}\n", "utf-8")
    with pytest.raises(ConfigError, match=rf"table\.csv is damaged at line 2: {message}"):
        read_rows(path, (column,), "make it")


def test_the_size_of_a_figure_is_read_and_what_is_no_figure_is_named(tmp_path: Path):
    width, height = size_of(ROOT / "figures" / "adp.png")
    assert 300 < width < 3000
    assert 100 < height < 3000
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ConfigError, match=r"broken\.png is no PNG"):
        size_of(tmp_path / "broken.png")


def test_links_lead_from_the_page_to_the_file():
    assert relative(ROOT / "figures" / "adp.png", ROOT / "docs" / "report") == "../../figures/adp.png"
    built = relative(ROOT / "build" / "figures" / "adp.png", ROOT / "build" / "report")
    assert built == "../figures/adp.png"
