"""Comparison rows are computed from the tables; what was published is read as facts, and wrong facts are told."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from experiments.common.claims import Claim, source
from experiments.common.errors import ConfigError
from experiments.common.overrides import check_command_line, compose_checked
from experiments.common.results import read_table, write_table
from experiments.compare import compare, compare_run, main, measured, published
from experiments.job import CONFIGS, place
from tests.experiments.recorded import record

RESULTS = Path(__file__).resolve().parents[2] / "results"


def metrics(tuned=(9.0, 8.0, 8.5), baseline=(10.0, 10.0, 10.0)):
    labels = {"experiment": "denoising", "split": "test", "metric": "final_mse", "step": 0, "unit": "1"}
    return [
        {**labels, "method": method, "seed": seed, "value": value}
        for method, values in (("optnet_tuned_tv", tuned), ("total_variation_on_test", baseline))
        for seed, value in enumerate(values)
    ]


def claim(value, **facts):
    where = {"method": "optnet_tuned_tv", "split": "test", "metric": "final_mse", **facts.pop("where", {})}
    if len(value) == 2:
        where.setdefault("baseline", "total_variation_on_test")
    return Claim(id="c", claim="c", value=value, where=where, sizes=("paper",), **facts)


def compared(rows, facts, config=None):
    (found,) = compare_run(pd.DataFrame(rows), (facts,), "paper", config or {})
    return found


def test_change_is_paired_over_seeds():
    # Seeds with errors a hundred times apart: only the pairing shows that each gains exactly 10 %.
    rows = metrics(tuned=(9.0, 900.0, 90.0), baseline=(10.0, 1000.0, 100.0))
    row = compared(rows, claim(("14.4", "16.5")))
    np.testing.assert_allclose([row["ours"], row["lo"], row["hi"]], -0.1, rtol=1e-12)
    np.testing.assert_allclose(row["published"], 14.4 / 16.5 - 1, rtol=1e-15)
    assert (row["seeds"], row["verdict"], row["printed"]) == (3, "trend", "14.4 / 16.5")


def test_a_seed_without_its_baseline_is_no_pair():
    row = compared(metrics(tuned=(9.0, 9.0, 9.0), baseline=(10.0, 10.0)), claim(("14.4", "16.5")))
    assert row["seeds"] == 2


def test_a_baseline_that_is_no_curve_has_no_step():
    rows = [{**row, "step": 50, "metric": "mse"} for row in metrics()[:3]] + metrics()[3:]
    row = compared(rows, claim(("14.4", "16.5"), where={"metric": "mse", "step": 50, "over": "final_mse"}))
    np.testing.assert_allclose(row["ours"], (0.9 * 0.8 * 0.85) ** (1 / 3) - 1, rtol=1e-12)


def test_a_mean_stands_beside_a_mean_and_else_the_geometric_mean_over_decades():
    rows = metrics(tuned=(1e-4, 1e-2, 1e-6))
    assert compared(rows, claim(("1e-4",), decades=True))["ours"] == pytest.approx(1e-4)
    mean = compared(rows, claim(("1e-4",), decades=True, mean=True))
    assert mean["ours"] == pytest.approx((1e-4 + 1e-2 + 1e-6) / 3)
    assert mean["lo"] == 0.0


def test_a_share_has_the_interval_of_its_trials():
    rows = metrics(tuned=(1.0, 1.0, 1.0))
    found = compared(rows, claim(("0.983",), trials="data.test"), {"data": {"test": 100}})
    assert (found["interval"], found["hi"]) == ("Wilson and t", 1.0)
    np.testing.assert_allclose(found["lo"], 300 / (300 + 1.959964**2), rtol=1e-6)


def test_a_cause_stands_with_the_run_that_shows_it_and_only_where_something_is_missed():
    rows, why = metrics(), {"cause": "why", "shown_by": "python -m this"}
    shown = compared(rows, claim(("2.0",), **why))
    assert (shown["verdict"], shown["reason"]) == ("not reproduced", "why (python -m this)")
    assert compared(rows, claim(("8.5",), **why))["reason"] == ""


def test_a_claim_may_be_about_one_point_of_one_seed_s_curve():
    labels = {"experiment": "e", "split": "validation", "metric": "mse", "unit": "1", "method": "a"}
    rows = [
        {**labels, "seed": seed, "step": step, "value": 10.0 * seed + step}
        for seed in (0, 1)
        for step in range(3)
    ]
    where = {"method": "a", "split": "validation", "metric": "mse", "step": 2}
    every = compared(rows, claim(("2.0",), where=where))
    assert (every["seeds"], every["ours"]) == (2, 7.0)
    one = compared(rows, claim(("2.0",), where={**where, "seed": 0}, rebuilt=True))
    assert (one["seeds"], one["ours"], one["verdict"]) == (1, 2.0, "matches")


def test_a_change_may_be_that_between_two_metrics_of_one_method():
    rows = [
        {"method": "a", "split": "timings", "seed": seed, "step": 0, "metric": metric, "value": value}
        for seed, values in enumerate([(2.0, 8.0), (3.0, 12.0)])
        for metric, value in zip(("short", "long"), values, strict=True)
    ]
    where = {"method": "a", "baseline": "a", "split": "timings", "metric": "long", "over": "short"}
    row = compared(rows, claim(("5.0", "1.0"), where=where))
    assert row["ours"] == pytest.approx(3.0)
    assert row["published"] == 4.0


def test_timings_are_metrics_named_by_their_phase(tmp_path):
    folder = tmp_path / "denoising" / "paper" / "auto"
    write_run(folder)
    table = measured(folder)
    assert len(table) == 7
    (row,) = table[table["split"] == "timings"].to_dict("records")
    assert (row["metric"], row["seed"], row["value"]) == ("train", 1, 7.0)


def test_every_published_row_finds_its_numbers_in_a_tracked_run_of_the_paper_s_size_if_there_is_one():
    # A row that names a metric which no table has would be there without a number for ever.
    released = {name: each for name, each in published().items() if (RESULTS / name).exists()}
    assert len(released) > 10
    for experiment, publication in released.items():
        size = "paper" if (RESULTS / experiment / "paper" / "auto" / "metrics.csv").exists() else "companion"
        # what joined later may have a run of its own, with its changed settings in the name
        runs = [path.parent for path in (RESULTS / experiment / size / "auto").rglob("provenance.json")]
        found: set[tuple[str, ...]] = set()
        methods: set[str] = set()
        for run in runs:
            config = json.loads((run / "provenance.json").read_text())["config"]
            table = measured(run)
            methods |= set(table["method"])
            rows = compare_run(table, publication.claims, size, config)
            found |= {tuple(row[name] for name in ("claim", "split", "metric")) for row in rows}
        # What a size leaves out is not asked of it, nor of another size what only the paper's size has.
        asked = [
            each
            for each in publication.claims
            if {each.where["method"], each.where.get("baseline")} <= {*methods, None}
            and size in (each.sizes or (size,))
        ]
        missed = [each.claim for each in asked if not any(each.claim in claim for claim, *_ in found)]
        assert not missed, (experiment, missed)
        assert set(publication.settings) == {"paper", "companion", "smoke"}


def test_a_claim_whose_method_no_run_has_keeps_a_row_without_a_number(tmp_path):
    write_run(tmp_path / "denoising" / "paper" / "auto")
    rows = compare(tmp_path)
    missed, *_ = [row for row in rows if row["id"] == "optnet_pure"]
    assert (missed["verdict"], missed["reason"]) == ("not comparable", "no tracked run has this number")
    assert math.isnan(missed["ours"])
    assert {claim.id for claim in published()["denoising"].claims} == {row["id"] for row in rows}


def test_the_tracked_comparison_is_that_of_the_tracked_tables(tmp_path):
    write_table(tmp_path / "comparison.csv", compare(RESULTS))
    again = (tmp_path / "comparison.csv").read_text("utf-8")
    assert again == (RESULTS / "comparison.csv").read_text("utf-8"), "run `python -m experiments.compare`"


def test_what_shows_a_cause_is_a_tracked_run():
    claims = [claim for each in published().values() for claim in each.claims]
    for command in sorted({claim.shown_by for claim in claims if claim.shown_by}):
        overrides = command.removeprefix("python -m experiments.run ").replace("'", "").split()
        check_command_line(CONFIGS, overrides)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            which = place(OmegaConf.to_object(compose_checked(overrides)))
        assert (RESULTS / which.path / "metrics.csv").exists(), command


def write_run(folder):
    write_table(folder / "metrics.csv", metrics())
    labels = {"experiment": "denoising", "method": "optnet_tuned_tv", "unit": "s"}
    write_table(folder / "timings.csv", [{**labels, "seed": 1, "phase": "train", "value": 7.0}])
    record(folder)


def test_rows_name_run_and_reason_and_the_last_line_counts(tmp_path, capsys):
    for size in ("companion", "paper"):
        write_run(tmp_path / "denoising" / size / "auto")
    main(["--results", str(tmp_path)])
    table = read_table(tmp_path / "comparison.csv")
    assert set(table["size"]) == {"companion", "paper"}
    assert all(f"size={row['size']} layer=auto" in row["command"] for _, row in table.iterrows())
    level = table[table["claim"] == "total_variation_on_test: test MSE"].set_index("size")
    assert level.loc["companion", "verdict"] == "not comparable"
    assert "30 samples" in level.loc["companion", "reason"]
    np.testing.assert_allclose(level["ours"], 10.0)
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"denoising/paper/auto .* published +16\.5 +ours +10 ", "\n".join(lines))
    assert lines[-1] == (
        "1 distinct published claims: 0 matches, 0 reproduced, 1 better, 0 trend, 0 not reproduced; "
        "6 more are not comparable, and not counted"
    )


def test_a_run_without_settings_is_named(tmp_path):
    write_run(tmp_path / "denoising" / "paper" / "auto")
    (tmp_path / "denoising" / "paper" / "auto" / "provenance.json").unlink()
    with pytest.raises(SystemExit, match=r"denoising/paper/auto/provenance\.json"):
        main(["--results", str(tmp_path)])


def test_nothing_to_compare_is_said_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="no run"):
        compare(tmp_path)
    with pytest.raises(SystemExit, match=r"error: .*no run, expected"):
        main(["--results", str(tmp_path)])


GOOD_FACTS = """
paper: p
settings: {paper: s}
defaults: {good: down}
claims:
  - {id: i, claim: c, value: "16.940", where: {method: a, split: test, metric: m}, sizes: [paper]}
