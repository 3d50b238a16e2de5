"""Goods from two suppliers through four stores to two customers (Agrawal, Barratt, Boyd & Stellato, arXiv 1912.09529).

State: h, what each store holds; p, what a unit costs at each supplier; d, what each customer wants. Control: how much
goes over each of eight links: two from suppliers, four between stores, two to customers. Prices and demands are
log-normal and independent from period to period. A period costs p'(bought) + τ (moved) - r (sold) + Σ αh + βh².
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STORES, SUPPLIERS, CUSTOMERS = 4, 2, 2
# Where each link comes from and goes to; -1 is outside. Suppliers' links first, customers' links last.
LINKS = ((-1, 0), (-1, 1), (0, 2), (0, 3), (1, 3), (3, 2), (2, -1), (3, -1))
CAPACITY, FLOW = 3.0, 2.0
HOLDING, CROWDING, MOVING, SALE = 0.01, 0.01, 0.05, 1.3
# Means and common deviation of the logarithms of the two prices and the two demands.
LOG_MEANS, LOG_DEVIATION = (0.0, 0.1, 0.0, 0.4), 0.2


@dataclass(frozen=True)
class SupplyChain:
    """The network. Its noise is the prices and demands of the next period.

    Parameters
    ----------
    charge_after : bool
        Whether a period is charged at the prices and stocks after it, as in the published notebook, whose policy
        decides by one price and pays another; otherwise at those before it, as the policy assumes.
    """

    charge_after: bool = True

    def incidence(self) -> tuple[Tensor, Tensor]:
        """In which store each link ends, and in which it begins, shape (stores, links) both."""
        ends = torch.tensor([[float(end == store) for _, end in LINKS] for store in range(STORES)])
        begins = torch.tensor([[float(begin == store) for begin, _ in LINKS] for store in range(STORES)])
        return ends.double(), begins.double()

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is held, prices and demands of states of shape (trajectories, 8)."""
        held, prices, demands = x.split((STORES, SUPPLIERS, CUSTOMERS), -1)
        return held, prices, demands

    def link_costs(self, prices: Tensor) -> Tensor:
        """What a unit costs on each link, shape (trajectories, links); negative where it is sold."""
        inner = len(LINKS) - SUPPLIERS - CUSTOMERS
        fixed = torch.tensor([MOVING] * inner + [-SALE] * CUSTOMERS, dtype=prices.dtype)
        return torch.cat((prices, fixed.expand(*prices.shape[:-1], -1)), -1)

    def advance(self, x: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Cost of the period, and the states after it."""
        ends, begins = self.incidence()
        after = torch.cat((self.split(x)[0] + u @ (ends - begins).mT, noise), -1)
        held, prices, _ = self.split(after if self.charge_after else x)
        cost = (self.link_costs(prices) * u).sum(-1) + (HOLDING * held + CROWDING * held**2).sum(-1)
        return cost, after

    def rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """G and h of Gu <= h: capacities of links and stores, no flow backwards, no more sold than held and wanted."""
        ends, begins = self.incidence()
        held, _, demands = self.split(x)
        eye = torch.eye(len(LINKS), dtype=x.dtype)
        G = torch.cat((eye, -eye, ends - begins, begins, eye[-CUSTOMERS:]))
        box = torch.cat((torch.full((len(LINKS),), FLOW), torch.zeros(len(LINKS)))).to(x.dtype)
        h = torch.cat((box.expand(len(x), -1), CAPACITY - held, held, demands), -1)
        return G, h


def draw(periods: int, trajectories: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """Start states, shape (trajectories, 8), and noise, shape (periods, trajectories, 4), in the published order."""
    held = CAPACITY * torch.rand(trajectories, STORES, 1, generator=stream)[..., 0].double()
    market = torch.stack([_market(trajectories, stream) for _ in range(periods + 1)])
    return torch.cat((held, market[0]), -1), market[1:]


def _market(trajectories: int, stream: torch.Generator) -> Tensor:
    means = torch.tensor(LOG_MEANS, dtype=torch.float32).double().expand(trajectories, -1)
    deviations = torch.tensor(LOG_DEVIATION, dtype=torch.float32).double().expand_as(means)
    return torch.normal(means, deviations, generator=stream).exp()
