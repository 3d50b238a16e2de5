"""Parts of a program that nothing connects are solved each by itself, as programs of their own sizes and scales."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from layers.problem import QP
from layers.qp.kkt import residuals
from layers.qp.parts import divided, split
from layers.solution import FIRST, Point, Status


def solve_apart(problem: QP, *, solve: Callable[[QP], Point], tol: float) -> Point:
    """The points of a flat problem; of an element with several parts each part is solved by itself.

    Parameters
    ----------
    solve : callable
        The engine, for flat problems of any sizes.
    tol : float
        Bound on the residuals of the whole.

    Notes
    -----
    Cost: parts of one size, of any elements, are one batch; the host looks at the zeros of the data once.
    """
    several, label = divided(problem)
    if label is None:
        return solve(problem)
    found = _put_together(problem.take(several), label, solve, tol)
    if len(several) == len(problem.q):
        return found
    return solve(problem).put(several, found)


def _put_together(problem: QP, label: Tensor, solve: Callable[[QP], Point], tol: float) -> Point:
    """Elements that all have several parts."""
    parts = [(part, solve(part.problem)) for part in split(problem, label)]
    ranks = [_rank(point.status) for _, point in parts]
    rank = torch.full_like(label[:, 0], len(FIRST) - 1)
    iterations, nearest = torch.zeros_like(rank), torch.full_like(problem.q[:, 0], torch.inf)
    for (part, point), own in zip(parts, ranks, strict=True):
        rank = rank.scatter_reduce(0, part.element, own, "amin")
        iterations = iterations.scatter_reduce(0, part.element, point.iterations, "amax")
        nearest = nearest.scatter_reduce(0, part.element, point.nearest, "amin")
    status = torch.tensor(FIRST, device=rank.device)[rank]
    proven = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    # One certificate is enough: the first part that has one, a part being known by its first variable.
    speaker = torch.full_like(rank, problem.n)
    for (part, _), own in zip(parts, ranks, strict=True):
        first = torch.where(own == rank[part.element], part.z[:, 0], problem.n)
        speaker = speaker.scatter_reduce(0, part.element, first, "amin")
    z, lam, nu = (torch.zeros_like(v) for v in (problem.q, problem.h, problem.b))
    for part, point in parts:
        kept = ~proven[part.element] | (part.z[:, 0] == speaker[part.element])
        at = part.element.unsqueeze(-1)
        own = zip((z, lam, nu), (part.z, part.lam, part.nu), (point.z, point.lam, point.nu), strict=True)
        for vector, places, values in own:
            vector[at, places] = torch.where(kept.unsqueeze(-1), values, 0.0)
    error = residuals(problem, z, lam, nu)
    missed = (status == Status.OPTIMAL) & ~error.within(tol)
    status = torch.where(missed, int(Status.NUMERICAL_FAILURE), status)
    return Point(z, lam, nu, status, error, iterations, nearest)


def _rank(status: Tensor) -> Tensor:
    """The place of each status in FIRST."""
    rank = torch.zeros_like(status)
    for place, one in enumerate(FIRST):
        rank = torch.where(status == one, place, rank)
    return rank