"""


def facts(text):
    return OmegaConf.to_container(OmegaConf.create(text))


def test_the_printed_digits_are_kept():
    (found,) = source("e.yaml", facts(GOOD_FACTS)).claims
    assert (found.target, found.good, found.sizes) == (16.94, "down", ("paper",))
    assert found.rounding == pytest.approx(5e-4)
    assert Claim("i", "c", ("1.5e-04",), {}).rounding == pytest.approx(5e-6)
    assert Claim("i", "c", ("13",), {}).rounding == 0.5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"16.940"', "16.940", "as printed, in quotes"),
        ('"16.940"', '"sixteen"', "as printed, in quotes"),
        ("id: i, ", "", "expected id"),
        ("sizes: [paper]", "tolerance: 0.1", "tolerance"),
        ("good: down", "good: left", "good is one of"),
        ("metric: m", "metric: m, baseline: b", "two values go with a baseline"),
        ("sizes: [paper]", "shown_by: run", "a cause goes with the command"),
        ("sizes: [paper]", "cause: why", "a cause goes with the command"),
        ("paper: p", "rules: p", "expected"),
    ],
)
def test_wrong_facts_are_told_with_their_place(old, new, message):
    assert old in GOOD_FACTS
    with pytest.raises(ConfigError, match=message) as told:
        source("e.yaml", facts(GOOD_FACTS.replace(old, new)))
    assert str(told.value).startswith("e.yaml")
