"""What the layer loses is computed: paired, with an interval; a change that the interval does not carry stays open."""

import itertools

import pytest

from experiments.common.results import read_table, write_table
from experiments.common.rivals import OUTCOMES, contests, outcome
from experiments.common.sheets import sections
from experiments.common.stats import Interval
from tests.experiments.test_compare import RESULTS, facts

FACTS = """
e:
  - {layer: [ours], rivals: [good, bad, equal, absent], splits: [test], metric: loss, good: down}
"""


@pytest.fixture
def folder(tmp_path):
    """Losses of one layer between two rivals, and of one that is as good in the mean."""
    losses = {
        "ours": (1.0, 2.0, 4.0),
        "good": (0.5, 1.1, 2.0),
        "bad": (2.0, 4.1, 8.0),
        "equal": (1.1, 1.8, 4.1),
    }
    labels = {"experiment": "e", "split": "test", "step": 0, "metric": "loss", "unit": "1"}
    rows = [
        {**labels, "method": method, "seed": seed, "value": value}
        for method, values in losses.items()
        for seed, value in enumerate(values)
    ]
    write_table(tmp_path / "e" / "companion" / "auto" / "metrics.csv", rows)
    return tmp_path


def test_a_layer_wins_and_loses_by_the_interval_of_the_paired_change(folder):
    found = {row["rival"]: row for row in contests(folder, facts(FACTS))}
    assert {rival: row["outcome"] for rival, row in found.items()} == {
        "good": "loses",
        "bad": "wins",
        "equal": "open",
    }
    assert found["bad"]["change"] == pytest.approx(-0.504, abs=1e-3)
    assert found["good"]["seeds"] == 3
    assert "size=companion" in found["good"]["command"]


def test_the_run_of_the_paper_s_size_goes_first(folder):
    rows = read_table(folder / "e" / "companion" / "auto" / "metrics.csv").to_dict("records")
    write_table(
        folder / "e" / "paper" / "auto" / "metrics.csv", [row for row in rows if row["method"] != "bad"]
    )
    found = contests(folder, facts(FACTS))
    sizes = {row["rival"]: row["size"] for row in found}
    assert sizes == {"good": "paper", "equal": "paper", "bad": "companion"}


@pytest.mark.parametrize(
    ("lo", "hi", "good", "expected"),
    [
        (0.1, 0.2, "up", "wins"),
        (0.1, 0.2, "down", "loses"),
        (-0.2, -0.1, "up", "loses"),
        (-0.2, -0.1, "down", "wins"),
        (-0.1, 0.2, "up", "open"),
        (0.0, 0.0, "down", "open"),
    ],
)
def test_an_outcome_follows_from_the_interval_and_the_good_direction(lo, hi, good, expected):
    assert outcome(Interval(0.05, lo, hi), good) == expected
    assert expected in OUTCOMES


def test_every_fact_finds_its_rows_in_the_tracked_tables():
    # A method or metric that was renamed would silently leave the comparison.
    released = {
        experiment: each for experiment, each in sections("rivals") if (RESULTS / experiment).exists()
    }
    assert len(released) > 10
    for experiment, meetings in released.items():
        for place, meeting in enumerate(meetings):
            rows = contests(RESULTS, {experiment: [meeting]})
            found = {(row["method"], row["rival"]) for row in rows}
            assert found == set(itertools.product(meeting["layer"], meeting["rivals"])), (experiment, place)


def test_the_tracked_contests_are_those_of_the_tracked_tables(tmp_path):
    rows = contests(RESULTS, dict(sections("rivals")))
    write_table(tmp_path / "contests.csv", rows)
    again = (tmp_path / "contests.csv").read_text("utf-8")
    assert again == (RESULTS / "contests.csv").read_text("utf-8"), "run `python -m experiments.compare`"


def test_times_meet_as_ratios(tmp_path):
    labels = {"experiment": "e", "phase": "backward", "unit": "s"}
    rows = [
        {**labels, "method": m, "seed": s, "value": v + s}
        for m, v in (("ours", 3.0), ("other", 1.0))
        for s in (0, 1)
    ]
    write_table(tmp_path / "e" / "paper" / "auto" / "timings.csv", rows)
    write_table(tmp_path / "e" / "paper" / "auto" / "metrics.csv", [])
    fact = "{layer: [ours], rivals: [other], splits: [timings], metric: backward, good: down, table: timings}"
    (row,) = contests(tmp_path, facts(f"e:\n  - {fact}\n"))
    assert (row["unit"], row["change"]) == ("relative change", pytest.approx(6**0.5 - 1))


def test_known_losses_are_among_them():
    lost = {
        (row["experiment"], row["method"], row["rival"])
        for row in contests(RESULTS, dict(sections("rivals")))
        if row["outcome"] == "loses"
    }
    assert ("markowitz", "tuned", "gamma_search") in lost
    assert ("denoising_ecg_10dB", "optnet_tuned_tv", "wavelet") in lost
