"""The program as a cone program, through its residual map (Agrawal et al. 2019, arXiv 1904.09043).

With RᵀR = Q the cost moves into a second-order cone, ½‖Rz‖² ≤ t ⟺ ‖(√2Rz, t − 1)‖ ≤ t + 1, which leaves

    min cᵀX subject to 𝒜X + s = β, s ∈ K = {0}ᵖ × ℝᵐ₊ × 𝒬ⁿ⁺²,                                                (1)
    X = (z, t), c = (q, 1), s = (b − Az, h − Gz, (t + 1, √2Rz, t − 1)), y = (ν, λ, ½(t + 1, −√2Rz, 1 − t)).

Solutions are the zeros, at (u, v, w) = (X, y − s, 1), of the normalised residual map of the homogeneous embedding
(Busseti, Moursi & Boyd 2019),

    𝒩 = ((𝒬 − I)Π + I)(u, v, w) / |w|,   Π = (u, Π_K*(v), w₊),   𝒬 = [0 𝒜ᵀ c; −𝒜 0 β; −cᵀ −βᵀ 0],            (2)

and with M = (𝒬 − I)DΠ + I and the cotangents X̄, ȳ the derivative in reverse is

    Mᵀg = −(X̄, DΠ_K*ᵀ ȳ, −XᵀX̄ − yᵀȳ),   c̄ = g₁ − g₃X,   β̄ = g₂ − g₃y.                                        (3)

c̄ and β̄ hold the gradients of q, h and b, which are d; equation 8 makes the others of it, as 𝒜̄ = y g₁ᵀ − g₂Xᵀ does.
𝒩 is homogeneous, so M is singular along (u, v, w) and Mᵀ along (X, y, 1); no multiple of the latter changes (3), and g
is the solution that is orthogonal to it.

*Exact* where active rows are independent, none is weakly active, and Q is positive definite on their null space.
Elsewhere M is singular further, and it is refused; the authors' LSQR would give a least-squares answer.
*At a kink* DΠ of a weakly active row is ½, as in diffcp: between both sides, where depends on the size of the row.
*Cost*: an eigendecomposition of Q and a dense solve, (2n + m + p + 4)³.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.errors import DifferentiationError
from layers.linalg.products import column_max, dot, mv, one_where_zero, row_max
from layers.problem import QP
from layers.qp.activity import ACTIVE, WEAK, activity
from layers.qp.gradients import Adjoint, Triple, of_direction
from layers.qp.kkt import slack
from layers.qp.scaling import scale_problem

#: an equilibrated M with a larger condition number is singular to working precision
CONDITION = 1e12


class Conic(Adjoint):
    """The quadratic program as a cone program."""

    name = "conic"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b, from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            Where M is singular beyond the direction in which it always is.
        """
        n, m, p = problem.n, problem.m, problem.p
        scaled = scale_problem(problem)
        skew, X, y, v, DPi = embedding(scaled.weighted(), Triple(*scaled.scale(*x)), activity(problem, *x))
        z_bar, lam_bar, nu_bar = scaled.cotangents(*bars)
        X_bar = torch.nn.functional.pad(z_bar, (0, 1))
        y_bar = torch.nn.functional.pad(torch.cat([nu_bar, lam_bar], -1), (0, n + 2))
        low = -(dot(X, X_bar) + dot(y, y_bar)).unsqueeze(-1)
        right = -mv(DPi.mT, torch.cat([X_bar, y_bar, low], -1))
        eye = torch.eye(skew.shape[-1], dtype=X.dtype, device=X.device)
        M = (skew - eye) @ DPi + eye
        one = torch.ones_like(low)
        g = _orthogonal_solution(M.mT, right, torch.cat([X, v, one], -1), torch.cat([X, y, one], -1))
        c_bar, beta_bar = (u - g[:, -1:] * v for u, v in ((g[:, : n + 1], X), (g[:, n + 1 : -1], y)))
        nu, lam, _ = beta_bar.split([p, m, n + 2], -1)
        return of_direction(x, Triple(*scaled.direction(c_bar[:, :n], -lam, -nu)))


