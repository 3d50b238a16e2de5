"""Intervals hold the truth as often as they say, at the numbers of seeds that there are; and by hand on small cases."""

import types

import numpy as np
import pandas as pd
import pytest

from experiments.common.stats import (
    change_interval,
    interval,
    log_t_interval,
    proportion_interval,
    scales,
    summarise,
    t_interval,
    wilson,
)

COUNTS = (3, 5, 10)
DRAWS = 4000


def coverage(make, truth, draws=DRAWS):
    """How often the intervals that `make(rng)` gives hold `truth`."""
    rng = np.random.default_rng(0)
    return np.mean([found.lo <= truth <= found.hi for found in (make(rng) for _ in range(draws))])


def percentile_bootstrap(values, rng):
    means = values[rng.integers(values.size, size=(400, values.size))].mean(axis=1)
    return types.SimpleNamespace(lo=np.quantile(means, 0.025), hi=np.quantile(means, 0.975))


@pytest.mark.parametrize("count", COUNTS)
def test_the_t_interval_holds_the_mean_of_normal_values_in_95_of_100_cases(count):
    held = coverage(lambda rng: t_interval(2 + 3 * rng.standard_normal(count)), 2.0)
    assert abs(held - 0.95) < 0.012


def test_the_percentile_bootstrap_does_not_hold_it_as_often():
    # The interval that stood here before: the test above has to fail for it.
    for count, most in ((3, 0.80), (5, 0.88), (10, 0.92)):
        held = coverage(
            lambda rng, n=count: percentile_bootstrap(2 + 3 * rng.standard_normal(n), rng), 2.0, 1000
        )
        assert held < most


@pytest.mark.parametrize("count", COUNTS)
def test_logarithms_hold_the_geometric_mean_of_values_over_decades(count):
    def draw(rng):
        return 10.0 ** (-4 + 1.5 * rng.standard_normal(count))

    assert abs(coverage(lambda rng: log_t_interval(draw(rng)), 1e-4) - 0.95) < 0.012
    # On the values themselves the interval of t misses the geometric mean and the mean alike.
    assert (
        coverage(lambda rng: t_interval(draw(rng)), np.exp(np.log(1e-4) + (1.5 * np.log(10)) ** 2 / 2)) < 0.5
    )


@pytest.mark.parametrize("count", COUNTS)
def test_a_change_is_held_where_pairs_share_most_of_their_spread(count):
    def draw(rng):
        shared = np.exp(2 * rng.standard_normal(count))
        return 0.8 * shared * np.exp(0.05 * rng.standard_normal(count)), shared

    assert abs(coverage(lambda rng: change_interval(*draw(rng)), -0.2) - 0.95) < 0.012
    # Unpaired, the spread that the pairs share would make it useless.
    values, baseline = draw(np.random.default_rng(1))
    paired = change_interval(values, baseline)
    assert paired.hi - paired.lo < 0.1 * (log_t_interval(values / 0.8).hi - log_t_interval(values / 0.8).lo)


@pytest.mark.parametrize("count", COUNTS)
def test_wilson_holds_a_share_on_average_over_shares(count):
    shares = np.linspace(0.02, 0.98, 25)
    held = [coverage(lambda rng, p=p: wilson(rng.binomial(count, p), count), p, 400) for p in shares]
    assert 0.93 < np.mean(held) < 0.98


@pytest.mark.parametrize("count", COUNTS)
def test_the_share_of_seeds_that_differ_is_held_and_wilson_alone_would_not(count):
    def draw(rng):
        return rng.binomial(100, rng.beta(8, 2, size=count)) / 100

    assert coverage(lambda rng: proportion_interval(draw(rng), 100), 0.8, 2000) > 0.90
    assert coverage(lambda rng: wilson(100 * draw(rng).sum(), 100 * count), 0.8, 2000) < 0.75


