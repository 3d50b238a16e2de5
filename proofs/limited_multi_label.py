r"""The limited multi-label projection (LML) as an argmin, and its derivative.

Statement. For 0 < k < n the solution of argmin_{0<y<1, 1ᵀy=k} −xᵀy − H_b(y) is y = σ(x + ν) with ν the
unique root of 1ᵀσ(x + ν) = k. Its derivative is diag(h) − h hᵀ/1ᵀh with h = y(1 − y). As the scale of x
grows, y tends to the indicator of the k largest x_i if the k-th is unique.

Literature. Amos, Koltun & Kolter (2019), "The Limited Multi-Label Projection Layer".

Check. 50 digits, against the root of the KKT system in (y, ν) and its central differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from proofs.common import generator
from proofs.common.high_precision import difference, error, exact, mp, root
from proofs.entropic_layers import sigmoid, sigmoid_jacobian
from proofs.ledger import check

SIZE, TOTAL = 4, 2
SOURCE = "Amos, Koltun & Kolter (2019)"


def lml(x: list) -> list:
    """The printed σ(x + ν), ν by bisection on the increasing function 1ᵀσ(x + ν) − k."""
    low, high = -max(x) - 20, 20 - min(x)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(sigmoid([xi + middle for xi in x])) < TOTAL:
            low = middle
        else:
            high = middle
    return sigmoid([xi + high for xi in x])


def lml_jacobian(x: list) -> np.ndarray:
    """The printed diag(h) − h hᵀ/1ᵀh."""
    h = np.array([y * (1 - y) for y in lml(x)], dtype=object)
    return np.diag(h) - np.outer(h, h) / sum(h)


def argmin(x: list) -> list:
    """Root of the KKT system in y and the multiplier of 1ᵀy = k."""

    def kkt(*unknown: Any) -> list:
        *y, nu = unknown
        stationarity = [mp.log(yi) - mp.log(1 - yi) - xi - nu for yi, xi in zip(y, x, strict=True)]
        return [*stationarity, sum(y) - TOTAL]

    start = [round(float(v), 8) for v in lml(x)]
    return root(kkt, [*start, mp.log(start[0] / (1 - start[0])) - x[0]])[:-1]


def _point(k: int) -> list:
    return exact(generator("lml", k).uniform(-2, 2, size=SIZE))


@check(
    item=6,
    statement="LML: y = σ(x + ν), 1ᵀy = k, solves the entropy program over the capped simplex",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def lml_is_argmin(instances: int) -> Iterator[float]:
    """Value at 50 digits."""
    for k in range(instances):
        yield error(lml(_point(k)), argmin(_point(k)))


@lml_is_argmin.negative("softmax scaled to the sum k")
def _scaled_softmax(instances: int) -> Iterator[float]:
    for k in range(instances):
        weights = [mp.exp(v) for v in _point(k)]
        yield error([TOTAL * w / sum(weights) for w in weights], argmin(_point(k)))


@check(
    item=6,
    statement="LML: D = diag(h) − h hᵀ/1ᵀh with h = y(1 − y)",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def lml_derivative(instances: int) -> Iterator[float]:
    """Derivative at 50 digits."""
    for k in range(instances):
        yield error(lml_jacobian(_point(k)), difference(argmin, _point(k)))


@lml_derivative.negative("diag(h), which holds ν fixed")
def _fixed_multiplier(instances: int) -> Iterator[float]:
    for k in range(instances):
        x = _point(k)
        shift = mp.log(lml(x)[0] / (1 - lml(x)[0])) - x[0]
        yield error(sigmoid_jacobian([v + shift for v in x]), difference(argmin, x))


def _hardened(instances: int, tie: bool) -> Iterator[float]:
    for k in range(instances):
        x = sorted(_point(k))
        gap = x[TOTAL] - x[TOTAL - 1]
        if tie:
            x[TOTAL - 1] = x[TOTAL]
        indicator = [mp.mpf(int(i >= SIZE - TOTAL)) for i in range(SIZE)]
        yield error(lml([200 * v / gap for v in x]), indicator)


@check(
    item=6,
    statement="LML of x/T tends to the indicator of the k largest entries as T → 0",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def lml_top_k(instances: int) -> Iterator[float]:
    """The error is at most n e^{−gap/2T} = n e^{−100}."""
    yield from _hardened(instances, tie=False)


@lml_top_k.negative("the k-th and the next largest entry equal")
def _tied(instances: int) -> Iterator[float]:
    yield from _hardened(instances, tie=True)
