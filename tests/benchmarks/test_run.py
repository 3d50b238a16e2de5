"""The harness on a tiny row, from the command line to the report."""

import dataclasses
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import convex, memory, problems, report, rows
from benchmarks.__main__ import parse
from benchmarks.convex_engines import convex_engines
from benchmarks.convex_programs import construction, run_convex_row
from benchmarks.engines import all_engines
from benchmarks.jobs import all_jobs, engine_names
from benchmarks.measure import QUICK
from benchmarks.run import run
from layers import engines, third_party
from layers.backends import BACKENDS


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the only row be two programs of three variables."""
    row = rows.Row("tiny", "peers", rows.partial(problems.random_programs, batch=2, n=3, m=4, p=1))
    monkeypatch.setattr("benchmarks.jobs.all_rows", lambda: {"tiny": row})


def _run(folder: Path, *arguments: str) -> pd.DataFrame:
    run(parse(["--quick", "--threads", "1", "--output", str(folder), *arguments]))
    return pd.read_csv(folder / "results.csv")


@pytest.mark.usefixtures("tiny")
def test_a_quick_look_at_a_row_writes_table_ratios_and_report(tmp_path: Path):
    table = _run(tmp_path, "--rows", "tiny", "--engines", "auto,moreau_active_set,qpth,cvxpylayers_diffcp")
    assert set(table["engine"]) == {"auto", "moreau_active_set", "qpth", "cvxpylayers_diffcp"}
    assert table["accurate"].all()
    assert (table["residual"] < 1e-8).all()
    assert (table["median_ms"] > 0).all()
    assert (table["q1_ms"] <= table["median_ms"]).all()
    assert (table["median_ms"] <= table["q3_ms"]).all()
    (line,) = pd.read_csv(tmp_path / "ratios.csv").to_dict("records")
    both = table[table["phase"] == "both"].set_index("engine")["median_ms"]
    fastest = both.drop("auto").min()
    assert line["ratio"] == pytest.approx(fastest / both["auto"], rel=1e-3)
    assert "| tiny |" in (tmp_path / "report.md").read_text("utf-8")


@pytest.mark.usefixtures("tiny")
def test_the_report_of_a_device_lists_every_engine_with_its_accuracy(tmp_path: Path):
    table = _run(tmp_path, "--rows", "tiny", "--engines", "auto,qpth")
    assert "| tiny | qpth |" not in report.text(table)
    table["group"], table["accelerator"] = "gpu", "a device"
    table.loc[table["engine"] == "qpth", ["accurate", "gradient_error"]] = [False, 3e-5]
    words = report.text(table)
    assert words.startswith("a device beside ")
    line = next(line for line in words.splitlines() if line.startswith("| tiny | qpth |"))
    assert line.endswith("| 3e-05 | no |")
    assert "| tiny | auto |" in words
    assert "demanded" not in words


@pytest.mark.usefixtures("tiny")
def test_rows_that_were_not_asked_for_stay_if_the_machine_is_the_same(tmp_path: Path):
    first = _run(tmp_path, "--rows", "tiny", "--engines", "auto,qpth")
    first.assign(row="other", group="latency", commit="a" * 40).to_csv(tmp_path / "results.csv", index=False)
    table = _run(tmp_path, "--rows", "tiny", "--engines", "auto,qpth", "--keep")
    assert table["row"].drop_duplicates().tolist() == ["other", "tiny"]
    assert (table["row"] == "other").sum() == len(first)
    words = (tmp_path / "report.md").read_text("utf-8")
    assert "commit aaaaaaaaaaaa (latency), commit" in words
    table.assign(threads=7).to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(SystemExit, match="of other threads; measure all rows"):
        _run(tmp_path, "--rows", "tiny", "--engines", "auto", "--keep")


def test_an_unknown_row_is_refused_with_the_names_there_are(tmp_path: Path):
    with pytest.raises(SystemExit, match=r"no row nothing; there are .*sudoku_4x4"):
        _run(tmp_path, "--rows", "nothing")


def test_every_engine_of_the_layer_is_in_the_benchmark():
    own = {name for name, reason in engines().items() if reason is None}
    assert own - set(third_party()) <= set(all_engines())


def test_a_package_of_others_is_never_counted_as_ours(monkeypatch: pytest.MonkeyPatch):
    """Nor is one that comes tomorrow: a newcomer in the registry of backends enters the table in no other way."""
    newcomer = dataclasses.replace(BACKENDS["qpth"], name="newcomer", packages=("newcomer",))
    monkeypatch.setitem(BACKENDS, "newcomer", newcomer)
    ours = {name for name, engine in all_engines().items() if engine.ours}
    assert "newcomer" in engines()
    assert ours & set(BACKENDS) == set()
    assert {"auto", "native", "interior_point"} <= ours
    assert {"moreau_active_set", "proxsuite", "qpth", "cvxpylayers_diffcp", "dqp"} <= set(engine_names())


def test_a_peer_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "proxsuite.torch.qplayer", None)
    reason = all_engines()["proxsuite"].unavailable()
    assert reason is not None
    assert "make bench" in reason


def test_rows_on_cuda_are_there_where_a_device_is():
    jobs = all_jobs([], QUICK)
    assert any(job.group == "gpu" for job in jobs) == torch.cuda.is_available()


@pytest.mark.parametrize(
    "name", [name for name, row in rows.all_rows().items() if row.group in ("applications", "latency")]
)
def test_the_two_mini_batches_of_a_layer_differ_in_what_is_learned_alone(name: str):
    first, second = (rows.all_rows()[name].make(draw) for draw in (0, 1))
    for argument in problems.NAMES:
        same = torch.equal(getattr(first, argument), getattr(second, argument))
        varies = argument in first.learned or first.is_batched(argument)
        assert same != varies or getattr(first, argument).numel() == 0 or argument == "h", argument


def test_sudoku_has_249_independent_rules_and_a_solved_board_keeps_them():
    data = problems.sudoku_9x9(0)
    assert data.sizes == (729, 729, 249)
    assert torch.linalg.matrix_rank(data.A) == 249
    digits = torch.tensor([[(3 * (i % 3) + i // 3 + j) % 9 for j in range(9)] for i in range(9)])
    board = torch.nn.functional.one_hot(digits, 9).double().flatten()
    torch.testing.assert_close(data.A @ board, data.b, rtol=0, atol=1e-12)
    assert (data.A @ (board + torch.eye(729, dtype=torch.float64)[0]) - data.b).abs().max() > 0.5


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
def test_peak_memory_is_at_least_that_of_the_gradients():
    found = memory.peak("random_128x100_100_0", "auto", {"tol": 1e-8})
    assert found is not None
    # Gradients of Q and of G, each 128 matrices of 100 x 100 doubles, in MiB.
    assert found > 2 * 128 * 100 * 100 * 8 / 2**20


@pytest.mark.parametrize(
    "program",
    [
        convex.box_least_squares(3),
        convex.robust_portfolio(4),
        convex.capped_softmax(6),
        convex.nearest_correlation(3),
    ],
)
def test_layers_of_convex_programs_are_checked_and_timed(program: convex.Program):
    row = convex.ConvexRow("tiny", lambda: program, 2)
    lines = run_convex_row(row, [convex_engines()["cvxpylayers_diffcp"]], QUICK)
    by_phase = {line.phase: line for line in lines}
    # Without a gradient it hands the options of its adjoint to its solver, and has no line.
    assert set(by_phase) == {"forward", "backward", "both", "canonicalisation"}
    assert by_phase["both"].accurate, by_phase["both"]
    assert 0 < by_phase["canonicalisation"].median_ms < by_phase["forward"].median_ms


def test_construction_is_timed_on_a_problem_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("benchmarks.convex_programs.matrix_parameter", lambda: convex.box_least_squares(3))
    (line,) = construction([convex_engines()["cvxpylayers_diffcp"]], QUICK)
    # A second compilation of one problem takes a hundredth of the first: half of the largest would not be reached.
    assert line.q1_ms > 0.3 * line.q3_ms


def test_targets_are_read_off_the_table():
    lines = [
        ("auto", True, "forward", 1.0), ("auto", True, "backward", 0.2), ("auto", True, "both", 1.2),
        ("slow", False, "forward", 9.0), ("slow", False, "backward", 3.0), ("slow", False, "both", 12.0),
        ("wrong", False, "forward", 0.1), ("wrong", False, "backward", 0.1), ("wrong", False, "both", 0.2),
    ]  # fmt: skip
    table = pd.DataFrame(lines, columns=["engine", "ours", "phase", "median_ms"])
    table = table.assign(
        group="peers", row="one", accurate=table["engine"] != "wrong", memory_mib=float("nan"), floor_ms=0.5,
        bare=False, core_us=table["median_ms"],
    )  # fmt: skip
    (line,) = report.ratios(table).to_dict("records")
    assert (line["peer"], line["ratio"], line["of_attainable"]) == ("slow", pytest.approx(10.0), 0.5)
    found = {what: (value, demand) for what, value, demand in report.targets(table, report.ratios(table))}
    assert found["its least over the rows"] == (pytest.approx(10.0), ">= 2")
    assert found["largest backward over forward"] == (pytest.approx(0.2), "<= 0.25")


def test_the_command_line_lists_rows_and_engines(capsys: pytest.CaptureFixture[str]):
    run(parse(["--list"]))
    listed = capsys.readouterr().out.split()
    assert {"sudoku_9x9", "construction", "proxsuite", "auto_warm"} <= set(listed)
