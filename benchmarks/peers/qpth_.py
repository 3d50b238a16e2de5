"""qpth 0.0.18 (Amos & Kolter 2017): a batched interior point in torch.

Shared arguments are expanded before the call, since the package averages their gradients where the sum is right. Its
backward pass clamps multipliers and slacks at 1e-8, absolutely, which leaves gradients off by 1e-5; the last rungs of
the ladder give it the same program with rows times `unit` and objective times its square, in which the clamp is that
much smaller.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.peers.base import Answer, Setting, Solve, missing
from benchmarks.problems import Data

NAME, CUDA = "qpth", True
LADDERS: tuple[tuple[Setting, ...], ...] = (
    (
        {"eps": 1e-8, "unit": 1.0},
        {"eps": 1e-12, "unit": 1.0},
        {"eps": 1e-10, "unit": 1e3},
        {"eps": 1e-12, "unit": 1e3},
    ),
)


def unavailable() -> str | None:
    """Why it cannot be used here."""
    return missing("qpth.qp")


def build(data: Data, setting: Setting) -> Solve:
    """The package's QPFunction; multipliers are read from its context, for the check alone."""
    module: Any = import_module("qpth.qp")
    unit = setting["unit"]
    function = module.QPFunction(eps=setting["eps"], verbose=-1, maxIter=50, check_Q_spd=False)
    _, _, p = data.sizes

    def solve(data: Data) -> Answer:
        wide = data.expanded()
        Q, q, G, h = unit**2 * wide.Q, unit**2 * wide.q, unit * wide.G, unit * wide.h
        A, b = (wide.A, wide.b) if p > 0 else (wide.q.new_empty(0), wide.q.new_empty(0))
        z = function(Q, q, G, h, A, b)
        if z.grad_fn is None:
            return (z,)
        nu = z.grad_fn.nus / unit**2 if p > 0 else wide.b
        return z, z.grad_fn.lams / unit, nu

    return solve
