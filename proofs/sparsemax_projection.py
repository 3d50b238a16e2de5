r"""Sparsemax is the projection on the probability simplex.

Statement. Let x₍₁₎ ≥ … ≥ x₍ₙ₎, k = max{j : 1 + j x₍ⱼ₎ > Σ_{i≤j} x₍ᵢ₎} and τ = (Σ_{i≤k} x₍ᵢ₎ − 1)/k. Then
argmin {½‖y − x‖² : y ≥ 0, 1ᵀy = 1} = max(x − τ, 0). Where no x_i equals τ the derivative is
diag(s) − s sᵀ/|S| with s the indicator of the support S. Where some x_i = τ (a weakly active bound) the
directional derivative is the projection of the direction on the critical cone, and no Jacobian exists.

Literature. Martins & Astudillo (2016), Proposition 1 and the Jacobian after it; the threshold goes back to
Held, Wolfe & Crowder (1974).

Check. The projection is computed by trying every active set in rational arithmetic: errors are exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from proofs.common import generator, relative_error
from proofs.common.enumeration import critical_cone_projection, projection, rational
from proofs.ledger import check
from proofs.relu_projection import STEP, exact_jacobian

SIZE = 4
SOURCE = "Martins & Astudillo (2016), Proposition 1 and the Jacobian after it"


def threshold(x: np.ndarray) -> Fraction:
    """The printed τ(x): sort, find the size of the support, average."""
    ordered = sorted(x, reverse=True)
    size = max(j for j in range(1, len(x) + 1) if 1 + j * ordered[j - 1] > sum(ordered[:j]))
    return Fraction(sum(ordered[:size]) - 1) / size


def sparsemax(x: np.ndarray) -> np.ndarray:
    """The printed max(x − τ(x), 0)."""
    tau = threshold(x)
    return np.array([max(value - tau, Fraction(0)) for value in x], dtype=object)


def sparsemax_jacobian(x: np.ndarray) -> np.ndarray:
    """The printed diag(s) − s sᵀ/|S|."""
    s = np.array([Fraction(int(value > 0)) for value in sparsemax(x)], dtype=object)
    return np.diag(s) - np.outer(s, s) / sum(s)


def constraints(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The simplex as Gz ≤ h, Az = b."""
    return rational(-np.eye(n)), rational(np.zeros(n)), rational(np.ones((1, n))), rational([1.0])


def by_enumeration(x: np.ndarray) -> np.ndarray:
    """The projection on the simplex from its definition."""
    return projection(x, *constraints(len(x)))[0]


def _point(k: int) -> np.ndarray:
    return rational(generator("sparsemax", k).normal(size=SIZE))


def _kink(k: int) -> tuple[np.ndarray, np.ndarray]:
    x, d = rational(generator("sparsemax kink", k).normal(size=(2, SIZE)))
    # The last coordinate is put on the threshold of the others, where its bound is weakly active.
    x[-1] = threshold(x[:-1])
    return x, d


@check(
    item=6,
    statement="sparsemax(x) = max(x − τ(x), 0) is the projection on the simplex",
    source=SOURCE,
    strength="certified",
    tolerance=0.0,
)
def sparsemax_is_projection(instances: int) -> Iterator[float]:
    """Exact equality over the rationals."""
    for k in range(instances):
        yield relative_error(sparsemax(_point(k)), by_enumeration(_point(k)))


@sparsemax_is_projection.negative("threshold over all coordinates, without looking for the support")
def _no_support(instances: int) -> Iterator[float]:
    for k in range(instances):
        x = _point(k)
        tau = (sum(x) - 1) / len(x)
        wrong = np.array([max(value - tau, Fraction(0)) for value in x], dtype=object)
        yield relative_error(wrong, by_enumeration(x))


@check(
    item=6,
    statement="D sparsemax = diag(s) − s sᵀ/|S| off the kinks",
    source=SOURCE,
    strength="numeric",
    tolerance=0.0,
)
def sparsemax_derivative(instances: int) -> Iterator[float]:
    """Exact difference quotient of the enumerated projection."""
    for k in range(instances):
        yield relative_error(sparsemax_jacobian(_point(k)), exact_jacobian(by_enumeration, _point(k)))


@sparsemax_derivative.negative("softmax's form diag(y) − y yᵀ")
def _softmax_form(instances: int) -> Iterator[float]:
    for k in range(instances):
        y = sparsemax(_point(k))
        yield relative_error(np.diag(y) - np.outer(y, y), exact_jacobian(by_enumeration, _point(k)))


@check(
    item=6,
    statement="directional derivative of sparsemax at a kink: projection of d on the critical cone",
    source="Haraux (1977); Martins & Astudillo (2016) choose one element of the generalised Jacobian there",
    strength="numeric",
    tolerance=0.0,
)
def sparsemax_kink(instances: int) -> Iterator[float]:
    """Exact one-sided difference quotient of the closed form at weakly active points."""
    for k in range(instances):
        x, d = _kink(k)
        quotient = (sparsemax(x + STEP * d) - sparsemax(x)) / STEP
        yield relative_error(critical_cone_projection(x, *constraints(SIZE), d), quotient)


@sparsemax_kink.negative("diag(s) − s sᵀ/|S| applied to the direction at the kink")
def _jacobian_at_kink(instances: int) -> Iterator[float]:
    for k in range(instances):
        x, d = _kink(k)
        quotient = (sparsemax(x + STEP * d) - sparsemax(x)) / STEP
        yield relative_error(sparsemax_jacobian(x) @ d, quotient)
