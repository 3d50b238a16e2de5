"""The optimality conditions of a quadratic program, written once.

With L = ½zᵀQz + qᵀz + λᵀ(Gz − h) + νᵀ(Az − b), a point is optimal exactly when

    stationarity      Qz + q + Gᵀλ + Aᵀν = 0
    feasibility       Gz ≤ h,  Az = b
    dual feasibility  λ ≥ 0
    complementarity   λᵢ (h − Gz)ᵢ = 0

All functions take a flat problem (:meth:`layers.problem.QP.flatten`) and vectors of shape ``(B, ·)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg import column_max, dot, max_abs, mtv, mv, one_where_zero, row_max
from layers.problem import QP
from layers.solution import Residuals


def stationarity(problem: QP, z: Tensor, lam: Tensor, nu: Tensor) -> Tensor:
    """Qz + q + Gᵀλ + Aᵀν, shape ``(B, n)``."""
    return mv(problem.Q, z) + problem.q + mtv(problem.G, lam) + mtv(problem.A, nu)


def slack(problem: QP, z: Tensor) -> Tensor:
    """s = h − Gz, shape ``(B, m)``."""
    return problem.h - mv(problem.G, z)


def objective(problem: QP, z: Tensor) -> Tensor:
    """½zᵀQz + qᵀz, shape ``(B,)``."""
    return 0.5 * dot(z, mv(problem.Q, z)) + dot(problem.q, z)


@dataclass(frozen=True)
class Norms:
    """Largest magnitudes of the rows of Q, G, A and of the columns of G, A: all that the scales need of them."""

    Q_row: Tensor
    g_row: Tensor
    a_row: Tensor
    g_column: Tensor
    a_column: Tensor

    @classmethod
    def of(cls, problem: QP) -> Norms:
        """Cost: one pass over the data."""
        G, A = problem.G, problem.A
        return cls(row_max(problem.Q), row_max(G), row_max(A), column_max(G), column_max(A))

    def take(self, index: Tensor) -> Norms:
        """The batch elements ``index``; what is shared stays shared."""
        own = (self.Q_row, self.g_row, self.a_row, self.g_column, self.a_column)
        return Norms(*(v if v.dim() == 1 else v[index] for v in own))


@dataclass(frozen=True)
class Scales:
    """The size that a residual is measured against, one per row and column of the data.

    Attributes
    ----------
    g, a : Tensor, shapes ``(B, m)`` and ``(B, p)``
        max(|hᵢ|, ‖Gᵢ‖∞ ẑ): the size of the terms in row i; likewise for A.
    dual : Tensor, shape ``(B, n)``
        max(|qⱼ|, ‖Qⱼ‖∞ ẑ, ‖G·ⱼ‖∞ ŷ, ‖A·ⱼ‖∞ ŷ): the size of the terms in column j.
    gap : Tensor, shape ``(B,)``
        Largest magnitude of zᵀQz, qᵀz, hᵀλ, bᵀν, and at least min(1, ‖(q, Qẑ)‖∞ ẑ).
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
    gap: Tensor
    y: Tensor


def scales(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, norms: Norms | None = None) -> Scales:
    """Row, column and gap scales at a point; ``norms`` of the problem save a pass over its data."""
    norms = Norms.of(problem) if norms is None else norms
    g_row, a_row = norms.g_row, norms.a_row
    h, b, q = problem.h.abs(), problem.b.abs(), problem.q.abs()
    Q_row = norms.Q_row
    Q_size, q_size = max_abs(Q_row), max_abs(q)
    # sizes of z that the data suggest: h_i / ||G_i||, b_i / ||A_i||, q / Q
    suggested = torch.maximum(max_abs(h / one_where_zero(g_row)), max_abs(b / one_where_zero(a_row)))
    suggested = torch.maximum(suggested, torch.where(Q_size > 0, q_size / one_where_zero(Q_size), 0 * q_size))
    z_hat = max_abs(z).maximum(one_where_zero(suggested).clamp(max=1.0))
    # size of the gradient, and of the multipliers that balance it
    gradient = torch.maximum(q_size, Q_size * z_hat)
    matrix = one_where_zero(torch.maximum(max_abs(g_row), max_abs(a_row)))
    y_hat = torch.maximum(max_abs(lam), max_abs(nu)).maximum(one_where_zero(gradient / matrix).clamp(max=1.0))
    z_col, y_col = z_hat.unsqueeze(-1), y_hat.unsqueeze(-1)
    dual = q.maximum(Q_row * z_col).maximum(norms.g_column * y_col).maximum(norms.a_column * y_col)
    terms = [dot(z, mv(problem.Q, z)), dot(problem.q, z), dot(problem.h, lam), dot(problem.b, nu)]
    gap = (
        torch.stack([t.abs() for t in terms])
        .amax(0)
        .maximum((one_where_zero(gradient) * z_hat).clamp(max=1.0))
    )
    return Scales(
        g=one_where_zero(h.maximum(g_row * z_col)),
        a=one_where_zero(b.maximum(a_row * z_col)),
        dual=one_where_zero(dual),
        gap=one_where_zero(gap),
        y=y_hat,
    )


def residuals(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, norms: Norms | None = None) -> Residuals:
    """Relative KKT residuals: how far (z, λ, ν) is from optimal for these very data.

    primal = maxᵢ [(Gz − h)ᵢ₊ , |Az − b|ᵢ] / row scale,
    dual   = max( maxⱼ |Qz + q + Gᵀλ + Aᵀν|ⱼ / column scale, maxᵢ (−λᵢ)₊ / ŷ ),
    gap    = |zᵀQz + qᵀz + hᵀλ + bᵀν| / gap scale,

    with the scales of :class:`Scales`. A value that is not finite counts as infinite.
    """
    scale = scales(problem, z, lam, nu, norms)
    r_dual = stationarity(problem, z, lam, nu)
    r_g, r_a = -slack(problem, z), mv(problem.A, z) - problem.b
    # (Qz + q)ᵀz + hᵀλ + bᵀν = λᵀ(h − Gz) when the other conditions hold: the duality gap
    r_gap = dot(z, mv(problem.Q, z)) + dot(problem.q, z) + dot(problem.h, lam) + dot(problem.b, nu)
    primal = torch.maximum(max_abs(r_g.clamp(min=0) / scale.g), max_abs(r_a / scale.a))
    dual = torch.maximum(max_abs(r_dual / scale.dual), max_abs(lam.clamp(max=0) / scale.y.unsqueeze(-1)))
    return Residuals.of(*(_finite(r) for r in (primal, dual, r_gap.abs() / scale.gap)))


def _finite(x: Tensor) -> Tensor:
    return torch.where(torch.isfinite(x), x, torch.full_like(x, torch.inf))
