"""The newsvendor of Donti, Amos & Kolter 2017 (arXiv 1703.04529), section 5.1: how much to order before demand is
known.

Demand is one of `DEMANDS`, with probabilities p(x) of what is observed before. An order z costs

    f(z, d) = c₀z + ½q₀z² + c_u (d - z)⁺ + ½q_u ((d - z)⁺)² + c_o (z - d)⁺ + ½q_o ((z - d)⁺)²

and is the minimiser of Σᵢ pᵢ f(z, dᵢ) over z ≥ 0. With shortages uᵢ ≥ 0, uᵢ ≥ dᵢ - z the surplus is uᵢ + z - dᵢ,
since at the minimum one of the two is zero: a quadratic program in (z, u) with 1 + 2k constraints. The published
program has the surpluses as variables of their own.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.common.errors import require
from layers import QPLayer

DEMANDS = (1.0, 2.0, 5.0, 10.0, 20.0)
INPUTS = 20
#: numpy seeds of the published true parameters, and of the published test data
SEED, TEST_SEED = 42, 0
TRUTHS = ("linear", "nonlinear")
#: mixed into every distribution, so that no shortage is without a price
FLOOR = 1e-7


@dataclass
class Costs:
    """c and q of ordering, of being short and of being left with goods."""

    order: float = 10.0  #: of ordering [1/good]
    order_square: float = 2.0  #: of half the square of an order [1/good^2]
    under: float = 30.0  #: of a shortage [1/good]
    under_square: float = 14.0  #: of half its square [1/good^2]
    over: float = 10.0  #: of goods left over [1/good]
    over_square: float = 2.0  #: of half their square [1/good^2]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless orders are bounded."""
        for part, cost in vars(self).items():
            require(0 <= cost < math.inf, f"{name}.{part}", cost, "zero or a positive number")
        curvature = self.order_square
        require(curvature > 0, f"{name}.order_square", curvature, "a positive number: one order is the best")

    def of(self, z: Tensor, demand: Tensor) -> Tensor:
        """f(z, d) of orders and demands of one shape."""
        short, left = (demand - z).clamp(min=0), (z - demand).clamp(min=0)
        return (
            self.order * z
            + 0.5 * self.order_square * z.square()
            + self.under * short
            + 0.5 * self.under_square * short.square()
            + self.over * left
            + 0.5 * self.over_square * left.square()
        )


def true_logits(truth: str, x: Tensor) -> Tensor:
    """What the true probabilities are the softmax of: Θᵀx, or its squares, shape (batch, k); Θ is the published one."""
    Theta = torch.from_numpy(np.random.RandomState(SEED).randn(INPUTS, len(DEMANDS)))
    return x @ Theta if truth == "linear" else (x @ Theta).square()


def draw(truth: str, count: int, rng: np.random.RandomState) -> tuple[Tensor, Tensor]:
    """Inputs, shape (count, 20), and the places of their demands in `DEMANDS`, drawn in the published order."""
    x = torch.from_numpy(rng.randn(count, INPUTS))
    below = true_logits(truth, x).softmax(-1).cumsum(-1)
    # The last of the cumulated probabilities may miss one by its rounding.
    below[:, -1] = 1.0
    return x, (torch.from_numpy(rng.rand(count))[:, None] < below).double().argmax(-1)


def order(layer: QPLayer, costs: Costs, p: Tensor) -> Tensor:
    """The best order under each distribution, shape (batch,), differentiable in p of shape (batch, k)."""
    batch, k = p.shape
    p = (1 - k * FLOOR) * p + FLOOR
    d, eye = torch.tensor(DEMANDS, dtype=p.dtype), torch.eye(k, dtype=p.dtype)
    Q = torch.zeros(batch, 1 + k, 1 + k, dtype=p.dtype)
    Q[:, 0, 0] = costs.order_square + costs.over_square
    Q[:, 0, 1:] = Q[:, 1:, 0] = costs.over_square * p
    Q[:, 1:, 1:] = ((costs.under_square + costs.over_square) * p).diag_embed()
    # Each surplus is z + u - d.
    first = costs.order + costs.over - costs.over_square * (p @ d)
    q = torch.cat((first[:, None], (costs.under + costs.over - costs.over_square * d) * p), 1)
    G = -torch.cat((torch.ones(k, 1, dtype=p.dtype), eye), 1)
    G = torch.cat((G, -torch.eye(1 + k, dtype=p.dtype)))
    return layer(Q, q, G, torch.cat((-d, torch.zeros(1 + k, dtype=p.dtype))))[:, 0]