def embedding(problem: QP, at: Triple, kind: Tensor) -> tuple[Tensor, ...]:
    """𝒬, X, y, v = y − s and DΠ of (1) and (2) at a solution, with the class of every inequality."""
    batch, n = at.z.shape
    R = _root(problem.Q).expand(batch, n, n)
    turned = 2**0.5 * mv(R, at.z)
    t = 0.25 * dot(turned, turned).unsqueeze(-1)
    one = torch.ones_like(t)
    X = torch.cat([at.z, t], -1)
    y = torch.cat([at.nu, at.lam, 0.5 * (t + 1), -0.5 * turned, 0.5 * (1 - t)], -1)
    v = torch.cat([at.nu, at.lam - slack(problem, at.z), -0.5 * (t + 1), -1.5 * turned, 1.5 * (1 - t)], -1)
    rows = (M.expand(batch, *M.shape[-2:]) for M in (problem.A, problem.G))
    linear = torch.nn.functional.pad(torch.cat([*rows], -2), (0, 1))
    edge = torch.nn.functional.pad(-one, (n, 0)).unsqueeze(-2)
    middle = torch.nn.functional.pad(-(2**0.5) * R, (0, 1))
    A = torch.cat([linear, edge, middle, edge], -2)
    beta = torch.cat([problem.b, problem.h, one, torch.zeros_like(at.z), -one], -1).unsqueeze(-1)
    c = torch.cat([problem.q, one], -1).unsqueeze(-1)
    top = torch.cat([A.new_zeros(batch, n + 1, n + 1), A.mT, c], -1)
    middle = torch.cat([-A, A.new_zeros(batch, A.shape[-2], A.shape[-2]), beta], -1)
    bottom = torch.cat([-c.mT, -beta.mT, A.new_zeros(batch, 1, 1)], -1)
    free = torch.where(kind == ACTIVE, 1.0, torch.where(kind == WEAK, 0.5, 0.0)).to(t)
    ones = one.expand(-1, n + 1 + problem.p)
    DPi = torch.diag_embed(torch.cat([ones, free, one.expand(-1, n + 3)], -1))
    where = slice(n + 1 + problem.p + problem.m, -1)
    DPi[:, where, where] = _soc_derivative(-torch.cat([turned, t - 1], -1) / (t + 1))
    return torch.cat([top, middle, bottom], -2), X, y, v, DPi


def _root(Q: Tensor) -> Tensor:
    """R with RᵀR = Q ⪰ 0."""
    values, vectors = torch.linalg.eigh(Q)
    return values.clamp(min=0).sqrt().unsqueeze(-1) * vectors.mT


def _soc_derivative(omega: Tensor) -> Tensor:
    """DΠ of the second-order cone at y − s of (1): v₀ = −⅓‖v̂‖ there, whatever the program; ω = v̂ / ‖v̂‖."""
    eye = torch.eye(omega.shape[-1], dtype=omega.dtype, device=omega.device)
    across = omega.unsqueeze(-1)
    low = torch.cat([across, (2 * eye + across @ across.mT) / 3], -1)
    corner = torch.ones_like(omega[:, :1])
    return 0.5 * torch.cat([torch.cat([corner, omega], -1).unsqueeze(-2), low], -2)


def _orthogonal_solution(M: Tensor, right: Tensor, left: Tensor, null: Tensor) -> Tensor:
    """The solution of M g = r that is orthogonal to ``null``, where ``left`` and ``null`` are the null vectors of M.

    M + ℓ nᵀ is regular, and ℓᵀr = 0 makes nᵀg = 0.
    """
    both = (v / v.norm(dim=-1, keepdim=True) for v in (left, null))
    ahead, across = (v.unsqueeze(-1) for v in both)
    M = M + ahead @ across.mT
    rows = one_where_zero(row_max(M))
    M = M / rows.unsqueeze(-1)
    columns = one_where_zero(column_max(M))
    M = M / columns.unsqueeze(-2)
    singular = ~(torch.linalg.cond(M, 1) <= CONDITION)
    if singular.any():
        raise DifferentiationError(
            f"the residual map of the cone program has a singular derivative in {int(singular.sum())} of "
            f'{len(singular)} solved problems (dependent active rows, or several solutions): adjoint="conic" has no '
            'derivative there; adjoint="implicit" takes the least-squares answer of minimum norm'
        )
    return torch.linalg.solve(M, right / rows) / columns
