"""What a solve returns: the point, its multipliers, and everything needed to judge them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from layers.linalg.batched import Batched

#: at a tolerance above LOOSE a status is judged by the residuals in norm alone; at others a row by itself may miss ROWS
#: in its equation, and ROWS_GAP in its complementarity; a point is sharp, a solution to rounding, where no row misses
#: ROWS_SHARP
LOOSE, ROWS, ROWS_GAP, ROWS_SHARP = 1e-7, 1e-6, 1e-4, 1e-9


class Status(IntEnum):
    """Verdict on one element of the batch.

    ``OPTIMAL`` means that the relative KKT residuals of the data that the caller passed are at most ``tol`` in norm,
    and that no row misses more than ``ROWS`` of its own terms (which is not asked at a ``tol`` above ``LOOSE``).
    ``INFEASIBLE`` and ``UNBOUNDED`` come with a certificate that was checked on the data.
    """

    OPTIMAL = 0
    ITERATION_LIMIT = 1
    INFEASIBLE = 2
    UNBOUNDED = 3
    NUMERICAL_FAILURE = 4


#: the status of a program of several parts is the first of these that a part has; a certificate of one is one of the
#: whole
FIRST = (
    Status.INFEASIBLE,
    Status.UNBOUNDED,
    Status.NUMERICAL_FAILURE,
    Status.ITERATION_LIMIT,
    Status.OPTIMAL,
)


@dataclass(frozen=True)
class Residuals(Batched):
    """KKT residuals per batch element, measured twice (see :func:`layers.qp.kkt.residuals` for the definitions).

    In norm, a violation is relative to the largest terms that a row could have at a point of this size. Row by row, it
    is relative to the very terms that the row adds up: a backward error of each equation by itself.

    Attributes
    ----------
    values : Tensor, shape ``batch + (6,)``
        Primal, dual and gap in norm, then the same three row by row.
    """

    values: Tensor

    @property
    def relative(self) -> Tensor:
        """Primal, dual and gap in norm, shape ``batch + (3,)``."""
        return self.values[..., :3]

    @property
    def rowwise(self) -> Tensor:
        """Primal, dual and gap row by row, shape ``batch + (3,)``; squared with curved cones (``layers.cone.kkt``)."""
        return self.values[..., 3:]

    @property
    def primal(self) -> Tensor:
        """Violation of the constraints in norm, shape ``batch``."""
        return self.values[..., 0]

    @property
    def dual(self) -> Tensor:
        """Violation of stationarity and of λ ≥ 0 in norm, shape ``batch``."""
        return self.values[..., 1]

    @property
    def gap(self) -> Tensor:
        """Violation of complementarity in norm, shape ``batch``."""
        return self.values[..., 2]

    @property
    def largest(self) -> Tensor:
        """The worst of those in norm, and of those row by row that exceed ``ROWS``; shape ``batch``.

        By this ``OPTIMAL`` is judged. Below ``ROWS`` a row is left alone: a solve of a system of condition κ leaves κ
        times the machine epsilon in every zⱼ, and a bound zⱼ ≥ 0 that binds has no term of its own to compare it with;
        where a constraint is weakly active sᵢ and λᵢ are both small, so that their product, the gap of a row, has
        the square root of its limit.
        """
        equations, gap = self.rowwise[..., :2].amax(-1), self.rowwise[..., 2]
        rows = torch.where(equations > ROWS, equations, 0.0).maximum(torch.where(gap > ROWS_GAP, gap, 0.0))
        return self.relative.amax(-1).maximum(rows)

    def within(self, tol: float) -> Tensor:
        """Whether such a point is ``OPTIMAL``: by all six, or by those in norm where ``tol`` is above LOOSE."""
        return (self.relative.amax(-1) if tol > LOOSE else self.largest) <= tol


@dataclass(frozen=True)
class Degeneracy:
    """How far a solution is from the assumptions under which its derivative exists.

    Attributes
    ----------
    margin : Tensor, shape ``batch``
        Smallest of sᵢ + λᵢ relative to the scale of the problem: 0 where a constraint is weakly active
        (strict complementarity fails); infinity when there are no inequalities.
    dependent_rows : Tensor of int64, shape ``batch``
        Number of active rows of [G; A] minus their rank: 0 exactly when LICQ holds.
    solution_dimension : Tensor of int64, shape ``batch``
        Dimension of the set of all minimisers: 0 exactly when there is one.
    """

    margin: Tensor
    dependent_rows: Tensor
    solution_dimension: Tensor

    @property
    def rank_deficiency(self) -> Tensor:
        """``dependent_rows`` + ``solution_dimension``: 0 exactly when minimiser and multipliers are beyond choice."""
        return self.dependent_rows + self.solution_dimension

    def reshape(self, batch: torch.Size) -> Degeneracy:
        """The same in these batch axes, repeated over those that nothing depends on."""
        parts = (self.margin, self.dependent_rows, self.solution_dimension)
        return Degeneracy(
            *(v.reshape(()).expand(batch) if v.numel() == 1 else v.reshape(batch) for v in parts)
        )

    def to(self, device: torch.device) -> Degeneracy:
        """The same on a device."""
        return Degeneracy(
            self.margin.to(device), self.dependent_rows.to(device), self.solution_dimension.to(device)
        )


@dataclass(frozen=True)
class Solution:
    """Solution of a batch of quadratic programs.

    Attributes
    ----------
    z : Tensor, shape ``batch + (n,)``
        Minimiser. Differentiable, as are λ, ν, s and the objective.
    lam, nu : Tensor, shapes ``batch + (m,)`` and ``batch + (p,)``
        Multipliers λ ≥ 0 of Gz ≤ h and ν of Az = b, in the sign of
        L = ½zᵀQz + qᵀz + λᵀ(Gz − h) + νᵀ(Az − b).
    s : Tensor, shape ``batch + (m,)``
        Slack h − Gz.
    objective : Tensor, shape ``batch``
        ½zᵀQz + qᵀz, whose gradient is that of the Lagrangian (envelope theorem): it costs no linear solve.
    status : Tensor of int64, shape ``batch``
        A :class:`Status` per element.
    residuals : Residuals
        Relative KKT residuals on the data passed in.
    iterations : Tensor of int64, shape ``batch``
        Iterations that the engine took; 0 where a warm start was already optimal.
    inspect : callable
        Computes :attr:`degeneracy`.
    """

    z: Tensor
    lam: Tensor
    nu: Tensor
    s: Tensor
    objective: Tensor
    status: Tensor
    residuals: Residuals
    iterations: Tensor
    inspect: Callable[[], Degeneracy]

    @property
    def degeneracy(self) -> Degeneracy:
        """Strict complementarity, dependent rows, several minimisers; computed when asked for, outside vmap."""
        return self.inspect()


@dataclass(frozen=True)
class Point(Batched):
    """What an engine hands back, flat over the batch, before any derivative is attached.

    ``z, lam, nu`` hold the last iterate for an element that failed; for ``INFEASIBLE`` the certificate
    (λ, ν) with hᵀλ + bᵀν = −1, for ``UNBOUNDED`` the ray z with qᵀz = −1. ``nearest`` is the smallest violation of a
    certificate that was seen, which proves nothing by itself; infinity where none was.
    """

    z: Tensor
    lam: Tensor
    nu: Tensor
    status: Tensor
    residuals: Residuals
    iterations: Tensor
    nearest: Tensor

    @classmethod
    def without_certificate(
        cls, z: Tensor, lam: Tensor, nu: Tensor, status: Tensor, residuals: Residuals, iterations: Tensor
    ) -> Point:
        """A point of an engine that has looked for no certificate."""
        return cls(z, lam, nu, status, residuals, iterations, torch.full_like(residuals.gap, torch.inf))
