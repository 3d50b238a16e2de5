r"""Projection on the second-order cone and its derivative, at smooth points and at kinks.

Statement. Let K = {(t, x) : ‖x‖ ≤ t}, v = (t, x), r = ‖x‖ and x̂ = x/r. Then Π(v) = v if r ≤ t, 0 if r ≤ −t,
and ½(1 + t/r)(r, x) otherwise. Off the boundaries of K and of −K the derivative is I, 0, or

    (1/2r) [ r   xᵀ ;  x   (t + r) I − t x̂ x̂ᵀ ].

On the boundary of K (r = t > 0) the directional derivative is d − n max(nᵀd, 0), n = (−1, x̂)/√2; on that of
−K (r = −t > 0) it is p max(pᵀd, 0), p = (1, x̂)/√2; at the apex it is Π(d).

Literature. Busseti, Moursi & Boyd (2019); Outrata & Sun (2008) for the kinks.

Check. 50 digits against Newton's method on the Lagrange system of min ½‖p − v‖², ‖x_p‖² = t_p².
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy

from proofs.common import generator
from proofs.common.boundary import boundary_projector
from proofs.common.high_precision import difference, error, exact, mp, one_sided
from proofs.ledger import check

SIZE = 4
SOURCE = "Busseti, Moursi & Boyd (2019)"


def project(v: np.ndarray) -> np.ndarray:
    """The printed three cases; works for doubles and for 50-digit numbers."""
    t, x = v[0], v[1:]
    r = (x @ x) ** 0.5
    if r <= t:
        return v
    if r <= -t:
        return 0 * v
    return (1 + t / r) / 2 * np.concatenate([[r], x])


def jacobian(v: np.ndarray) -> np.ndarray:
    """The printed derivative off the boundaries of K and −K."""
    t, x = v[0], v[1:]
    r = (x @ x) ** 0.5
    identity = np.eye(len(v), dtype=v.dtype)
    if r <= t:
        return identity
    if r <= -t:
        return 0 * identity
    unit = x / r
    lower = (t + r) * identity[1:, 1:] - t * np.outer(unit, unit)
    return np.block([[np.array([[r]]), x[None, :]], [x[:, None], lower]]) / (2 * r)


def directional_at_kink(v: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The printed directional derivative where r = |t| > 0."""
    t, x = v[0], v[1:]
    unit = np.concatenate([[-mp.mpf(1) if t > 0 else mp.mpf(1)], x / (x @ x) ** 0.5]) / mp.sqrt(2)
    part = unit * max(unit @ d, mp.mpf(0))
    return d - part if t > 0 else part


def surface(p: list) -> Any:
    """‖x‖² − t², zero on the boundary."""
    return sum(value**2 for value in p[1:]) - p[0] ** 2


def gradient(p: list) -> list:
    """Gradient of `surface`."""
    return [-2 * p[0]] + [2 * value for value in p[1:]]


def brute_force(near: np.ndarray) -> Callable[[list], list]:
    """The projection for points close to `near`: itself inside, 0 in the polar, Newton's method between."""
    inside, polar = near[0] >= np.linalg.norm(near[1:]), -near[0] >= np.linalg.norm(near[1:])
    if inside or polar:
        return lambda v: list(v) if inside else [0 * value for value in v]
    return boundary_projector(near, ("second_order", len(near)), surface, gradient)


def _point(k: int) -> np.ndarray:
    rng = generator("second-order cone", k)
    v = rng.normal(size=SIZE)
    # Every fifth point lies inside K and every fifth in −K; the others lie between.
    shift = (1.5, -1.5, 0.3, -0.3, 0.0)[k % 5]
    return np.concatenate([[shift * np.linalg.norm(v[1:])], v[1:]])


def _kink(k: int) -> tuple[np.ndarray, np.ndarray]:
    x = exact(generator("second-order kink", k).normal(size=SIZE - 1))
    radius = mp.sqrt(sum(value**2 for value in x))
    d = exact(generator("second-order direction", k).normal(size=SIZE))
    return np.array([radius if k % 2 == 0 else -radius, *x], dtype=object), np.array(d, dtype=object)


