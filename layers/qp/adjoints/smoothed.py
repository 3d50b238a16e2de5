"""The derivative on the central path at a chosen κ (Tracy & Manchester 2024, arXiv 2406.11749).

With λᵢsᵢ = κ > 0 in place of λᵢsᵢ = 0, the optimality conditions (Boyd & Vandenberghe 2004, sec. 11.2)

    Qz + q + Gᵀλ + Aᵀν = 0,   Gz + s = h,   Az = b,   λᵢsᵢ = κ,   λ, s > 0                                    (1)

have one solution x(κ), the minimiser of the objective less κ Σ log sᵢ, and it is a smooth function of the data:

    [Q     Gᵀ     Aᵀ]
    [G  −D(s/λ)   0 ] (d_z, d_λ, d_ν) = −(z̄, λ̄, ν̄),                                                          (2)
    [A     0      0 ]

with equation 8 at x(κ). No row is called active or not. At a vertex of a linear program, whose true derivative is zero
or undefined, it says where the solution is drawn to.

Newton's method finds x(κ) in v = λ − s, with λ, s = ½(√(v² + 4κ) ± v): positive and on λᵢsᵢ = κ whatever v is (Chen &
Harker 1993), and its matrix is that of (2).

*Exact* nowhere; the error is linear in κ where active rows are independent and none is weakly active.
*At a kink* of one weakly active row it tends to the mean of the derivatives on both sides.
*Needs* a point with Gz < h and Az = b, independent rows of A, and for a linear program a bounded set of solutions.
*Cost*: 2 to 20 factorisations of (2), n³/3 + n²(m + p) + (m + p)³/3 each. κ has the unit of the objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.errors import DifferentiationError
from layers.linalg.products import max_abs, mv
from layers.linalg.quasidefinite import ConicFactor
from layers.policy import tolerance
from layers.problem import QP
from layers.qp.gradients import Adjoint, Triple, of_direction, setting
from layers.qp.kkt import stationarity
from layers.qp.scaling import scale_problem

#: Newton steps, halvings of one, and the residual that ends them, relative to the size of the point
STEPS, HALVINGS, TARGET = 100, 20, 1e-11
REFINEMENTS = 3
#: residuals above this, relative, mean that there is no central path, or that rounding hides it
MISSED = 1e-7


@dataclass(frozen=True)
class Smoothed(Adjoint):
    """The derivative on the central path, where λᵢsᵢ = κ.

    Parameters
    ----------
    kappa : float
        κ, in the unit of the objective.

    Raises
    ------
    ProblemError
        If a setting cannot be used.

    Examples
    --------
    >>> from layers import QPLayer, Smoothed
    >>> layer = QPLayer(adjoint=Smoothed(kappa=1e-3))
    """

    name = "smoothed"
    error = "O(kappa)"

    kappa: float = setting(1e-4, tolerance)

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b on the central path, from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            Where there is no central path: no point with Gz < h and Az = b, or dependent rows of A.
        """
        point, ratio = central_point(problem, x, self.kappa)
        factor = _factor(problem, ratio)
        d_z, d_y = factor.solve(-bars.z, -torch.cat([bars.lam, bars.nu], -1), REFINEMENTS)
        _require(factor.singular)
        return of_direction(point, Triple(d_z, *d_y.split([problem.m, problem.p], -1)))


def central_point(problem: QP, x: Triple, kappa: float) -> tuple[Triple, Tensor]:
    """x(κ) from a solution x, and s/λ there; all in the caller's units.

    Raises
    ------
    DifferentiationError
        Where Newton's method does not arrive.
    """
    scaled = scale_problem(problem)
    inside = scaled.weighted()
    target = kappa * scaled.c / scaled.r**2
    z, lam, nu = scaled.scale(*x)
    v = lam - (inside.h - mv(inside.G, z)).clamp(min=0)
    F = _residual(inside, z, v, nu, target)
    for _ in range(STEPS):
        if not (max_abs(F) > TARGET * _size(z, v, nu)).any():
            break
        lam, s = _both(v, target)
        factor = _factor(inside, s / lam)
        r_z, r_y = F.split([problem.n, problem.m + problem.p], -1)
        dz, dy = factor.solve(-r_z, -r_y, REFINEMENTS)
        dlam, dnu = dy.split([problem.m, problem.p], -1)
        dv = dlam + dlam * s / lam  # ds = −(s/λ) dλ keeps λs = κ to first order
        z, v, nu, F, moved = _shortened(inside, (z, v, nu), (dz, dv, dnu), F, target)
        if not moved:
            break
    _require(~(max_abs(F) <= MISSED * _size(z, v, nu)))
    lam, s = _both(v, target)
    return Triple(*scaled.unscale(z, lam, nu)), (scaled.c / scaled.E_G**2) * s / lam


def _both(v: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """λ and s of v = λ − s, without cancellation."""
    larger = 0.5 * (torch.sqrt(v * v + 4 * target) + v.abs())
    smaller = target / larger
    return torch.where(v > 0, larger, smaller), torch.where(v > 0, smaller, larger)


def _residual(problem: QP, z: Tensor, v: Tensor, nu: Tensor, target: Tensor) -> Tensor:
    """The linear equations of (1), side by side."""
    lam, s = _both(v, target)
    rows = (mv(problem.G, z) + s - problem.h, mv(problem.A, z) - problem.b)
    return torch.cat([stationarity(problem, z, lam, nu), *rows], -1)


def _shortened(
    problem: QP, at: tuple[Tensor, ...], step: tuple[Tensor, ...], F: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, bool]:
    """The step of each element, halved until the residual falls; whether any moved."""
    size = torch.ones_like(at[0][:, :1])
    before, enough = F.norm(dim=-1, keepdim=True), TARGET * _size(*at).unsqueeze(-1)
    trial, found, falls = at, F, torch.zeros_like(size, dtype=torch.bool)
    for _ in range(HALVINGS):
        trial = tuple(u + size * du for u, du in zip(at, step, strict=True))
        found = _residual(problem, *trial, target)
        falls = found.norm(dim=-1, keepdim=True) <= ((1 - 1e-4 * size) * before).maximum(enough)
        if falls.all():
            break
        size = torch.where(falls, size, 0.5 * size)
    z, v, nu = (torch.where(falls, new, old) for new, old in zip(trial, at, strict=True))
    return z, v, nu, torch.where(falls, found, F), bool(falls.any())


def _size(*parts: Tensor) -> Tensor:
    return 1 + max_abs(torch.cat(parts, -1))


def _factor(problem: QP, ratio: Tensor) -> ConicFactor:
    batch = len(ratio)
    Q, G, A = (M.expand(batch, *M.shape[-2:]) for M in (problem.Q, problem.G, problem.A))
    return ConicFactor.of(Q, torch.cat([G, A], -2), torch.cat([ratio, ratio.new_zeros(batch, problem.p)], -1))


def _require(bad: Tensor) -> None:
    if bad.any():
        raise DifferentiationError(
            f"the central path was not found in {int(bad.sum())} of {len(bad)} solved problems (no point satisfies "
            "Gz < h and Az = b, rows of A are dependent, or kappa is too small for the rounding of these data): "
            'adjoint="smoothed" has no derivative there; take a larger kappa, or adjoint="implicit"'
        )