def test_student_s_quantile_of_three_values():
    # 4.302653 is the quantile of t with 2 degrees of freedom; the spread of 0, 1, 2 is 1.
    found = t_interval(np.array([0.0, 1.0, 2.0]))
    half = 4.302653 / 3**0.5
    np.testing.assert_allclose([found.mean, found.lo, found.hi], [1, 1 - half, 1 + half], atol=1e-6)


def test_wilson_by_the_formula_of_the_score():
    # 7 of 10: both ends solve (7/10 - p)^2 = z^2 p (1 - p) / 10.
    found = wilson(7, 10)
    for end in (found.lo, found.hi):
        np.testing.assert_allclose((0.7 - end) ** 2, 1.959964**2 * end * (1 - end) / 10, rtol=1e-6)
    assert wilson(0, 8).lo == 0.0
    assert wilson(8, 8).hi == 1.0
    np.testing.assert_allclose(wilson(8, 8).lo, 8 / (8 + 1.959964**2), rtol=1e-6)


def test_equal_values_have_an_interval_of_no_width():
    found = t_interval(np.full(3, 0.1))
    assert (found.lo, found.hi) == (found.mean, found.mean)


def test_one_value_has_no_interval():
    for make in (t_interval, log_t_interval):
        found = make(np.array([3.0]))
        assert found.mean == 3.0
        assert np.isnan([found.lo, found.hi]).all()


def test_the_middle_over_decades_is_the_geometric_mean():
    np.testing.assert_allclose(log_t_interval(np.array([1e-2, 1e2])).mean, 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="positive"):
        log_t_interval(np.array([1.0, 0.0]))


def test_a_change_is_the_geometric_mean_of_ratios():
    found = change_interval(np.array([2.0, 8.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(found.mean, 3.0, rtol=1e-12)
    # Twice in one seed and half in the other is no change; the mean of the ratios would say 25 %.
    np.testing.assert_allclose(
        change_interval(np.array([2.0, 1.0]), np.array([1.0, 2.0])).mean, 0.0, atol=1e-12
    )


def test_a_change_from_or_to_nothing_takes_the_paired_differences():
    found = change_interval(np.array([0.0, 1.0, 2.0]), np.array([2.0, 3.0, 4.0]))
    np.testing.assert_allclose([found.mean, found.lo, found.hi], -2 / 3, rtol=1e-12)
    assert found.kind == "t, paired differences"
    below = change_interval(np.array([0.0, -4.0]), np.array([-1.0, -3.0]))
    assert below.lo < below.mean == 0.0 < below.hi
    with pytest.raises(ValueError, match="pairs"):
        change_interval(np.array([1.0]), np.array([0.0]))


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf]])
def test_values_that_have_no_mean_are_refused(values):
    with pytest.raises(ValueError, match="all finite"):
        t_interval(np.array(values))


def test_what_a_metric_is_decides_its_interval():
    values = np.array([0.9, 1.0, 0.98])
    assert interval(values).kind == "t"
    cut = interval(values, "fraction")
    assert (cut.hi, cut.kind) == (1.0, "t")
    assert interval(np.array([0.9, 1.0, 1.1]), "fraction").hi > 1.1
    assert interval(values, "fraction", trials=100).kind == "Wilson and t"
    assert interval(np.array([0.0, 1.0, 1.0]), "fraction").kind == "Wilson"
    assert interval(values, decades=True).kind == "t of logarithms"
    assert interval(np.zeros(3), decades=True).kind == "t"


def test_an_experiment_says_what_its_metrics_are():
    module = types.ModuleType("m")
    assert scales(module, {}) == {"decades": (), "trials": {}}
    module.DECADES, module.TRIALS = ("loss",), {"solved": "data.test", "converged": 1}
    assert scales(module, {"data": {"test": 7}}) == {
        "decades": ("loss",),
        "trials": {"solved": 7, "converged": 1},
    }


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
    assert (summary["interval"] == "t").all()
    assert summary.set_index(["method", "split"])["mean"].to_dict() == {
        ("a", "test"): 1.0,
        ("a", "train"): 1.0,
        ("b", "test"): 11.0,
        ("b", "train"): 11.0,
    }
