"""Rules that decide the weights of each month, and the account of what they earn."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor

from experiments.common.market import Market, shrunk
from experiments.common.trading import rebalance
from layers import QPLayer

# One unit of theta predicts 1 % more return in a month for an asset one standard deviation above the others.
UNIT = 0.01

# (row of the market for each element, weights held by each) -> weights wanted by each
Decide = Callable[[np.ndarray, Tensor], Tensor]


@dataclass(frozen=True)
class Rule:
    """Settings of the program of a month, for one rule or a batch of them.

    Attributes
    ----------
    theta : Tensor, shape (batch, features)
        Predicted return of an asset is θ'x per cent.
    gamma, cost, shrinkage : Tensor, shape (batch,)
        Risk aversion, cost of trading as the program sees it, in units of the true one, and weight of the
        shrinkage of the covariance.
    """

    theta: Tensor
    gamma: Tensor
    cost: Tensor
    shrinkage: Tensor

    def __getitem__(self, index: int) -> "Rule":
        """One rule of a batch, as a batch of one."""
        return Rule(*(getattr(self, field.name)[index : index + 1] for field in fields(self)))


@dataclass(frozen=True)
class Account:
    """Net returns and one-way turnover, shape (months, batch), and the weights held at the end, (batch, assets)."""

    returns: Tensor
    turnover: Tensor
    held: Tensor


def equal_weight(rows: np.ndarray, held: Tensor) -> Tensor:
    """The same weight for every asset."""
    return torch.full_like(held, 1 / held.shape[-1])


def decision(rule: Rule, market: Market, layer: QPLayer, trading_cost: float) -> Decide:
    """The weights that minimise γ/2 w'Σw - μ'w + c ‖w - held‖₁ over long-only weights; see `rebalance`."""
    return partial(_decide, rule, market, layer, trading_cost)


def _decide(
    rule: Rule, market: Market, layer: QPLayer, trading_cost: float, rows: np.ndarray, held: Tensor
) -> Tensor:
    mean = UNIT * (market.features[rows] * rule.theta[:, None, :]).sum(-1)
    covariance = shrunk(market.covariance[rows], rule.shrinkage)
    return rebalance(layer, covariance, mean, trading_cost * rule.cost, held, rule.gamma)


def simulate(decide: Decide, market: Market, rows: np.ndarray, held: Tensor, trading_cost: float) -> Account:
    """Follow a rule through the months `rows`, shape (months, batch), from the weights `held`, (batch, assets).

    In every month the cost κ ‖w - held‖₁ is paid out of wealth first, then the assets earn their returns and the
    weights drift with them. Differentiable in whatever `decide` is.
    """
    returns, turnover = [], []
    for row in rows:
        wanted = decide(row, held)
        traded = (wanted - held).abs().sum(-1)
        grown = wanted * market.gross[row]
        growth = grown.sum(-1)
        returns.append((1 - trading_cost * traded) * growth - 1)
        turnover.append(0.5 * traded)
        held = grown / growth[:, None]
    return Account(torch.stack(returns), torch.stack(turnover), held)


def even(batch: int, assets: int) -> Tensor:
    """The weights every account starts from, shape (batch, assets)."""
    return torch.full((batch, assets), 1 / assets, dtype=torch.float64)


def sharpe(returns: Tensor) -> Tensor:
    """√12 mean / standard deviation of monthly returns, over the first axis."""
    return 12**0.5 * returns.mean(0) / returns.std(0)
