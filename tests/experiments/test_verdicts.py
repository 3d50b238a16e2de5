"""Each verdict follows one rule, two-sided, and a claim of many numbers counts once, by the worst of them."""

import itertools

import numpy as np
import pytest

from experiments.common.claims import Claim
from experiments.common.stats import Interval
from experiments.common.verdicts import COUNTED, VERDICTS, claims, counts, sentence, verdict

ONE = {"lo": np.nan, "hi": np.nan}


def claim(value="2.00", **facts):
    where = {"method": "a", "split": "test", "metric": "m"}
    values = (value,) if isinstance(value, str) else tuple(value)
    if len(values) == 2:
        where["baseline"] = "b"
    return Claim(**{"id": "c", "claim": "c", "value": values, "where": where, "sizes": ("paper",), **facts})


def judged(facts, mean, lo=np.nan, hi=np.nan, seeds=5, size="paper"):
    return verdict(facts, Interval(mean, lo, hi), seeds, size)


def test_all_printed_digits_match_or_none():
    rebuilt = claim("0.0970", rebuilt=True)
    assert judged(rebuilt, 0.09704) == "matches"
    assert judged(rebuilt, 0.09705) == "matches"
    assert judged(rebuilt, 0.09706) == "reproduced"
    # Three digits allow more than four; without the published random numbers nothing matches.
    assert judged(claim("0.097", rebuilt=True), 0.0974) == "matches"
    assert judged(claim("0.0970"), 0.0970) == "reproduced"


@pytest.mark.parametrize("side", [-1, 1])
def test_within_ten_per_cent_on_either_side_is_reproduced(side):
    assert judged(claim(), 2 * (1 + 0.099 * side), seeds=1) == "reproduced"
    assert judged(claim(), 2 * (1 + 0.101 * side), seeds=1) == "not reproduced"


@pytest.mark.parametrize("side", [-1, 1])
def test_over_decades_a_factor_of_one_and_a_half_on_either_side_is_reproduced(side):
    assert judged(claim(decades=True), 2 * 1.49**side, seeds=1) == "reproduced"
    assert judged(claim(decades=True), 2 * 1.51**side, seeds=1) == "not reproduced"
    assert judged(claim(decades=True), 0.0, seeds=1) == "not reproduced"


def test_an_interval_that_holds_the_value_needs_five_seeds():
    assert judged(claim(), 3.0, 1.9, 4.1, seeds=5) == "reproduced"
    assert judged(claim(), 3.0, 1.9, 4.1, seeds=4) == "not reproduced"
    assert judged(claim(), 3.0, 2.1, 3.9, seeds=5) == "not reproduced"


def test_better_is_a_miss_on_the_good_side_that_the_interval_carries():
    assert judged(claim(good="down"), 1.0, 0.5, 1.5) == "better"
    assert judged(claim(good="up"), 1.0, 0.5, 1.5) == "not reproduced"
    assert judged(claim(good="none"), 1.0, 0.5, 1.5) == "not reproduced"
    assert judged(claim(good="up"), 3.0, 2.5, 3.5) == "better"
    # Three seeds whose interval holds the value show neither the one nor the other, and one value shows nothing.
    assert judged(claim(good="down"), 1.0, -1.0, 3.0, seeds=3) == "not reproduced"
    assert judged(claim(good="down"), 1.0, seeds=1) == "not reproduced"


def test_a_change_of_the_right_sign_and_the_wrong_size_is_a_trend():
    # 22 % published. Within 10 % of the ratio, 1.08 / 1.22, is not within 10 % of the change.
    gain = claim(("1.22", "1.00"), good="up")
    assert judged(gain, 0.08, 0.07, 0.09) == "trend"
    assert judged(gain, 0.21, 0.20, 0.22) == "reproduced"
    assert judged(gain, 0.08, -0.01, 0.17) == "not reproduced"
    assert judged(gain, -0.08, -0.09, -0.07) == "not reproduced"
    assert judged(gain, 0.5, 0.4, 0.6) == "better"
    loss = claim(("0.78", "1.00"), good="down")
    assert judged(loss, -0.08, -0.09, -0.07) == "trend"


def test_twenty_times_is_no_385_times():
    factor = claim(("385", "1"), decades=True)
    assert judged(factor, 19.1, 18.9, 19.3) == "trend"
    assert judged(factor, 300.0, 290.0, 310.0) == "reproduced"


def test_other_settings_are_not_comparable_whatever_the_numbers():
    assert judged(claim(), 2.0, size="companion") == "not comparable"
    assert judged(claim(rebuilt=True, not_comparable="other data"), 2.0) == "not comparable"


def row(verdict="matches", **labels):
    return {"experiment": "e", "id": "c", "size": "paper", "layer": "auto", "verdict": verdict, **labels}


def test_a_claim_is_as_good_as_the_worst_of_its_numbers():
    for pair in itertools.combinations(COUNTED, 2):
        assert claims([row(name) for name in pair]) == {("e", "c"): pair[0]}


def test_the_run_of_the_paper_s_size_with_our_layer_decides():
    rows = [row("trend"), row("matches", size="companion"), row("not reproduced", layer="qpth")]
    assert claims(rows) == {("e", "c"): "trend"}
    rows = [row("not comparable"), row("reproduced", size="companion")]
    assert claims(rows) == {("e", "c"): "reproduced"}
    assert claims([row("not comparable"), row("matches", layer="qpth")]) == {("e", "c"): "not comparable"}


def test_what_cannot_be_compared_is_not_counted():
    rows = [row(), row(id="d"), row("better", id="b"), row("not comparable", id="n"), row(experiment="f")]
    assert sum(counts(rows).values()) == 5
    assert list(counts(rows)) == list(VERDICTS)
    said = "4 distinct published claims: 3 matches, 0 reproduced, 1 better, 0 trend, 0 not reproduced; 1 more are"
    assert sentence(rows).startswith(said)
