"""moreau 0.4.1 through ``moreau.torch``: its compiled active set, and its compiled interior point.

minimise 1/2 x'Px + q'x subject to b - Ax in K, with rows [A; G] and K = {0}^p x R_+^m; the dual is (nu, lambda). The
solver is built once. A matrix that the layer holds constant is given by its nonzeros, and matrices shared over the
batch without a batch axis, both of which the package can use; what is learned is dense, as its gradient is.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.base import Answer, Peer, Setting, Solve, missing, with_row
from benchmarks.problems import Data

ACTIVE_SET: tuple[Setting, ...] = ({}, {"primal_tol": 1e-9}, {"primal_tol": 1e-12, "iter_limit": 100_000})
INTERIOR_POINT: tuple[Setting, ...] = (
    {"diff_method": "exact"},
    *(
        {"diff_method": "exact", "tol_gap_abs": tol, "tol_gap_rel": tol, "tol_feas": tol}
        for tol in (1e-10, 1e-12)
    ),
)


def _unavailable() -> str | None:
    return missing("moreau.torch")


def settings_of(method: str, setting: Setting, batch: int) -> Any:
    """The package's settings of `method` for so many programs on the CPU, with a gradient."""
    moreau: Any = import_module("moreau")
    if method == "active_set":
        settings = moreau.Settings(solver=method, active_set_settings=moreau.ActiveSetSettings(**setting))
    else:
        settings = moreau.Settings(solver=method, ipm_settings=moreau.IPMSettings(**setting))
    settings.device, settings.batch_size, settings.enable_grad = "cpu", batch, True
    return settings


def _build(data: Data, setting: Setting, method: str) -> Solve:
    moreau: Any = import_module("moreau")
    solver_of: Any = import_module("moreau.torch").Solver
    settings = settings_of(method, setting, data.batch)
    n, _, p = data.sizes
    masks = {name: _mask(data, name) for name in ("Q", "A", "G")}
    rows = torch.cat([masks["A"], masks["G"]])
    cones = moreau.Cones(num_zero_cones=p, num_nonneg_cones=len(masks["G"]))
    solver = solver_of(n, len(rows), *_pattern(masks["Q"]), *_pattern(rows), cones, settings)
    together = all(name in data.shared for name in ("Q", "G", "A"))

    def solve(data: Data) -> Answer:
        _, m, p = data.sizes
        wide = data.expanded()
        G, _ = with_row(data if together else wide)
        _, h = with_row(wide)
        Q, A = (data.Q, data.A) if together else (wide.Q, wide.A)
        values = torch.cat([A[..., masks["A"]], G[..., masks["G"]]], -1)
        answer = solver.solve(Q[..., masks["Q"]], values, wide.q, torch.cat([wide.b, h], -1))
        return answer.x, answer.z[:, p : p + m], answer.z[:, :p]

    return solve


def _mask(data: Data, name: str) -> Tensor:
    """The entries of a matrix that the package is told of: all, or the nonzeros of a constant."""
    value: Tensor = with_row(data)[0] if name == "G" else getattr(data, name)
    constant = value.dim() == 2 and name not in data.learned
    return value != 0 if constant else torch.ones(value.shape[-2:], dtype=torch.bool)


def _pattern(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Row offsets and column indices of the entries of a mask, as in the CSR format."""
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])
    return offsets, mask.nonzero()[:, 1]


PEERS = (
    Peer("moreau_active_set", [ACTIVE_SET], _unavailable, partial(_build, method="active_set")),
    Peer("moreau_interior_point", [INTERIOR_POINT], _unavailable, partial(_build, method="ipm")),
)
