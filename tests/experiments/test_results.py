"""Tables survive the way to disk and back, come out sorted, and are never half written."""

import dataclasses
from itertools import chain

import numpy as np
import pandas as pd
import pytest

from experiments.common import results
from experiments.common.provenance import versions
from experiments.common.results import merge, read_table, write_table, write_text
from layers import third_party
from layers.backends import BACKENDS


def metric(method="a", seed=0, step=0, value=1.0):
    labels = {"experiment": "e", "split": "test", "metric": "mse", "unit": "1"}
    return {**labels, "method": method, "seed": seed, "step": step, "value": value}


def test_table_comes_back_with_its_values(tmp_path):
    rows = [metric(value=np.pi), metric(seed=1, value=1e-12), metric(seed=2, value=float("nan"))]
    write_table(tmp_path / "metrics.csv", rows)
    table = read_table(tmp_path / "metrics.csv")
    assert tuple(table.columns) == results.COLUMNS["metrics"]
    np.testing.assert_allclose(table["value"], [np.pi, 1e-12, np.nan], rtol=1e-9)


def test_order_of_the_rows_does_not_change_the_file(tmp_path):
    rows = [metric(method, seed, step) for method in "ba" for seed in (1, 0) for step in (10, 2)]
    write_table(tmp_path / "metrics.csv", rows)
    first = (tmp_path / "metrics.csv").read_bytes()
    write_table(tmp_path / "metrics.csv", rows[::-1])
    assert (tmp_path / "metrics.csv").read_bytes() == first
    table = read_table(tmp_path / "metrics.csv")
    assert list(table["step"][:2]) == [2, 10]
    assert table["method"].is_monotonic_increasing


@pytest.mark.parametrize("change", [{"extra": 1}, {"value": None}])
def test_rows_with_other_columns_are_refused(tmp_path, change):
    row = metric() | change
    if row["value"] is None:
        del row["value"]
    with pytest.raises(ValueError, match="expected columns"):
        write_table(tmp_path / "metrics.csv", [row])
    assert list(tmp_path.iterdir()) == []


def test_tables_with_other_names_or_columns_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no table of this name"):
        write_table(tmp_path / "numbers.csv", [])
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "metrics.csv", index=False)
    with pytest.raises(ValueError, match="expected columns"):
        read_table(tmp_path / "metrics.csv")


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "provenance.json"
    write_text(target, "old")

    def interrupted(source, destination):
        raise KeyboardInterrupt

    monkeypatch.setattr(results.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_provenance_has_the_version_of_every_package_behind_an_engine(monkeypatch):
    behind = set(chain(*third_party().values()))
    assert {"qpth", "cvxpylayers", "moreau"} <= behind <= set(versions())
    newcomer = dataclasses.replace(BACKENDS["qpth"], name="newcomer", packages=("pytest", "no-such-package"))
    monkeypatch.setitem(BACKENDS, "newcomer", newcomer)
    assert versions()["pytest"] == pytest.__version__
    assert versions()["no-such-package"] is None


def test_merge_joins_rows_table_by_table():
    first, second = {"metrics": [metric(seed=0)]}, {"metrics": [metric(seed=1)], "timings": []}
    merged = merge([first, second])
    assert [row["seed"] for row in merged["metrics"]] == [0, 1]
    assert merged["timings"] == []
    assert len(first["metrics"]) == 1
