"""Bare solvers are compared by themselves, and a released run leaves a line for each group, once for each commit."""

import pandas as pd
import pytest

from benchmarks import history, report

COLUMNS = ["engine", "ours", "bare", "cores", "phase", "median_ms", "accurate"]
LINES = [
    ("auto", True, False, 2, "forward", 1.0, True),
    ("auto", True, False, 2, "backward", 1.0, True),
    ("auto", True, False, 2, "both", 2.0, True),
    ("auto", True, False, 2, "alone", 0.5, True),
    ("layer", False, False, 2, "both", 8.0, True),
    ("layer", False, False, 2, "forward", 3.0, True),
    ("layer", False, False, 2, "alone", 2.0, True),
    ("loop", False, True, 1, "both", 6.0, True),
    ("loop", False, True, 1, "alone", 0.4, True),
    ("quick and wrong", False, True, 1, "alone", 0.1, False),
]


def results(
    commit: str = "a", rows: tuple[tuple[str, str], ...] = (("peers", "one"), ("batch", "two"))
) -> pd.DataFrame:
    tables = [pd.DataFrame(LINES, columns=COLUMNS).assign(group=group, row=row) for group, row in rows]
    table = pd.concat(tables, ignore_index=True)
    facts = {"commit": commit, "machine": "here", "threads": 2, "product_gflops": 90.0, "kernel": "k"}
    core_us = 1e3 * table["cores"] * table["median_ms"] / 10
    return table.assign(batch=10, memory_mib=float("nan"), floor_ms=0.1, core_us=core_us, **facts)


def test_a_bare_solver_is_no_layer_and_one_that_misses_does_not_count():
    line = report.ratios(results()).to_dict("records")[0]
    assert (line["peer"], line["ratio"]) == ("layer", 4.0)
    assert (line["bare"], line["bare_ratio"]) == ("loop", 3.0)
    assert (line["alone_peer"], line["alone_ratio"]) == ("loop", pytest.approx(0.8))
    assert (line["alone_bare"], line["alone_bare_ratio"]) == ("loop", pytest.approx(0.8))


def test_core_microseconds_charge_for_the_cores_that_an_engine_takes():
    line = report.ratios(results()).to_dict("records")[0]
    assert line["alone_core_us"] == pytest.approx(100.0)  # two cores for half a millisecond and ten problems
    assert line["alone_leanest"] == "loop"
    assert line["alone_core_ratio"] == pytest.approx(0.4)
    assert "| one | 400 | loop | 3.00 | 0.5 | loop | 0.80 |" in report.text(
        results().assign(accelerator="", copy_gbytes=1.0)
    )


def test_a_line_for_each_group_and_one_for_the_counted_ones():
    lines = history.lines(results()).set_index("group")
    assert list(lines.index) == ["peers", "batch", "counted"]
    assert lines.loc["counted", "rows"] == 1
    assert lines.loc["counted", "bare_ratio"] == pytest.approx(3.0)


def test_a_commit_has_its_lines_once(tmp_path):
    for commit in ("a", "b", "a"):
        results(commit).to_csv(tmp_path / "results.csv", index=False)
        history.record(tmp_path)
    assert list(pd.read_csv(tmp_path / history.FILE)["commit"]) == ["b"] * 3 + ["a"] * 3
