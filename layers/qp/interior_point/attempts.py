"""From a flat batch of quadratic programs to answers with their statuses.

The status of an element says what is proven of it. What the first walk leaves in doubt (a point that is good in norm
and not in every row, a certificate that holds in norm alone) is walked again in units of its own: each variable is
measured by its size at the point where the walk ended, each row by its largest entry then. Where sizes grow along a
program, as in z_k = 10 z_{k−1}, what was ill conditioned is not any more, and a norm is a norm of every row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from layers.linalg.products import dot, max_abs
from layers.problem import QP
from layers.qp.interior_point.certificates import Candidate, completed, contradiction, proven
from layers.qp.interior_point.iteration import Programs, Progress, walk, walk_on
from layers.qp.kkt import residuals, slack
from layers.qp.polish import SHARP, improves, polish, unsharp
from layers.qp.scaling import ScaledQP, Units
from layers.solution import Point, Status

#: a point of the equilibrated problem farther out than this is asked whether it is a certificate
FAR = 1e7
#: a point that violates no row by more, relative to its own terms, is feasible as far as is known
FEASIBLE = 1e-8
#: attempts in units of their own, and what they walk to as a part of the tolerance: rows follow the norm at a distance
ATTEMPTS, CLOSER = 3, 1e-6
#: a walk that takes more steps has lost its way; at a smaller limit of the caller's it may only have been cut short
LONG = 50


def solve(problem: QP, tol: float, max_iterations: int) -> Point:
    """Solve a flat batch of quadratic programs.

    Parameters
    ----------
    problem : QP
        Flat, float64, checked.
    tol : float
        Bound on the relative KKT residuals of an ``OPTIMAL`` element, in norm and row by row.
    max_iterations : int
        Limit of Newton steps of each attempt.

    Returns
    -------
    Point
        Statuses are per element: the answer of an element that has converged no longer moves,
        and none of them influences another.
    """
    point, sizes = _attempt(problem, tol, max_iterations, tol)
    for number in range(ATTEMPTS):
        lost = point.status == Status.NUMERICAL_FAILURE
        if number == 0:  # an answer that the polish did not make exact ended too far from its face to tell it
            lost = lost | (point.status == Status.OPTIMAL) & unsharp(point.residuals)
        if max_iterations >= LONG:
            lost = lost | (point.status == Status.ITERATION_LIMIT)
        index = lost.nonzero().squeeze(-1)
        if index.numel() == 0:
            break
        again, new_sizes = _in_units_of(problem.take(index), sizes[index], tol, max_iterations)
        before = point.take(index)
        nearer = again.residuals.largest < before.residuals.largest
        chosen = nearer | (again.status != Status.NUMERICAL_FAILURE)
        kept = improves(again.residuals, before.residuals) & (again.status == Status.OPTIMAL)
        chosen = torch.where(before.status == Status.OPTIMAL, kept, chosen)
        again = replace(again, iterations=before.iterations + again.iterations)
        point = point.put(index[chosen], again.take(chosen))
        sizes = sizes.index_copy(0, index, new_sizes)
    return point


def _in_units_of(problem: QP, sizes: Tensor, tol: float, most: int) -> tuple[Point, Tensor]:
    """Solve with variables that are about one where they are as large as ``sizes``."""
    units = Units.of(problem, sizes)
    point, sizes = _attempt(units.inside(problem), tol, most, CLOSER * tol)
    found = units.outside(point.z, point.lam, point.nu)
    # What rounding left in these units may be much in those of the caller, which have equations of other sizes.
    active = found[1] > slack(problem, found[0])
    z, lam, nu, _ = polish(problem, *found, active=active)
    proves = _claims(point.status).unsqueeze(-1)
    # a certificate is not of the objective's size: hᵀλ + bᵀν and qᵀz stay −1
    certificate = (v * units.w for v in found)
    polished = (z, lam.clamp(min=0), nu)
    z, lam, nu = (torch.where(proves, v, w) for v, w in zip(certificate, polished, strict=True))
    error = residuals(problem, z, lam, nu)
    status = torch.where(error.within(tol), int(Status.OPTIMAL), int(Status.NUMERICAL_FAILURE))
    status = torch.where(_claims(point.status), point.status, status)
    return replace(point, z=z, lam=lam, nu=nu, status=status, residuals=error), units.D * sizes


def _attempt(problem: QP, tol: float, most: int, goal: float) -> tuple[Point, Tensor]:
    """One walk to residuals of ``goal`` and what it comes to, and the sizes of the variables where it ended."""
    programs = Programs.of(problem)
    end = walk(programs, goal, most)
    found = _certified(programs, end)
    doubted = _claims(end.status) & ~_claims(found.status)
    if doubted.any():
        end = walk_on(programs, end, doubted, goal, most)
        found = _certified(programs, end)
    scaled = programs.scaled
    sizes = (scaled.r * scaled.D * (end.best.x / end.best.tau)).abs()
    return _concluded(programs, end, found, tol), sizes


class _Found(NamedTuple):
    """Points in the caller's units, certificates where ``status`` says so, and what is feasible, in scaled units."""

    point: Candidate
    status: Tensor
    feasible: Tensor


