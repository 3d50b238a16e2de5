"""Active-set polish: one Newton step on the equations that hold at the solution, to full machine accuracy.

An interior point stops at some small μ > 0. Once the active set 𝒜 = {i : λᵢ > sᵢ} is the right one, the solution
satisfies linear equations,

    [Q  G_𝒜ᵀ Aᵀ] [z  ]   [−q ]
    [G_𝒜       ] [λ_𝒜] = [h_𝒜],      λᵢ = 0 off 𝒜,
    [A         ] [ν  ]   [b  ]

and the smallest correction that solves them removes the trace of μ. The step is kept only where the KKT residuals
improve, so a wrong guess of 𝒜 does no harm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.active_system import ActiveSystem
from layers.kkt import Norms, residuals, slack, stationarity
from layers.linalg import max_abs, mv
from layers.problem import QP
from layers.solution import Residuals


def polish(
    problem: QP, z: Tensor, lam: Tensor, nu: Tensor, active: Tensor
) -> tuple[Tensor, Tensor, Tensor, Residuals]:
    """Newton step on the active set, kept per element where it lowers the largest KKT residual.

    Parameters
    ----------
    problem : QP
        Flat problem.
    z, lam, nu : Tensor, shapes ``(B, n), (B, m), (B, p)``
        A point near the solution.
    active : Tensor of bool, shape ``(B, m)``
        The guess of the active set.

    Returns
    -------
    z, lam, nu : Tensor
    residuals : Residuals
        Of the returned point, on these data.
    """
    norms = Norms.of(problem)
    before = residuals(problem, z, lam, nu, norms)
    on_face = torch.where(active, lam, torch.zeros_like(lam))
    system = ActiveSystem.factor(problem, active)
    dz, dlam, dnu = system.solve(
        -stationarity(problem, z, on_face, nu),
        torch.where(active, slack(problem, z), torch.zeros_like(lam)),
        problem.b - mv(problem.A, z),
    )
    trial_lam = on_face + dlam
    # Rounding may leave an active multiplier at -1e-17: the sign is part of the answer.
    rounding = -1e-13 * max_abs(trial_lam).unsqueeze(-1)
    trial = (z + dz, torch.where(trial_lam > rounding, trial_lam.clamp(min=0), trial_lam), nu + dnu)
    after = residuals(problem, *trial, norms)
    better = after.largest < before.largest
    keep = better.unsqueeze(-1)
    z, lam, nu = (torch.where(keep, t, x) for t, x in zip(trial, (z, lam, nu), strict=True))
    mixed = Residuals(
        *(
            torch.where(better, getattr(after, name), getattr(before, name))
            for name in ("primal", "dual", "gap")
        )
    )
    return z, lam, nu, mixed