def _one_sided_projection(v: np.ndarray) -> Callable[[list], list]:
    """Brute force close to a kink: Newton's method on the boundary, or on that of the polar."""
    sign = 1 if v[0] > 0 else -1
    outside = np.array([float(sign * value) for value in v])
    outside[0] -= 1e-3
    newton = boundary_projector(outside, ("second_order", SIZE), surface, gradient)

    def projection(w: list) -> list:
        turned = [sign * value for value in w]
        on_cone = list(turned) if turned[0] ** 2 >= sum(a**2 for a in turned[1:]) else newton(turned)
        # Next to the polar −K the projection is what remains of w after its projection on −K (Moreau).
        return on_cone if sign > 0 else [a + b for a, b in zip(w, on_cone, strict=True)]

    return projection


@check(
    item=6,
    statement="second-order cone: Π and DΠ off the boundaries",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def second_order_projection(instances: int) -> Iterator[float]:
    """Value and derivative at 50 digits, in the three regions."""
    for k in range(instances):
        v, f = exact(_point(k)), brute_force(_point(k))
        yield error(project(np.array(v, dtype=object)), f(v))
        yield error(jacobian(np.array(v, dtype=object)), difference(f, v))


@second_order_projection.negative("the projection on the face of Π(v), without the curvature of the cone")
def _no_curvature(instances: int) -> Iterator[float]:
    for k in range(instances):
        v, f = exact(_point(k)), brute_force(_point(k))
        x = np.array(v[1:], dtype=object)
        ray = np.concatenate([[mp.mpf(1)], x / (x @ x) ** 0.5]) / mp.sqrt(2)
        yield error(np.outer(ray, ray), difference(f, v))


@check(
    item=6,
    statement="second-order cone: directional derivative on the boundaries of K and −K",
    source="Outrata & Sun (2008)",
    strength="numeric",
    tolerance=1e-20,
)
def second_order_kink(instances: int) -> Iterator[float]:
    """One-sided differences with a step of 1e-25 at 50 digits."""
    for k in range(instances):
        v, d = _kink(k)
        yield error(directional_at_kink(v, d), one_sided(_one_sided_projection(v), list(v), list(d)))


@second_order_kink.negative("−Π'(v; −d) for Π'(v; d), as if the map were linear there")
def _one_side_for_both(instances: int) -> Iterator[float]:
    for k in range(instances):
        v, d = _kink(k)
        yield error(-directional_at_kink(v, -d), one_sided(_one_sided_projection(v), list(v), list(d)))


def _symbolic(sign: int) -> Iterator[float]:
    t, *x = sympy.symbols("t x1 x2", real=True)
    r = sympy.sqrt(sum(value**2 for value in x))
    v, unit = sympy.Matrix([t, *x]), sympy.Matrix(x) / r
    projection = (1 + t / r) / 2 * sympy.Matrix([r, *x])
    lower = (t + r) * sympy.eye(2) + sign * t * unit * unit.T
    top = sympy.Matrix([[r, *x]])
    printed = sympy.Matrix.vstack(top, sympy.Matrix.hstack(sympy.Matrix(x), lower)) / (2 * r)
    for entry in projection.jacobian(v) - printed:
        yield float(sympy.simplify(entry) != 0)


@check(
    item=6,
    statement="second-order cone in R³: the printed Jacobian is that of ½(1 + t/r)(r, x), in symbols",
    source=SOURCE,
    strength="symbolic",
    tolerance=0.0,
    instances=9,
)
def second_order_in_symbols(instances: int) -> Iterator[float]:
    """Nine entries that simplify to zero."""
    yield from list(_symbolic(-1))[:instances]


@second_order_in_symbols.negative("+ t x̂ x̂ᵀ in place of − t x̂ x̂ᵀ")
def _symbols_flipped(instances: int) -> Iterator[float]:
    yield from _symbolic(1)
