"""Warm start by active set: try the constraints that were active last time, and check the answer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from layers.problem import QP
from layers.qp.kkt import residuals
from layers.qp.polish import polish
from layers.solution import Point, Status


def start_warm(
    problem: QP,
    *,
    cold: Callable[[QP], Point],
    guess: tuple[Tensor, Tensor, Tensor, Tensor],
    tol: float,
) -> Point:
    """Solve the equations of the earlier active set; elements that miss ``tol`` are solved by ``cold``.

    Parameters
    ----------
    problem : QP
        Flat problem.
    cold : callable
        The engine to fall back on, per element.
    guess : tuple of Tensor
        Earlier z, λ, ν and s, flat.
    tol : float
        Bound on the relative KKT residuals.

    Notes
    -----
    An element that is accepted costs one factorisation instead of one per iteration, and its residuals are those
    of a cold solve: it is a KKT point of a convex problem, so it is a solution whatever the guess was.
    """
    z, lam, nu, s = guess
    z, lam, nu, _ = polish(problem, z, lam, nu, active=lam > s)
    # What is returned is what is measured: where h is large beside λ, cutting off a tiny λᵢ < 0 moves hᵀλ by much.
    lam = lam.clamp(min=0)
    error = residuals(problem, z, lam, nu)
    status = torch.where(error.within(tol), int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
    point = Point.without_certificate(z, lam, nu, status, error, torch.zeros_like(status))
    missed = (status != Status.OPTIMAL).nonzero().squeeze(-1)
    return point if missed.numel() == 0 else point.put(missed, cold(problem.take(missed)))
