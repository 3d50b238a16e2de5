"""Portfolios of least variance: what is known when, the family of covariances, the derivative, the bootstrap."""

import dataclasses

import numpy as np
import pytest
import torch

from experiments import covariance
from experiments.common.covariance.family import Family, least_variance, negative_log_likelihood
from experiments.common.covariance.returns import (
    YEAR,
    Account,
    assess,
    daily_returns,
    make_months,
    turnover,
)
from experiments.common.errors import ConfigError
from experiments.common.prices import Prices, load_prices
from experiments.covariance import Config, Data, Training, estimate, run_cell, search, train, variance
from layers import QPLayer

LAYER = QPLayer(tol=1e-10)
ASSETS = ["AAPL", "KO", "XOM"]
HALF_LIVES = [63.0, 252.0]


@pytest.fixture(scope="module")
def months():
    """Return the months of three stocks."""
    return make_months(load_prices().of(ASSETS), HALF_LIVES)


def test_what_is_known_at_a_decision_ends_with_the_day_before_the_month(months):
    prices = load_prices().of(ASSETS)
    row = 7
    count, first = months.closing[row], months.months[row]
    known = prices.days[: count + 1]
    assert known[-1].astype("datetime64[M]") == first - 1
    returns = prices.values[1 : count + 1] / prices.values[:count] - 1
    for place, half in enumerate(HALF_LIVES):
        weights = 0.5 ** (np.arange(count)[::-1] / half)
        expected = (returns * weights[:, None]).T @ returns / weights.sum()
        np.testing.assert_allclose(months.moments[row, place], expected, rtol=1e-9)
    # The trap: a price after the decision that counts.
    altered = prices.values.copy()
    altered[count + 1 :] *= 2
    again = make_months(Prices(prices.days, prices.assets, altered), HALF_LIVES)
    torch.testing.assert_close(again.moments[row], months.moments[row], rtol=0, atol=0)


def test_shares_are_held_through_the_month(months):
    prices = load_prices().of(ASSETS)
    row, weights = 11, torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    count, days = months.closing[row], int(months.days[row])
    path = prices.values[count : count + days + 1] / prices.values[count]
    wealth = path @ weights[0].numpy()
    found = daily_returns(months, np.array([row]), weights)[0]
    np.testing.assert_allclose(found[:days], wealth[1:] / wealth[:-1] - 1, rtol=1e-9, atol=1e-12)
    assert (found[days:] == 0).all()
    # The trap: weights that are restored every day.
    daily = prices.values[count + 1 : count + days + 1] / prices.values[count : count + days] - 1
    assert np.abs(daily @ weights[0].numpy() - found[:days].numpy()).max() > 1e-5


def test_turnover_is_what_drift_asks_to_be_traded(months):
    rows = np.arange(20, 23)
    weights = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    held = weights * months.growth[rows, -1]
    held = held / held.sum(-1, keepdim=True)
    expected = [0, *(0.5 * (weights[1:] - held[:-1]).abs().sum(-1)).tolist()]
    np.testing.assert_allclose(turnover(months, rows, weights), expected, rtol=1e-12)


def test_a_family_begins_at_the_moments_and_meets_its_targets_at_the_other_ends(months):
    moments = months.moments[40:44]
    torch.testing.assert_close(Family(2, 1, (0.0, 0.0))(moments), moments[:, 1])
    alone = Family(2, 0, (1.0, 0.0))(moments)
    torch.testing.assert_close(alone, moments[:, 0].diagonal(dim1=-2, dim2=-1).diag_embed())
    common = Family(2, 0, (0.0, 1.0))(moments)
    root = moments[:, 0].diagonal(dim1=-2, dim2=-1).sqrt()
    R = common / (root[:, :, None] * root[:, None, :])
    exact = moments[:, 0] / (root[:, :, None] * root[:, None, :])
    off = ~torch.eye(3, dtype=torch.bool)
    assert (R[:, off] - R[:, off].mean(-1, keepdim=True)).abs().max() < 1e-12
    torch.testing.assert_close(R[:, off].mean(-1), exact[:, off].mean(-1))


