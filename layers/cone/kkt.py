"""The optimality conditions of a cone program, written once.

A point (x, y, s) is optimal for minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K, exactly when

    stationarity      Px + q + Aᵀy = 0
    feasibility       Ax + s = b,  s ∈ K
    dual feasibility  y ∈ K*
    complementarity   sᵀy = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from layers.cone.products import A_of, A_places, AT_of, P_of, P_places
from layers.cone.projections import block_max, decompose
from layers.cone_program import ConeProgram
from layers.linalg.batched import Batched
from layers.linalg.products import dot, max_abs, one_where_zero
from layers.solution import Residuals

#: in a row by itself, terms below this multiple of what they could be at a point of this size count as that much, with
#: linear rows alone and with curved cones
NOISE, CURVED_NOISE = 1e-7, 1e-5
#: an equation that is missed by this part of its own terms is lost beside those of others; below UNSEEN of these it is
#: rounding
LOST, UNSEEN = 1e-3, 1e-13
#: a gap that is less than this of all that it adds up is none: at a distance of 10⁵ a minimiser of curvature 10⁻¹² has
#: no smaller one; what is less than this of its scale is not looked at
ROUNDING, SEEN = 5e-17, 1e-15


def stationarity(program: ConeProgram, x: Tensor, y: Tensor) -> Tensor:
    """Px + q + Aᵀy, shape ``(B, n)``."""
    return P_of(program, x) + program.q + AT_of(program, y)


def objective(program: ConeProgram, x: Tensor) -> Tensor:
    """½xᵀPx + qᵀx, shape ``(B,)``."""
    return 0.5 * dot(x, P_of(program, x)) + dot(program.q, x)


@dataclass(frozen=True)
class Norms(Batched):
    """Largest magnitudes: of the rows of P, of A by blocks of the cone and by columns. ``(B or 1, ·)``."""

    ALIKE = frozenset({"P_row", "A_row", "A_column"})

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


def largest(values: Tensor, target: Tensor, size: int) -> Tensor:
    """The largest entry by target, over the last axis."""
    out = values.new_zeros(values.shape[0], size)
    return out.scatter_reduce(1, target.expand_as(values), values, "amax", include_self=True)


@dataclass(frozen=True)
class Scales(Batched):
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


def scales(program: ConeProgram, x: Tensor, y: Tensor, norms: Norms | None = None) -> Scales:
    """Row, column and gap scales at a point, with x̂ = max(‖x‖∞, min(1, the size that the data suggest)); ŷ likewise."""
    norms = Norms.of(program) if norms is None else norms
    b, q = block_max(program.structure.cones, program.b.abs()), program.q.abs()
    P_size, q_size = max_abs(norms.P_row), max_abs(q)
    x_hat = max_abs(x).maximum(one_where_zero(size_of_variables(program, norms)).clamp(max=1.0))
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


def size_of_variables(program: ConeProgram, norms: Norms) -> Tensor:
    """What the data suggest: the larger of b beside A and q beside P, shape ``(B,)``; zero where there is neither."""
    b = block_max(program.structure.cones, program.b.abs())
    P_size, q_size = max_abs(norms.P_row), max_abs(program.q)
    of_objective = torch.where(P_size > 0, q_size / one_where_zero(P_size), 0 * q_size)
    return max_abs(b / one_where_zero(norms.A_row)).maximum(of_objective)


class Left(NamedTuple):
    """What a point leaves of the equations: Px, Ax + s − b and Px + q + Aᵀy."""

    Px: Tensor
    primal: Tensor
    dual: Tensor

    @classmethod
    def of(cls, program: ConeProgram, x: Tensor, y: Tensor, s: Tensor) -> Left:
        """Cost: one product with each matrix."""
        Px = P_of(program, x)
        return cls(Px, A_of(program, x) + s - program.b, Px + program.q + AT_of(program, y))


def residuals(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, norms: Norms | None = None) -> Residuals:
    """Relative residuals of a point in norm and row by row, distances to the cones included.

    In norm, with the scales of :class:`Scales`,

    primal = max( |Ax + s − b|ᵢ / row scale, |s − Π_K(s)|ᵢ / row scale ),
    dual   = max( |Px + q + Aᵀy|ⱼ / column scale, |y − Π_K*(y)|ᵢ / ŷ ),
    gap    = (|xᵀPx + qᵀx + bᵀy| − the rounding of that sum) / gap scale;

    row by row as :func:`layers.qp.kkt.residuals`, a block of the cone counting as one row: with the terms that are
    there, (|A||x| + |b|)ᵢ and (|P||x| + |q| + |A|ᵀ|y|)ⱼ, in the place of the scales, and the share of yᵢ in what it
    holds up in the place of yᵢ / ŷ. Complementarity is that of the nonnegative rows. With curved cones these three are
    squared: an interior point of tolerance ε comes to the vertex of a cone up to √ε in what vanishes there, so √tol is
    what a row by itself can be asked for. A value that is not finite counts as infinite.
    """
    scale, left = scales(program, x, y, norms), Left.of(program, x, y, s)
    # one decomposition for Π_K(s) and for Π_K*(y), which is what −y leaves
    near = decompose(program.structure.cones, torch.cat((s, -y)).nan_to_num())
    outside, dual_outside = (near.s[: len(s)] - s).abs(), (near.y[len(s) :] - y).abs()
    primal, dual, gap = _in_norm(program, x, y, scale, left)
    primal = primal.maximum(max_abs(outside / scale.row))
    dual = dual.maximum(max_abs(dual_outside / scale.y.unsqueeze(-1)))
    row, column = _sizes(program, x, y, scale)
    share = _shares(program, column)
    linear = slice(
        program.structure.cones.zero, program.structure.cones.zero + program.structure.cones.nonneg
    )
    rows = (
        max_abs(left.primal.abs().maximum(outside) / row),
        max_abs(left.dual / column).maximum(max_abs(share * dual_outside)),
        max_abs((s.abs() / row).minimum(share * y.abs())[:, linear]).maximum(
            _at_stake(program, x, y, scale, left)
        ),
    )
    return Residuals(
        torch.cat([finite(torch.stack([primal, dual, gap], dim=-1)), _asked(program, rows)], dim=-1)
    )


def shares(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, scale: Scales) -> tuple[Tensor, Tensor]:
    """How much sᵢ is of the terms of its row, and yᵢ of the terms of a column that it holds up; ``(B, m)`` each."""
    row, column = _sizes(program, x, y, scale)
    return s.abs() / row, _shares(program, column) * y.abs()


def residuals_in_cones(
    program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, scale: Scales, *, rowwise: bool = False
) -> Residuals:
    """:func:`residuals` where s ∈ K and y ∈ K* are complementary, as the two parts of a decomposition are.

    Without ``rowwise``, for points on the way, there are zeros in the place of the three row by row.
    """
    left = Left.of(program, x, y, s)
    found = finite(torch.stack(_in_norm(program, x, y, scale, left), dim=-1))
    if not rowwise:
        return Residuals(torch.cat([found, torch.zeros_like(found)], dim=-1))
    row, column = _sizes(program, x, y, scale)
    rows = (max_abs(left.primal / row), max_abs(left.dual / column), _at_stake(program, x, y, scale, left))
    return Residuals(torch.cat([found, _asked(program, rows)], dim=-1))


def _at_stake(program: ConeProgram, x: Tensor, y: Tensor, scale: Scales, left: Left) -> Tensor:
    """(|x|ᵀ|Px + q + Aᵀy| + |y|ᵀ|Ax + s − b|) / gap scale with curved cones, shape ``(B,)``; zero with linear rows.

    By so much the objective may be off where solutions are no larger than this point. Where it falls for ever along the
    boundary of a cone, as √(x₁x₂) grows with x₁ ≤ 1, there are points with residuals of rounding as far out as numbers
    go: what is left of an equation is little beside its terms there, and times x₂ it is all of the objective.
    """
    if not _curved(program):
        return torch.zeros_like(scale.gap)
    return (dot(x.abs(), left.dual.abs()) + dot(y.abs(), left.primal.abs())) / scale.gap


def _in_norm(
    program: ConeProgram, x: Tensor, y: Tensor, scale: Scales, left: Left
) -> tuple[Tensor, Tensor, Tensor]:
    gap = (dot(x, left.Px) + dot(program.q, x) + dot(program.b, y)).abs()
    primal, dual = max_abs(left.primal / scale.row), max_abs(left.dual / scale.column)
    seen = gap > SEEN * scale.gap
    if seen.any():
        known = (gap - ROUNDING * _terms_of_gap(program, x, y)).clamp(min=0)
        gap = torch.where(seen, known, gap)
    return primal, dual, gap / scale.gap


def _terms_of_gap(program: ConeProgram, x: Tensor, y: Tensor) -> Tensor:
    """|x|ᵀ|P||x| + |q|ᵀ|x| + |b|ᵀ|y|, shape ``(B,)``."""
    terms, x = absolute(program), x.abs()
    return dot(x, P_of(terms, x)) + dot(terms.q, x) + dot(terms.b, y.abs())


def absolute(program: ConeProgram) -> ConeProgram:
    """The program of the magnitudes of all data."""
    return ConeProgram(program.structure, *(v.abs() for v in program.data))


def _asked(program: ConeProgram, rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Three residuals row by row as they are judged, ``(B, 3)``: squared with curved cones."""
    found = finite(torch.stack(rows, dim=-1))
    return found.square() if _curved(program) else found


