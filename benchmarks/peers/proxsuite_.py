"""proxsuite 0.8.0: ProxQP's own torch layer, solved in parallel.

The layer takes half of the machine's cores; here it is told that there are twice as many as torch may use, so that it
works on as many as the others. Its gradients are single precision, good to 1e-7. It returns gradients of shared
arguments per problem: they are expanded first, and torch sums.
"""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.peers.base import Answer, Setting, Solve, missing, with_row
from benchmarks.problems import Data

NAME, CUDA = "proxsuite", False
LADDERS: tuple[tuple[Setting, ...], ...] = (
    (
        {"eps": 1e-9},
        {"eps": 1e-9, "eps_backward": 1e-9, "rho_backward": 1e-9, "mu_backward": 1e-9},
        {"eps": 1e-11, "eps_backward": 1e-11, "rho_backward": 1e-10, "mu_backward": 1e-10},
    ),
)
#: its stand-in for no lower bound
FREE = -1e20


def unavailable() -> str | None:
    """Why it cannot be used here."""
    return missing("proxsuite.torch.qplayer")


def build(data: Data, setting: Setting) -> Solve:
    """ProxQP's QPFunction on `data`, in its own order of arguments."""
    module: Any = import_module("proxsuite.torch.qplayer")
    function = module.QPFunction(maxIter=10_000, omp_parallel=True, **setting)
    # All that the module asks of os is this number.
    module.os = SimpleNamespace(cpu_count=lambda: 2 * torch.get_num_threads())

    def solve(data: Data) -> Answer:
        wide = data.expanded()
        G, h = with_row(wide)
        z, nu, lam = function(wide.Q, wide.q, wide.A, wide.b, G, torch.full_like(h, FREE), h)
        return z, lam[..., : data.sizes[1]], nu

    return solve
