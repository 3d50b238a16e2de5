"""Entropic optimal transport: minimise <C, P> - eps H(P) subject to P 1 = a, P' 1 = b, P >= 0.

Notebook `optimal_transport` of cvxpylayers: three points to three points, cost (x_i - y_j)^2, eps = 1, and the
derivative of the mass that goes from the last point to the last. The notebook prints all of it to four decimals.
"""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch

from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.programs.notebook import (
    Build,
    Constraints,
    Layer,
    leaf,
    normal,
    require_positive,
    torch_stream,
)

CONES = "exponential cones"
DEFINITE = False
FINAL = ("transported", "gradient", "marginal_error")


@dataclass
class Settings:
    """The notebook's numbers of points, weight of the entropy, and seed."""

    points: int = 3  #: from which mass is moved [points]
    targets: int = 3  #: to which it is moved [points]
    eps: float = 1.0  #: weight of the entropy [1]
    seed: int = 6  #: of the random points [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless this is a transport problem."""
        require_positive(self, name, "points", "targets")
        require(0 < self.eps < np.inf, f"{name}.eps", self.eps, "a positive, finite weight of the entropy")
        require(self.seed >= 0, f"{name}.seed", self.seed, "a non-negative integer")


def make_layer(settings: Settings, build: Build) -> Layer:
    """The plan P as a layer of cost, marginals and weight of the entropy, in the notebook's form."""
    n, m = settings.points, settings.targets
    cost, a, b, eps = cp.Parameter((n, m)), cp.Parameter(n), cp.Parameter(m), cp.Parameter(1, nonneg=True)
    plan = cp.Variable((n, m))
    # H(P) = -sum P (log P - 1)
    entropy = cp.sum(cp.entr(plan)) + cp.sum(plan)
    constraints: Constraints = [plan @ np.ones(m) == a, plan.T @ np.ones(n) == b, plan >= 0]
    objective = cp.Minimize(cp.trace(plan.T @ cost) - eps * entropy)
    return build(cp.Problem(objective, constraints), [cost, a, b, eps], [plan])


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the plan, how well it keeps the marginals, and the derivative of its last entry."""
    stream = torch_stream(settings.seed + seed)
    x, y = leaf(normal(stream, settings.points)), leaf(normal(stream, settings.targets))
    a = torch.full((settings.points,), 1 / settings.points, dtype=torch.float64)
    b = torch.full((settings.targets,), 1 / settings.targets, dtype=torch.float64)
    layer = make_layer(settings, build)
    with record.timed("solve and differentiate"):
        cost = (x[:, None] - y[None, :]).square()
        (plan,) = layer(cost, a, b, torch.tensor([settings.eps], dtype=torch.float64))
        gradients = torch.autograd.grad(plan[-1, -1], (x, y))
    entries = plan.detach()
    for (i, j), mass in np.ndenumerate(entries.numpy()):
        record.metric("transported", f"{i} to {j}", 0, mass, "1")
    for name, gradient in zip(("x", "y"), gradients, strict=True):
        for i, value in enumerate(gradient.tolist()):
            record.metric("gradient", f"{name}[{i}]", 0, value, "1")
    error = max((entries.sum(1) - a).abs().max().item(), (entries.sum(0) - b).abs().max().item())
    record.metric("marginal_error", "plan", 0, error, "1")
    record.matrix("plan", entries.numpy())
