"""Comparison rows are computed from the tables, and each verdict follows its declared rule."""

import numpy as np
import pandas as pd
import pytest

from experiments.common.results import read_table, write_table
from experiments.common.stats import Interval
from experiments.compare import compare, compare_run, main, measured, published, verdict


def metrics(tuned=(9.0, 8.0, 8.5), baseline=(10.0, 10.0, 10.0)):
    labels = {"experiment": "denoising", "split": "test", "metric": "final_mse", "step": 0, "unit": "1"}
    return [
        {**labels, "method": method, "seed": seed, "value": value}
        for method, values in (("optnet_tuned_tv", tuned), ("total_variation", baseline))
        for seed, value in enumerate(values)
    ]


CHANGE = {
    "claim": "beats",
    "value": [14.4, 16.5],
    "change": {"method": "optnet_tuned_tv", "baseline": "total_variation", "split": "test"},
    "rule": "below",
    "sizes": ["paper"],
}


def test_change_is_paired_over_seeds():
    # Seeds with errors a hundred times apart: only the pairing shows that each gains exactly 10 %.
    rows = pd.DataFrame(metrics(tuned=(9.0, 900.0, 90.0), baseline=(10.0, 1000.0, 100.0)))
    (row,) = compare_run(rows, [CHANGE], "paper")
    np.testing.assert_allclose([row["ours"], row["lo"], row["hi"]], -0.1, rtol=1e-12)
    np.testing.assert_allclose(row["published"], 14.4 / 16.5 - 1, rtol=1e-15)
    assert row["verdict"] == "reproduced"


def test_a_gain_that_the_interval_does_not_carry_is_not_reproduced():
    rows = pd.DataFrame(metrics(tuned=(9.0, 10.5, 9.9)))
    (row,) = compare_run(rows, [CHANGE], "paper")
    assert row["ours"] < 0 < row["hi"]
    assert row["verdict"] == "not reproduced"


@pytest.mark.parametrize(
    ("rule", "interval", "applies", "expected"),
    [
        ("below", Interval(-1.0, -2.0, -0.5), True, "reproduced"),
        ("above", Interval(-1.0, -2.0, -0.5), True, "not reproduced"),
        ("above", Interval(1.0, 0.5, 2.0), True, "reproduced"),
        ("within", Interval(2.9, 0.0, 9.0), True, "reproduced"),
        ("within", Interval(3.1, 2.0, 4.0), True, "not reproduced"),
        ("within", Interval(2.0, 2.0, 2.0), False, "other setting"),
        ("below", Interval(-1.0, np.nan, np.nan), True, "one seed"),
    ],
)
def test_verdict_follows_the_rule(rule, interval, applies, expected):
    assert verdict(rule, interval, target=2.0, tolerance=1.0, edge=0.0, applies=applies) == expected


def test_a_level_is_above_or_below_the_published_one():
    rows = pd.DataFrame(metrics(tuned=(9.0, 8.0, 8.5)))
    claim = {
        "claim": "c",
        "sizes": ["paper"],
        "cause": "why",
        "level": {"method": "optnet_tuned_tv", "split": "test"},
    }
    for rule, value, expected in (
        ("above", 7.0, "reproduced"),
        ("above", 8.5, "not reproduced"),
        ("below", 10.0, "reproduced"),
    ):
        (row,) = compare_run(rows, [{**claim, "rule": rule, "value": value}], "paper")
        assert (row["verdict"], row["cause"]) == (expected, "" if expected == "reproduced" else "why")


def test_a_claim_may_be_about_one_point_of_one_seed_s_curve():
    labels = {"experiment": "e", "split": "validation", "metric": "mse", "unit": "1", "method": "a"}
    rows = pd.DataFrame(
        [
            {**labels, "seed": seed, "step": step, "value": 10.0 * seed + step}
            for seed in (0, 1)
            for step in range(3)
        ]
    )
    level = {"method": "a", "split": "validation", "metric": "mse", "step": 2}
    claim = {
        "claim": "c",
        "value": 2.0,
        "rule": "within",
        "tolerance": 0.1,
        "sizes": ["paper"],
        "level": level,
    }
    (every,) = compare_run(rows, [claim], "paper")
    assert (every["seeds"], every["ours"], every["verdict"]) == (2, 7.0, "not reproduced")
    (one,) = compare_run(rows, [{**claim, "level": {**level, "seed": 0}}], "paper")
    assert (one["seeds"], one["ours"], one["verdict"]) == (1, 2.0, "reproduced")


def test_a_change_may_be_that_between_two_metrics_of_one_method():
    rows = pd.DataFrame(
        [
            {"method": "a", "split": "timings", "seed": seed, "step": 0, "metric": metric, "value": value}
            for seed, values in enumerate([(2.0, 8.0), (3.0, 9.0)])
            for metric, value in zip(("short", "long"), values, strict=True)
        ]
    )
    change = {"method": "a", "baseline": "a", "split": "timings", "metric": "long", "over": "short"}
    (row,) = compare_run(rows, [{**CHANGE, "value": [5.0, 1.0], "change": change}], "paper")
    assert (row["ours"], row["published"]) == (2.5, 4.0)


def test_timings_are_metrics_named_by_their_phase(tmp_path):
    write_table(tmp_path / "metrics.csv", metrics())
    labels = {"experiment": "denoising", "method": "optnet_tuned_tv", "unit": "s"}
    write_table(tmp_path / "timings.csv", [{**labels, "seed": 1, "phase": "train", "value": 7.0}])
    table = measured(tmp_path)
    assert len(table) == 7
    (row,) = table[table["split"] == "timings"].to_dict("records")
    assert (row["metric"], row["seed"], row["value"]) == ("train", 1, 7.0)


def test_every_published_claim_is_complete():
    for source in published().values():
        for claim in source["claims"]:
            assert ("change" in claim) != ("level" in claim)
            assert claim["rule"] in ("below", "above", "within")
            assert (claim["rule"] == "within") == ("tolerance" in claim)
            assert set(claim["sizes"]) <= {"companion", "paper"}


def test_rows_name_size_and_command_of_every_run_found(tmp_path):
    for size in ("companion", "paper"):
        folder = tmp_path / "denoising" / size / "auto"
        write_table(folder / "metrics.csv", metrics())
        labels = {"experiment": "denoising", "method": "optnet_tuned_tv", "unit": "s"}
        write_table(folder / "timings.csv", [{**labels, "seed": 0, "phase": "train", "value": 1.0}])
    main(["--results", str(tmp_path)])
    table = read_table(tmp_path / "comparison.csv")
    assert set(table["size"]) == {"companion", "paper"}
    beats = table[table["claim"].str.contains("beats")]
    assert list(beats["verdict"]) == ["reproduced", "reproduced"]
    assert all(f"size={row['size']} layer=auto" in row["command"] for _, row in beats.iterrows())
    level = table[table["claim"] == "optnet_tuned_tv: test MSE"].set_index("size")
    assert level.loc["companion", "verdict"] == "other setting"
    assert "30 samples" in level.loc["companion", "note"]
    np.testing.assert_allclose(level["ours"], 8.5)


def test_nothing_to_compare_is_said_in_one_line(tmp_path):
    assert compare(tmp_path) == []
    with pytest.raises(SystemExit, match="no tables found"):
        main(["--results", str(tmp_path)])
