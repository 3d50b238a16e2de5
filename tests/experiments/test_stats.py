"""Bootstrap intervals and summaries on cases that can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from experiments.common.stats import bootstrap, summarise


def test_equal_values_have_an_interval_of_no_width():
    interval = bootstrap(np.full(5, 2.5))
    assert (interval.mean, interval.lo, interval.hi) == (2.5, 2.5, 2.5)


def test_two_values_give_the_quantiles_of_their_three_possible_means():
    # Means 0, 1/2, 1 have probabilities 1/4, 1/2, 1/4: the 95 % interval is [0, 1], the 40 % interval is
    # the point 1/2.
    wide, narrow = bootstrap(np.array([0.0, 1.0])), bootstrap(np.array([0.0, 1.0]), level=0.4)
    assert (wide.mean, wide.lo, wide.hi) == (0.5, 0.0, 1.0)
    assert (narrow.lo, narrow.hi) == (0.5, 0.5)


def test_interval_approaches_that_of_the_normal_distribution():
    values = np.random.default_rng(0).standard_normal(400)
    interval = bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(values.size)
    np.testing.assert_allclose(
        [interval.lo, interval.hi], [values.mean() - half, values.mean() + half], atol=0.1 * half
    )


def test_interval_is_the_same_every_time_and_moves_with_the_values():
    values = np.array([1.0, 4.0, 2.0, 8.0, 5.0])
    once, again, moved = bootstrap(values), bootstrap(values), bootstrap(values + 10)
    assert once == again
    np.testing.assert_allclose([moved.lo, moved.hi], [once.lo + 10, once.hi + 10], rtol=1e-12)


def test_one_value_has_no_interval():
    interval = bootstrap(np.array([3.0]))
    assert interval.mean == 3.0
    assert np.isnan(interval.lo)
    assert np.isnan(interval.hi)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_values_that_have_no_mean_are_refused(values):
    with pytest.raises(ValueError, match="all finite"):
        bootstrap(np.array(values))


def test_summary_counts_seeds_by_method_and_split():
    labels = {"experiment": "e", "metric": "final_mse", "step": 0, "unit": "1"}
    rows = [
        {**labels, "method": method, "split": split, "seed": seed, "value": base + seed}
        for method, base in (("a", 0.0), ("b", 10.0))
        for split in ("train", "test")
        for seed in (0, 1, 2)
    ]
    rows.append({**rows[0], "metric": "mse", "value": 99.0})
    summary = pd.DataFrame(summarise(pd.DataFrame(rows), ("final_mse",)))
    assert len(summary) == 4
    assert (summary["seeds"] == 3).all()
    assert summary.set_index(["method", "split"])["mean"].to_dict() == {
        ("a", "test"): 1.0,
        ("a", "train"): 1.0,
        ("b", "test"): 11.0,
        ("b", "train"): 11.0,
    }
