r"""Moreau's decomposition, and what every derivative of a projection on a cone has in common.

Statement. Let K be a closed convex cone with polar K° = −K*. Every v is p + n with p = Π_K(v), n = Π_{K°}(v),
and p ⊥ n; conversely p ∈ K, n ∈ K°, p ⊥ n and v = p + n make p and n the projections. Where Π_K is
differentiable its Jacobian J is symmetric with 0 ≼ J ≼ I, J v = Π_K(v) (Euler), J p = p, J n = 0, and that
of Π_{K°} is I − J. For a product of cones all of it holds block by block.

Literature. Moreau (1962); Bauschke & Combettes (2017), Theorem 6.30; Busseti, Moursi & Boyd (2019).

Check. Both projections by Clarabel from their definitions: zero, nonnegative, second-order, semidefinite,
exponential and power cones. K* of the exponential cone is {(a, b, c) : (a − b, −a, c) ∈ K}, that of the power
cone {(a, b, c) : (a/α, b/(1 − α), c) ∈ K}. The Jacobians are the formulas of the other files of this item.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import nnls

from proofs import exponential_cone, power_cone, second_order_cone
from proofs.common import generator, relative_error
from proofs.common.high_precision import exact, mp
from proofs.common.oracle import project, solve_cone_program
from proofs.ledger import check

SOURCE = "Moreau (1962); Bauschke & Combettes (2017), Theorem 6.30"
ALPHA = 0.3
CONES = {
    "zero": (("zero", 3), None),
    "nonnegative": (("nonnegative", 4), np.eye(4)),
    "second_order": (("second_order", 4), np.eye(4)),
    "semidefinite": (("semidefinite", 3), np.eye(6)),
    "exponential": (("exponential", 3), np.array([[1.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])),
    "power": (("power", ALPHA), np.diag([1 / ALPHA, 1 / (1 - ALPHA), 1.0])),
}


def dual_projection(v: np.ndarray, name: str) -> np.ndarray:
    """Π_{K*}(v) by Clarabel: K* = {w : Lw ∈ K}, and the whole space for the zero cone."""
    cone, L = CONES[name]
    if L is None:
        return v
    return solve_cone_program(-L, np.zeros(len(v)), -v, [cone], np.eye(len(v))).x


def _cases(instances: int) -> Iterator[tuple[str, np.ndarray]]:
    for k in range(instances):
        name = list(CONES)[k % len(CONES)]
        (_, size), L = CONES[name]
        yield name, generator("moreau", k).normal(size=int(size) if L is None else len(L))


@check(
    item=6,
    statement="v = Π_K(v) + Π_{K°}(v), Π_K(v) ⊥ Π_{K°}(v), K° = −K*, for six cones",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-6,
    instances=60,
)
def moreau(instances: int) -> Iterator[float]:
    """Both projections by Clarabel from their definitions; its accuracy sets the tolerance."""
    for name, v in _cases(instances):
        p, n = project(v, [CONES[name][0]]), -dual_projection(-v, name)
        yield relative_error(p + n, v)
        yield abs(float(p @ n))


@moreau.negative("the dual cone K* in place of the polar −K*")
def _dual(instances: int) -> Iterator[float]:
    for name, v in _cases(instances):
        yield relative_error(project(v, [CONES[name][0]]) + dual_projection(v, name), v)


def _generated(instances: int, convex: bool) -> Iterator[float]:
    for k in range(instances):
        rng = generator("generated cone", k)
        # Rays around (1, …, 1), and a point among them: its nearest ray is not its projection on their hull.
        rays = 1 + 0.5 * rng.normal(size=(4, 3))
        v = rays @ rng.uniform(0.5, 1.5, size=3) + 0.1 * rng.normal(size=4)
        if convex:
            p = rays @ nnls(rays, v)[0]
        else:
            on_rays = rays * np.maximum(rays.T @ v, 0) / np.sum(rays**2, axis=0)
            p = on_rays[:, np.argmin(np.linalg.norm(on_rays - v[:, None], axis=0))]
        yield max(0.0, float(np.max(rays.T @ (v - p))), abs(float(p @ (v - p))))


@check(
    item=6,
    statement="v − Π(v) lies in the polar, for the convex hull of rays",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-12,
)
def polar_remainder(instances: int) -> Iterator[float]:
    """Projection by nonnegative least squares; the remainder is tried on every ray."""
    yield from _generated(instances, convex=True)


@polar_remainder.negative("the union of the rays without its hull: a cone that is not convex")
def _union(instances: int) -> Iterator[float]:
    yield from _generated(instances, convex=False)


def structure_error(v: np.ndarray, p: np.ndarray, J: np.ndarray) -> float:
    """Largest violation of Jᵀ = J, 0 ≼ J ≼ I, Jv = p, Jp = p, J(v − p) = 0."""
    eigenvalues = np.linalg.eigvalsh((J + J.T) / 2)
    bounds = max(0.0, -eigenvalues[0], eigenvalues[-1] - 1)
    return max(
        relative_error(J, J.T),
        bounds,
        relative_error(J @ v, p),
        relative_error(J @ p, p),
        relative_error(J @ (v - p), 0 * v),
    )


def _formulas(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if k % 3 == 0:
        v = generator("structure", k).normal(size=4)
        return v, second_order_cone.project(v), second_order_cone.jacobian(v)
    if k % 3 == 1:
        v = exponential_cone.outside_point("structure", k)
        p, J = exponential_cone.project(exact(v)), exponential_cone.jacobian(exact(v))
    else:
        v, alpha = power_cone.outside_point("structure", k)
        a = mp.mpf(alpha)
        p, J = np.array(power_cone.project(exact(v), a)), power_cone.jacobian(exact(v), a)
    return v, p.astype(float), J.astype(float)


@check(
    item=6,
    statement="DΠ of a cone is symmetric, 0 ≼ DΠ ≼ I, DΠ v = Π(v), DΠ Π(v) = Π(v)",
    source="Busseti, Moursi & Boyd (2019)",
    strength="numeric",
    tolerance=1e-12,
    instances=30,
)
def derivative_structure(instances: int) -> Iterator[float]:
    """The Jacobian formulas of the second-order, exponential and power cones."""
    for k in range(instances):
        yield structure_error(*_formulas(k))


@derivative_structure.negative("the unit ball, which is convex but no cone: J v = 0 there")
def _ball(instances: int) -> Iterator[float]:
    for k in range(instances):
        v = 3 * generator("ball", k).normal(size=4) + 1
        r = np.linalg.norm(v)
        yield structure_error(v, v / r, (np.eye(4) - np.outer(v, v) / r**2) / r)


@check(
    item=6,
    statement="D Π_{K°} = I − D Π_K for the second-order cone, written as DΠ(v) + DΠ(−v) = I",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-12,
)
def complementary_derivatives(instances: int) -> Iterator[float]:
    """K is self-dual, so that Π_{K°}(v) = −Π_K(−v) has the Jacobian DΠ_K(−v)."""
    for k in range(instances):
        v = generator("complementary", k).normal(size=4)
        yield relative_error(second_order_cone.jacobian(v) + second_order_cone.jacobian(-v), np.eye(4))


@complementary_derivatives.negative("the dual cone in place of the polar: DΠ(v) + DΠ(v)")
def _twice(instances: int) -> Iterator[float]:
    for k in range(instances):
        v = generator("complementary", k).normal(size=4)
        yield relative_error(2 * second_order_cone.jacobian(v), np.eye(4))
