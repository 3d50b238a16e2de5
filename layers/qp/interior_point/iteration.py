"""Batched primal-dual interior point for quadratic programs, in torch, on any device.

It walks the points of :mod:`layers.qp.interior_point.embedding` and judges each on the caller's own data. Elements
that have converged stop moving. A polish on the active set takes the last digits.

On a CPU the host looks at every iterate: what is done leaves the arrays, what stumbles gets special care. A device
that works ahead of the host is looked at every few iterations; in between nothing waits, and elements that are done
stand still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from layers.linalg.products import dot, max_abs, works_ahead
from layers.problem import QP
from layers.qp.interior_point.certificates import (
    Candidate,
    Nearest,
    completed,
    contradiction,
    verdict_of,
    violations,
)
from layers.qp.interior_point.embedding import Iterate, advance, initial
from layers.qp.kkt import Norms, relative_residual, residuals
from layers.qp.polish import SHARP, polish
from layers.qp.scaling import ScaledQP, scale_problem
from layers.solution import Point, Status

#: a point of the equilibrated problem farther out than this is asked whether it is a certificate
FAR = 1e7
#: steps shorter than this, this many times in a row, mean that rounding has taken over
SHORTEST_STEP, PATIENCE = 1e-4, 3
#: elements that are done leave the arrays once fewer than this fraction of them is going on
COMPACT = 0.7
#: iterations from one look at the batch to the next where a look makes the host wait
AHEAD = 3
#: status of an element that goes on
RUNNING = -1


@dataclass(frozen=True)
class _Programs:
    """What the iteration reads."""

    scaled: ScaledQP
    given: QP
    norms: Norms

    def take(self, index: Tensor) -> _Programs:
        """The batch elements ``index``."""
        return _Programs(self.scaled.take(index), self.given.take(index), self.norms.take(index))


@dataclass(frozen=True)
class _Progress:
    """What the iteration changes.

    Attributes
    ----------
    point : Iterate
    best : Iterate
        The iterate of smallest residual ``error``: rounding may spoil the last steps.
    near : Nearest
        What came nearest to a certificate.
    status, iterations, short : Tensor of int64, shape ``(B,)``
        ``short`` counts the short steps since the last long one.
    rough : Tensor of bool, shape ``(B,)``
        Elements that have met a direction that was not as good as it should be.
    """

    point: Iterate
    best: Iterate
    error: Tensor
    near: Nearest
    status: Tensor
    iterations: Tensor
    short: Tensor
    rough: Tensor

    @classmethod
    def start(cls, point: Iterate) -> _Progress:
        """At a first point, not yet judged."""
        error = torch.full_like(point.tau[:, 0], torch.inf)
        zero = torch.zeros_like(error, dtype=torch.int64)
        near = Nearest.start(Candidate(*point.fields[:3]))
        return cls(point, point, error, near, zero + RUNNING, zero, zero, zero.bool())

    def take(self, index: Tensor) -> _Progress:
        """The batch elements ``index``."""
        parts = (self.point.take(index), self.best.take(index), self.error[index], self.near.take(index))
        return _Progress(*parts, *(v[index] for v in self._counts))

    def put(self, index: Tensor, part: _Progress) -> _Progress:
        """A copy with the elements ``index`` replaced."""
        return _Progress(
            self.point.put(index, part.point),
            self.best.put(index, part.best),
            self.error.index_copy(0, index, part.error),
            self.near.put(index, part.near),
            *(v.index_copy(0, index, w) for v, w in zip(self._counts, part._counts, strict=True)),
        )

    @property
    def _counts(self) -> tuple[Tensor, ...]:
        return (self.status, self.iterations, self.short, self.rough)


def solve(problem: QP, tol: float, max_iterations: int) -> Point:
    """Solve a flat batch of quadratic programs.

    Parameters
    ----------
    problem : QP
        Flat, float64, checked.
    tol : float
        Bound on the relative KKT residuals of an ``OPTIMAL`` element.
    max_iterations : int
        Limit of Newton steps per element.

    Returns
    -------
    Point
        Statuses are per element: the answer of an element that has converged no longer moves,
        and none of them influences another.

    Notes
    -----
    Cost per iteration and element: n²m + n³/3 + n²p + p³/3, plus four solves with the factor.
    """
    scaled = scale_problem(problem)
    programs = _Programs(scaled, problem, Norms.of(problem))
    whole = _judged(programs, _Progress.start(initial(scaled)), tol)
    whole = _iterate(programs, whole, tol, max_iterations)
    status = torch.where(whole.status == RUNNING, int(Status.ITERATION_LIMIT), whole.status)
    return _finish(problem, scaled, whole.best, whole.near.candidate, status, whole.iterations, tol)


def _iterate(programs: _Programs, whole: _Progress, tol: float, most: int) -> _Progress:
    """Iterate until every element has its status, or so many times."""
    ahead, left = works_ahead(whole.error), most
    part, live, looks = whole, torch.arange(len(whole.error), device=whole.error.device), not ahead
    running, rough = _look(part)
    while running and left:
        if running < COMPACT * len(live):
            index = (part.status == RUNNING).nonzero().squeeze(-1)
            whole = whole.put(live, part)
            programs, part, live = programs.take(index), part.take(index), live[index]
        looks = looks or rough > 0
        count = min(AHEAD, left) if ahead else 1
        for _ in range(count):
            part = _moved(programs, part, looks=looks, tol=tol)
        left -= count
        running, rough = _look(part)
    return whole.put(live, part)


def _look(part: _Progress) -> tuple[int, int]:
    """How many elements go on, and how many of them need looks; the host waits here."""
    running = part.status == RUNNING
    going, rough = torch.stack([running.sum(), (running & part.rough).sum()]).tolist()
    return going, rough


def _moved(programs: _Programs, part: _Progress, *, looks: bool, tol: float) -> _Progress:
    """One iteration; elements that have their status stand still."""
    point, alpha, newton = advance(programs.scaled, part.point, looks=looks)
    shorter = torch.where(alpha.squeeze(-1) < SHORTEST_STEP, part.short + 1, torch.zeros_like(part.short))
    part = replace(
        part,
        point=point,
        iterations=part.iterations + (part.status == RUNNING),
        short=torch.where(newton.waits, part.short, shorter),
        rough=part.rough | newton.rough,
    )
    return _judged(programs, part, tol)


def _judged(programs: _Programs, part: _Progress, tol: float) -> _Progress:
    """Status of every element that goes on, by its point, and what it leaves to remember."""
    point, running = part.point, part.status == RUNNING
    seen = Candidate(*point.fields[:3])
    doubt = violations(programs.scaled, seen)
    z, lam, nu = programs.scaled.unscale(*(v / point.tau for v in seen))
    error = relative_residual(programs.given, z, lam, nu, programs.norms)
    verdict = torch.where(error <= 0.1 * tol, int(Status.OPTIMAL), verdict_of(doubt))
    better = running & ((error < part.error) | (verdict >= 0))
    stuck = (verdict < 0) & (part.short >= PATIENCE)
    verdict = torch.where(stuck, int(Status.NUMERICAL_FAILURE), verdict)
    return replace(
        part,
        best=point.where(better, part.best),
        error=torch.where(better, error, part.error),
        near=part.near.nearer(seen, doubt, running),
        status=torch.where(running, verdict, part.status),
    )


def _finish(
    problem: QP,
    scaled: ScaledQP,
    point: Iterate,
    near: Candidate,
    status: Tensor,
    iterations: Tensor,
    tol: float,
) -> Point:
    """Back to the caller's units, polish, and the last word on every status."""
    certified = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    divisor = torch.where(certified.unsqueeze(-1), torch.ones_like(point.tau), point.tau)
    rough = Candidate(*scaled.unscale(*(v / divisor for v in (point.x, point.lam, point.nu))))
    # the iteration may have ended beside a certificate
    for complete in (completed, contradiction):
        stalled = (status == Status.NUMERICAL_FAILURE) | (status == Status.ITERATION_LIMIT)
        rough, status = _ask(scaled, near, complete, stalled, rough, status)
    certified = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    worth = ~certified.unsqueeze(-1)
    polished = polish(problem, *rough, active=point.lam > point.s)
    z, lam, nu = (torch.where(worth, new, old) for new, old in zip(polished[:3], rough, strict=True))
    lam = torch.where(worth & (lam < 0), torch.zeros_like(lam), lam)
    final = residuals(problem, z, lam, nu)
    solved = (final.largest <= tol) & ~certified
    missed = (status == Status.OPTIMAL) & ~solved
    status = torch.where(solved, int(Status.OPTIMAL), status)
    status = torch.where(missed, int(Status.NUMERICAL_FAILURE), status)
    # Far out, rounding alone satisfies conditions that are relative to z: the farther, the sharper they have to hold.
    distance = max_abs(torch.cat(scaled.scale(z, lam, nu), dim=-1)) / FAR
    doubted = solved & (distance > 1) & (final.largest * distance > SHARP)
    (z, lam, nu), status = _ask(scaled, near, completed, doubted, Candidate(z, lam, nu), status)
    infeasible, unbounded = status == Status.INFEASIBLE, status == Status.UNBOUNDED
    depth = -(dot(problem.h, lam) + dot(problem.b, nu)).unsqueeze(-1)
    descent = -dot(problem.q, z).unsqueeze(-1)
    lam, nu = (torch.where(infeasible.unsqueeze(-1), v / depth, v) for v in (lam, nu))
    z = torch.where(unbounded.unsqueeze(-1), z / descent, z)
    return Point(z, lam, nu, status, final, iterations)


def _ask(
    scaled: ScaledQP,
    near: Candidate,
    complete: Callable[[ScaledQP, Candidate], Candidate],
    doubted: Tensor,
    point: Candidate,
    status: Tensor,
) -> tuple[Candidate, Tensor]:
    """Look for certificates of the elements in doubt; what is found becomes the point, in the caller's units."""
    index = doubted.nonzero().squeeze(-1)
    if index.numel() == 0:
        return point, status
    part = scaled.take(index)
    found = complete(part, near.take(index))
    verdict = verdict_of(violations(part, found))
    told = verdict >= 0
    certificate = Candidate(*part.unscale(*found)).take(told)
    return point.put(index[told], certificate), status.index_copy(0, index[told], verdict[told])
