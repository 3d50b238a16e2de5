"""Policy tuning: wealth adds up, the gradient is the slope, settings that cannot be used are told at once."""

import numpy as np
import pytest
import torch

from experiments import markowitz
from experiments.common.errors import ConfigError
from experiments.common.recorder import Recorder
from experiments.markowitz import (
    SEARCH,
    TEST,
    TRAIN,
    Config,
    Data,
    Market,
    evaluate,
    exposure,
    gamma_of,
    make_data,
    make_model,
    rollout,
    run_cell,
    search_gamma,
    train,
    utility,
)


def small(**market):
    config = Config(seeds=[0], gammas=[5.0, 50.0])
    config.data = Data(assets=["AAPL", "KO", "XOM"])
    config.market = Market(**({"horizon": 3, "trajectories": 2, "test": 4} | market))
    config.layer.tol = 1e-10
    return config


def recorder():
    return Recorder("markowitz", "tuned", 0, markowitz.UNITS, examples=True)


def test_a_loss_counts_twice():
    growth = torch.tensor([0.9, 1.0, 1.1], dtype=torch.float64)
    np.testing.assert_allclose(utility(growth), [-0.2, 0.0, 0.1], atol=1e-15)


def test_when_prices_stand_still_wealth_falls_by_the_costs_alone():
    config = small(trading_cost=0.002, short_cost=0.004)
    policy = make_model(config, 2.0)
    _, holdings = rollout(policy, torch.ones(3, 1, 3, dtype=torch.float64))
    before, after = holdings[:-1, 0].detach().numpy(), holdings[1:, 0].detach().numpy()
    costs = 0.002 * np.abs(after - before).sum(1) + 0.004 * np.maximum(-after, 0).sum(1)
    assert costs.max() > 5e-5
    np.testing.assert_allclose(before.sum(1) - after.sum(1), costs, rtol=1e-6)
    np.testing.assert_allclose(before[0].sum(), 1.0, rtol=1e-9)


def test_trades_scale_with_wealth():
    policy = make_model(small(), 15.0)
    held = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    torch.testing.assert_close(policy(7 * held), 7 * policy(held))


def test_the_policy_starts_at_the_moments_of_the_prices():
    config = small()
    policy, moments = make_model(config, 15.0), config.data.moments()
    np.testing.assert_allclose((policy.root.mT @ policy.root).detach(), moments.gross_covariance, rtol=1e-9)
    np.testing.assert_allclose(policy.mean.detach(), moments.gross_mean, rtol=1e-15)
    np.testing.assert_allclose(policy.gamma_root.item() ** 2, 15.0, rtol=1e-12)


def test_the_gradient_of_the_utility_is_its_slope():
    config = small(trading_cost=1e-4)
    policy, returns = make_model(config, 8.0), make_data(config, 1, TRAIN, 2)
    start = policy.start()
    policy.start = lambda: start  # a constant of the gradient, as in the notebook
    rollout(policy, returns)[0].mean().backward()
    assert policy.mean.grad.abs().max() > 1e-3
    for parameter in policy.parameters():
        slopes = torch.zeros_like(parameter)
        for i in range(parameter.numel()):
            ends = []
            for step in (1e-6, -2e-6):
                parameter.data.view(-1)[i] += step
                ends.append(evaluate(policy, returns))
            parameter.data.view(-1)[i] += 1e-6
            slopes.view(-1)[i] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(parameter.grad, slopes, rtol=2e-3, atol=2e-5)


def test_every_seed_and_stream_has_returns_of_its_own():
    config = small()
    draws = [make_data(config, seed, stream, 2) for seed in (0, 1) for stream in (TRAIN, SEARCH, TEST)]
    torch.testing.assert_close(make_data(config, 0, TRAIN, 2), draws[0], rtol=0, atol=0)
    for i in range(len(draws)):
        assert all(not torch.equal(draws[i], other) for other in draws[:i])


def test_a_step_moves_by_the_rate_which_is_halved_on_time():
    moved = []
    for halve_every in (1, 100):
        config = small(horizon=4, trading_cost=1e-4)
        config.train.steps, config.train.halve_every = 1, halve_every
        policy = make_model(config, 8.0)
        before = policy.mean.detach().clone()
        train(config, 0, policy, make_data(config, 0, TEST, 2), recorder())
        moved.append((policy.mean.detach() - before).norm().item())
    assert moved[1] > 0
    # μ is about one, so a difference of two of its values has few digits.
    np.testing.assert_allclose(moved[0], moved[1] / 2, rtol=1e-6)


