"""Active-set polish: one Newton step on the equations that hold at the solution, to full machine accuracy.

An interior point stops at some small μ > 0. Once the active set 𝒜 = {i : λᵢ > sᵢ} is the right one, the solution
satisfies linear equations,

    [Q  G_𝒜ᵀ Aᵀ] [z  ]   [−q ]
    [G_𝒜       ] [λ_𝒜] = [h_𝒜],      λᵢ = 0 off 𝒜,
    [A         ] [ν  ]   [b  ]

and the smallest correction that solves them removes the trace of μ. Where the result shows that the guess was wrong (a
negative multiplier, a violated row) the set is corrected and the step tried again, as in a primal-dual active-set
method (Hintermüller, Ito & Kunisch 2002). A step is kept only where the KKT residuals improve, so a wrong guess of 𝒜
does no harm.

Where the answer, or one of its rows, is not sharp (their terms vanish, or are far smaller than others), the same system
corrects it again while it gains by that: the rounding that stays is then that of a correction, row by row (Skeel 1980).
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.linalg.batched import put, take
from layers.linalg.products import max_abs, mv
from layers.problem import QP
from layers.qp.active_set import ActiveSystem
from layers.qp.kkt import Norms, residuals, slack, stationarity
from layers.solution import ROWS_SHARP, Residuals

#: guesses of the active set that are tried, and the residual that needs no second one
ROUNDS, SHARP = 4, 1e-13
#: corrections with one system
CORRECTIONS = 4
#: residuals in norm that differ by no more than this may differ by rounding
ROUNDED = 10.0

_Point = tuple[Tensor, Tensor, Tensor]


def polish(
    problem: QP, z: Tensor, lam: Tensor, nu: Tensor, active: Tensor
) -> tuple[Tensor, Tensor, Tensor, Residuals]:
    """Newton steps on guesses of the active set, kept per element where they lower the largest KKT residual.

    Parameters
    ----------
    problem : QP
        Flat problem.
    z, lam, nu : Tensor, shapes ``(B, n), (B, m), (B, p)``
        A point near the solution.
    active : Tensor of bool, shape ``(B, m)``
        The first guess of the active set.

    Returns
    -------
    z, lam, nu : Tensor
    residuals : Residuals
        Of the returned point, on these data.
    """
    norms = Norms.of(problem)
    error = residuals(problem, z, lam, nu, norms)
    for number in range(ROUNDS):
        blunt = (unsharp(error) | (number == 0)).nonzero().squeeze(-1)
        if blunt.numel() == 0:
            break
        part = problem.take(blunt)
        trial, after = _corrected(part, (z[blunt], lam[blunt], nu[blunt]), active[blunt], norms.take(blunt))
        next_guess = torch.where(active[blunt], trial[1] > 0, slack(part, trial[0]) < 0)
        better = improves(after, error.take(blunt))
        z, lam, nu = put((z, lam, nu), blunt[better], take(trial, better))
        error = error.put(blunt[better], after.take(better))
        if torch.equal(next_guess, active[blunt]):
            break
        active = active.index_copy(0, blunt, next_guess)
    return z, lam, nu, error


def unsharp(error: Residuals) -> Tensor:
    """Whether a point is no solution to rounding: of norms, or of one of its rows."""
    return (error.relative.amax(-1) > SHARP) | (error.rowwise.amax(-1) > ROWS_SHARP)


def improves(after: Residuals, before: Residuals) -> Tensor:
    """Whether one point is better than another: in the worst of all, or row by row at no price that counts.

    Where the terms of a sum cancel, as those of the gap, norms of two sharp points differ by their rounding; what is
    sharp in norm is no price at all.
    """
    rows = after.rowwise.amax(-1) < before.rowwise.amax(-1)
    least = (ROUNDED * before.largest).clamp(min=SHARP)
    return (after.largest < before.largest) | (rows & (after.largest <= least))


def _corrected(problem: QP, point: _Point, active: Tensor, norms: Norms) -> tuple[_Point, Residuals]:
    """The nearest point that satisfies the equations of the active set, corrected while its rows gain by it."""
    system = ActiveSystem.factor(problem, active)
    point = _step(problem, system, point)
    error = residuals(problem, *point, norms)
    for _ in range(CORRECTIONS):
        blunt = unsharp(error)
        if not blunt.any():
            break
        trial = _step(problem, system, point)
        after = residuals(problem, *trial, norms)
        better = blunt & improves(after, error)
        if not better.any():
            break
        keep = better.unsqueeze(-1)
        z, lam, nu = (torch.where(keep, new, old) for new, old in zip(trial, point, strict=True))
        point, error = (z, lam, nu), Residuals(torch.where(keep, after.values, error.values))
    return point, error


def _step(problem: QP, system: ActiveSystem, point: _Point) -> _Point:
    """One correction by the equations of the active set."""
    z, lam, nu = point
    active = system.active
    on_face = torch.where(active, lam, torch.zeros_like(lam))
    dz, dlam, dnu = system.solve(
        -stationarity(problem, z, on_face, nu),
        torch.where(active, slack(problem, z), torch.zeros_like(lam)),
        problem.b - mv(problem.A, z),
    )
    trial = on_face + dlam
    # Rounding may leave an active multiplier at -1e-17: the sign is part of the answer.
    rounding = -1e-13 * max_abs(trial).unsqueeze(-1)
    return z + dz, torch.where(trial > rounding, trial.clamp(min=0), trial), nu + dnu
