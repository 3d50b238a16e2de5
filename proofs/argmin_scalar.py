r"""Argmin differentiation, one variable: g(x) = argmin_y f(x, y) has g′(x) = −f_XY(x, y) / f_YY(x, y) at
y = g(x).

Hypotheses: f is twice continuously differentiable, y is an interior stationary point, f_YY(x, y) ≠ 0.
Gould et al. 2016 (arXiv 1607.05447), unconstrained scalar case, with the example

    f(x, y) = x y⁴ + 2x² y³ − 12y²,    g′(x) = −(y³ + 3xy²) / (3xy² + 3x²y − 6).

Its stationary points are y = 0 and the two roots of 4xy² + 6x²y − 24 = 0, so that the closed form of each
branch is there to be differentiated. Where f_YY vanishes the argmin need not be differentiable at all:
f(x, y) = y⁴/4 − xy has g(x) = x^{1/3}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from flint import acb, fmpq

from proofs.common import generator
from proofs.common.balls import certified_derivative, distance_above, distance_below, precision
from proofs.common.linear import Numbers
from proofs.ledger import check

SOURCE = "Gould et al. 2016, unconstrained scalar example"
X, Y = sp.symbols("x y", positive=True)
F = X * Y**4 + 2 * X**2 * Y**3 - 12 * Y**2


def printed(x, y):
    """The derivative as printed with the example."""
    return -(y**3 + 3 * x * y**2) / (3 * x * y**2 + 3 * x**2 * y - 6)


def symbolic_errors(sign: int) -> Iterator[float]:
    """The general formula on f, then d/dx of each of the three branches, against the printed form."""
    yield float(sp.cancel(-sp.diff(F, X, Y) / sp.diff(F, Y, 2) - sign * printed(X, Y)) != 0)
    root = sp.sqrt(36 * X**4 + 384 * X)
    for branch in (sp.Integer(0), (-6 * X**2 + root) / (8 * X), (-6 * X**2 - root) / (8 * X)):
        yield float(sp.simplify(sp.diff(F, Y).subs(Y, branch)) != 0)
        yield float(sp.simplify(sp.diff(branch, X) - sign * printed(X, branch)) != 0)


@check(
    item=1,
    statement="g′(x) = −f_XY / f_YY on all three branches of stationary points of xy⁴ + 2x²y³ − 12y²",
    source=SOURCE,
    strength="symbolic",
    tolerance=0,
    instances=7,
)
def scalar_symbolic(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from symbolic_errors(1)


@scalar_symbolic.negative("the sign dropped: g′ = +f_XY / f_YY")
def scalar_symbolic_unsigned(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from symbolic_errors(-1)


def global_minimum(x: Any) -> Any:
    """Minimiser over a grid of floats, polished by Ridder's method on a numerical slope."""
    grid = np.linspace(-40, 40, 160001)
    best = float(grid[np.argmin(float(x) * grid**4 + 2 * float(x) ** 2 * grid**3 - 12 * grid**2)])

    def slope(y: Any) -> Any:
        return mpmath.diff(lambda v: x * v**4 + 2 * x**2 * v**3 - 12 * v**2, y)

    return mpmath.findroot(slope, (best - 0.01, best + 0.01), solver="ridder", tol=mpmath.mpf("1e-80"))


def numeric_errors(sign: int, instances: int) -> Iterator[float]:
    """Printed form at the global minimum against the central difference of the minimiser, at 80 digits."""
    for k in range(instances):
        with mpmath.workdps(80):
            x = mpmath.mpf(float(generator("argmin_scalar", k).uniform(0.5, 3)))
            step = mpmath.mpf("1e-13")
            reference = (global_minimum(x + step) - global_minimum(x - step)) / (2 * step)
            yield float(abs(sign * printed(x, global_minimum(x)) - reference) / max(1, abs(reference)))


@check(
    item=1,
    statement="the same at the global minimum, found by search",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def scalar_numeric(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from numeric_errors(1, instances)


@scalar_numeric.negative("the sign dropped")
def scalar_numeric_unsigned(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from numeric_errors(-1, instances)


def certified_errors(formula, distance, instances: int) -> Iterator[float]:
    """Branches y ≠ 0 at rational x, where stationarity over 2y reads 2xy² + 3x²y − 12 = 0."""
    for k in range(instances):
        x = fmpq(int(generator("argmin_scalar.certified", k).integers(4, 25)), 8)
        start = max(np.roots([2 * float(x), 3 * float(x) ** 2, -12]).real, key=(abs if k % 2 else float))
        with precision(320):

            def stationary(y: Numbers, t: acb, x: fmpq = x) -> Numbers:
                p = acb(x) + t
                return 2 * p * y * y + 3 * p * p * y - acb(12)

            root, slope = certified_derivative(stationary, np.array([acb(start)], dtype=object), bits=320)
            yield distance(formula(acb(x), root[0]), slope[0])


@check(
    item=1,
    statement="the same lies in a certified enclosure of the true derivative, at rational x",
    source=SOURCE,
    strength="certified",
    tolerance=1e-20,
)
def scalar_certified(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from certified_errors(printed, distance_above, instances)


@scalar_certified.negative("the sign dropped; a lower bound of the distance")
def scalar_certified_unsigned(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from certified_errors(lambda x, y: -printed(x, y), distance_below, instances)


def growth_errors(curvature: float, instances: int) -> Iterator[float]:
    """Rate at which (g(τ) − g(−τ))/2τ grows as τ → 0 for f = y⁴/4 + curvature y²/2 − xy, against τ^(−2/3)."""
    for k in range(instances):
        tau = 10.0 ** -(3 + k % 5) * generator("argmin_scalar.growth", k).uniform(1, 9)
        quotients = []
        for step in (tau, tau / 8):
            roots = np.roots([1.0, 0.0, curvature, -step])
            quotients.append(float(roots[np.argmin(np.abs(roots.imag))].real / step))
        yield abs(np.log(quotients[1] / quotients[0]) / np.log(8) - 2 / 3)


@check(
    item=1,
    statement="f_YY = 0 admits an argmin without derivative: for y⁴/4 − xy the difference quotient at 0 "
    "grows as τ^(−2/3)",
    source="hypothesis f_YY ≠ 0 of the scalar case, dropped",
    strength="numeric",
    tolerance=1e-8,
)
def degenerate_curvature(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from growth_errors(0.0, instances)


@degenerate_curvature.negative("f_YY = 1 restored: the quotient converges")
def restored_curvature(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from growth_errors(1.0, instances)