def test_tuning_raises_the_utility_of_the_trajectories_it_is_tuned_on(monkeypatch):
    config = small(horizon=6, trajectories=8)
    config.train.steps = 30
    returns = make_data(config, 0, TRAIN, 8)
    moments = type("Fixed", (), {"sample": lambda self, shape, rng: returns.numpy()})()
    policy = make_model(config, 15.0)
    before = evaluate(policy, returns)
    monkeypatch.setattr(Data, "moments", lambda self: moments)
    train(config, 0, policy, returns, recorder())
    assert evaluate(policy, returns) > before + 1e-5


def test_the_search_takes_the_best_of_its_grid():
    config = small()
    returns = make_data(config, 0, SEARCH, config.market.test)
    found = {gamma: evaluate(make_model(config, gamma), returns) for gamma in config.gammas}
    assert search_gamma(config, 0, config.gammas, 100.0) == max(found, key=found.get)


def test_the_search_leaves_out_what_borrows_too_much():
    config = small()
    assert search_gamma(config, 0, [1.0, 12.0], 100.0) == 1.0
    assert exposure(make_model(config, 1.0)) > 2 > exposure(make_model(config, 12.0))
    assert search_gamma(config, 0, [1.0, 12.0], 2.0) == 12.0
    with pytest.raises(ConfigError, match="an exposure of at most 2"):
        search_gamma(config, 0, [1.0], 2.0)


def test_a_risk_aversion_is_found_for_every_exposure_that_one_has():
    config = small()
    for gamma in (2.0, 7.0):
        reached = exposure(make_model(config, gamma))
        assert exposure(make_model(config, gamma_of(config, reached))) == pytest.approx(reached, rel=1e-6)
    assert gamma_of(config, 2.0) > gamma_of(config, 3.0)


def test_a_tuned_policy_meets_a_search_that_goes_as_far_and_no_farther(monkeypatch):
    config = small()
    monkeypatch.setattr(
        markowitz, "train", lambda config, seed, policy, *_: policy.gamma_root.data.fill_(1.5)
    )
    rows = run_cell(config, "tuned", 0)["metrics"]
    found = {(row["method"], row["metric"]): row["value"] for row in rows if row["step"] == 0}
    reached = exposure(make_model(config, 2.25))
    assert found["tuned", "exposure"] == pytest.approx(reached, rel=1e-6)
    assert reached > 1.05 * exposure(make_model(config, min(config.gammas)))
    returns = make_data(config, 0, SEARCH, config.market.test)
    best = max((*config.gammas, 2.25), key=lambda gamma: evaluate(make_model(config, gamma), returns))
    assert found["tuned/gamma_alone", "gamma"] == pytest.approx(best, rel=1e-5)
    assert found["tuned/gamma_alone", "exposure"] <= reached * (1 + 1e-5)


def test_risk_aversion_stays_non_negative():
    policy = make_model(small(), 15.0)
    policy.gamma_root.data.fill_(-1.0)
    policy.project()
    assert policy.gamma_root.item() == 0.0


def test_the_assets_are_the_twelve_least_volatile_unless_named():
    assert len(Data().names()) == 12
    assert "AMD" not in Data().names()
    assert Data(assets=["AMD", "KO"]).names() == ["AMD", "KO"]


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("data", "assets", ["AAPL", "TSLA"], "data.assets: got 'TSLA', expected one of"),
        ("data", "assets", ["AAPL"], "at least two assets"),
        ("data", "count", 1, "2 to 20 assets"),
        ("data", "months", 12, "more months than assets, 12"),
        ("data", "last_month", "2030-01", "a month from 1990-02 to 2022-12"),
        ("market", "horizon", 0, "market.horizon: got 0, expected a positive number of months, T"),
        (
            "market",
            "trajectories",
            -1,
            "market.trajectories: got -1, expected a positive number of trajectories, K",
        ),
        ("market", "test", 0, "market.test"),
        ("market", "trading_cost", 0.5, "from 0 to less than 0.5"),
        ("market", "short_cost", -0.1, "market.short_cost"),
        ("train", "steps", 0, "train.steps"),
        ("train", "lr", 0.0, "train.lr"),
        (None, "gamma", 0.0, "gamma: got 0.0"),
        (None, "gammas", [], "gammas"),
        (None, "largest_exposure", 0.9, "largest_exposure"),
        (None, "methods", ["magic"], "methods: got 'magic'"),
    ],
)
def test_settings_that_cannot_be_used_are_told(section, name, value, message):
    config = Config()
    setattr(getattr(config, section) if section else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()
