"""Activity at points whose numbers are right to rounding: where a row is in doubt, the point is refined first.

A residual of 1e-16 leaves κ times as much in z and λ, κ the condition of the equations: beside κ = 10⁸ a slack of zero
looks like one of 1e-8, and whether its row is weakly active cannot be told. Corrected by residuals in twice the working
precision (:mod:`layers.linalg.twice`), z and λ have the accuracy of their numbers, whatever κ.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from layers.linalg.batched import put
from layers.linalg.twice import residual
from layers.problem import QP
from layers.qp.active_set import ActiveSystem
from layers.qp.activity import ROUNDING, activity, tell
from layers.qp.kkt import NOISE, residuals, slack
from layers.qp.polish import improves, polish, unsharp
from layers.solution import Point, Status

#: corrections in twice the working precision; each gains the digits that the factor has, about eight
CORRECTIONS = 3


def told(problem: QP, point: Point) -> tuple[Point, Tensor]:
    """The class of every constraint, and the point at which it was told; of what is not OPTIMAL as it is.

    Parameters
    ----------
    problem : QP
        Flat.
    """
    kind, doubt = tell(problem, point.z, point.lam, point.nu)
    index = (doubt & (point.status == Status.OPTIMAL)).nonzero().squeeze(-1)
    if not index.numel():
        return point, kind
    fresh, own = refined(problem.take(index), point.take(index))
    return point.put(index, fresh), put(kind, index, own)


def as_it_is(problem: QP, point: Point) -> tuple[Point, Tensor]:
    """The same of a point that stays where it is, in doubt or not."""
    return point, tell(problem, point.z, point.lam, point.nu)[0]


def refined(problem: QP, point: Point) -> tuple[Point, Tensor]:
    """The solution of the equations of its active set, to rounding, where that is as good a point; and its activity.

    Cost: that of a polish, and a factorisation more.
    """
    z, lam, nu, _ = polish(problem, point.z, point.lam, point.nu, active=point.lam > slack(problem, point.z))
    active = lam > slack(problem, z)
    system, zero = ActiveSystem.factor(problem, active), torch.zeros_like(lam)
    lam = torch.where(active, lam, zero)
    for _ in range(CORRECTIONS):
        left = residual(-problem.q, [(problem.Q, z), (problem.G.mT, lam), (problem.A.mT, nu)])
        room = torch.where(active, residual(problem.h, [(problem.G, z)]), zero)
        dz, dlam, dnu = system.solve(left, room, residual(problem.b, [(problem.A, z)]))
        z, lam, nu = z + dz, lam + dlam, nu + dnu
    lam = lam.clamp(min=0)
    error = residuals(problem, z, lam, nu)
    good = ~unsharp(error) | improves(error, point.residuals)
    noise, index = torch.where(good & ~unsharp(error), ROUNDING, NOISE), good.nonzero().squeeze(-1)
    point = point.put(index, replace(point, z=z, lam=lam, nu=nu, residuals=error).take(index))
    return point, activity(problem, point.z, point.lam, point.nu, noise.unsqueeze(-1))
