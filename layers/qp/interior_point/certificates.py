"""Certificates that a quadratic program has no solution: Farkas multipliers, and rays of descent.

    infeasible    λ ≥ 0,  Gᵀλ + Aᵀν = 0,  hᵀλ + bᵀν < 0
    unbounded     Qx = 0,  Gx ≤ 0,  Ax = 0,  qᵀx < 0

Both are looked for in the equilibrated problem, up to a tolerance relative to their own size. An iterate that is nearly
one can stay there, because the Newton matrix turns singular on the way: along a ray nothing bends, and rows that
hold each other in place have multipliers that are not unique. The nearest point that satisfies the equations of a
certificate is then tried.

What was found is a proof only if its equations hold row by row, up to the rounding of the terms of each: then it is one
for a program whose entries differ in their last digits. In norm alone it proves that feasible points are far out, and
some are: z₀ ≥ 1, z_k ≥ 10 z_{k−1} has (−10⁻¹⁰, …, −0.1, −1) for a ray of its sum up to 10⁻¹⁰.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.batched import Batched
from layers.linalg.products import column_max, dot, max_abs, mtv, mv, one_where_zero, row_max
from layers.qp.kkt import NOISE
from layers.qp.scaling import ScaledQP
from layers.solution import Status

#: a certificate holds up to this, relative to its own size on the equilibrated data
TOLERANCE = 1e-9
#: and proves what it says where each of its equations holds up to this, relative to the terms in it
ROUNDING = 1e-12
#: what is as near to a certificate as this is remembered
NEAR = 1e-2
#: entries of a certificate below this, relative to the largest, may be zero
SMALL = 1e-4
#: singular values below this, relative to the largest, are zero; and how often a projection is refined
RANK, REFINEMENTS = 1e-11, 3


@dataclass(frozen=True)
class Candidate(Batched):
    """A ray x and multipliers λ, ν of the equilibrated problem; shapes ``(B, n), (B, m), (B, p)``."""

    x: Tensor
    lam: Tensor
    nu: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.lam, self.nu))


def violations(scaled: ScaledQP, c: Candidate) -> tuple[Tensor, Tensor]:
    """How far (λ, ν) is from a Farkas certificate and x from a ray, shape ``(B,)``; infinite on the wrong side.

    Infeasible: λ ≥ 0, hᵀλ + bᵀν = −t < 0 and ‖Gᵀλ + Aᵀν‖∞ ≤ εt; then every feasible x has ‖x‖₁ ≥ 1/ε.
    Unbounded: qᵀx = −t < 0 and ‖Qx‖∞, (Gx)₊, |Ax| ≤ εt.
    """
    problem = scaled.problem
    depth = -(dot(problem.h, c.lam) + dot(problem.b, c.nu))
    uneven = max_abs(mtv(problem.G, c.lam) + mtv(problem.A, c.nu))
    descent = -dot(problem.q, c.x)
    leaves = max_abs(mv(problem.G, c.x).clamp(min=0)).maximum(max_abs(mv(problem.A, c.x)))
    leaves = leaves.maximum(max_abs(scaled.Qz(c.x)))
    return _relative(uneven, depth), _relative(leaves, descent)


def _relative(violation: Tensor, size: Tensor) -> Tensor:
    good = size > 0
    return torch.where(good, violation / torch.where(good, size, torch.ones_like(size)), torch.inf)


def verdict_of(violation: tuple[Tensor, Tensor], bound: float = TOLERANCE) -> Tensor:
    """The status that such violations speak for, −1 where they speak for nothing; shape ``(B,)``."""
    farkas, ray = (v <= bound for v in violation)
    verdict = torch.where(ray, int(Status.UNBOUNDED), torch.full_like(ray, -1, dtype=torch.int64))
    return torch.where(farkas, int(Status.INFEASIBLE), verdict)


def proven(scaled: ScaledQP, c: Candidate, feasible: Tensor) -> Tensor:
    """The status that a candidate proves, −1 where it proves nothing; shape ``(B,)``.

    Its equations hold up to ``TOLERANCE`` in norm and ``ROUNDING`` row by row, and its depth is no rounding either.
    With r = Gᵀλ + Aᵀν, every feasible x has |r|ᵀ|x| ≥ t: a point that is known to be feasible has the last word.

    Parameters
    ----------
    feasible : Tensor, shape ``(B, n)``
        Points of the equilibrated problem that satisfy its constraints as far as is known; zero where none is.
    """
    problem = scaled.problem
    G, A, Q = (M.abs() for M in (problem.G, problem.A, scaled.weighted().Q))
    x, y, w = (v.abs() for v in c)
    farkas, ray = violations(scaled, c)
    depth = -(dot(problem.h, c.lam) + dot(problem.b, c.nu))
    uneven = mtv(problem.G, c.lam) + mtv(problem.A, c.nu)
    y_size = max_abs(torch.cat([y, w], dim=-1)).unsqueeze(-1)
    columns = column_max(G).maximum(column_max(A)) * y_size
    worst = max_abs(uneven / _size(mtv(G, y) + mtv(A, w), columns))
    worst = worst.maximum(_if_rounded(depth, dot(problem.h.abs(), y) + dot(problem.b.abs(), w)))
    excluded = dot(uneven.abs(), feasible.abs()) < 0.5 * depth
    farkas = torch.where((worst <= ROUNDING) & excluded & (c.lam >= 0).all(-1), farkas, torch.inf)
    x_size = max_abs(x).unsqueeze(-1)
    parts = (
        (scaled.Qz(c.x), mv(Q, x), row_max(Q)),
        (mv(problem.G, c.x).clamp(min=0), mv(G, x), row_max(G)),
        (mv(problem.A, c.x), mv(A, x), row_max(A)),
    )
    worst = _if_rounded(-dot(problem.q, c.x), dot(problem.q.abs(), x))
    for left, terms, largest in parts:
        worst = worst.maximum(max_abs(left / _size(terms, largest * x_size)))
    return verdict_of((farkas, torch.where(worst <= ROUNDING, ray, torch.inf)))


def _size(terms: Tensor, largest: Tensor) -> Tensor:
    """What an equation is measured by: its terms, but at least :data:`layers.qp.kkt.NOISE` of what they could be."""
    return one_where_zero(terms.maximum(NOISE * largest))


def _if_rounded(value: Tensor, terms: Tensor) -> Tensor:
    """Infinity where a sum is no more than the rounding of its terms, 0 elsewhere."""
    return torch.where(value > ROUNDING * terms, 0.0, torch.inf)


@dataclass(frozen=True)
class Nearest(Batched):
    """What has come nearest to a certificate, of every element: (λ, ν) and x each by themselves.

    Attributes
    ----------
    candidate : Candidate
    farkas, ray : Tensor, shape ``(B,)``
        Violation of (λ, ν) and of x; NEAR while nothing was near.
    """

    candidate: Candidate
    farkas: Tensor
    ray: Tensor

    @classmethod
    def start(cls, candidate: Candidate) -> Nearest:
        """Nothing was near."""
        far = torch.full_like(candidate.x[:, 0], NEAR)
        return cls(candidate, far, far)

    def nearer(self, point: Candidate, violation: tuple[Tensor, Tensor], running: Tensor) -> Nearest:
        """The nearer of old and new, for the elements that go on."""
        farkas, ray = violation
        by_y, by_x = running & (farkas < self.farkas), running & (ray < self.ray)
        old = self.candidate
        x = torch.where(by_x.unsqueeze(-1), point.x, old.x)
        lam = torch.where(by_y.unsqueeze(-1), point.lam, old.lam)
        nu = torch.where(by_y.unsqueeze(-1), point.nu, old.nu)
        return Nearest(
            Candidate(x, lam, nu),
            torch.where(by_y, farkas, self.farkas),
            torch.where(by_x, ray, self.ray),
        )


def completed(scaled: ScaledQP, c: Candidate) -> Candidate:
    """The nearest candidates that satisfy the equations of a certificate, for the few elements that need it.

    The ray is projected on the null space of Q, A and the rows of G along which it hardly moves; the multipliers on
    the null space of [G_𝒥ᵀ Aᵀ], where 𝒥 are those that are not small.
    """
    batch, problem = c.x.shape[0], scaled.problem
    Q, G, A = (M.expand(batch, *M.shape[-2:]) for M in (problem.Q, problem.G, problem.A))
    along = mv(G, c.x)
    still = along > -SMALL * max_abs(c.x).unsqueeze(-1)
    rows = torch.cat([scaled.c.unsqueeze(-1) * Q, A, G * still.unsqueeze(-1)], dim=-2)
    x = _projected(rows, c.x)
    kept = c.lam > SMALL * max_abs(c.lam).unsqueeze(-1)
    columns = torch.cat([(G * kept.unsqueeze(-1)).mT, A.mT], dim=-1)
    y = torch.cat([torch.where(kept, c.lam, torch.zeros_like(c.lam)), c.nu], dim=-1)
    y = _projected(columns, y)
    return Candidate(x, y[:, : problem.m].clamp(min=0), y[:, problem.m :])


def contradiction(scaled: ScaledQP, c: Candidate) -> Candidate:
    """ν = Ax − b at the least-squares x: then Aᵀν = 0, and bᵀν = −‖ν‖² < 0 where b is out of reach."""
    problem = scaled.problem
    A = problem.A.expand(c.x.shape[0], *problem.A.shape[-2:])
    return Candidate(c.x, torch.zeros_like(c.lam), -_projected(A.mT, problem.b))


def _projected(M: Tensor, v: Tensor) -> Tensor:
    """v on the null space of M; each projection leaves the rounding of what it took off, so zeros become zeros."""
    inverse = _pinv(M)
    for _ in range(REFINEMENTS):
        v = v - mv(inverse, mv(M, v))
    return v


def _pinv(M: Tensor) -> Tensor:
    """Zero for a matrix that has overflowed: its projection then proves nothing."""
    finite = torch.isfinite(M).all(-1).all(-1)[..., None, None]
    return torch.linalg.pinv(torch.where(finite, M, 0.0), rtol=RANK)
