"""Trading with costs as quadratic programs: closed forms, CVXPY's own |.|, budgets, derivatives."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from experiments.common.trading import initial_holdings, rebalance, self_financing
from layers import QPLayer

LAYER = QPLayer(tol=1e-10)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def market(rng, assets):
    root = 0.05 * np.eye(assets) + 0.01 * rng.standard_normal((assets, assets))
    return root, 1.01 + 0.01 * rng.standard_normal(assets)


def two_assets(mean, cost, held, gamma):
    """First weight of two uncorrelated assets of variance 1: soft threshold of the trade, then the bounds."""
    free = 0.5 + (mean[0] - mean[1]) / (2 * gamma)
    trade = np.sign(free - held) * max(abs(free - held) - cost / gamma, 0.0)
    return np.clip(held + trade, 0.0, 1.0)


@pytest.mark.parametrize("mean", [(0.3, 0.0), (0.0, 0.3), (0.1, 0.08), (9.0, 0.0)])
@pytest.mark.parametrize("held", [0.0, 0.3, 0.6])
def test_two_assets_trade_by_soft_threshold(mean, held):
    cost, gamma = 0.08, 2.0
    weights = rebalance(LAYER, torch.eye(2).double(), tensor(mean), cost, tensor([[held, 1 - held]]), gamma)
    np.testing.assert_allclose(weights[0, 0], two_assets(mean, cost, held, gamma), atol=2e-6)
    # With twice the cost (a trade counted once instead of twice) the answer would be another one.
    if mean == (0.3, 0.0) and held == 0.3:
        assert abs(weights[0, 0] - two_assets(mean, 2 * cost, held, gamma)) > 0.03


def test_rebalancing_agrees_with_the_norm_of_cvxpy(rng):
    root, mean = market(rng, 6)
    held, cost, gamma = rng.dirichlet(np.ones(6)), 2e-3, 12.0
    w = cp.Variable(6)
    risk = gamma / 2 * cp.sum_squares(root @ w)
    objective = cp.Minimize(risk - mean @ w + cost * cp.norm1(w - held))
    cp.Problem(objective, [cp.sum(w) == 1, w >= 0]).solve(solver=cp.CLARABEL)
    covariance = torch.from_numpy(root.T @ root)
    found = rebalance(LAYER, covariance, torch.from_numpy(mean), cost, torch.from_numpy(held)[None], gamma)[0]
    np.testing.assert_allclose(found, w.value, atol=1e-5)
    np.testing.assert_allclose(found.sum(), 1.0, rtol=1e-14)


def test_a_batch_of_rules_is_solved_element_by_element(rng):
    covariance = torch.eye(3).double() * tensor([1.0, 2.0])[:, None, None]
    mean, held = torch.from_numpy(rng.standard_normal((2, 3))), torch.full((2, 3), 1 / 3, dtype=torch.float64)
    cost, gamma = tensor([0.1, 0.3]), tensor([1.0, 4.0])
    together = rebalance(LAYER, covariance, mean, cost, held, gamma)
    for i in range(2):
        alone = rebalance(LAYER, covariance[i], mean[i], cost[i], held[i : i + 1], gamma[i])[0]
        np.testing.assert_allclose(together[i], alone, atol=1e-8)


def test_inside_the_zone_without_trade_the_derivative_is_zero_though_the_multipliers_are_not_unique():
    mean = tensor([0.01, 0.0, 0.02]).requires_grad_()
    held = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    weights = rebalance(LAYER, torch.eye(3).double(), mean, 0.5, held, 1.0)
    np.testing.assert_allclose(weights.detach(), held, atol=1e-8)
    weights[0, 0].backward()
    np.testing.assert_allclose(mean.grad, 0.0, atol=1e-8)


def test_self_financing_agrees_with_the_program_of_the_paper(rng):
    root, mean = market(rng, 5)
    root, mean = 4 * root, mean - np.array([0, 0, 0, 0, 0.1])
    held, kappa, nu = tensor([0.5, 0.4, 0.3, -0.1, -0.1]), 0.004, 0.003
    u = cp.Variable(5)
    w = held.numpy() + u
    paid = cp.sum(u) + kappa * cp.norm1(u) + nu * cp.sum(cp.neg(w)) <= 0
    cp.Problem(cp.Maximize(mean @ w - cp.sum_squares(root @ w)), [paid]).solve(solver=cp.CLARABEL)
    found = self_financing(LAYER, torch.from_numpy(root), torch.from_numpy(mean), kappa, nu, held[None])[
        0
    ].numpy()
    assert np.abs(u.value).max() > 0.05
    assert (held.numpy() + u.value).min() < -0.01
    np.testing.assert_allclose(found, u.value, atol=1e-5)
    costs = kappa * np.abs(found).sum() + nu * np.maximum(-held.numpy() - found, 0).sum()
    np.testing.assert_allclose(found.sum() + costs, 0.0, atol=1e-9)


def test_initial_holdings_agree_with_cvxpy(rng):
    root, mean = market(rng, 5)
    w = cp.Variable(5)
    value = mean @ w - cp.sum_squares(root @ w) - 0.003 * cp.sum(cp.neg(w))
    cp.Problem(cp.Maximize(value), [cp.sum(w) == 1]).solve(solver=cp.CLARABEL)
    found = initial_holdings(LAYER, torch.from_numpy(root), torch.from_numpy(mean), 0.003)
    np.testing.assert_allclose(found, w.value, atol=1e-5)


def test_trades_are_differentiable_in_all_that_is_learned_and_in_the_state(rng):
    root, mean = market(rng, 3)
    held = tensor([[0.5, 0.3, 0.2], [0.9, 0.3, -0.2]]).requires_grad_()
    arguments = (torch.from_numpy(5 * root).requires_grad_(), torch.from_numpy(mean).requires_grad_(), held)

    def trades(root, mean, held):
        return self_financing(LAYER, root, mean, 0.004, 0.003, held)

    assert gradcheck(trades, arguments, eps=1e-6, atol=1e-4, rtol=1e-4)
    weights = tensor([[0.5, 0.3, 0.2]]).requires_grad_()

    def weights_after(mean, gamma, cost, held):
        return rebalance(LAYER, torch.eye(3).double(), mean, cost, held / held.sum(), gamma)

    more = (
        tensor([0.5, 0.2, 0.1]).requires_grad_(),
        tensor(1.5).requires_grad_(),
        tensor(0.02).requires_grad_(),
    )
    assert gradcheck(weights_after, (*more, weights), eps=1e-6, atol=1e-5, rtol=1e-4)
