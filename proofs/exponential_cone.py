r"""Projection on the exponential cone and its derivative, at smooth points and at kinks.

Statement. K = cl{(x, y, z) : y > 0, y e^{x/y} ≤ z}. Π(v) = v on K, 0 on the polar −K*,
(x, 0, max(z, 0)) where x ≤ 0, y ≤ 0. Elsewhere put p(ρ) = (ρ, 1, e^ρ), a ray of the boundary, and
n(ρ) = (e^ρ, (1 − ρ)e^ρ, −1), its outward normal. Exactly one ρ has
v = α p(ρ) + β n(ρ) with α, β > 0; it is a root of det[v, p(ρ), n(ρ)] = 0,
and Π(v) = α p(ρ). With g(x, y, z) = y e^{x/y} − z and μ = β, the derivative is the upper left block of

    [ I + μ∇²g   ∇g ;  ∇gᵀ   0 ]⁻¹                              (Ali, Wong & Kolter)

which is also [p, 0, αp'] [p, n, αp' + βn']⁻¹. On the smooth part of the boundary of K the directional
derivative is d − n̂ max(n̂ᵀd, 0).

Literature. Parikh & Boyd (2014), §6.3.4 (cases); Ali, Wong & Kolter (2017) (derivative); Friberg (2023)
(root of one variable).

Check. 50 digits against Newton's method on the Lagrange system, started by Clarabel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.optimize import root_scalar

from proofs.common import generator
from proofs.common.boundary import boundary_projector
from proofs.common.high_precision import array, difference, error, exact, matrix, mp, one_sided
from proofs.ledger import check

SOURCE = "Ali, Wong & Kolter (2017); Friberg (2023)"
GRID = np.linspace(-12.0, 8.0, 4001)


def ray(rho: Any) -> np.ndarray:
    """p(ρ) = (ρ, 1, e^ρ)."""
    return np.array([rho, mp.mpf(1), mp.exp(rho)], dtype=object)


def normal(rho: Any) -> np.ndarray:
    """n(ρ) = (e^ρ, (1 − ρ)e^ρ, −1)."""
    return np.array([mp.exp(rho), (1 - rho) * mp.exp(rho), -mp.mpf(1)], dtype=object)


def determinant(v: np.ndarray, rho: Any) -> Any:
    """det[v, p(ρ), n(ρ)] in doubles, divided by e^{2ρ} + 1 to keep its size."""
    e = np.exp(rho)
    cross = np.array([-1 - (1 - rho) * e**2, e**2 + rho, -(1 - rho + rho**2) * e])
    return v @ cross / (e**2 + 1)


def locate(v: np.ndarray) -> float:
    """The root ρ with α, β > 0, in doubles: by sign changes on a grid and Brent's method.

    Raises
    ------
    ValueError
        If no root of the grid's range has α, β > 0: v lies in K, in −K* or in the quadrant x, y ≤ 0.
    """
    values = determinant(v, GRID)
    for i in np.flatnonzero(values[:-1] * values[1:] <= 0):
        rho = root_scalar(lambda s: determinant(v, s), bracket=(GRID[i], GRID[i + 1]), xtol=1e-15).root
        if min(coefficients(v, mp.mpf(rho))) > 0:
            return rho
    raise ValueError(
        f"{v} has no projection on the curved boundary; give a point outside K, −K* and the quadrant"
    )


def coefficients(v: np.ndarray, rho: Any) -> tuple[Any, Any]:
    """α and β, from the orthogonality of p and n."""
    p, n = ray(rho), normal(rho)
    return (v @ p) / (p @ p), (v @ n) / (n @ n)


def project(v: list) -> np.ndarray:
    """The printed Π(v) = α p(ρ) at 50 digits."""
    w = np.array(v, dtype=object)
    rho = root_of(w)
    return coefficients(w, rho)[0] * ray(rho)


def root_of(w: np.ndarray) -> Any:
    """ρ at 50 digits: secant iteration from its value in doubles."""
    start = locate(w.astype(float))

    def exact_determinant(rho: Any) -> Any:
        return w @ np.cross(ray(rho), normal(rho))

    return mp.findroot(
        exact_determinant, (mp.mpf(start), mp.mpf(start) + mp.mpf("1e-9")), tol=mp.mpf("1e-80")
    )


def hessian(p: np.ndarray) -> np.ndarray:
    """∇²g of g = y e^{x/y} − z."""
    x, y, _ = p
    e = mp.exp(x / y)
    zero = mp.mpf(0)
    return np.array(
        [[e / y, -x * e / y**2, zero], [-x * e / y**2, x**2 * e / y**3, zero], [zero, zero, zero]],
        dtype=object,
    )


def bordered_inverse(curvature: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Upper left block of [I + C, s; sᵀ, 0]⁻¹."""
    n = len(slope)
    bordered = np.full((n + 1, n + 1), mp.mpf(0), dtype=object)
    bordered[:n, :n] = np.eye(n, dtype=object) + curvature
    bordered[:n, n], bordered[n, :n] = slope, slope
    return array(matrix(bordered) ** -1)[:n, :n]


