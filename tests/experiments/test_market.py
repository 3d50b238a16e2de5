"""The months of a trader: nothing looks ahead, features are what they say, accounts add up."""

import numpy as np
import pytest
import torch

from experiments.common.allocation import Rule, decision, equal_weight, even, sharpe, simulate
from experiments.common.market import FEATURES, Market, make_market, shrunk
from experiments.common.monthly import LOOKBACK
from experiments.common.prices import Prices, load_prices
from layers import QPLayer


@pytest.fixture(scope="module")
def prices():
    return load_prices().of(["AAPL", "KO", "XOM", "WMT"])


@pytest.fixture(scope="module")
def market(prices):
    return make_market(prices)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_first_month_is_that_after_two_years_of_prices(market):
    assert (str(market.months[0]), str(market.months[-1])) == ("1992-01", "2022-12")
    assert len(market.months) == 12 * 31
    assert market.features.shape == (len(market.months), 4, len(FEATURES))


def test_nothing_known_at_the_end_of_a_month_depends_on_later_prices(prices, market):
    row = 200
    day = prices.month_ends[list(prices.months).index(market.months[row]) - 1]
    values = prices.values.copy(order="K")
    values[day + 1 :] = 1000 * np.random.default_rng(0).random(values[day + 1 :].shape) + 1
    changed = make_market(Prices(prices.days, prices.assets, values))
    torch.testing.assert_close(changed.features[: row + 1], market.features[: row + 1], rtol=0, atol=0)
    torch.testing.assert_close(changed.covariance[: row + 1], market.covariance[: row + 1], rtol=0, atol=0)
    torch.testing.assert_close(changed.gross[:row], market.gross[:row], rtol=0, atol=0)
    # The day itself does matter: a market that knew one day less would be another one.
    values[day] *= np.array([2.0, 1.0, 1.0, 1.0])
    earlier = make_market(Prices(prices.days, prices.assets, values))
    assert (earlier.features[row] - market.features[row]).abs().max() > 0.1


def test_gross_returns_compound_to_the_price_ratio(prices, market):
    first = prices.month_ends[list(prices.months).index(market.months[0]) - 1]
    np.testing.assert_allclose(market.gross.prod(0), prices.values[-1] / prices.values[first], rtol=1e-10)


