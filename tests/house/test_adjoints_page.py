"""docs/choosing.md says of adjoints what the tables say."""

from pathlib import Path

import pytest

from tools.adjoints_page import decisions, matrix

METRICS = (
    ("adjoint=quick", "regular", "final_gradient_error", 1e-15),
    ("adjoint=slow", "regular", "final_gradient_error", 1e-15),
    ("adjoint=rough", "regular", "final_gradient_error", 1e-3),
    ("adjoint=quick", "repeated row", "final_gradient_error", 1e-15),
    ("adjoint=slow", "repeated row", "final_gradient_error", 1e-15),
    ("adjoint=rough", "weakly active", "final_selection", 0.5),
    ("adjoint=rough", "weakly active", "final_distance_to_limits", 1e-6),
    ("adjoint=quick", "path, linear", "final_regret", 0.1),
    ("adjoint=rough", "path, linear", "final_regret", 0.2),
    ("loss", "path", "final_regret", 0.075),
    *((f"adjoint={name}", "sudoku", "final_board_error", 0.5) for name in ("quick", "slow", "rough")),
    *(
        (f"adjoint={name}", "sudoku", "final_steps", n)
        for name, n in (("quick", 90), ("slow", 90), ("rough", 7))
    ),
)
SECONDS = {"adjoint=quick": 1e-3, "adjoint=slow": 2e-3, "adjoint=rough": 5e-4}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    metrics = ["method,seed,split,metric,value", *(f'{m},0,"{s}",{what},{v}' for m, s, what, v in METRICS)]
    timings = ["method,phase,value"]
    for method, seconds in SECONDS.items():
        timings += [f"{method},pareto default,{seconds}", f"{method},memory pareto default,{2**30 * seconds}"]
    refusals = ["method,split,reason", "adjoint=quick,repeated row,no", 'adjoint=quick,"path, linear",no']
    for name, lines in (("metrics", metrics), ("timings", timings), ("refusals", refusals)):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines), "utf-8")
    return tmp_path


def test_the_fastest_exact_one_is_taken_unless_it_refuses(run: Path):
    lines = {
        line.split(" | ")[0].strip("| "): line for line in decisions(run).splitlines() if line.startswith("|")
    }
    assert "| `quick`; also `slow` | error 1.0e-15, 1 ms |" in lines["one unique derivative, wanted exactly"]
    assert "| `slow` | error 1.0e-15, 2 ms |" in lines["constraints that repeat each other"]
    assert "| `rough` | 0.50 of the way, 0.5 ms |" in lines["on a kink, an element of Clarke's derivative"]
    assert "| `rough`; also `quick`, `slow` | 0.51 MiB |" in lines["least memory"]
    assert "| `rough` | test regret 20.0 % |" in lines["costs learned through a linear program"]
    assert "| `loss` | test regret 7.5 % |" in lines["costs learned by a loss made for it"]
    assert "| none | |" in lines["the same, Q with a condition of 1e6"]


def test_of_equal_results_the_faster_is_taken_and_training_that_stopped_early_is_not(run: Path):
    (line,) = [one for one in decisions(run).splitlines() if "rules of Sudoku" in one]
    assert "| `quick`; also `slow` | 50.0 % wrong boards |" in line
    cells = {row.split("`")[1]: row.split(" | ") for row in matrix(run).splitlines() if "`" in row}
    assert {name: row[9] for name, row in cells.items()} == {
        "quick": "0.5",
        "slow": "0.5",
        "rough": "0.5 (after 7)",
    }


def test_what_is_refused_is_said_in_the_matrix(run: Path):
    rows = {line.split("`")[1]: line for line in matrix(run).splitlines() if "`" in line}
    assert set(rows) == {"quick", "slow", "rough"}
    assert rows["quick"].count("refused") == 2
    assert "1.0e-03" in rows["rough"]


def test_without_a_tracked_run_the_page_says_what_to_run(tmp_path: Path):
    assert "make publish" in decisions(tmp_path / "none")
    assert "make publish" in matrix(tmp_path / "none")
