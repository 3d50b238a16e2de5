"""The optimality conditions of a quadratic program, written once.

With L = ½zᵀQz + qᵀz + λᵀ(Gz − h) + νᵀ(Az − b), a point is optimal exactly when

    stationarity      Qz + q + Gᵀλ + Aᵀν = 0
    feasibility       Gz ≤ h,  Az = b
    dual feasibility  λ ≥ 0
    complementarity   λᵢ (h − Gz)ᵢ = 0

All functions take a flat problem (:meth:`layers.problem.QP.flatten`) and vectors of shape ``(B, ·)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from layers.linalg.batched import Batched
from layers.linalg.products import column_max, dot, max_abs, mtv, mv, one_where_zero, row_max
from layers.problem import QP
from layers.qp.parts import divided, split
from layers.solution import ROWS_GAP, ROWS_SHARP, Residuals

#: in a row by itself, terms below this multiple of what they could be at a point of this size count as that much; and
#: so does the sum of the gap below this multiple of the magnitudes in it
NOISE = 1e-7
#: a gap below this multiple of the magnitudes in its sum is none: multipliers of 10⁷ that cancel leave no smaller one
ROUNDING = 1e-15

#: one tensor for the variables, or columns, and one for each kind of row; in the order of the function that takes them
_Rows = tuple[Tensor, Tensor, Tensor]


def stationarity(problem: QP, z: Tensor, lam: Tensor, nu: Tensor) -> Tensor:
    """Qz + q + Gᵀλ + Aᵀν, shape ``(B, n)``."""
    return _stationarity(problem, mv(problem.Q, z), lam, nu)


def _stationarity(problem: QP, Qz: Tensor, lam: Tensor, nu: Tensor) -> Tensor:
    return Qz + problem.q + mtv(problem.G, lam) + mtv(problem.A, nu)


def slack(problem: QP, z: Tensor) -> Tensor:
    """s = h − Gz, shape ``(B, m)``."""
    return problem.h - mv(problem.G, z)


def objective(problem: QP, z: Tensor) -> Tensor:
    """½zᵀQz + qᵀz, shape ``(B,)``."""
    return 0.5 * dot(z, mv(problem.Q, z)) + dot(problem.q, z)


@dataclass(frozen=True)
class Norms(Batched):
    """What the scales need of the data alone; all with a last axis, and a batch axis unless shared.

    Attributes
    ----------
    Q_row, g_row, a_row, g_column, a_column : Tensor
        Largest magnitudes of the rows of Q, G, A and of the columns of G, A.
    q, h, b : Tensor
        Magnitudes.
    Q_size, q_size, matrix : Tensor, last axis 1
        Largest entries of Q, of q, and of (G, A); the last is one where there is none.
    least : Tensor, last axis 1
        min(1, ζ), the least size of z.
    pull : Tensor
        maxᵢ |Aᵢⱼ| / ‖Aᵢ‖∞: what an equality may do to a column, whatever its units.
    """

    SHARED: ClassVar[Mapping[str, int]] = dict.fromkeys(
        [
            "Q_row",
            "g_row",
            "a_row",
            "g_column",
            "a_column",
            "q",
            "h",
            "b",
            "Q_size",
            "q_size",
            "matrix",
            "least",
            "pull",
        ],
        1,
    )

    Q_row: Tensor
    g_row: Tensor
    a_row: Tensor
    g_column: Tensor
    a_column: Tensor
    q: Tensor
    h: Tensor
    b: Tensor
    Q_size: Tensor
    q_size: Tensor
    matrix: Tensor
    least: Tensor
    pull: Tensor

    @classmethod
    def of(cls, problem: QP) -> Norms:
        """Cost: one pass over the data."""
        G, A = problem.G, problem.A
        Q_row, g_row, a_row = row_max(problem.Q), row_max(G), row_max(A)
        q, h, b = problem.q.abs(), problem.h.abs(), problem.b.abs()
        Q_size, q_size = _largest(Q_row), _largest(q)
        # sizes of z that the data suggest: h_i / ||G_i||, b_i / ||A_i||, q / Q
        suggested = torch.maximum(_largest(h / one_where_zero(g_row)), _largest(b / one_where_zero(a_row)))
        suggested = torch.maximum(
            suggested, torch.where(Q_size > 0, q_size / one_where_zero(Q_size), 0 * q_size)
        )
        matrix = one_where_zero(torch.maximum(_largest(g_row), _largest(a_row)))
        least = one_where_zero(suggested).clamp(max=1.0)
        columns = column_max(G), column_max(A)
        pull = column_max(A / one_where_zero(a_row).unsqueeze(-1))
        return cls(Q_row, g_row, a_row, *columns, q, h, b, Q_size, q_size, matrix, least, pull)


@dataclass(frozen=True)
class Scales:
    """The size that a residual is measured against, one per row and column of the data.

    Attributes
    ----------
    g, a : Tensor, shapes ``(B, m)`` and ``(B, p)``
        max(|hᵢ|, ‖Gᵢ‖∞ ẑ): the size of the terms in row i; likewise for A.
    dual : Tensor, shape ``(B, n)``
        max(|qⱼ|, ‖Qⱼ‖∞ ẑ, ‖G·ⱼ‖∞ ŷ, ‖A·ⱼ‖∞ ŷ): the size of the terms in column j.
    curved : Tensor, shape ``(B, n)``
        ‖Qⱼ‖∞ ẑ.
    still : Tensor of bool, shape ``(B, 1)``
        Whether nothing pulls: Qẑ and q are zero.
    gap : Tensor, shape ``(B,)``
        Largest magnitude of zᵀQz, qᵀz, hᵀλ, bᵀν, and at least min(1, ‖(q, Qẑ)‖∞ ẑ) and ``NOISE`` times the sum of the
        magnitudes that these add up, whose rounding no point can be without.
    y : Tensor, shape ``(B,)``
        ŷ, the size of the multipliers.

    Notes
    -----
    ẑ = max(‖z‖∞, min(1, ζ)) and ŷ = max(‖λ‖∞, ‖ν‖∞, min(1, υ)), where ζ and υ are the sizes of z and of the
    multipliers that the data suggest. So the measure is never looser than the customary 1 + ‖·‖, tightens with
    the data when they are small, and is the same when a row of (G, h) or (A, b), or the objective of a problem
    whose multipliers exceed one, is multiplied by a number.
    """

    g: Tensor
    a: Tensor
    dual: Tensor
    curved: Tensor
    still: Tensor
    gap: Tensor
    y: Tensor


def scales(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, norms: Norms | None = None) -> Scales:
    """Row, column and gap scales at a point; ``norms`` of the problem save a pass over its data."""
    norms = Norms.of(problem) if norms is None else norms
    return _scales(norms, z, lam, nu, _terms(problem, z, lam, nu, mv(problem.Q, z)))


def _terms(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, Qz: Tensor) -> tuple[Tensor, Tensor]:
    """zᵀQz, qᵀz, hᵀλ and bᵀν side by side, shape ``(B, 4)``, and the magnitudes that they add up, ``(B,)``."""
    products = z * Qz, problem.q * z, problem.h * lam, problem.b * nu
    magnitudes = sum((v.abs().sum(-1) for v in products), torch.zeros_like(z[..., 0]))
    return torch.stack([v.sum(-1) for v in products], dim=-1), magnitudes


def _scales(norms: Norms, z: Tensor, lam: Tensor, nu: Tensor, terms: tuple[Tensor, Tensor]) -> Scales:
    z_hat = max_abs(z).unsqueeze(-1).maximum(norms.least)
    # size of the gradient, and of the multipliers that balance it
    gradient = torch.maximum(norms.q_size, norms.Q_size * z_hat)
    y = max_abs(torch.cat([lam, nu], dim=-1)).unsqueeze(-1)
    y_hat = y.maximum(one_where_zero(gradient / norms.matrix).clamp(max=1.0))
    dual = norms.q.maximum(norms.Q_row * z_hat)
    dual = dual.maximum(norms.g_column * y_hat).maximum(norms.a_column * y_hat)
    least = (one_where_zero(gradient) * z_hat).clamp(max=1.0)
    gap = max_abs(terms[0]).maximum(least.squeeze(-1)).maximum(NOISE * terms[1])
    return Scales(
        g=one_where_zero(norms.h.maximum(norms.g_row * z_hat)),
        a=one_where_zero(norms.b.maximum(norms.a_row * z_hat)),
        dual=one_where_zero(dual),
        curved=norms.Q_row * z_hat,
        still=gradient == 0,
        gap=one_where_zero(gap),
        y=y_hat.squeeze(-1),
    )


def residuals(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, norms: Norms | None = None) -> Residuals:
    """Relative KKT residuals: how far (z, λ, ν) is from optimal for these very data, in norm and row by row.

    In norm, with the scales of :class:`Scales`,

    primal = maxᵢ [(Gz − h)ᵢ₊ , |Az − b|ᵢ] / row scale,
    dual   = max( maxⱼ |Qz + q + Gᵀλ + Aᵀν|ⱼ / column scale, maxᵢ (−λᵢ)₊ / ŷ ),
    gap    = (|zᵀQz + qᵀz + hᵀλ + bᵀν| − the rounding of that sum) / gap scale.

    Row by row, with gᵢ = (|G||z| + |h|)ᵢ, aᵢ = (|A||z| + |b|)ᵢ, cⱼ = (|Q||z| + |q| + |G|ᵀ|λ| + |A|ᵀ|ν|)ⱼ, the sizes of
    the terms that are there, and the share wᵢ = maxⱼ |Gᵢⱼ λᵢ| / cⱼ of multiplier i in what it holds up,

    primal = maxᵢ [(Gz − h)ᵢ₊ / gᵢ , |Az − b|ᵢ / aᵢ],
    dual   = max( maxⱼ |Qz + q + Gᵀλ + Aᵀν|ⱼ / cⱼ, max wᵢ over λᵢ < 0 ),
    gap    = max (h − Gz)ᵢ₊ / gᵢ · wᵢ over λᵢ > 0.

    These are the smallest relative changes of the entries of each row under which its equation holds (Oettli & Prager
    1964), which no large number elsewhere can excuse. What z may lower the objective by, |z|ᵀ|Qz + q + Gᵀλ + Aᵀν|
    beside the gap scale, counts as a gap from ``ROWS_GAP`` on: at a distance of 10²² all else is rounding. Where all
    terms of a row vanish, rounding is all that is there, that of the data included: z ≥ 0 and Σz = −10⁻¹⁷ is not meant
    as a contradiction. So gᵢ and aᵢ count as at least ``NOISE`` times the scale in norm, and cⱼ as that part of
    ‖Qⱼ‖∞ ẑ, and of the largest of all c times maxᵢ |Gᵢⱼ| / ‖Gᵢ‖∞ over λᵢ ≠ 0: in units of 10⁻⁷ a multiplier is large
    and its noise no force. All of this is of the own part where nothing connects a row with others. A value that is
    not finite counts as infinite.

    A status is judged by :attr:`layers.solution.Residuals.largest`.
    """
    return _residuals(problem, z, lam, nu, norms, rowwise=True)


def relative_residual(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, norms: Norms | None = None) -> Tensor:
    """The largest of :func:`residuals` in norm alone, shape ``(B,)``: half the work, for points on the way."""
    return _residuals(problem, z, lam, nu, norms, rowwise=False).values.amax(-1)


def _residuals(
    problem: QP, z: Tensor, lam: Tensor, nu: Tensor, norms: Norms | None, *, rowwise: bool
) -> Residuals:
    Qz = mv(problem.Q, z)
    terms = _terms(problem, z, lam, nu, Qz)
    norms = Norms.of(problem) if norms is None else norms
    scale = _scales(norms, z, lam, nu, terms)
    r_dual = _stationarity(problem, Qz, lam, nu)
    room, r_a = slack(problem, z), mv(problem.A, z) - problem.b
    # (Qz + q)ᵀz + hᵀλ + bᵀν = λᵀ(h − Gz) when the other conditions hold: the duality gap
    r_gap = (terms[0].sum(-1).abs() - ROUNDING * terms[1]).clamp(min=0)
    primal = torch.maximum(max_abs(room.clamp(max=0) / scale.g), max_abs(r_a / scale.a))
    dual = torch.maximum(max_abs(r_dual / scale.dual), max_abs(lam.clamp(max=0) / scale.y.unsqueeze(-1)))
    values = torch.stack([primal, dual, r_gap / scale.gap], dim=-1)
    if rowwise:
        values = torch.cat(
            [values, _rowwise(problem, norms, (z, lam, nu), scale, (r_dual, room, r_a))], dim=-1
        )
    return Residuals(values.nan_to_num(nan=torch.inf, posinf=torch.inf))


def _rowwise(problem: QP, norms: Norms, point: _Rows, scale: Scales, left: _Rows) -> Tensor:
    """Primal, dual and gap row by row, shape ``(B, 3)``; ``left`` are Qz + q + Gᵀλ + Aᵀν, h − Gz and Az − b."""
    magnitudes = QP(*(t.abs() for t in problem.tensors))
    own = sums(magnitudes, *(v.abs() for v in point))
    # a multiplier has the noise of the largest force; one of 1 where there is none at all
    force = _largest(own[2]).maximum(scale.still.to(own[2]))
    # and none in a row whose multiplier is zero
    pushes = (point[1] != 0) / one_where_zero(norms.g_row)
    pull = norms.pull.maximum(column_max(magnitudes.G * pushes.unsqueeze(-1)))
    least = NOISE * scale.g, NOISE * scale.a, NOISE * scale.curved.maximum(pull * force)
    # a row without terms has no residual
    g, a, c = (one_where_zero(terms.maximum(noise)) for terms, noise in zip(own, least, strict=True))
    r_dual, room, r_a = left
    lam = point[1]
    share = lam.abs() * max_abs(magnitudes.G / c.unsqueeze(-2))
    primal = torch.maximum(max_abs(room.clamp(max=0) / g), max_abs(r_a / a))
    wrong = torch.where(lam < 0, share, torch.zeros_like(share))
    loose = torch.where(lam > 0, share * room.clamp(min=0) / g, torch.zeros_like(share))
    found = torch.stack([primal, max_abs(r_dual / c).maximum(max_abs(wrong)), max_abs(loose)], dim=-1)
    excused = _excused(own, least, left, lam).nonzero().squeeze(-1)
    if excused.numel():
        found = _by_parts(problem, point, found, excused)
    at_stake = (point[0] * r_dual).abs().sum(-1) / scale.gap
    gap = torch.where(at_stake > ROWS_GAP, at_stake.maximum(found[..., 2]), found[..., 2])
    return torch.cat([found[..., :2], gap.unsqueeze(-1)], dim=-1)


def _excused(own: _Rows, least: _Rows, left: _Rows, lam: Tensor) -> Tensor:
    """Elements with a row that is sharp by the least size of its terms alone, or may be; shape ``(B,)``."""
    (g, a, c), (r_dual, room, r_a) = own, left
    small_g, small_a, small_c = (terms < noise for terms, noise in zip(own, least, strict=True))
    missed = ((-room > ROWS_SHARP * g) & small_g).any(-1) | ((r_a.abs() > ROWS_SHARP * a) & small_a).any(-1)
    missed = missed | ((r_dual.abs() > ROWS_SHARP * c) & small_c).any(-1)
    loose = ((lam > 0) & (room > ROWS_SHARP * g)).any(-1) | (lam < 0).any(-1)
    return missed | (loose & (small_g.any(-1) | small_c.any(-1)))


def _by_parts(problem: QP, point: _Rows, found: Tensor, index: Tensor) -> Tensor:
    """The same with the elements ``index`` measured part by part, where nothing connects all of their rows."""
    few = problem.take(index)
    several, label = divided(few)
    if label is None:
        return found
    some, at = few.take(several), tuple(v[index[several]] for v in point)
    worst = found.new_zeros(len(several), 3)
    for part in split(some, label):
        values = _residuals(part.problem, *part.take(*at), None, rowwise=True).rowwise
        places = part.element.unsqueeze(-1).expand_as(values)
        worst = worst.scatter_reduce(0, places, values, "amax")
    return found.index_copy(0, index[several], worst)


def sums(problem: QP, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(Gz + h, Az + b, Qz + q + Gᵀλ + Aᵀν), all of magnitudes."""
    g, a = mv(problem.G, z) + problem.h, mv(problem.A, z) + problem.b
    return g, a, mv(problem.Q, z) + problem.q + mtv(problem.G, lam) + mtv(problem.A, nu)


def _largest(x: Tensor) -> Tensor:
    return max_abs(x).unsqueeze(-1)