def test_scales_that_are_as_far_apart_as_nothing_leave_correlations_alone(months):
    family = Family(2, 0, (0.0, 0.0))
    with torch.no_grad():
        family.exponent.fill_(0.0)
    found = family(months.moments[40:44])
    variances = found.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(variances, variances[:, :1].expand(-1, 3))


def test_the_portfolio_has_the_least_variance_of_all_on_a_fine_grid(months):
    covariance_ = months.moments[50:52, 0]
    weights = least_variance(LAYER, covariance_)
    steps = np.linspace(0, 1, 101)
    tried = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1 + 1e-9])
    tried = torch.from_numpy(tried.clip(0))
    least = torch.einsum("ti,rij,tj->rt", tried, covariance_, tried).min(-1).values
    found = torch.einsum("ri,rij,rj->r", weights, covariance_, weights)
    assert (found <= least + 1e-12).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, dtype=torch.float64))


def test_the_gradient_through_the_portfolio_is_that_of_differences(months):
    family, rows = Family(2, 0, (0.2, 0.1)), np.arange(60, 90)
    family.correlation.data[1] = 0.3

    def loss():
        return variance(months, rows, least_variance(LAYER, family(months.moments[rows]))).log()

    loss().backward()
    for parameter in family.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for place in range(flat.numel()):
            if flat[place] == 0:
                continue  # an edge of the domain, where differences to both sides do not exist
            value = flat[place].item()
            sides = []
            for step in (1e-5, -1e-5):
                flat[place] = value + step
                sides.append(loss().item())
            flat[place] = value
            assert gradient[place].item() == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_the_likelihood_is_the_normal_one_at_its_best_level(months):
    rows = np.arange(70, 73)
    days = months.days[rows].double()
    growth = months.growth[rows]
    returns = growth[:, 1:] / growth[:, :-1] - 1
    moments = returns.mT @ returns / days[:, None, None]
    estimates = months.moments[rows, 0]
    found = negative_log_likelihood(estimates, moments, days).item()

    def at(level):
        total = 0.0
        for matrix, own, count in zip(level * estimates, returns, days.int().tolist(), strict=True):
            normal = torch.distributions.MultivariateNormal(torch.zeros(3).double(), matrix)
            total -= normal.log_prob(own[:count]).sum().item()
        return total / days.sum().item() - 1.5 * np.log(2 * np.pi) - 1.5

    levels = np.linspace(0.3, 3, 1000)
    assert found == pytest.approx(min(at(level) for level in levels), abs=1e-5)


def test_a_weight_pushed_below_zero_comes_back_to_it():
    family = Family(2, 0, (0.0, 0.0))
    family.variance.data[1], family.exponent.data[...] = -0.3, 2.5
    family.project()
    assert family.variance.tolist() == [1.0, 0.0]
    assert family.exponent.item() == 2.0


def test_measures_are_those_of_all_days_together(rng):
    days = np.array([20, 22, 19])
    returns = [0.01 * rng.standard_normal(count) for count in days]
    account = Account(
        days,
        np.array([each.sum() for each in returns]),
        np.array([(each**2).sum() for each in returns]),
        np.zeros(3),
    )
    assert account.measures()["variance"] == pytest.approx(YEAR * np.concatenate(returns).var(ddof=1))


def test_differences_are_paired_so_that_common_luck_cancels(rng):
    squares = 0.0001 * rng.random(48) ** 4
    first = Account(np.full(48, 21), np.zeros(48), squares, np.zeros(48))
    second = dataclasses.replace(first, squared=1.1 * squares)
    rows = assess({"a": first, "b": second}, block=6)
    level, pair = (
        next(r for r in rows if (r["method"], r["baseline"], r["metric"]) == ("b", base, "variance"))
        for base in ("", "a")
    )
    assert pair["mean"] == pytest.approx(level["mean"] / 11)
    assert 0 < pair["lo"] < pair["mean"] < pair["hi"]
    assert pair["hi"] - pair["lo"] == pytest.approx((level["hi"] - level["lo"]) / 11)


