r"""ReLU is the projection on the nonnegative orthant.

Statement. For every x ∈ Rⁿ, max(x, 0) = argmin_{z ≥ 0} ½‖z − x‖². Where no x_i is 0 the derivative is
diag(1[x > 0]). At a kink there is no derivative, but the directional derivative exists: it is d_i where
x_i > 0, max(d_i, 0) where x_i = 0, and 0 elsewhere.

Literature. OptNet (Amos & Kolter 2017), Theorem 2; Agrawal, Amos et al. (2019), "ReLU Layers" example.

Check. The projection is computed by trying all 2ⁿ active sets in rational arithmetic. It is piecewise
linear, so that difference quotients are exact and errors are exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from proofs.common import generator, relative_error
from proofs.common.enumeration import projection, rational
from proofs.ledger import check

SIZE = 3
STEP = Fraction(1, 2**40)
SOURCE = "OptNet (Amos & Kolter 2017), Theorem 2"


def relu(x: np.ndarray) -> np.ndarray:
    """The printed formula max(x, 0)."""
    return np.array([max(value, Fraction(0)) for value in x], dtype=object)


def relu_jacobian(x: np.ndarray) -> np.ndarray:
    """The printed derivative diag(1[x > 0])."""
    return np.diag([Fraction(int(value > 0)) for value in x])


def relu_directional(x: np.ndarray, d: np.ndarray) -> np.ndarray:
    """d_i where x_i > 0, max(d_i, 0) where x_i = 0, and 0 where x_i < 0."""
    return np.array(
        [
            direction if value > 0 else (max(direction, Fraction(0)) if value == 0 else Fraction(0))
            for value, direction in zip(x, d, strict=True)
        ],
        dtype=object,
    )


def by_enumeration(x: np.ndarray) -> np.ndarray:
    """argmin_{z ≥ 0} ½‖z − x‖², by trying every active set."""
    n = len(x)
    none = rational(np.zeros((0, n)))
    return projection(x, rational(-np.eye(n)), rational(np.zeros(n)), none, rational(np.zeros(0)))[0]


def exact_jacobian(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Central difference of a piecewise linear map: exact if no kink lies within the step."""
    columns = []
    for j in range(len(x)):
        e = rational(np.eye(len(x))[j]) * STEP
        columns.append((f(x + e) - f(x - e)) / (2 * STEP))
    return np.array(columns, dtype=object).T


def _point(k: int) -> np.ndarray:
    return rational(generator("relu", k).normal(size=SIZE))


def _kink(k: int) -> tuple[np.ndarray, np.ndarray]:
    # The first coordinate sits at the kink and moves to the right, the second at the kink and to the left.
    x, d = rational(generator("relu kink", k).normal(size=(2, SIZE)))
    x[0] = x[1] = Fraction(0)
    d[0], d[1] = abs(d[0]), -abs(d[1])
    return x, d


@check(
    item=6,
    statement="max(x, 0) = argmin_{z ≥ 0} ½‖z − x‖²",
    source=SOURCE,
    strength="certified",
    tolerance=0.0,
)
def relu_is_projection(instances: int) -> Iterator[float]:
    """Exact equality over the rationals."""
    for k in range(instances):
        yield relative_error(relu(_point(k)), by_enumeration(_point(k)))


@relu_is_projection.negative("absolute value instead of the positive part")
def _absolute(instances: int) -> Iterator[float]:
    for k in range(instances):
        yield relative_error(abs(_point(k)), by_enumeration(_point(k)))


@check(
    item=6,
    statement="D max(x, 0) = diag(1[x > 0]) off the kinks",
    source=SOURCE,
    strength="numeric",
    tolerance=0.0,
)
def relu_derivative(instances: int) -> Iterator[float]:
    """Exact difference quotient of the enumerated projection."""
    for k in range(instances):
        yield relative_error(relu_jacobian(_point(k)), exact_jacobian(by_enumeration, _point(k)))


@relu_derivative.negative("at a kink the central difference is ½, neither 0 nor 1")
def _at_kink(instances: int) -> Iterator[float]:
    for k in range(instances):
        x, _ = _kink(k)
        yield relative_error(relu_jacobian(x), exact_jacobian(by_enumeration, x))


@check(
    item=6,
    statement="directional derivative of ReLU at x_i = 0 is max(d_i, 0)",
    source="Haraux (1977): directional derivative of a polyhedral projection",
    strength="numeric",
    tolerance=0.0,
)
def relu_kink(instances: int) -> Iterator[float]:
    """Exact one-sided difference quotient at points with two coordinates at the kink."""
    for k in range(instances):
        x, d = _kink(k)
        quotient = (by_enumeration(x + STEP * d) - by_enumeration(x)) / STEP
        yield relative_error(relu_directional(x, d), quotient)


@relu_kink.negative("the linear map diag(1[x > 0]) d in place of the directional derivative")
def _linear(instances: int) -> Iterator[float]:
    for k in range(instances):
        x, d = _kink(k)
        quotient = (by_enumeration(x + STEP * d) - by_enumeration(x)) / STEP
        yield relative_error(relu_jacobian(x) @ d, quotient)