def jacobian(v: list, curvature: bool = True) -> np.ndarray:
    """The printed bordered inverse; `curvature` = False leaves out μ∇²g."""
    w = np.array(v, dtype=object)
    rho = root_of(w)
    alpha, beta = coefficients(w, rho)
    return bordered_inverse(beta * hessian(alpha * ray(rho)) * int(curvature), normal(rho))


def jacobian_by_rays(v: list) -> np.ndarray:
    """The second printed form [p, 0, αp'] [p, n, αp' + βn']⁻¹."""
    w = np.array(v, dtype=object)
    rho = root_of(w)
    alpha, beta = coefficients(w, rho)
    e, zero = mp.exp(rho), mp.mpf(0)
    p, n = ray(rho), normal(rho)
    p_slope = np.array([mp.mpf(1), zero, e], dtype=object)
    n_slope = np.array([e, -rho * e, zero], dtype=object)
    moved = np.column_stack([p, n, alpha * p_slope + beta * n_slope])
    return np.column_stack([p, 0 * p, alpha * p_slope]) @ array(matrix(moved) ** -1)


def surface(p: list) -> Any:
    """The function y e^{x/y} − z."""
    return p[1] * mp.exp(p[0] / p[1]) - p[2]


def gradient(p: list) -> list:
    """∇g."""
    e = mp.exp(p[0] / p[1])
    return [e, (1 - p[0] / p[1]) * e, -mp.mpf(1)]


def outside_point(name: str, k: int) -> np.ndarray:
    """α p(ρ) + β n(ρ), rounded: a random point that is projected on the curved boundary."""
    rng = generator(name, k)
    rho, alpha, beta = mp.mpf(rng.uniform(-2, 1.5)), rng.uniform(0.3, 2), rng.uniform(0.3, 2)
    return (alpha * ray(rho) + beta * normal(rho)).astype(float)


@check(
    item=6,
    statement="exponential cone: Π(v) = α p(ρ) at the root ρ of det[v, p, n], DΠ by two printed forms",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def exponential_projection(instances: int) -> Iterator[float]:
    """Value and derivative at 50 digits."""
    for k in range(instances):
        near = outside_point("exponential cone", k)
        f, v = boundary_projector(near, ("exponential", 3), surface, gradient), exact(near)
        yield error(project(v), np.array(f(v), dtype=object))
        measured = difference(f, v)
        yield error(jacobian(v), measured)
        yield error(jacobian_by_rays(v), measured)


@exponential_projection.negative("the bordered inverse without the curvature μ∇²g")
def _no_curvature(instances: int) -> Iterator[float]:
    for k in range(instances):
        near = outside_point("exponential cone", k)
        f, v = boundary_projector(near, ("exponential", 3), surface, gradient), exact(near)
        yield error(jacobian(v, curvature=False), difference(f, v))


def _kink_errors(instances: int, linear: bool) -> Iterator[float]:
    for k in range(instances):
        rng = generator("exponential kink", k)
        rho = mp.mpf(rng.uniform(-2, 1.5))
        v, n = ray(rho) * mp.mpf(rng.uniform(0.5, 2)), normal(rho) / mp.norm(list(normal(rho)))
        d = np.array(exact(rng.normal(size=3)), dtype=object)
        near = (v + mp.mpf("1e-3") * n).astype(float)
        newton = boundary_projector(near, ("exponential", 3), surface, gradient)

        def projection(w: list, newton=newton) -> list:
            return list(w) if surface(w) <= mp.mpf("1e-45") else newton(w)

        part = n @ d
        printed = d - n * (part if linear else max(part, mp.mpf(0)))
        yield error(printed, np.array(one_sided(projection, list(v), list(d)), dtype=object))


@check(
    item=6,
    statement="exponential cone: directional derivative d − n̂ max(n̂ᵀd, 0) on the boundary",
    source="Shapiro (1990): directional differentiability of projections",
    strength="numeric",
    tolerance=1e-20,
)
def exponential_kink(instances: int) -> Iterator[float]:
    """One-sided differences with a step of 1e-25 at 50 digits."""
    yield from _kink_errors(instances, linear=False)


@exponential_kink.negative("the projection on the tangent plane, which forgets that K has an inside")
def _tangent_plane(instances: int) -> Iterator[float]:
    yield from _kink_errors(instances, linear=True)
