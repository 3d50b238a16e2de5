r"""Exponential cone: the third case of the projection, and the identities behind the derivative.

Statement. (a) For x ≤ 0 and y ≤ 0, Π(x, y, z) = (x, 0, max(z, 0)). (b) With g = y e^{x/y} − z, p(ρ) = (ρ,
1, e^ρ) and n(ρ) = (e^ρ, (1 − ρ)e^ρ, −1): g(p) = 0, ∇g(p) = n, nᵀp = 0, and for q = p × n

    qᵀp' = −1 − (ρ² − 2ρ + 2) e^{2ρ} < 0,   qᵀn' = −e^ρ (1 + ρ² + e^{2ρ}) < 0,

so that [p, n, αp' + βn'] is invertible for all α, β > 0, and the projection is differentiable there.

Literature. Parikh & Boyd (2014), §6.3.4, for (a); (b) is the step that the derivative of `exponential_cone`
needs.

Check. (a) against Clarabel; (b) in symbols.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy

from proofs.common import generator, relative_error
from proofs.common.oracle import project
from proofs.ledger import check


def third_case(v: np.ndarray) -> np.ndarray:
    """The printed (x, 0, max(z, 0))."""
    return np.array([v[0], 0.0, max(v[2], 0.0)])


def _case_errors(instances: int, quadrant: bool) -> Iterator[float]:
    for k in range(instances):
        v = generator("exponential quadrant", k).uniform(0.2, 2.0, size=3) * np.array([-1, -1, (-1) ** k])
        if not quadrant:
            v[0] = -v[0]
        yield relative_error(third_case(v), project(v, [("exponential", 3)]))


@check(
    item=6,
    statement="exponential cone: Π(x, y, z) = (x, 0, max(z, 0)) for x ≤ 0, y ≤ 0",
    source="Parikh & Boyd (2014), §6.3.4",
    strength="numeric",
    tolerance=1e-6,
)
def quadrant_case(instances: int) -> Iterator[float]:
    """Against Clarabel, whose accuracy at the flat part of the boundary sets the tolerance."""
    yield from _case_errors(instances, quadrant=True)


@quadrant_case.negative("x > 0")
def _outside_the_quadrant(instances: int) -> Iterator[float]:
    yield from _case_errors(instances, quadrant=False)


def _identities(misprint: int) -> list[sympy.Expr]:
    """Differences that vanish; `misprint` is added to the first of the two printed products."""
    rho, x, y, z = sympy.symbols("rho x y z", real=True)
    e = sympy.exp(rho)
    p, n = sympy.Matrix([rho, 1, e]), sympy.Matrix([e, (1 - rho) * e, -1])
    g = y * sympy.exp(x / y) - z
    at = {x: rho, y: 1, z: e}
    q = p.cross(n)
    return [
        g.subs(at),
        *(sympy.Matrix([g.diff(v) for v in (x, y, z)]).subs(at) - n),
        n.dot(p),
        q.dot(p.diff(rho)) + 1 + (rho**2 - 2 * rho + 2 + misprint) * e**2,
        q.dot(n.diff(rho)) + e * (1 + rho**2 + e**2),
    ]


@check(
    item=6,
    statement="exponential cone: ∇g(p) = n, nᵀp = 0, and [p, n, αp' + βn'] is invertible, in symbols",
    source="hypothesis of the implicit function theorem in Ali, Wong & Kolter (2017)",
    strength="symbolic",
    tolerance=0.0,
    instances=7,
)
def ray_identities(instances: int) -> Iterator[float]:
    """Seven expressions that simplify to zero."""
    for expression in _identities(0)[:instances]:
        yield float(sympy.simplify(expression) != 0)


@ray_identities.negative("ρ² − 2ρ + 3 in place of ρ² − 2ρ + 2")
def _misprinted(instances: int) -> Iterator[float]:
    for expression in _identities(1):
        yield float(sympy.simplify(expression) != 0)
