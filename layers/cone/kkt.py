"""The optimality conditions of a cone program, written once.

A point (x, y, s) is optimal for minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K, exactly when

    stationarity      Px + q + Aᵀy = 0
    feasibility       Ax + s = b,  s ∈ K
    dual feasibility  y ∈ K*
    complementarity   sᵀy = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone.products import A_of, A_places, AT_of, P_of, P_places
from layers.cone.projections import block_max, decompose, project, project_dual
from layers.cone_program import ConeProgram
from layers.linalg.products import dot, max_abs, one_where_zero
from layers.solution import Residuals


def stationarity(program: ConeProgram, x: Tensor, y: Tensor) -> Tensor:
    """Px + q + Aᵀy, shape ``(B, n)``."""
    return P_of(program, x) + program.q + AT_of(program, y)


def objective(program: ConeProgram, x: Tensor) -> Tensor:
    """½xᵀPx + qᵀx, shape ``(B,)``."""
    return 0.5 * dot(x, P_of(program, x)) + dot(program.q, x)


@dataclass(frozen=True)
class Norms:
    """Largest magnitudes: of the rows of P, of A by blocks of the cone and by columns. ``(B or 1, ·)``."""

    P_row: Tensor
    A_row: Tensor
    A_column: Tensor

    @classmethod
    def of(cls, program: ConeProgram) -> Norms:
        """Cost: one pass over the data."""
        s = program.structure
        P, A = (v.abs().unsqueeze(0) if v.dim() == 1 else v.abs() for v in (program.P, program.A))
        P_rows, _ = P_places(s, P)
        A_rows, A_cols = A_places(s, A)
        return cls(
            _largest(P, P_rows, s.n),
            block_max(s.cones, _largest(A, A_rows, s.m)),
            _largest(A, A_cols, s.n),
        )

    def take(self, index: Tensor) -> Norms:
        """The batch elements ``index``; what is shared stays shared."""
        own = (self.P_row, self.A_row, self.A_column)
        return Norms(*(v if v.shape[0] == 1 else v[index] for v in own))


def _largest(values: Tensor, target: Tensor, size: int) -> Tensor:
    """The largest entry by target, over the last axis."""
    out = values.new_zeros(values.shape[0], size)
    return out.scatter_reduce(1, target.expand_as(values), values, "amax", include_self=True)


@dataclass(frozen=True)
class Scales:
    """What residuals are measured against, as in :class:`layers.qp.kkt.Scales`, a cone block counting as one row.

    Attributes
    ----------
    row : Tensor, shape ``(B, m)``
        max(|bᵢ|, ‖Aᵢ‖∞ x̂), the largest of the block.
    column : Tensor, shape ``(B, n)``
        max(|qⱼ|, ‖Pⱼ‖∞ x̂, ‖A·ⱼ‖∞ ŷ).
    gap : Tensor, shape ``(B,)``
        Largest magnitude of xᵀPx, qᵀx, bᵀy, and at least min(1, ‖(q, Px̂)‖∞ x̂).
    y : Tensor, shape ``(B,)``
        ŷ, the size of the multipliers.
    """

    row: Tensor
    column: Tensor
    gap: Tensor
    y: Tensor

    def take(self, index: Tensor) -> Scales:
        """The batch elements ``index``."""
        return Scales(self.row[index], self.column[index], self.gap[index], self.y[index])


def scales(program: ConeProgram, x: Tensor, y: Tensor, norms: Norms | None = None) -> Scales:
    """Row, column and gap scales at a point, with x̂ = max(‖x‖∞, min(1, the size that the data suggest)); ŷ likewise."""
    norms = Norms.of(program) if norms is None else norms
    b, q = block_max(program.structure.cones, program.b.abs()), program.q.abs()
    P_size, q_size = max_abs(norms.P_row), max_abs(q)
    suggested = max_abs(b / one_where_zero(norms.A_row))
    suggested = suggested.maximum(torch.where(P_size > 0, q_size / one_where_zero(P_size), 0 * q_size))
    x_hat = max_abs(x).maximum(one_where_zero(suggested).clamp(max=1.0))
    gradient = torch.maximum(q_size, P_size * x_hat)
    suggested = one_where_zero(gradient / one_where_zero(max_abs(norms.A_row))).clamp(max=1.0)
    y_hat = max_abs(y).maximum(suggested)
    x_col, y_col = x_hat.unsqueeze(-1), y_hat.unsqueeze(-1)
    terms = [dot(x, P_of(program, x)), dot(program.q, x), dot(program.b, y)]
    gap = torch.stack([t.abs() for t in terms]).amax(0)
    return Scales(
        row=one_where_zero(b.maximum(norms.A_row * x_col)),
        column=one_where_zero(q.maximum(norms.P_row * x_col).maximum(norms.A_column * y_col)),
        gap=one_where_zero(gap.maximum((one_where_zero(gradient) * x_hat).clamp(max=1.0))),
        y=y_hat,
    )


def residuals(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, norms: Norms | None = None) -> Residuals:
    """Relative residuals of a point, distances to the cones included.

    primal = max( |Ax + s − b|ᵢ / row scale, |s − Π_K(s)|ᵢ / row scale ),
    dual   = max( |Px + q + Aᵀy|ⱼ / column scale, |y − Π_K*(y)|ᵢ / ŷ ),
    gap    = |xᵀPx + qᵀx + bᵀy| / gap scale,

    with the scales of :class:`Scales`. A value that is not finite counts as infinite.
    """
    scale = scales(program, x, y, norms)
    found = residuals_in_cones(program, x, y, s, scale)
    # one decomposition for Π_K(s) and for Π_K*(y), which is what −y leaves
    near = decompose(program.structure.cones, torch.cat((s, -y)).nan_to_num())
    outside = max_abs((near.s[: len(s)] - s) / scale.row)
    dual_outside = max_abs((near.y[len(s) :] - y) / scale.y.unsqueeze(-1))
    return Residuals.of(
        finite(found.primal.maximum(outside)), finite(found.dual.maximum(dual_outside)), found.gap
    )


def residuals_in_cones(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, scale: Scales) -> Residuals:
    """:func:`residuals` where s ∈ K and y ∈ K* are known, as they are for the two parts of a decomposition."""
    Px = P_of(program, x)
    primal = max_abs((A_of(program, x) + s - program.b) / scale.row)
    dual = max_abs((Px + program.q + AT_of(program, y)) / scale.column)
    gap = (dot(x, Px) + dot(program.q, x) + dot(program.b, y)).abs() / scale.gap
    return Residuals.of(finite(primal), finite(dual), finite(gap))


def infeasibility(program: ConeProgram, y: Tensor) -> tuple[Tensor, Tensor]:
    """A certificate that no point is feasible, y ∈ K* with Aᵀy = 0 and bᵀy = −1, and its relative error, ``(B,)``.

    bᵀy = (Ax + s)ᵀy ≥ 0 for every feasible x, so y with bᵀy < 0 leaves none. The error of Aᵀy is relative to what A and
    y are where every row of A has size one: a large row that y hardly uses excuses nothing in the others.
    """
    value = dot(program.b, y)
    y = project_dual(
        program.structure.cones, y / torch.where(value < 0, -value, torch.ones_like(value)).unsqueeze(-1)
    )
    row, column = _own_rows(program)
    error = max_abs(AT_of(program, y) / one_where_zero(column * max_abs(row * y).unsqueeze(-1)))
    claim = dot(program.b, y)
    return y / -torch.where(claim < 0, claim, -torch.ones_like(claim)).unsqueeze(-1), _if(claim < 0, error)


def unboundedness(program: ConeProgram, x: Tensor) -> tuple[Tensor, Tensor]:
    """A ray along which the objective falls for ever, Px = 0, −Ax ∈ K, qᵀx = −1, and its relative error, ``(B,)``.

    How far −Ax is from K is relative to each row of A by itself: a large row excuses nothing in others of its block.
    """
    value = dot(program.q, x)
    x = x / torch.where(value < 0, -value, torch.ones_like(value)).unsqueeze(-1)
    size, s = max_abs(x).unsqueeze(-1), -A_of(program, x)
    row, _ = _own_rows(program)
    outside = max_abs((project(program.structure.cones, s) - s) / one_where_zero(row * size))
    error = outside.maximum(max_abs(P_of(program, x) / one_where_zero(Norms.of(program).P_row * size)))
    return x, _if(value < 0, error)


def _own_rows(program: ConeProgram) -> tuple[Tensor, Tensor]:
    """The largest entry of each row of A, ``(B or 1, m)``, and of each column of A with its rows divided by theirs."""
    s, A = program.structure, program.A.abs()
    A = A.unsqueeze(0) if A.dim() == 1 else A
    rows, columns = A_places(s, A)
    row = _largest(A, rows, s.m)
    return row, _largest(A / one_where_zero(row)[:, rows], columns, s.n)


def _if(claimed: Tensor, error: Tensor) -> Tensor:
    return torch.where(claimed, finite(error), torch.full_like(error, torch.inf))


def finite(x: Tensor) -> Tensor:
    """Infinity for what is not finite."""
    return torch.where(torch.isfinite(x), x, torch.full_like(x, torch.inf))
