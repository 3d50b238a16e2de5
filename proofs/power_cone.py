r"""Projection on the power cone and its derivative, at smooth points and where z = 0.

Statement. K = {(x, y, z) : x^α y^{1−α} ≥ |z|, x, y ≥ 0}, 0 < α < 1. Π(v) = v on K, 0 on −K*, and
(max(x, 0), max(y, 0), 0) where z = 0. Elsewhere Π(v) = (X(r), Y(r), sign(z) r) with

    X(r) = ½(x + √(x² + 4αr(|z| − r))),  Y(r) = ½(y + √(y² + 4(1 − α)r(|z| − r))),

r the only root in (0, |z|) of X(r)^α Y(r)^{1−α} = r. Its derivative follows by differentiating that
equation, and equals the upper left block of [I + μ∇²g, ∇g; ∇gᵀ, 0]⁻¹ for g = |z| − x^α y^{1−α}, μ = |z| − r.
Where z = 0 and y < 0 < x the map is differentiable and ∂Π_z/∂z is 0 for α < ½, x/(x + 2|y|) for α = ½, 1 for
α > ½: a rule that returns the derivative of the orthant there is wrong for α ≥ ½.

Literature. Hien (2015), Proposition 2.2, and the differentiability studied there.

Check. 50 digits against Newton's method on the Lagrange system, started by Clarabel; at z = 0 against
quotients of the projection for z = 1e-12.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from proofs.common import generator
from proofs.common.boundary import boundary_projector
from proofs.common.high_precision import difference, error, exact, mp
from proofs.exponential_cone import bordered_inverse
from proofs.ledger import check

SOURCE = "Hien (2015), Proposition 2.2"


def first_two(v: list, r: Any, alpha: Any) -> tuple[Any, Any]:
    """The printed X(r) and Y(r)."""
    x, y, z = v
    product = r * (abs(z) - r)
    return (x + mp.sqrt(x**2 + 4 * alpha * product)) / 2, (y + mp.sqrt(y**2 + 4 * (1 - alpha) * product)) / 2


def radius(v: list, alpha: Any) -> Any:
    """The root r by bisection: the left side minus r changes sign once on (0, |z|)."""
    low, high = mp.mpf(0), abs(v[2])
    # 50 digits of r itself, however small it is, take a bisection that also halves the exponent.
    for _ in range(400):
        middle = (low + high) / 2
        X, Y = first_two(v, middle, alpha)
        if X**alpha * Y ** (1 - alpha) > middle:
            low = middle
        else:
            high = middle
    return high


def project(v: list, alpha: Any) -> list:
    """The printed projection for a point outside K and −K* with z ≠ 0."""
    r = radius(v, alpha)
    return [*first_two(v, r, alpha), r * mp.sign(v[2])]


def jacobian(v: list, alpha: Any) -> np.ndarray:
    """Implicit differentiation of X(r)^α Y(r)^{1−α} = r."""
    r = radius(v, alpha)
    X, Y = first_two(v, r, alpha)
    x, y, z = v
    zeta, sign = abs(z), mp.sign(z)
    root_x, root_y = 2 * X - x, 2 * Y - y
    # Rows: the derivatives of X and Y in (x, y, ζ) at fixed r, and in r.
    X_v = np.array([X / root_x, mp.mpf(0), alpha * r / root_x], dtype=object)
    Y_v = np.array([mp.mpf(0), Y / root_y, (1 - alpha) * r / root_y], dtype=object)
    X_r, Y_r = alpha * (zeta - 2 * r) / root_x, (1 - alpha) * (zeta - 2 * r) / root_y
    # Logarithmic derivative of the equation: α dX/X + (1 − α) dY/Y = dr/r.
    r_v = (alpha * X_v / X + (1 - alpha) * Y_v / Y) / (1 / r - alpha * X_r / X - (1 - alpha) * Y_r / Y)
    J = np.array([X_v + X_r * r_v, Y_v + Y_r * r_v, r_v], dtype=object)
    J[:, 2] *= sign
    J[2, :] *= sign
    return J


def bordered_jacobian(v: list, alpha: Any, curvature: bool = True) -> np.ndarray:
    """The printed bordered inverse; `curvature` = False leaves out μ∇²g."""
    x, y, z = project(v, alpha)
    m = x**alpha * y ** (1 - alpha)
    beta = 1 - alpha
    mixed = -alpha * beta * m / (x * y)
    H = np.full((3, 3), mp.mpf(0), dtype=object)
    H[0, 0], H[1, 1], H[0, 1], H[1, 0] = alpha * beta * m / x**2, alpha * beta * m / y**2, mixed, mixed
    slope = np.array([-alpha * m / x, -beta * m / y, mp.sign(z)], dtype=object)
    return bordered_inverse((abs(v[2]) - abs(z)) * H * int(curvature), slope)


def outside_point(name: str, k: int) -> tuple[np.ndarray, float]:
    """A point Π + μ∇g of random Π on the boundary and μ > 0, rounded; and α."""
    rng = generator(name, k)
    alpha, (x, y), mu = rng.uniform(0.15, 0.85), rng.uniform(0.5, 2, size=2), rng.uniform(0.3, 2)
    m, sign = x**alpha * y ** (1 - alpha), 1.0 if k % 2 else -1.0
    return np.array([x - mu * alpha * m / x, y - mu * (1 - alpha) * m / y, sign * (m + mu)]), float(alpha)


def _measured(near: np.ndarray, alpha: float) -> tuple[list, np.ndarray]:
    a, sign = mp.mpf(alpha), mp.sign(near[2])

    def surface(p: list) -> Any:
        return sign * p[2] - p[0] ** a * p[1] ** (1 - a)

    def gradient(p: list) -> list:
        m = p[0] ** a * p[1] ** (1 - a)
        return [-a * m / p[0], -(1 - a) * m / p[1], sign]

    f = boundary_projector(near, ("power", alpha), surface, gradient)
    return f(exact(near)), difference(f, exact(near))


@check(
    item=6,
    statement="power cone: Π(v) = (X(r), Y(r), ±r) at the root r, DΠ by two printed forms",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def power_projection(instances: int) -> Iterator[float]:
    """Value and derivative at 50 digits."""
    for k in range(instances):
        near, alpha = outside_point("power cone", k)
        v, a = exact(near), mp.mpf(alpha)
        value, measured = _measured(near, alpha)
        yield error(project(v, a), value)
        yield error(jacobian(v, a), measured)
        yield error(bordered_jacobian(v, a), measured)


@power_projection.negative("the bordered inverse without the curvature μ∇²g")
def _no_curvature(instances: int) -> Iterator[float]:
    for k in range(instances):
        near, alpha = outside_point("power cone", k)
        flat = bordered_jacobian(exact(near), mp.mpf(alpha), curvature=False)
        yield error(flat, _measured(near, alpha)[1])


def derivative_at_zero(x: Any, y: Any, alpha: Any) -> Any:
    """The printed ∂Π_z/∂z at z = 0, y < 0 < x."""
    if alpha == mp.mpf(1) / 2:
        return x / (x + 2 * abs(y))
    return mp.mpf(int(alpha > mp.mpf(1) / 2))


def _at_zero_errors(instances: int, orthant: bool) -> Iterator[float]:
    z = mp.mpf("1e-12")
    for k in range(instances):
        rng = generator("power cone at zero", k)
        x, y = mp.mpf(rng.uniform(0.5, 2)), -mp.mpf(rng.uniform(0.5, 2))
        # The remainder is of order z^{(1−α)/α − 1} or its mirror image: z² at ¼ and ¾, and z² at ½.
        alpha = (mp.mpf(1) / 4, mp.mpf(1) / 2, mp.mpf(3) / 4)[k % 3]
        printed = mp.mpf(0) if orthant else derivative_at_zero(x, y, alpha)
        yield error([printed], [project([x, y, z], alpha)[2] / z])


@check(
    item=6,
    statement="power cone at z = 0, y < 0 < x: ∂Π_z/∂z = 0, x/(x + 2|y|), 1 for α <, =, > ½",
    source="Hien (2015), differentiability of the projection",
    strength="numeric",
    tolerance=1e-20,
)
def power_at_zero(instances: int) -> Iterator[float]:
    """Quotient Π_z/z for z = 1e-12 at 50 digits."""
    yield from _at_zero_errors(instances, orthant=False)


@power_at_zero.negative("the derivative of the projection on the orthant, 0 for every α")
def _orthant(instances: int) -> Iterator[float]:
    yield from _at_zero_errors(instances, orthant=True)