def _curved(program: ConeProgram) -> bool:
    return not program.structure.cones.linear


def _sizes(program: ConeProgram, x: Tensor, y: Tensor, scale: Scales) -> tuple[Tensor, Tensor]:
    """The size of the terms in every row, the largest of its block, and in every column.

    With curved cones a number on the right of a block counts as it is: exp(x) ≤ z has a one there.
    """
    row, column = own_terms(program, x, y)
    noise = CURVED_NOISE if _curved(program) else NOISE
    if not _curved(program):
        return row.maximum(noise * scale.row), column.maximum(noise * scale.column)
    given = block_max(program.structure.cones, program.b.abs()) > SEEN * scale.row
    least = torch.where(given, SEEN, noise) * scale.row
    return row.maximum(least), column.maximum(noise * scale.column)


def own_terms(program: ConeProgram, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """What the equations of every block of rows and of every column add up, ``(B, m)`` and ``(B, n)``."""
    x, y, terms = x.abs(), y.abs(), absolute(program)
    return block_max(program.structure.cones, A_of(terms, x) + terms.b), P_of(terms, x) + terms.q + AT_of(
        terms, y
    )


def lost_rows(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    """Rows of equations that are not met in what they add up themselves, bool, ``(B, m)``: blocks, and rows of columns.

    What is below ``UNSEEN`` of the largest that it could be is rounding, and nothing is said of it.
    """
    scale, left = scales(program, x, y), Left.of(program, x, y, s)
    row, column = own_terms(program, x, y)
    given = block_max(program.structure.cones, program.b.abs()) > UNSEEN * scale.row
    missed = block_max(program.structure.cones, left.primal.abs()) > LOST * row
    unheld = (left.dual.abs() > LOST * column) & (column > UNSEEN * scale.column)
    i, j = A_places(program.structure, x)
    return given & missed | (largest(unheld[:, j].to(x.dtype), i, program.structure.m) > 0)


def _shares(program: ConeProgram, column: Tensor) -> Tensor:
    """maxⱼ |Aᵢⱼ| / columnⱼ, ``(B, m)``."""
    structure = program.structure
    rows, cols = A_places(structure, column)
    return largest(program.A.abs() / column[:, cols], rows, structure.m)


def finite(x: Tensor) -> Tensor:
    """Infinity for what is not finite."""
    return torch.where(torch.isfinite(x), x, torch.full_like(x, torch.inf))
