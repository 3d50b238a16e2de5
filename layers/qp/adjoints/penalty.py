"""The implicit derivative of a softplus-penalised program (dXPP, Linghu, Liu & Deng 2026, arXiv 2602.14154).

Constraints become penalties of weight ϱ, larger than every multiplier, so that the penalties are exact before they are
smoothed by ς(r) = β log(1 + e^{r/β}):

    min ½zᵀQz + qᵀz + ϱ Σ ς((Gz − h)ᵢ) + ϱ Σ [ς((Az − b)ᵢ) + ς((b − Az)ᵢ)].                                   (1)

The solution that some engine found stands for the minimiser of (1), and the backward pass is the implicit derivative of
(1) there, a definite system in the variables alone:

    (Q + GᵀDG + AᵀEA) d_z = −(z̄ + GᵀDλ̄ + AᵀEν̄),   D = (ϱ/β) σ(1 − σ) at Gz − h,   E = ϱ / (2β),              (2)
    d_λ = D(G d_z + λ̄),   d_ν = E(A d_z + ν̄),

σ the logistic function of r/β, then equation 8 with the true multipliers. Eliminated the other way, (2) is the matrix
of :mod:`layers.qp.adjoints.smoothed` with D⁻¹ in place of s/λ, and E⁻¹ on equalities.

*Exact* in the limit β → 0 where active rows are independent, none is weakly active, and Q is positive definite on their
null space; the error is linear in β. Rows far from active count as e^{−s/β}. The matrix is as badly conditioned as ϱ/β
is large, and what is left of the digits bounds β from below.
*At a kink* a weakly active row counts like an active one, D = ϱ/4β: the side on which it stays active.
*Cost*: n³/3 + n²(m + p). ``beta`` and ``weight`` (ϱ over the largest multiplier), whose defaults are the authors',
count on the equilibrated problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.errors import DifferentiationError, LayerError
from layers.linalg.products import max_abs, mtv, mv
from layers.policy import tolerance
from layers.problem import QP
from layers.qp.gradients import Adjoint, Triple, of_direction, setting
from layers.qp.kkt import slack
from layers.qp.scaling import scale_problem

#: a pivot of the matrix of (2) below this, relative to its diagonal, is rounding
PIVOT = 1e-13


def _weight(name: str, value: object) -> float:
    number = tolerance(name, value)
    if number <= 1:
        raise LayerError(
            f"{name} must be larger than 1, so that no multiplier exceeds the penalty; found {value!r}"
        )
    return number


@dataclass(frozen=True)
class Penalty(Adjoint):
    """The implicit derivative of the program with smooth penalties for constraints.

    Parameters
    ----------
    beta : float
        Width β of the softplus, on the equilibrated problem.
    weight : float
        Weight ϱ of the penalties over the largest multiplier; larger than 1.

    Raises
    ------
    ProblemError
        If a setting cannot be used.
    """

    name = "penalty"
    error = "O(beta)"

    beta: float = setting(1e-4, tolerance)
    weight: float = setting(10.0, _weight)

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b by (2), from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            Where the matrix of (2) is singular.
        """
        scaled = scale_problem(problem)
        inside, at = scaled.weighted(), Triple(*scaled.scale(*x))
        z_bar, lam_bar, nu_bar = scaled.cotangents(*bars)
        largest = max_abs(torch.cat([at.lam, at.nu], -1)).unsqueeze(-1)
        rho = self.weight * torch.where(largest > 0, largest, 1.0)
        share = torch.sigmoid(-slack(inside, at.z) / self.beta)
        D = rho / self.beta * share * (1 - share)
        E = (rho / (2 * self.beta)).expand_as(at.nu)
        C = torch.cat([M.expand(len(D), *M.shape[-2:]) for M in (inside.G, inside.A)], -2)
        stiff, y_bar = torch.cat([D, E], -1), torch.cat([lam_bar, nu_bar], -1)
        right = -(z_bar + mtv(C, stiff * y_bar))
        d_z = _solved(inside.Q + C.mT @ (stiff.unsqueeze(-1) * C), right)
        d_y = stiff * (mv(C, d_z) + y_bar)
        d = scaled.direction(d_z, *d_y.split([problem.m, problem.p], -1))
        return of_direction(x, Triple(*d))


def _solved(M: Tensor, right: Tensor) -> Tensor:
    """M⁻¹ r of definite matrices."""
    diagonal = torch.diagonal(M, dim1=-2, dim2=-1)
    L, info = torch.linalg.cholesky_ex(M)
    pivots = torch.diagonal(L, dim1=-2, dim2=-1).square()
    singular = (info > 0) | ~(pivots > PIVOT * diagonal).all(-1)
    if singular.any():
        raise DifferentiationError(
            f"the penalised program has no curvature in some direction in {int(singular.sum())} of {len(singular)} "
            'solved problems (several solutions): adjoint="penalty" has no derivative there; adjoint="implicit" '
            'takes the least-squares answer of minimum norm, and adjoint="smoothed" that of the central path'
        )
    return torch.cholesky_solve(right.unsqueeze(-1), L).squeeze(-1)
