"""Measures of a series of returns by hand, and block-bootstrap intervals against what is known of them."""

import numpy as np
import pytest

from experiments.common.performance import MEASURES, Record, assess, block_orders, measures


def record(returns, turnover=None):
    returns = np.asarray(returns, dtype=float)
    return Record(returns, np.zeros_like(returns) if turnover is None else np.asarray(turnover, dtype=float))


def test_measures_of_a_series_worked_out_by_hand():
    found = measures(record([0.1, -0.5, 0.2, 0.4], [0.5, 0.0, 0.1, 0.0]))
    returns = np.array([0.1, -0.5, 0.2, 0.4])
    np.testing.assert_allclose(found["annual_return"], (1.1 * 0.5 * 1.2 * 1.4) ** 3 - 1, rtol=1e-12)
    np.testing.assert_allclose(
        found["volatility"], np.sqrt(12 * ((returns - 0.05) ** 2).sum() / 3), rtol=1e-12
    )
    np.testing.assert_allclose(found["sharpe"], 12 * 0.05 / found["volatility"], rtol=1e-12)
    np.testing.assert_allclose(found["turnover"], 12 * 0.15, rtol=1e-12)
    np.testing.assert_allclose(found["drawdown"], 0.5, rtol=1e-12)
    assert set(found) == set(MEASURES)


def test_a_loss_in_the_first_month_is_a_drawdown():
    np.testing.assert_allclose(measures(record([-0.2, 0.1]))["drawdown"], 0.2, rtol=1e-12)


def test_measures_of_several_series_are_those_of_each(rng):
    several = record(0.05 * rng.standard_normal((3, 24)), rng.random((3, 24)))
    together = measures(several)
    for i in range(3):
        alone = measures(Record(several.returns[i], several.turnover[i]))
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value, rtol=1e-12)


@pytest.mark.parametrize(("months", "block"), [(24, 12), (25, 12), (10, 1), (7, 7)])
def test_blocks_are_consecutive_and_every_month_is_as_likely_as_any_other(months, block):
    orders = block_orders(months, block, 20_000, np.random.default_rng(0))
    assert orders.shape == (20_000, months)
    inside = np.arange(1, months) % block != 0
    steps = np.diff(orders, axis=1)[:, inside] % months
    assert (steps == 1 % months).all()
    np.testing.assert_allclose(np.bincount(orders.ravel()) / orders.size, 1 / months, rtol=0.05)


def test_a_method_does_not_differ_from_its_double(rng):
    returns = 0.01 + 0.04 * rng.standard_normal((1, 120))
    rows = assess({"a": record(returns), "b": record(returns.copy())}, ("a",), block=12, resamples=200)
    difference = [row for row in rows if row["baseline"] == "a"]
    assert len(difference) == len(MEASURES)
    for row in difference:
        assert (row["mean"], row["lo"], row["hi"]) == (0.0, 0.0, 0.0)


def test_what_methods_share_cancels_in_their_difference(rng):
    common = 0.05 * rng.standard_normal((1, 240))
    rows = assess({"a": record(common), "b": record(common + 0.01)}, ("a",), block=12, resamples=500)
    own = next(
        row for row in rows if row["method"] == "b" and row["metric"] == "sharpe" and not row["baseline"]
    )
    gain = next(row for row in rows if row["baseline"] == "a" and row["metric"] == "sharpe")
    np.testing.assert_allclose(gain["mean"], 0.12 / (np.sqrt(12) * common.std(ddof=1)), rtol=1e-9)
    assert gain["hi"] - gain["lo"] < 0.3 * (own["hi"] - own["lo"])


def test_the_interval_of_a_sharpe_ratio_is_as_wide_as_theory_says(rng):
    months, monthly = 600, 0.2
    returns = monthly * 0.05 + 0.05 * rng.standard_normal((1, months))
    rows = assess({"a": record(returns)}, (), block=1)
    row = next(row for row in rows if row["metric"] == "sharpe")
    # Lo (2002), eq. 9: the variance of a Sharpe ratio per period is (1 + SR²/2) / T for independent returns.
    width = 2 * 1.96 * np.sqrt(12 * (1 + monthly**2 / 2) / months)
    np.testing.assert_allclose(row["hi"] - row["lo"], width, rtol=0.1)


def test_blocks_widen_the_interval_of_returns_that_hang_together(rng):
    noise = rng.standard_normal(600)
    returns = np.convolve(noise, np.ones(12) / 12, mode="same")[None]
    wide, narrow = (
        next(
            row
            for row in assess({"a": record(0.02 + 0.01 * returns)}, (), block)
            if row["metric"] == "sharpe"
        )
        for block in (12, 1)
    )
    assert wide["hi"] - wide["lo"] > 1.5 * (narrow["hi"] - narrow["lo"])


def test_seeds_are_averaged(rng):
    several = record(0.05 * rng.standard_normal((2, 24)))
    alone = measures(several)["drawdown"]
    assert abs(alone[0] - alone[1]) > 0.01
    row = next(
        row for row in assess({"a": several}, (), block=2, resamples=50) if row["metric"] == "drawdown"
    )
    np.testing.assert_allclose(row["mean"], alone.mean(), rtol=1e-12)
