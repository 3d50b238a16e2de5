r"""Certified projections on the exponential and power cones, certified softmax and LML.

Statement. For the given doubles v the printed projections and Jacobians, evaluated in floating point, lie
within the tolerance of the true ones. Each instance is a proof:
(1) interval Newton shows that the scalar equation (det[v, p(ρ), n(ρ)] = 0 for the exponential cone, Φ(r) = 0
for the power cone) has exactly one root in an interval;
(2) with it p ∈ K and n = v − p ∈ K° hold by the sign of α, β (of μ and r), and p ⊥ n identically, so that by
Moreau's theorem p is the projection;
(3) the Lagrange matrix [I + μ∇²g, ∇g; ∇gᵀ, 0] is inverted in ball arithmetic over the enclosure, so that the
implicit function theorem gives an enclosure of DΠ(v).
For softmax and LML the same with [diag(1/y), 1; 1ᵀ, 0] and [diag(1/y(1 − y)), 1; 1ᵀ, 0].

Literature. As in the files of these layers; interval Newton: Moore, Kearfott & Cloud (2009), chapter 8.

Check. python-flint at 200 bits; the error is a rigorous bound on the distance of the formula from the truth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import arb

from proofs import entropic_layers, exponential_cone, limited_multi_label, power_cone
from proofs.common import generator
from proofs.common.balls import NotProved, precision
from proofs.common.high_precision import exact, mp
from proofs.common.interval_newton import bordered_inverse, distance_above, enclose_root
from proofs.ledger import check

BITS = 200


def certify_exponential(v: np.ndarray, computed_root: float) -> tuple[list[arb], list[arb]]:
    """Enclosures of Π(v) and DΠ(v), proved from an approximate root."""
    r, s, t = (arb(float(value)) for value in v)

    def f(rho: arb) -> arb:
        e = rho.exp()
        return -r * (1 + (1 - rho) * e**2) + s * (e**2 + rho) - t * (1 - rho + rho**2) * e

    def slope(rho: arb) -> arb:
        e = rho.exp()
        return -r * (1 - 2 * rho) * e**2 + s * (2 * e**2 + 1) - t * (rho + rho**2) * e

    rho = enclose_root(f, slope, computed_root)
    e = rho.exp()
    ray, normal = [rho, arb(1), e], [e, (1 - rho) * e, arb(-1)]
    alpha = _dot([r, s, t], ray) / _dot(ray, ray)
    beta = _dot([r, s, t], normal) / _dot(normal, normal)
    if not (alpha > 0 and beta > 0):
        raise NotProved("α > 0 and β > 0 were not proved; the root belongs to another point")
    # ∇²g at (αρ, α, αe^ρ) is e^ρ/α times the outer product of (1, −ρ, 0) with itself.
    w, q = beta * e / alpha, [arb(1), -rho, arb(0)]
    upper = [[w * q[i] * q[j] + int(i == j) for j in range(3)] for i in range(3)]
    return [alpha * value for value in ray], _flat(bordered_inverse(upper, normal))


def certify_power(v: np.ndarray, exponent: float, computed_root: float) -> tuple[list[arb], list[arb]]:
    """Enclosures of Π(v) and DΠ(v), proved from an approximate root; for v_z > 0."""
    x, y, z = (arb(float(value)) for value in v)
    a = arb(exponent)

    def parts(r: arb) -> tuple[arb, arb, arb, arb]:
        root_x = (x**2 + 4 * a * r * (z - r)).sqrt()
        root_y = (y**2 + 4 * (1 - a) * r * (z - r)).sqrt()
        return (x + root_x) / 2, (y + root_y) / 2, root_x, root_y

    def f(r: arb) -> arb:
        X, Y, _, _ = parts(r)
        return a * X.log() + (1 - a) * Y.log() - r.log()

    def slope(r: arb) -> arb:
        X, Y, root_x, root_y = parts(r)
        return (z - 2 * r) * (a**2 / (X * root_x) + (1 - a) ** 2 / (Y * root_y)) - 1 / r

    r = enclose_root(f, slope, computed_root)
    X, Y, _, _ = parts(r)
    if not (X > 0 and Y > 0 and r > 0 and z - r > 0):
        raise NotProved("the signs of the projection and of its multiplier were not proved")
    # On the boundary x^α y^{1−α} = r, so that ∇g = (−αr/x, −(1−α)r/y, 1) and ∇²g = α(1−α) r q qᵀ.
    w, q = (z - r) * a * (1 - a) * r, [1 / X, -1 / Y, arb(0)]
    upper = [[w * q[i] * q[j] + int(i == j) for j in range(3)] for i in range(3)]
    return [X, Y, r], _flat(bordered_inverse(upper, [-a * r / X, -(1 - a) * r / Y, arb(1)]))


def certify_simplex(weights: list[arb]) -> list[arb]:
    """Enclosure of the derivative of an entropic layer whose Hessian is diag(weights), with 1ᵀy fixed."""
    n = len(weights)
    upper = [[weights[i] if i == j else arb(0) for j in range(n)] for i in range(n)]
    return _flat(bordered_inverse(upper, [arb(1)] * n))


def _dot(a: list[arb], b: list[arb]) -> arb:
    return sum((p * q for p, q in zip(a, b, strict=True)), arb(0))


def _flat(rows: list[list[arb]]) -> list[arb]:
    return [value for row in rows for value in row]


def _exponential_errors(instances: int, scale: float) -> Iterator[float]:
    for k in range(instances):
        v = exponential_cone.outside_point("certified exponential", k)
        with precision(BITS):
            value, derivative = certify_exponential(v, exponential_cone.locate(v))
            yield distance_above(exponential_cone.project(exact(v)), value)
            yield distance_above(scale * exponential_cone.jacobian_by_rays(exact(v)).ravel(), derivative)


@check(
    item=6,
    statement="exponential cone: Π(v) and DΠ(v) enclosed by interval Newton and Moreau's certificate",
    source=exponential_cone.SOURCE,
    strength="certified",
    tolerance=1e-14,
)
def certified_exponential(instances: int) -> Iterator[float]:
    """Bound on the distance of the printed forms, rounded to doubles, from the enclosures."""
    yield from _exponential_errors(instances, 1.0)


@certified_exponential.negative("the Jacobian scaled by 1 + 1e-12")
def _scaled_exponential(instances: int) -> Iterator[float]:
    yield from _exponential_errors(instances, 1.0 + 1e-12)


def _power_errors(instances: int, scale: float) -> Iterator[float]:
    for k in range(instances):
        v, alpha = power_cone.outside_point("certified power", 2 * k + 1)
        a, w = mp.mpf(alpha), exact(v)
        with precision(BITS):
            value, derivative = certify_power(v, alpha, float(power_cone.radius(w, a)))
            yield distance_above(power_cone.project(w, a), value)
            yield distance_above(scale * power_cone.jacobian(w, a).ravel(), derivative)


@check(
    item=6,
    statement="power cone: Π(v) and DΠ(v) enclosed by interval Newton and Moreau's certificate",
    source=power_cone.SOURCE,
    strength="certified",
    tolerance=1e-14,
)
def certified_power(instances: int) -> Iterator[float]:
    """Bound on the distance of the printed forms, rounded to doubles, from the enclosures."""
    yield from _power_errors(instances, 1.0)


@certified_power.negative("the Jacobian scaled by 1 + 1e-12")
def _scaled_power(instances: int) -> Iterator[float]:
    yield from _power_errors(instances, 1.0 + 1e-12)


def _entropic_errors(instances: int, scale: float) -> Iterator[float]:
    for k in range(instances):
        x = generator("certified entropic", k).uniform(-2, 2, size=4)
        with precision(BITS):
            weights = [arb(float(value)).exp() for value in x]
            total = sum(weights, arb(0))
            enclosed = certify_simplex([total / weight for weight in weights])
            yield distance_above(scale * entropic_layers.softmax_jacobian(exact(x)).ravel(), enclosed)
            yield distance_above(scale * limited_multi_label.lml_jacobian(exact(x)).ravel(), _certify_lml(x))


def _certify_lml(x: np.ndarray) -> list[arb]:
    first = float(limited_multi_label.lml(exact(x))[0])

    def values(nu: arb) -> list[arb]:
        return [1 / (1 + (-(arb(float(value)) + nu)).exp()) for value in x]

    nu = enclose_root(
        lambda nu: sum(values(nu), arb(-limited_multi_label.TOTAL)),
        lambda nu: sum((y * (1 - y) for y in values(nu)), arb(0)),
        float(np.log(first / (1 - first)) - x[0]),
    )
    return certify_simplex([1 / (y * (1 - y)) for y in values(nu)])


@check(
    item=6,
    statement="softmax and LML: Jacobians enclosed by the inverse of the KKT matrix at the enclosed point",
    source=f"{entropic_layers.SOURCE}; {limited_multi_label.SOURCE}",
    strength="certified",
    tolerance=1e-14,
)
def certified_entropic(instances: int) -> Iterator[float]:
    """Bound on the distance of the printed Jacobians from the enclosures."""
    yield from _entropic_errors(instances, 1.0)


@certified_entropic.negative("the Jacobians scaled by 1 + 1e-12")
def _scaled_entropic(instances: int) -> Iterator[float]:
    yield from _entropic_errors(instances, 1.0 + 1e-12)
