"""Verification finds what it should: nothing when nothing changed, and every number that did."""

import pandas as pd
import pytest

from experiments.common.errors import ConfigError
from experiments.common.results import read_table
from experiments.common.sheets import sections
from experiments.job import CONFIGS, composed, run
from experiments.verify import TABLES, WIDTHS, agrees, drift, main, verify
from tests.experiments.recorded import record

RESULTS = CONFIGS.parent / "results"
# What a rule may name of a row.
KEYS = ["experiment", "method", "split", "metric"]


def table(values, metric="final_mse", method="a", step=0):
    labels = {
        "experiment": "e",
        "method": method,
        "split": "test",
        "metric": metric,
        "unit": "1",
        "step": step,
    }
    return pd.DataFrame([{**labels, "seed": seed, "value": value} for seed, value in enumerate(values)])


def test_equal_tables_have_no_drift_without_any_rule():
    assert list(drift("metrics", table([1.0, 2.0]), table([1.0, 2.0]), [])) == []


def test_every_difference_beyond_its_rule_is_named():
    rules = [{"metric": "final_mse", "relative": 0.1}]
    (line,) = drift("metrics", table([1.0, 2.0]), table([1.05, 2.3]), rules)
    assert "2 committed, 2.3 now" in line
    assert "final_mse" in line


def test_missing_and_new_rows_are_drift():
    generous = [{"relative": 10.0}]
    assert len(list(drift("metrics", table([1.0, 2.0]), table([1.0]), generous))) == 1
    assert len(list(drift("metrics", table([1.0]), table([1.0, 2.0]), generous))) == 1
    assert len(list(drift("metrics", table([1.0]), table([float("nan")]), generous))) == 1


def test_best_epoch_may_move_but_its_error_may_not():
    assert list(drift("metrics", table([1.0], step=3), table([1.0], step=4), [])) == []
    assert len(list(drift("metrics", table([1.0], step=3), table([1.1], step=4), []))) == 1


def test_first_matching_rule_decides():
    rules = [{"method": "a", "absolute": 1.0}, {"relative": 0.5}]
    assert agrees({"method": "a"}, 100.0, 100.99, rules)
    assert not agrees({"method": "a"}, 100.0, 101.01, rules)
    assert agrees({"method": "b"}, 100.0, 149.9, rules)
    assert not agrees({"method": "b"}, 100.0, 150.1, rules)
    assert agrees({"method": "b"}, 100.0, 100.0, [])
    assert not agrees({"method": "b"}, 100.0, 100.0 + 1e-9, [])


def test_over_decades_a_factor_is_allowed_both_ways():
    rules = [{"factor": 2.0}]
    for before in (1e-8, 1.0, 1e4):
        assert agrees({}, before, 1.99 * before, rules)
        assert agrees({}, before, before / 1.99, rules)
        assert not agrees({}, before, 2.01 * before, rules)
        assert not agrees({}, before, before / 2.01, rules)
    assert not agrees({}, 0.0, 1e-30, rules)
    assert not agrees({}, 1.0, -1.0, rules)
    assert agrees({}, 0.0, 0.0, rules)


def test_every_rule_of_a_sheet_is_about_some_row_of_the_tracked_tables():
    # A metric that was renamed, or misspelt, would silently be held to other rules.
    idle = []
    for experiment, rules in sections("tolerances"):
        tables = [
            read_table(path) for name in TABLES for path in RESULTS.glob(f"{experiment}/*/*/{name}.csv")
        ]
        rows = [row for table in tables for row in table[KEYS].drop_duplicates().to_dict("records")]
        assert rows or not (RESULTS / experiment).exists()
        for rule in rules:
            keys = rule.keys() - WIDTHS
            assert keys <= {*KEYS}, (experiment, rule)
            if rows and not any(all(row[key] == rule[key] for key in keys) for row in rows):
                idle.append((experiment, rule))
    assert idle == []


def test_rerun_agrees_with_itself_and_a_changed_table_is_told(tmp_path, capsys):
    results, build = tmp_path / "results", tmp_path / "build"
    folder = results / "denoising_ecg" / "smoke" / "auto"
    run(composed("denoising_ecg", "smoke", "auto"), folder)
    assert verify(results, build) == []
    text = (folder / "summary.csv").read_text().splitlines()
    place = next(i for i, line in enumerate(text) if "total_variation,test,final_mse" in line)
    cells = text[place].split(",")
    cells[4] = str(1.5 * float(cells[4]))
    text[place] = ",".join(cells)
    (folder / "summary.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(SystemExit, match=r"summary\.csv is damaged"):
        main(["--results", str(results), "--build", str(build)])
    record(folder)
    with pytest.raises(SystemExit) as caught:
        main(["--results", str(results), "--build", str(build), "--size", "smoke"])
    assert "1 numbers drifted" in str(caught.value)
    assert "total_variation, test, final_mse" in str(caught.value)


def test_nothing_to_verify_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no run of size=paper"):
        verify(tmp_path, tmp_path, ["paper"])
    with pytest.raises(ConfigError, match="no run of experiment=adp"):
        verify(RESULTS, tmp_path, ["smoke"], experiments=["adp"])
