"""Trading as quadratic programs for the layer: costs proportional to |trade| and to short positions, written
linearly by splitting variables, so that every layer of ours can solve them.

Two programs, in the notation minimise 1/2 z'Qz + q'z subject to Gz <= h, Az = b:

- `rebalance`: weights that sum to one, no short positions, the cost of trading in the objective;
- `self_financing`: holdings in units of wealth, short positions allowed, the costs paid out of the trades
  (the Markowitz example of Agrawal, Barratt, Boyd & Stellato 2020, arXiv 1912.09529).

In both, G and A are constant; only h depends on the state (what is held now), so a batch of states shares all
matrices.
"""

from functools import cache

import torch
from torch import Tensor

from layers import QPLayer

# Curvature of the auxiliary variables (purchases, short parts), whose costs are linear: it makes Q positive
# definite, which qpth needs, and moves the price of the last unit bought or held short, 1e-3, by 1e-8 at most.
RIDGE = 1e-8


def rebalance(
    layer: QPLayer,
    covariance: Tensor,
    mean: Tensor,
    cost: Tensor | float,
    held: Tensor,
    gamma: Tensor | float,
) -> Tensor:
    """Weights w that minimise γ/2 w'Σw - μ'w + c ‖w - held‖₁ subject to 1'w = 1, w >= 0.

    Parameters
    ----------
    layer : QPLayer
    covariance : Tensor, shape (batch, assets, assets) or (assets, assets)
        Σ, positive definite.
    mean : Tensor, shape (batch, assets) or (assets,)
        μ.
    cost, gamma : Tensor, shape (batch,) or (), or float
        c >= 0 and γ > 0.
    held : Tensor, shape (batch, assets)
        Weights before the trade; they sum to one, so that ‖w - held‖₁ is twice what is bought.

    Returns
    -------
    Tensor, shape (batch, assets)
        Non-negative, of sum one; differentiable in every tensor.

    Notes
    -----
    z = (w, b) with purchases b >= 0, b >= w - held: n = 2 assets, m = 3 assets, p = 1. Where nothing is traded, 2
    assets + 1 rows are active in 2 assets variables, one too many; the multipliers are then not unique, the
    weights and their derivative are.
    """
    gamma, cost = (torch.as_tensor(x, dtype=held.dtype) for x in (gamma, cost))
    assets = held.shape[-1]
    G, A = _rebalancing_rows(assets)
    Q = with_curvature(gamma[..., None, None] * covariance, assets)
    price = (2 * cost)[..., None].expand(*torch.broadcast_shapes(cost.shape, mean.shape[:-1]), assets)
    q = torch.cat((-mean.expand(*price.shape[:-1], assets), price), -1)
    zero = torch.zeros_like(held)
    z = layer(Q, q, G, torch.cat((zero, zero, held), -1), A, torch.ones(1, dtype=held.dtype))
    # Rounding of the solver, at most its tolerance, must not become wealth over the months.
    weights = z[..., :assets].clamp(min=0.0)
    return weights / weights.sum(-1, keepdim=True)


def self_financing(
    layer: QPLayer, root: Tensor, mean: Tensor, trading_cost: float, short_cost: float, held: Tensor
) -> Tensor:
    """Trades u that maximise μ'w - ‖Rw‖² with w = held + u, subject to 1'u + κ ‖u‖₁ + ν 1'(w)₋ <= 0.

    Parameters
    ----------
    layer : QPLayer
    root : Tensor, shape (assets, assets)
        R = √γ Σ^½.
    mean : Tensor, shape (assets,)
        μ, expected gross returns.
    trading_cost, short_cost : float
        κ and ν, in units of wealth for each unit traded, and for each unit held short over the period.
    held : Tensor, shape (batch, assets)
        Holdings before the trade, in units of the wealth of their element.

    Returns
    -------
    Tensor, shape (batch, assets)
        Differentiable in root, mean and held.

    Notes
    -----
    z = (w, b, s) with purchases b >= 0, b >= w - held and short parts s >= 0, s >= -w: n = 3 assets, m = 4 assets + 1.
    ‖u‖₁ = 2 1'b - 1'u turns the budget into (1 - κ) 1'w + 2κ 1'b + ν 1's <= (1 - κ) 1'held. Loose b and s would
    only cost, so both are tight wherever wealth has a positive price.
    """
    assets = held.shape[-1]
    Q = with_curvature(2 * root.mT @ root, 2 * assets)
    q = torch.cat((-mean, torch.zeros(2 * assets, dtype=held.dtype)))
    zero, wealth = torch.zeros_like(held), held.sum(-1, keepdim=True)
    h = torch.cat((zero, held, zero, zero, (1 - trading_cost) * wealth), -1)
    z = layer(Q, q, _self_financing_rows(assets, trading_cost, short_cost), h)
    return z[..., :assets] - held


def initial_holdings(layer: QPLayer, root: Tensor, mean: Tensor, short_cost: float) -> Tensor:
    """Holdings w that maximise μ'w - ‖Rw‖² - ν 1'(w)₋ subject to 1'w = 1, shape (assets,); see `self_financing`."""
    assets = len(mean)
    eye = torch.eye(assets, dtype=mean.dtype)
    G = torch.cat((torch.cat((0 * eye, -eye), 1), torch.cat((-eye, -eye), 1)))
    A = torch.cat((torch.ones(1, assets), torch.zeros(1, assets)), 1).to(mean.dtype)
    q = torch.cat((-mean, torch.full((assets,), short_cost, dtype=mean.dtype)))
    Q = with_curvature(2 * root.mT @ root, assets)
    one = torch.ones(1, dtype=mean.dtype)
    return layer(Q, q, G, torch.zeros(2 * assets, dtype=mean.dtype), A, one)[:assets]


def with_curvature(block: Tensor, auxiliary: int) -> Tensor:
    """diag(block, RIDGE I) with `auxiliary` rows more than `block`, which is symmetrised."""
    block = torch.nn.functional.pad(0.5 * (block + block.mT), (0, auxiliary, 0, auxiliary))
    ridge = torch.zeros(block.shape[-1], dtype=block.dtype)
    ridge[-auxiliary:] = RIDGE
    return block + torch.diag(ridge)


@cache
def _rebalancing_rows(assets: int) -> tuple[Tensor, Tensor]:
    eye, zero = torch.eye(assets, dtype=torch.float64), torch.zeros(assets, assets, dtype=torch.float64)
    rows = ((-eye, zero), (zero, -eye), (eye, -eye))
    A = torch.cat((torch.ones(1, assets), torch.zeros(1, assets)), 1).double()
    return torch.cat([torch.cat(row, 1) for row in rows]), A


@cache
def _self_financing_rows(assets: int, trading_cost: float, short_cost: float) -> Tensor:
    eye, zero = torch.eye(assets, dtype=torch.float64), torch.zeros(assets, assets, dtype=torch.float64)
    rows = ((zero, -eye, zero), (eye, -eye, zero), (zero, zero, -eye), (-eye, zero, -eye))
    ones = torch.ones(1, assets, dtype=torch.float64)
    budget = torch.cat(((1 - trading_cost) * ones, 2 * trading_cost * ones, short_cost * ones), 1)
    return torch.cat([*(torch.cat(row, 1) for row in rows), budget])
