r"""Argmin differentiation with inequality constraints, by a logarithmic barrier and its limit.

Replace min f₀(x, y) subject to f_i(x, y) ≤ 0 by the minimiser g_t of t f₀ + φ, φ = −Σ log(−f_i). Then

    g_t′(x) = −(t f₀,YY + φ_YY)⁻¹ (t f₀,XY + φ_XY),
    φ_YY = Σ f_i⁻² ∇f_i ∇f_iᵀ − f_i⁻¹ ∇²f_i,    φ_XY = Σ f_i⁻² ∇f_i ∂_x f_i − f_i⁻¹ ∂_x∇f_i.

Gould et al. 2016 (arXiv 1607.05447), inequality constraints. The formula is exact for every t; its limit is
in `proofs.argmin_barrier_limit`. Brute force: Powell's hybrid method and central differences.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import root

from proofs.common import central_difference, generator, relative_error
from proofs.common.differences import Array
from proofs.ledger import check

SOURCE = "Gould et al. 2016, inequality constraints by log barrier"
N, M = 3, 3


def printed(t, f, grad, hess, dx, dx_grad, f0_yy, f0_xy, solve):
    """The barrier formula; f, grad, hess, dx, dx_grad hold f_i, ∇f_i, ∇²f_i, ∂_x f_i and ∂_x∇f_i."""
    terms = range(len(f))
    phi_yy = sum(np.outer(grad[i], grad[i]) / f[i] ** 2 - hess[i] / f[i] for i in terms)
    phi_xy = sum(grad[i] * dx[i] / f[i] ** 2 - dx_grad[i] / f[i] for i in terms)
    return -solve(t * f0_yy + phi_yy, t * f0_xy + phi_xy)


def exact_errors(sign: int, instances: int) -> Iterator[float]:
    """Finite t: f₀ quadratic, f_i = ½r_i‖y‖² + (a_i + x e_i)ᵀy − d_i, against differences of the barrier
    minimiser.
    """
    for k in range(instances):
        rng = generator("argmin_barrier.exact", k)
        half, c, v = rng.standard_normal((N, N)), rng.standard_normal(N), rng.standard_normal(N)
        P, r, d = half @ half.T / N + np.eye(N), rng.uniform(0.2, 1, M), rng.uniform(0.5, 1.5, M)
        a, e, x0, t = (
            rng.standard_normal((M, N)),
            rng.standard_normal((M, N)),
            rng.uniform(-0.5, 0.5),
            rng.uniform(1, 5),
        )

        def constraints(x: float, y: Array, r=r, a=a, e=e, d=d) -> Array:
            return r * (y @ y) / 2 + (a + x * e) @ y - d

        def minimiser(x: Array, t=t, P=P, c=c, v=v, r=r, a=a, e=e, constraints=constraints) -> Array:
            def slope(u: Array) -> Array:
                grad = np.outer(r, u) + a + x * e
                return t * (P @ u + c + x * v) - grad.T @ (1 / constraints(x, u))

            found = root(slope, np.zeros(N), tol=1e-14).x
            if not (np.all(constraints(x, found) < 0) and np.max(np.abs(slope(found))) < 1e-9):
                raise ArithmeticError("the barrier problem was not solved")
            return found

        y = minimiser(np.array(x0))
        grad = np.outer(r, y) + a + x0 * e
        hess = [r_i * np.eye(N) for r_i in r]
        value = printed(t, constraints(x0, y), grad, hess, e @ y, sign * e, P, v, np.linalg.solve)
        yield relative_error(value, central_difference(minimiser, np.array(x0), step=1e-3))


@check(
    item=1,
    statement="g_t′(x) = −(t f_YY + φ_YY)⁻¹(t f_XY + φ_XY) for finite t",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-7,
)
def barrier_exact(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from exact_errors(1, instances)


@barrier_exact.negative("the sign of ∂_x∇f_i in φ_XY changed")
def barrier_exact_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from exact_errors(-1, instances)