def test_features_are_standardised_and_rank_assets_as_their_formulas_do(prices, market):
    np.testing.assert_allclose(market.features.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(market.features.var(1, unbiased=False), 1, rtol=1e-10)
    row = 150
    day = prices.month_ends[list(prices.months).index(market.months[row]) - 1]
    past = prices.values[: day + 1]
    daily = past[1:] / past[:-1] - 1
    raw = (
        np.log(past[-22] / past[-253]),
        np.log(past[-1] / past[-22]),
        np.log(daily[-63:].std(0)),
        np.log(past[-1] / past[-253:].max(0)),
    )
    for place, values in enumerate(raw):
        np.testing.assert_allclose(
            market.features[row, :, place], (values - values.mean()) / values.std(), rtol=1e-9
        )


def test_the_covariance_is_that_of_the_last_two_years_in_units_of_a_month(prices, market):
    row = 150
    day = prices.month_ends[list(prices.months).index(market.months[row]) - 1]
    past = prices.values[day - LOOKBACK : day + 1]
    np.testing.assert_allclose(market.covariance[row], 21 * np.cov((past[1:] / past[:-1] - 1).T), rtol=1e-10)


def test_shrinkage_goes_from_the_sample_to_a_multiple_of_the_identity_and_keeps_the_total_variance(market):
    sample = market.covariance[:1]
    torch.testing.assert_close(shrunk(sample, tensor([0.0])), sample)
    ends = shrunk(sample, tensor([1.0]))[0]
    torch.testing.assert_close(ends, ends[0, 0] * torch.eye(4, dtype=torch.float64))
    for delta in (0.3, 1.0):
        trace = shrunk(sample, tensor([delta]))[0].trace()
        torch.testing.assert_close(trace, sample[0].trace())


def toy(gross):
    gross = tensor(gross)
    months, assets = gross.shape
    return Market(
        np.arange(months), torch.zeros(months, assets, 4), torch.eye(assets).repeat(months, 1, 1), gross
    )


def test_an_account_of_two_months_adds_up_by_hand():
    def all_in_the_first(rows, held):
        return tensor([[1.0, 0.0]])

    account = simulate(
        all_in_the_first, toy([[1.1, 1.0], [0.9, 1.0]]), np.array([[0], [1]]), tensor([[0.5, 0.5]]), 0.01
    )
    np.testing.assert_allclose(account.returns[:, 0], [0.99 * 1.1 - 1, -0.1], rtol=1e-12)
    np.testing.assert_allclose(account.turnover[:, 0], [0.5, 0.0], rtol=1e-12)
    np.testing.assert_allclose(account.held, [[1.0, 0.0]], rtol=1e-12)


def test_equal_weights_pay_for_the_drift_alone():
    market = toy([[1.2, 1.0], [1.0, 1.0]])
    account = simulate(equal_weight, market, np.array([[0], [1]]), even(1, 2), 0.01)
    drifted = 1.2 / 2.2
    np.testing.assert_allclose(account.turnover[:, 0], [0.0, drifted - 0.5], rtol=1e-12)
    np.testing.assert_allclose(account.returns[:, 0], [0.1, -0.01 * 2 * (drifted - 0.5)], rtol=1e-12)


def test_without_predictions_and_costs_the_weights_have_least_variance(market):
    rule = Rule(torch.zeros(1, 4, dtype=torch.float64), tensor([10.0]), tensor([0.0]), tensor([0.5]))
    weights = decision(rule, market, QPLayer(tol=1e-9), 1e-3)(np.array([100]), even(1, 4))[0]
    gradient = shrunk(market.covariance[100:101], tensor([0.5]))[0] @ weights
    assert gradient[weights > 1e-6].max() - gradient.min() < 1e-8
    assert (weights >= 0).all()


def test_more_predicted_return_means_more_weight(market):
    theta = tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    rules = Rule(theta, tensor([10.0, 10.0]), tensor([0.1, 0.1]), tensor([0.5, 0.5]))
    wanted = decision(rules, market, QPLayer(tol=1e-9), 1e-3)(np.array([100, 100]), even(2, 4))
    momentum = market.features[100, :, 0]
    assert ((wanted[0] - wanted[1]) * momentum).sum() > 0.1
    assert rules[1].theta.tolist() == [[0.0] * 4]


def test_the_gradient_through_three_months_of_programs_is_that_of_finite_differences(market):
    paths = np.array([[100, 40], [101, 41], [102, 42]])
    layer = QPLayer(tol=1e-11)

    def value(theta, gamma, cost):
        rule = Rule(theta, gamma, cost, tensor([0.5]))
        return sharpe(
            simulate(decision(rule, market, layer, 1e-3), market, paths, even(2, 4), 1e-3).returns.flatten()
        )

    theta, gamma, cost = tensor([[0.3, -0.2, 0.1, 0.2]]), tensor([10.0]), tensor([0.5])
    arguments = [x.requires_grad_() for x in (theta, gamma, cost)]
    gradients = torch.autograd.grad(value(*arguments), arguments)
    assert gradients[0].abs().max() > 0.01
    for place, (argument, gradient) in enumerate(zip(arguments, gradients, strict=True)):
        for i in range(argument.numel()):
            shift = torch.zeros_like(argument)
            shift.view(-1)[i] = 1e-5 * max(1.0, argument.view(-1)[i].abs().item())
            ends = []
            for sign in (1, -1):
                moved = [
                    x.detach() + sign * shift if p == place else x.detach() for p, x in enumerate(arguments)
                ]
                ends.append(value(*moved).item())
            slope = (ends[0] - ends[1]) / (2 * shift.sum().item())
            np.testing.assert_allclose(gradient.view(-1)[i], slope, rtol=1e-3, atol=1e-5)
