r"""Sigmoid and softmax as argmins of entropy-regularised linear functions.

Statement. With H_b(y) = −Σ y_i log y_i + (1 − y_i) log(1 − y_i) and H(y) = −Σ y_i log y_i,

    argmin_{0<y<1} −xᵀy − H_b(y) = 1/(1 + e^{−x}),      derivative diag(y(1 − y)),
    argmin_{y≥0, 1ᵀy=1} −xᵀy − H(y) = eˣ / 1ᵀeˣ,        derivative diag(y) − y yᵀ.

softmax(x/T) tends to the one-hot vector of the largest x_i as T → 0 if that is unique, and to the uniform
distribution as T → ∞.

Literature. Boyd & Vandenberghe (2004), §3.3.1 (conjugate of the entropy); Agrawal, Amos et al. (2019);
Amos (2019), thesis.

Check. Symbols for n = 3; 50 digits against the root of the optimality conditions and its differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sympy

from proofs.common import generator
from proofs.common.high_precision import difference, error, exact, mp, root
from proofs.ledger import check

SIZE = 3
SOURCE = "Agrawal, Amos et al. (2019); Boyd & Vandenberghe (2004), §3.3"


def sigmoid(x: list) -> list:
    """The printed 1/(1 + e^{−x})."""
    return [1 / (1 + mp.exp(-value)) for value in x]


def sigmoid_jacobian(x: list) -> np.ndarray:
    """The printed diag(y(1 − y))."""
    return np.diag([y * (1 - y) for y in sigmoid(x)])


def softmax(x: list) -> list:
    """The printed eˣ/1ᵀeˣ."""
    weights = [mp.exp(value) for value in x]
    return [weight / sum(weights) for weight in weights]


def softmax_jacobian(x: list) -> np.ndarray:
    """The printed diag(y) − y yᵀ."""
    y = np.array(softmax(x), dtype=object)
    return np.diag(y) - np.outer(y, y)


def binary_argmin(x: list) -> list:
    """Stationary point of −xy − H_b(y), whose derivative in y is taken numerically: no formula shared."""

    def stationary(value: Any) -> Any:
        def objective(y: Any) -> Any:
            return -value * y + y * mp.log(y) + (1 - y) * mp.log(1 - y)

        # The objective is strictly convex: bisection on the sign of its slope cannot miss.
        low, high = mp.mpf("1e-6"), 1 - mp.mpf("1e-6")
        return mp.findroot(
            lambda y: mp.diff(objective, y), (low, high), solver="anderson", tol=mp.mpf("1e-80")
        )

    return [stationary(value) for value in x]


def simplex_argmin(x: list) -> list:
    """Root of the KKT system of the entropy program, in the unknowns y and the multiplier of 1ᵀy = 1."""

    def kkt(*unknown: Any) -> list:
        *y, nu = unknown
        return [mp.log(yi) + 1 - xi + nu for yi, xi in zip(y, x, strict=True)] + [sum(y) - 1]

    start = [float(v) for v in softmax(x)]
    return root(kkt, [*start, x[0] - mp.log(start[0]) - 1])[:-1]


def _point(k: int) -> list:
    return exact(generator("entropic", k).uniform(-2, 2, size=SIZE))


@check(
    item=6,
    statement="sigmoid(x) = argmin −xᵀy − H_b(y), with D = diag(y(1 − y))",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def sigmoid_is_argmin(instances: int) -> Iterator[float]:
    """Value and derivative at 50 digits."""
    for k in range(instances):
        yield error(sigmoid(_point(k)[:1]), binary_argmin(_point(k)[:1]))
        yield error(sigmoid_jacobian(_point(k)[:1]), difference(binary_argmin, _point(k)[:1]))


@sigmoid_is_argmin.negative("the derivative y in place of y(1 − y)")
def _sigmoid_wrong(instances: int) -> Iterator[float]:
    for k in range(instances):
        x = _point(k)[:1]
        yield error(np.diag(sigmoid(x)), difference(binary_argmin, x))


@check(
    item=6,
    statement="softmax(x) = argmin over the simplex of −xᵀy − H(y), with D = diag(y) − y yᵀ",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def softmax_is_argmin(instances: int) -> Iterator[float]:
    """Value and derivative at 50 digits."""
    for k in range(instances):
        yield error(softmax(_point(k)), simplex_argmin(_point(k)))
        yield error(softmax_jacobian(_point(k)), difference(simplex_argmin, _point(k)))


@softmax_is_argmin.negative("the derivative diag(y), which ignores the normalisation")
def _softmax_wrong(instances: int) -> Iterator[float]:
    for k in range(instances):
        yield error(np.diag(softmax(_point(k))), difference(simplex_argmin, _point(k)))


def _symbolic(sign: int) -> Iterator[float]:
    x = sympy.symbols(f"x0:{SIZE}", real=True)
    y = [sympy.exp(v) / sum(map(sympy.exp, x)) for v in x]
    for i in range(SIZE):
        for j in range(SIZE):
            printed = (y[i] if i == j else 0) + sign * y[i] * y[j]
            yield float(sympy.simplify(sympy.diff(y[i], x[j]) - printed) != 0)


@check(
    item=6,
    statement="∂(eˣ/1ᵀeˣ) = diag(y) − y yᵀ for symbols, n = 3",
    source=SOURCE,
    strength="symbolic",
    tolerance=0.0,
    instances=9,
)
def softmax_jacobian_in_symbols(instances: int) -> Iterator[float]:
    """Each entry of the Jacobian simplifies to the printed one."""
    yield from list(_symbolic(-1))[:instances]


@softmax_jacobian_in_symbols.negative("the sign of y yᵀ flipped")
def _symbols_wrong(instances: int) -> Iterator[float]:
    yield from list(_symbolic(+1))[:instances]


def _temperature_errors(instances: int, tie: bool) -> Iterator[float]:
    for k in range(instances):
        x = sorted(_point(k))
        gap = x[-1] - x[-2]
        if tie:
            x[-2] = x[-1]
        yield error(softmax([v * 100 / gap for v in x]), [mp.mpf(0)] * (SIZE - 1) + [mp.mpf(1)])
        yield error(softmax([v * mp.mpf("1e-25") for v in x]), [mp.mpf(1) / SIZE] * SIZE)


@check(
    item=6,
    statement="softmax(x/T) → one-hot of the unique maximum as T → 0, → uniform as T → ∞",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def softmax_temperature(instances: int) -> Iterator[float]:
    """T = gap/100 leaves at most n e^{−100}; T = 1e25 leaves 1e-25."""
    yield from _temperature_errors(instances, tie=False)


@softmax_temperature.negative("two equal maxima: the limit is ½, ½")
def _tie(instances: int) -> Iterator[float]:
    yield from _temperature_errors(instances, tie=True)
