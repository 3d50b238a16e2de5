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
from layers.cone.projections import block_max, decompose
from layers.cone_program import ConeProgram
from layers.linalg.products import dot, max_abs, one_where_zero
from layers.solution import Residuals

#: in a row by itself, terms below this multiple of what they could be at a point of this size count as that much, with linear
#: rows alone and with curved cones
NOISE, CURVED_NOISE = 1e-7, 1e-5


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
            largest(P, P_rows, s.n),
            block_max(s.cones, largest(A, A_rows, s.m)),
            largest(A, A_cols, s.n),
        )

    def take(self, index: Tensor) -> Norms:
        """The batch elements ``index``; what is shared stays shared."""
        own = (self.P_row, self.A_row, self.A_column)
        return Norms(*(v if v.shape[0] == 1 else v[index] for v in own))


def largest(values: Tensor, target: Tensor, size: int) -> Tensor:
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
    """Relative residuals of a point in norm and row by row, distances to the cones included.

    In norm, with the scales of :class:`Scales`,

    primal = max( |Ax + s − b|ᵢ / row scale, |s − Π_K(s)|ᵢ / row scale ),
    dual   = max( |Px + q + Aᵀy|ⱼ / column scale, |y − Π_K*(y)|ᵢ / ŷ ),
    gap    = |xᵀPx + qᵀx + bᵀy| / gap scale;

    row by row as :func:`layers.qp.kkt.residuals`, a block of the cone counting as one row: with the terms that are there,
    (|A||x| + |b|)ᵢ and (|P||x| + |q| + |A|ᵀ|y|)ⱼ, in the place of the scales, and the share of yᵢ in what it holds up in the
    place of yᵢ / ŷ. Complementarity is that of the nonnegative rows. With curved cones these three are squared: an interior point of tolerance ε comes to the vertex of a cone up to √ε in what vanishes there,
    so √tol is what a row by itself can be asked for. A value that is not finite counts as infinite.
    """
    scale = scales(program, x, y, norms)
    # one decomposition for Π_K(s) and for Π_K*(y), which is what −y leaves
    near = decompose(program.structure.cones, torch.cat((s, -y)).nan_to_num())
    outside, dual_outside = (near.s[: len(s)] - s).abs(), (near.y[len(s) :] - y).abs()
    found = residuals_in_cones(program, x, y, s, scale)
    primal = found.primal.maximum(finite(max_abs(outside / scale.row)))
    dual = found.dual.maximum(finite(max_abs(dual_outside / scale.y.unsqueeze(-1))))
    rows = rowwise(program, x, y, s, scale, (outside, dual_outside))
    return Residuals(torch.cat([torch.stack([primal, dual, found.gap], dim=-1), rows], dim=-1))


def residuals_in_cones(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, scale: Scales) -> Residuals:
    """:func:`residuals` in norm where s ∈ K and y ∈ K* are known, as they are for the two parts of a decomposition.

    Row by row there are zeros: this is for points on the way.
    """
    Px = P_of(program, x)
    primal = max_abs((A_of(program, x) + s - program.b) / scale.row)
    dual = max_abs((Px + program.q + AT_of(program, y)) / scale.column)
    gap = (dot(x, Px) + dot(program.q, x) + dot(program.b, y)).abs() / scale.gap
    zero = torch.zeros_like(gap)
    return Residuals(torch.stack([finite(primal), finite(dual), finite(gap), zero, zero, zero], dim=-1))


def rowwise(
    program: ConeProgram,
    x: Tensor,
    y: Tensor,
    s: Tensor,
    scale: Scales,
    outside: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Primal, dual and gap of :func:`residuals` row by row, ``(B, 3)``; ``outside``: |s − Π_K(s)| and |y − Π_K*(y)| where they are not zero."""
    cones = program.structure.cones
    row, column = _sizes(program, x, y, scale)
    primal = (A_of(program, x) + s - program.b).abs()
    dual = max_abs((P_of(program, x) + program.q + AT_of(program, y)) / column)
    if outside is None:
        # the two parts are complementary
        primal, gap = max_abs(primal / row), torch.zeros_like(dual)
    else:
        share = _shares(program, column)
        primal = max_abs(primal.maximum(outside[0]) / row)
        dual = dual.maximum(max_abs(share * outside[1]))
        linear = slice(cones.zero, cones.zero + cones.nonneg)
        gap = max_abs((s.abs() / row).minimum(share * y.abs())[:, linear])
    found = finite(torch.stack([primal, dual, gap], dim=-1))
    return found.square() if _curved(program) else found


def _curved(program: ConeProgram) -> bool:
    cones = program.structure.cones
    return bool(cones.soc or cones.psd or cones.exp or cones.power)


def _sizes(program: ConeProgram, x: Tensor, y: Tensor, scale: Scales) -> tuple[Tensor, Tensor]:
    """The size of the terms in every row, the largest of its block, and in every column."""
    x, y = x.abs(), y.abs()
    terms = ConeProgram(program.structure, *(v.abs() for v in program.data))
    row = block_max(program.structure.cones, A_of(terms, x) + terms.b)
    column = P_of(terms, x) + terms.q + AT_of(terms, y)
    noise = CURVED_NOISE if _curved(program) else NOISE
    return row.maximum(noise * scale.row), column.maximum(noise * scale.column)


def _shares(program: ConeProgram, column: Tensor) -> Tensor:
    """maxⱼ |Aᵢⱼ| / columnⱼ, ``(B, m)``."""
    structure = program.structure
    rows, cols = A_places(structure, column)
    return largest(program.A.abs() / column[:, cols], rows, structure.m)


def finite(x: Tensor) -> Tensor:
    """Infinity for what is not finite."""
    return torch.where(torch.isfinite(x), x, torch.full_like(x, torch.inf))