def _claims(status: Tensor) -> Tensor:
    return (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)


def _certified(programs: Programs, end: Progress) -> _Found:
    """Where the walk ended, with proofs in the place of claims; an element without one has failed numerically."""
    seen = Candidate(*end.best.fields[:3])
    ratio = Candidate(*(v / end.best.tau for v in seen))
    point = Candidate(*programs.scaled.unscale(*ratio))
    # a point that satisfies its constraints row by row has a say
    primal = residuals(programs.given, point.x, point.lam, point.nu, programs.norms).rowwise[:, 0]
    feasible = torch.where((primal <= FEASIBLE).unsqueeze(-1), ratio.x, torch.zeros_like(ratio.x))
    status = torch.where(_claims(end.status), int(Status.NUMERICAL_FAILURE), end.status)
    found = _Found(point, status, feasible)
    # the walk ended at what may be a certificate, or beside one
    for make, near in ((_itself, seen), (completed, end.near.candidate), (contradiction, seen)):
        open_ = (found.status == Status.NUMERICAL_FAILURE) | (found.status == Status.ITERATION_LIMIT)
        found = _ask(programs.scaled, near, make, open_, found)
    return found


def _concluded(programs: Programs, end: Progress, found: _Found, tol: float) -> Point:
    """Polish, and the last word on every status."""
    problem, scaled, status = programs.given, programs.scaled, found.status
    rough, certain = found.point, _claims(status)
    polished = polish(problem, *rough, active=end.best.lam > end.best.s)
    worth = ~certain.unsqueeze(-1)
    z, lam, nu = (torch.where(worth, new, old) for new, old in zip(polished[:3], rough, strict=True))
    lam = torch.where(worth & (lam < 0), torch.zeros_like(lam), lam)
    final = residuals(problem, z, lam, nu)
    solved = final.within(tol) & ~certain
    missed = (status == Status.OPTIMAL) & ~solved
    status = torch.where(solved, int(Status.OPTIMAL), status)
    status = torch.where(missed, int(Status.NUMERICAL_FAILURE), status)
    # Far out, rounding alone satisfies conditions that are relative to z: the farther, the sharper they have to hold.
    distance = max_abs(torch.cat(scaled.scale(z, lam, nu), dim=-1)) / FAR
    doubted = solved & (distance > 1) & (final.largest * distance > SHARP)
    judged = _Found(Candidate(z, lam, nu), status, found.feasible)
    (z, lam, nu), status, _ = _ask(scaled, end.near.candidate, completed, doubted, judged)
    infeasible, unbounded = status == Status.INFEASIBLE, status == Status.UNBOUNDED
    depth = -(dot(problem.h, lam) + dot(problem.b, nu)).unsqueeze(-1)
    descent = -dot(problem.q, z).unsqueeze(-1)
    lam, nu = (torch.where(infeasible.unsqueeze(-1), v / depth, v) for v in (lam, nu))
    z = torch.where(unbounded.unsqueeze(-1), z / descent, z)
    nearest = end.near.farkas.minimum(end.near.ray)
    return Point(z, lam, nu, status, final, end.iterations, nearest)


def _itself(_: ScaledQP, candidate: Candidate) -> Candidate:
    return candidate


def _ask(
    scaled: ScaledQP,
    near: Candidate,
    make: Callable[[ScaledQP, Candidate], Candidate],
    doubted: Tensor,
    found: _Found,
) -> _Found:
    """Look for certificates of the elements in doubt; those that are proofs become the point."""
    index = doubted.nonzero().squeeze(-1)
    if index.numel() == 0:
        return found
    part = scaled.take(index)
    candidate = make(part, near.take(index))
    verdict = proven(part, candidate, found.feasible[index])
    told = verdict >= 0
    certificate = Candidate(*part.unscale(*candidate)).take(told)
    status = found.status.index_copy(0, index[told], verdict[told])
    return _Found(found.point.put(index[told], certificate), status, found.feasible)
