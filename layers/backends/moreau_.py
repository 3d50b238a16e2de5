"""moreau 0.4.1, used directly through ``moreau.torch``: a compiled active set and a compiled interior point.

minimise ½xᵀPx + qᵀx subject to b − Ax ∈ K; with K = {0}ᵖ × R₊ᵐ and the rows [A; G] its dual is (ν, λ) in our signs,
and differentiable too. Deviations of the package, and what is done about each (errors are relative to the largest
entry, on random problems with n from 5 to 64):

- Its default, the active set, gives up without strong curvature: it lost 40 of 40 linear programs, of problems with
  singular Q, and with Q scaled by 1e-6, and took 1 of 40 badly scaled ones for solved. Its interior point solved all
  of those, but the gradients of that are off by 1e-6 to 7e-5 at any tolerance, where those of the active set are
  within 6e-10. So the active set goes first, its point is checked against the KKT conditions, and the elements that
  fail go to the interior point.
- At its iteration limit it returns zeros, with a status that has to be read: those rows become NaN.
- It has no second derivative, and says so in a message about its internals: asking for one raises ours.
- A solver object keeps the data of its last call and is built for one batch size; a new one is made for every call,
  which costs less than a millisecond at n = 5.
- It is not called without a constraint. A row 0ᵀz ≤ 1 stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layers.backends.base import Attempt, Backend, Triple, equilibrated, import_problem
from layers.problem import QP

#: statuses that come with a point; how good it is, its residual says
SOLVED = ("Solved", "AlmostSolved")


def _unavailable() -> str | None:
    return import_problem("moreau.torch", "pip install 'differentiable-convex-layers[moreau]'")


def _attempts(tol: float, max_iterations: int) -> Sequence[Attempt]:
    from moreau import ActiveSetSettings, IPMSettings

    tight = max(1e-3 * tol, 1e-14)
    active_set = ActiveSetSettings(primal_tol=tight, iter_limit=100 * max_iterations)
    interior_point = IPMSettings(tol_gap_abs=tight, tol_gap_rel=tight, tol_feas=tight, diff_method="exact")

    def by_active_set(problem: QP) -> Triple:
        return _solve(problem, solver="active_set", active_set_settings=active_set)

    def by_interior_point(problem: QP) -> Triple:
        return _solve(problem, solver="ipm", ipm_settings=interior_point, max_iter=max_iterations)

    return [equilibrated(by_active_set), equilibrated(by_interior_point)]


def _solve(problem: QP, **options: Any) -> Triple:
    from moreau import Cones, Settings
    from moreau.torch import Solver

    n, m, p = problem.n, problem.m, problem.p
    batch = problem.q.shape[0]
    rows, right = torch.cat([problem.A, problem.G], -2), torch.cat([problem.b, problem.h], -1)
    if m + p == 0:
        rows, right = torch.zeros_like(problem.q).unsqueeze(-2), torch.ones_like(problem.q[:, :1])
    k = right.shape[-1]
    settings = Settings(device="cpu", batch_size=batch, enable_grad=True, **options)
    cones = Cones(num_zero_cones=p, num_nonneg_cones=k - p)
    make: Any = Solver
    solver = make(n, k, *_dense_pattern(n, n), *_dense_pattern(k, n), cones, settings)
    answer = solver.solve(problem.Q.reshape(batch, n * n), rows.reshape(batch, k * n), problem.q, right)
    solved = torch.tensor(
        [status.name in SOLVED for status in solver.info.status], device=answer.x.device
    ).unsqueeze(-1)
    z, dual = (torch.where(solved, x, torch.nan) for x in (answer.x, answer.z))
    return z, dual[:, p : p + m], dual[:, :p]


def _dense_pattern(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Row offsets and column indices of a CSR matrix without a zero."""
    return torch.arange(0, rows * columns + 1, columns, device="cpu"), torch.arange(
        columns, device="cpu"
    ).repeat(rows)


BACKEND = Backend("moreau", ("moreau",), _unavailable, _attempts)
