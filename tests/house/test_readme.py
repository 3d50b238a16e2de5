"""README.md keeps its promises: its code prints what it says, its paths exist, its numbers are computed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from experiments.common.overrides import check_command_line
from experiments.job import CONFIGS, EXPERIMENTS
from tools.readme import (
    CHOOSING,
    CHOOSING_BLOCKS,
    COUNTED,
    GALLERY,
    GALLERY_BLOCKS,
    RESULTS,
    filled,
    measured,
    results,
    speed,
)
from tools.scores import applications

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
# The pages that the README leads to, which hold what it has no room for.
USING, RUNNING = ((ROOT / "docs" / f"{name}.md").read_text("utf-8") for name in ("using", "running"))
PAGES = {
    "README.md": README,
    "docs/using.md": USING,
    "docs/running.md": RUNNING,
    "docs/results.md": RESULTS.read_text("utf-8"),
}


def test_the_first_lines_of_code_print_what_the_readme_says():
    example = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.DOTALL)
    assert example is not None, "README.md has lost its example"
    code, printed = example.groups()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == printed


def test_the_first_example_is_six_lines_long():
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert len([line for line in code.group(1).splitlines() if line.strip()]) == 6


def test_the_page_is_at_most_ten_kilobytes():
    assert len(README.encode("utf-8")) <= 10_000


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README + USING, re.DOTALL))
def test_every_piece_of_code_runs(code: str):
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page])
    assert links
    folder = (ROOT / page).parent
    assert [link for link in links if "://" not in link and not (folder / link).exists()] == []


def test_links_to_a_line_of_code_lead_to_equation_8():
    lines = re.findall(r"\]\((layers/[\w/.]+)#L(\d+)\)", README)
    assert lines
    for file, line in lines:
        assert (ROOT / file).read_text("utf-8").splitlines()[int(line) - 1].startswith("def equation_8(")


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_code_type_exist(page: str):
    folders = "layers|experiments|configs|proofs|figures|results|tests|docs|tools"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*)`", PAGES[page]))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_marks_do_not_hide_what_stands_behind_them():
    # A line that begins with a comment is raw HTML to its end: a link in it would not be one.
    for page in PAGES.values():
        assert [line for line in page.splitlines() if re.match(r"<!--.*-->\s*\S", line)] == []


def test_commands_compose():
    commands = re.findall(r"python -m experiments\.run ([^`#\n]*)", README + RUNNING)
    assert len(commands) > 4
    for command in commands:
        check_command_line(CONFIGS, shlex.split(command))


def test_the_environment_is_activated_before_any_line_that_needs_it():
    # `python -m experiments.run` in a shell that has not been told of the environment finds no torch.
    for page in (README, RUNNING):
        assert 0 < page.index("source .venv/bin/activate") < page.index("python -m experiments.run")


def test_every_experiment_with_a_released_run_is_on_the_scoreboard_with_a_figure():
    board = README.split("<!-- scoreboard -->")[1].split("<!-- /scoreboard -->")[0]
    rows = re.findall(r"^\|\[`(\w+)`\]\(experiments/(\w+)\.py\)\|.*\(figures/\w+\.png\)", board, re.MULTILINE)
    assert rows == [(name, name) for name in applications()]
    assert set(applications()) <= set(EXPERIMENTS)


def test_every_section_of_the_proofs_is_in_the_map():
    sections = sorted(path.stem for path in (ROOT / "docs" / "proofs").glob("[0-9]*.md"))
    assert re.findall(r"\]\(docs/proofs/([\w-]+)\.md\)", README.split("## The theory")[1]) == sections


def test_published_numbers_beside_ours_are_those_of_the_tracked_comparison():
    assert PAGES["docs/results.md"] == results(), "run `python -m tools.readme`"


def test_numbers_are_those_of_the_tracked_results():
    assert filled(README) == README, "run `python -m tools.readme`"


def test_the_measured_engines_are_those_of_the_tracked_benchmark():
    page = CHOOSING.read_text("utf-8")
    assert filled(page, CHOOSING_BLOCKS, "docs/choosing.md") == page, "run `python -m tools.readme`"


def test_every_tracked_figure_is_in_the_gallery_under_its_script():
    page = GALLERY.read_text("utf-8")
    assert filled(page, GALLERY_BLOCKS, "docs/gallery.md") == page, "run `python -m tools.readme`"
    drawn = {path.relative_to(ROOT).as_posix() for path in (ROOT / "figures").rglob("*.png")}
    shown = re.findall(r"^!\[.+\]\(\.\./(.*)\)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(drawn)


def test_the_table_of_engines_takes_accurate_times_alone(tmp_path: Path):
    assert "make bench" in measured(tmp_path / "results.csv")
    lines = [
        "group,row,engine,ours,batch,n,m,p,phase,median_ms,accurate,machine,threads",
        *(
            "peers,a,auto,True,2,3,4,1,both,0.5,True,here,2",
            "peers,a,fast,False,2,3,4,1,both,0.1,False,here,2",
        ),
        *(
            "peers,a,good,False,2,3,4,1,both,0.75,True,here,2",
            "peers,a,good,False,2,3,4,1,forward,0.1,True,here,2",
        ),
        *("peers,b,auto,True,2,3,4,1,both,2,True,here,2", "peers,b,good,False,2,3,4,1,both,,False,here,2"),
    ]
    (tmp_path / "results.csv").write_text("\n".join(lines), "utf-8")
    page = measured(tmp_path / "results.csv").splitlines()
    assert page[1] == "here, 2 threads; medians of forward and backward together."
    assert page[-2:] == [
        "| a | 2, 3, 4, 1 | `auto` | 0.5 | `good` | 0.75 |",
        "| b | 2, 3, 4, 1 | `auto` | 2 |  |  |",
    ]


def test_the_speed_is_that_of_the_counted_rows_alone(tmp_path: Path):
    assert "make bench" in speed(tmp_path / "ratios.csv")
    lines = ["group,row,ratio", "peers,a,2", "latency,b,8", "applications,c,", "batch,d,100"]
    (tmp_path / "ratios.csv").write_text("\n".join(lines), "utf-8")
    said = "4.0 times as fast as the fastest accurate layer of others (geometric mean of 2 rows"
    assert speed(tmp_path / "ratios.csv") == f"{said}; least 2.00)"


def test_the_speed_names_bare_solvers_too_and_where_the_layer_is_slower(tmp_path: Path):
    lines = [
        "group,row,ratio,bare,bare_ratio,alone_bare,alone_bare_ratio",
        "peers,a,2,daqp,4,daqp,0.5",
        "latency,b,8,daqp,1,piqp,2",
        "batch,c,100,daqp,0.1,daqp,0.1",
    ]
    (tmp_path / "ratios.csv").write_text("\n".join(lines), "utf-8")
    layers, behind, alone = speed(tmp_path / "ratios.csv").split("), ")
    assert layers.endswith("least 2.00")
    assert behind == "2.0 times a bare solver in a loop with a backward pass (least 1.00; slower in 0"
    assert alone == "1.0 times one without a gradient (least 0.50; slower in 1)"


def test_sparse_programs_are_told_by_themselves(tmp_path: Path):
    lines = ["group,row,ratio,bare_ratio", "peers,a,2,", "sparse,b,0.5,0.1", "large,c,2,", "large,d,,0.9"]
    (tmp_path / "ratios.csv").write_text("\n".join(lines), "utf-8")
    assert speed(tmp_path / "ratios.csv").endswith(
        "rows; least 2.00); sparse: 1.0 times a layer (2 rows), 0.1 a bare solver (1)"
    )


def test_the_counted_rows_are_those_of_the_report():
    assert COUNTED == report.COUNTED


def test_a_missing_mark_is_told():
    with pytest.raises(ValueError, match="<!-- minutes -->"):
        filled("no marks here")
