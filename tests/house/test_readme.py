"""README.md keeps its promises: its code prints what it says, its paths exist, its numbers are computed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from experiments.common.overrides import check_command_line
from experiments.run import CONFIGS
from tools.readme import (
    CHOOSING,
    CHOOSING_BLOCKS,
    COUNTED,
    GALLERY,
    GALLERY_BLOCKS,
    filled,
    measured,
    speed,
    table,
)

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
LINKS = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README)


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


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_every_piece_of_code_runs(code: str):
    exec(compile(code, "README.md", "exec"), {})


def test_links_lead_to_files():
    assert LINKS
    absent = [link for link in LINKS if "://" not in link and not (ROOT / link).exists()]
    assert absent == []


def test_paths_in_code_type_exist():
    folders = "layers|experiments|configs|proofs|figures|results|tests|docs|tools"
    named = set(re.findall(rf"`((?:{folders})/[\w./-]*)`", README))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_commands_compose():
    commands = re.findall(r"python -m experiments\.run ([^`#\n]*)", README)
    assert commands
    for command in commands:
        check_command_line(CONFIGS, shlex.split(command))


def test_numbers_are_those_of_the_tracked_results():
    assert filled(README) == README, "run `python tools/readme.py`"


def test_the_measured_engines_are_those_of_the_tracked_benchmark():
    page = CHOOSING.read_text("utf-8")
    assert filled(page, CHOOSING_BLOCKS, "docs/choosing.md") == page, "run `python tools/readme.py`"


def test_every_tracked_figure_is_in_the_gallery_under_its_script():
    page = GALLERY.read_text("utf-8")
    assert filled(page, GALLERY_BLOCKS, "docs/gallery.md") == page, "run `python tools/readme.py`"
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
    said = "4.0 times as fast as the fastest accurate peer in the geometric mean over 2 rows"
    assert speed(tmp_path / "ratios.csv") == f"{said}, from 2.00 (`a`) to 8.0 (`b`)"


def test_the_counted_rows_are_those_of_the_report():
    assert COUNTED == report.COUNTED


def test_a_missing_mark_is_told():
    with pytest.raises(ValueError, match="<!-- minutes -->"):
        filled("no marks here")


def _claim(**changes: str) -> dict[str, str]:
    row = {
        **{
            "claim": "wrong boards",
            "published": "0.00053",
            "ours": "0.00061239",
            "lo": "0.0005",
            "hi": "0.0007",
        },
        **{"unit": "as in the paper", "size": "paper", "seeds": "3", "verdict": "reproduced"},
        **{"command": "python -m experiments.run experiment=sudoku size=paper", "cause": "", "note": ""},
    }
    return {**row, **changes}


def test_small_numbers_keep_their_digits_and_changes_are_percentages():
    (line,) = (line for line in table([_claim()]).splitlines() if "wrong boards" in line)
    assert "| 0.00053 | 0.0006124 [0.0005, 0.0007], 3 seeds | paper | reproduced |" in line
    change = {"published": "-0.12727", "ours": "-0.0992", "lo": "-0.1057", "hi": "-0.0937"}
    (line,) = (
        line for line in table([_claim(unit="relative change", **change)]).splitlines() if "wrong" in line
    )
    assert "| -12.7 % | -9.9 % [-10.6 %, -9.4 %], 3 seeds |" in line


def test_large_changes_are_factors():
    (line,) = (
        line
        for line in table(
            [_claim(unit="relative change", published="34399", ours="999", lo="9", hi="99999")]
        ).splitlines()
        if "wrong" in line
    )
    assert "| × 3.44e+04 | × 1e+03 [+900.0 %, × 1e+05], 3 seeds |" in line


def test_single_numbers_are_counted_by_experiment_and_size():
    single = {"lo": "", "hi": "", "seeds": "1", "command": "python -m experiments.run experiment=gallery"}
    rows = [_claim(**single) for _ in range(3)]
    rows += [_claim(**single, verdict=verdict) for verdict in ("not reproduced", "other setting")]
    page = table([*rows, _claim(**{**single, "size": "companion"})])
    assert page.count("wrong boards") == 0
    assert "gallery, size paper: 3 of 4 single published numbers reproduced" in page
    assert "gallery, size companion: 1 of 1 single published numbers reproduced" in page


def test_causes_of_misses_and_differing_settings_stand_below():
    miss = _claim(verdict="not reproduced", cause="another bound", note="fewer boards")
    page = table([miss, _claim(claim="another", note="fewer boards")])
    assert page.count("- Not reproduced: wrong boards. Cause: another bound.") == 1
    assert page.count("- sudoku, size paper: fewer boards.") == 1