def test_estimates_use_their_window_and_no_day_after(months):
    rows = np.array([30])
    past = months.daily[months.closing[30] - 252 : months.closing[30]]
    np.testing.assert_allclose(
        estimate(months, "sample_covariance", 252, rows)[0], np.cov(past, rowvar=False)
    )
    shrunk = estimate(months, "ledoit_wolf", 252, rows)[0].numpy()
    sample = np.cov(past, rowvar=False, ddof=0)
    off = ~np.eye(3, dtype=bool)
    assert (np.abs(shrunk[off]) < np.abs(sample[off])).all()
    assert np.trace(shrunk) == pytest.approx(np.trace(sample))


def small(**changes):
    data = Data(
        assets=ASSETS,
        first_test=2021,
        validation_years=2,
        half_lives=HALF_LIVES,
        windows=[252],
        shrinkage=[0.0, 0.3],
    )
    given = {"data": data, "train": Training(steps=6, evaluate_every=3)}
    return Config(experiment="covariance", size="smoke", seeds=[0], **(given | changes))


def test_the_search_takes_the_best_of_the_grid_on_validation(months):
    config, rows = small(), months.rows(2015, 2016)
    found = search(config, months, rows)
    layer = config.layer.build()

    def cost(family):
        with torch.no_grad():
            return variance(months, rows, least_variance(layer, family(months.moments[rows]))).item()

    every = [Family(2, k, (a, b)) for k in (0, 1) for a in (0.0, 0.3) for b in (0.0, 0.3)]
    assert cost(found) == min(map(cost, every))
    assert cost(found) < max(map(cost, every))


@pytest.mark.parametrize("method", covariance.LEARNED)
def test_training_is_never_worse_on_validation_than_its_start(months, method):
    config = small()
    rows = {"train": months.rows(1992, 2010), "validation": months.rows(2011, 2014)}
    start = search(config, months, rows["validation"])
    found, step = train(config, method, start, months, rows)
    place = rows["validation"]
    with torch.no_grad():
        costs = [
            variance(months, place, least_variance(LAYER, model(months.moments[place]))).item()
            for model in (start, found)
        ]
    assert costs[1] <= costs[0]
    assert (costs[1] < costs[0]) == (step > 0)


@pytest.mark.parametrize("method", covariance.METHODS)
def test_no_choice_depends_on_the_test_years(method, monkeypatch):
    config = small()
    plain = run_cell(config, method, 0)["metrics"]
    prices = load_prices()
    altered = prices.values.copy()
    late = prices.days >= np.datetime64("2021-01-01")
    altered[late] *= np.linspace(1, 3, late.sum())[:, None] ** np.arange(1, 21)
    monkeypatch.setattr(covariance, "load_prices", lambda: Prices(prices.days, prices.assets, altered))
    again = run_cell(config, method, 0)["metrics"]

    def chosen(rows):
        return {(r["step"], r["metric"]): r["value"] for r in rows if r["split"] == "validation"}

    assert chosen(again) == chosen(plain)
    assert [r["value"] for r in again if r["metric"] == "variance"] != [
        r["value"] for r in plain if r["metric"] == "variance"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": Data(assets=["AAPL"])}, "data.assets"),
        ({"data": Data(first_test=1995)}, "data.first_test: got 1995"),
        ({"data": Data(windows=[10])}, "data.windows: got [10]"),
        ({"data": Data(half_lives=[])}, "data.half_lives"),
        ({"data": Data(shrinkage=[0.9])}, "data.shrinkage: got [0.9]"),
        ({"train": Training(steps=0)}, "train.steps: got 0"),
        ({"bootstrap_block": 100}, "bootstrap_block: got 100"),
    ],
)
def test_settings_that_cannot_be_used_are_told(changes, message):
    with pytest.raises(ConfigError) as told:
        small(**changes).check()
    assert message in str(told.value)
