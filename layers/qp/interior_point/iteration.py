"""The walk along the points of :mod:`layers.qp.interior_point.embedding`, in torch, on any device.

Each point is judged on the caller's own data. Elements that have converged stop moving.

On a CPU the host looks at every iterate: what is done leaves the arrays, what stumbles gets special care. A device
that works ahead of the host is looked at every few iterations; in between nothing waits, and elements that are done
stand still.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from layers.linalg.batched import Batched
from layers.linalg.products import works_ahead
from layers.problem import QP
from layers.qp.interior_point.certificates import Candidate, Nearest, verdict_of, violations
from layers.qp.interior_point.embedding import Iterate, advance, initial
from layers.qp.kkt import Norms, relative_residual
from layers.qp.scaling import ScaledQP, scale_problem
from layers.solution import Status

#: steps shorter than this, this many times in a row, mean that rounding has taken over
SHORTEST_STEP, PATIENCE = 1e-4, 3
#: iterations without a better point and without a nearer certificate after which there is none to come, once a point
#: was good or a certificate was none
STALE, GOOD = 20, 1e-3
#: elements that are done leave the arrays once fewer than this fraction of them is going on
COMPACT = 0.7
#: iterations from one look at the batch to the next where a look makes the host wait
AHEAD = 3
#: status of an element that goes on
RUNNING = -1


@dataclass(frozen=True)
class Programs(Batched):
    """What the iteration reads: the equilibrated problem, the caller's own, and norms of that."""

    scaled: ScaledQP
    given: QP
    norms: Norms

    @classmethod
    def of(cls, problem: QP) -> Programs:
        """Equilibrate a flat problem."""
        return cls(scale_problem(problem), problem, Norms.of(problem))


@dataclass(frozen=True)
class Progress(Batched):
    """What the iteration changes.

    Attributes
    ----------
    point : Iterate
    best : Iterate
        The iterate of smallest residual ``error``: rounding may spoil the last steps.
    near : Nearest
        What came nearest to a certificate.
    status, iterations, short, stale : Tensor of int64, shape ``(B,)``
        ``short`` counts the short steps since the last long one, ``stale`` the steps since anything came nearer.
    rough, doubted : Tensor of bool, shape ``(B,)``
        Elements that have met a direction that was not as good as it should be, and those that do not stop at what
        speaks for a certificate, because it has once been no proof.
    """

    point: Iterate
    best: Iterate
    error: Tensor
    near: Nearest
    status: Tensor
    iterations: Tensor
    short: Tensor
    stale: Tensor
    rough: Tensor
    doubted: Tensor

    @classmethod
    def start(cls, point: Iterate) -> Progress:
        """At a first point, not yet judged."""
        error = torch.full_like(point.tau[:, 0], torch.inf)
        zero = torch.zeros_like(error, dtype=torch.int64)
        near = Nearest.start(Candidate(*point.fields[:3]))
        return cls(point, point, error, near, zero + RUNNING, zero, zero, zero, zero.bool(), zero.bool())

    @property
    def _counts(self) -> tuple[Tensor, ...]:
        return (self.status, self.iterations, self.short, self.stale, self.rough, self.doubted)


def walk(programs: Programs, tol: float, most: int) -> Progress:
    """Iterate until every element has a status, by residuals in norm or by what speaks for a certificate.

    Notes
    -----
    Cost per iteration and element: n²m + n³/3 + n²p + p³/3, plus four solves with the factor.
    """
    start = Progress.start(initial(programs.scaled))
    return _iterate(programs, _judged(programs, start, tol), tol, most)


def walk_on(programs: Programs, end: Progress, doubted: Tensor, tol: float, most: int) -> Progress:
    """Go on with the elements whose certificates were none."""
    status = torch.where(doubted, RUNNING, end.status)
    again = replace(end, status=status, doubted=end.doubted | doubted, stale=torch.zeros_like(end.stale))
    return _iterate(programs, again, tol, most)


def _iterate(programs: Programs, whole: Progress, tol: float, most: int) -> Progress:
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
    whole = whole.put(live, part)
    limit = torch.where(whole.status == RUNNING, int(Status.ITERATION_LIMIT), whole.status)
    return replace(whole, status=limit)


def _look(part: Progress) -> tuple[int, int]:
    """How many elements go on, and how many of them need looks; the host waits here."""
    running = part.status == RUNNING
    going, rough = torch.stack([running.sum(), (running & part.rough).sum()]).tolist()
    return going, rough


def _moved(programs: Programs, part: Progress, *, looks: bool, tol: float) -> Progress:
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


def _judged(programs: Programs, part: Progress, tol: float) -> Progress:
    """Status of every element that goes on, by its point, and what it leaves to remember."""
    point, running = part.point, part.status == RUNNING
    seen = Candidate(*point.fields[:3])
    doubt = violations(programs.scaled, seen)
    z, lam, nu = programs.scaled.unscale(*(v / point.tau for v in seen))
    error = relative_residual(programs.given, z, lam, nu, programs.norms)
    claim = torch.where(part.doubted, RUNNING, verdict_of(doubt))
    verdict = torch.where(error <= 0.1 * tol, int(Status.OPTIMAL), claim)
    better = running & ((error < part.error) | (verdict >= 0))
    nearer = (doubt[0] < part.near.farkas) | (doubt[1] < part.near.ray)
    comes = better | nearer | ((part.error > GOOD) & ~part.doubted)
    stale = torch.where(comes, 0, part.stale + 1)
    stuck = (verdict < 0) & ((part.short >= PATIENCE) | (stale >= STALE))
    verdict = torch.where(stuck, int(Status.NUMERICAL_FAILURE), verdict)
    return replace(
        part,
        best=point.where(better, part.best),
        error=torch.where(better, error, part.error),
        near=part.near.nearer(seen, doubt, running),
        stale=stale,
        status=torch.where(running, verdict, part.status),
    )
