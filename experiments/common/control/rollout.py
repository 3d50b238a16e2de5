"""Following a policy through a system, many trajectories side by side: one call of the layer for each period."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Policy = Callable[[Tensor], Tensor]


class System(Protocol):
    """What happens in a period."""

    def advance(self, x: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the period costs, shape (trajectories,), and the states after it."""
        ...


def rollout(system: System, policy: Policy, start: Tensor, noise: Tensor) -> Tensor:
    """Costs of all periods, shape (periods, trajectories), differentiable in the policy.

    Parameters
    ----------
    system : System
    policy : callable
        States, shape (trajectories, states), to controls, shape (trajectories, controls).
    start : Tensor, shape (trajectories, states)
    noise : Tensor, shape (periods, trajectories, ...)
        What is random, drawn beforehand: the same noise makes two policies comparable, trajectory by trajectory.
    """
    x, costs = start, list[Tensor]()
    for happening in noise:
        cost, x = system.advance(x, policy(x), happening)
        costs.append(cost)
    return torch.stack(costs)


def mean_cost(system: System, policy: Policy, start: Tensor, noise: Tensor) -> float:
    """Mean over periods and trajectories, without a derivative."""
    with torch.no_grad():
        return rollout(system, policy, start, noise).mean().item()
