r"""Constrained sparsemax and constrained softmax: argmins over the simplex with upper bounds.

Statement. Let u ≥ 0 with 1ᵀu > 1.
(a) argmin {½‖y − x‖² : 1ᵀy = 1, 0 ≤ y ≤ u} = min(u, max(0, x − τ)) with τ such that it sums to 1. With the
free set A = {0 < y < u} and the capped set B = {y = u}, off the kinks: for a cotangent g and the mean
ḡ of g over A, the gradients are d_x = 1_A (g − ḡ) and d_u = 1_B (g − ḡ).
(b) argmin {−xᵀy − H(y) : 1ᵀy = 1, 0 ≤ y ≤ u} = min(u, eˣ/Z) with Z such that it sums to 1. With
A = {y < u}, s = Σ_{i ∉ A} u_i and m = Σ_{i∈A} y_i g_i / (1 − s): d_x = 1_A y (g − m), d_u = 1_{Aᶜ} (g − m).

Literature. (a) Malaviya, Ferreira & Martins (2018); (b) Martins & Kreutzer (2017).
Hypothesis that is easy to overlook: A must not be empty, that is 1ᵀu > 1.

Check. (a) exact over the rationals against all active sets; (b) 50 digits against bisection on Z.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

from proofs.common import generator, relative_error
from proofs.common.enumeration import projection, rational
from proofs.common.high_precision import difference, error, exact, mp
from proofs.ledger import check
from proofs.relu_projection import exact_jacobian

SIZE = 3
SPARSEMAX = "Malaviya, Ferreira & Martins (2018)"
SOFTMAX = "Martins & Kreutzer (2017)"


def constrained_sparsemax(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """min(u, max(0, x − τ)): τ is found among the breakpoints x_i and x_i − u_i of the decreasing sum."""

    def clipped(tau: Fraction) -> np.ndarray:
        return np.array(
            [min(ui, max(Fraction(0), xi - tau)) for xi, ui in zip(x, u, strict=True)], dtype=object
        )

    breakpoints = sorted([*x, *(x - u)])
    low = max(t for t in breakpoints if sum(clipped(t)) >= 1)
    high = min(t for t in breakpoints if sum(clipped(t)) <= 1)
    if low >= high:
        return clipped(high)
    above, below = sum(clipped(low)), sum(clipped(high))
    return clipped(low + (high - low) * (above - 1) / (above - below))


def sparsemax_gradients(x: np.ndarray, u: np.ndarray, g: np.ndarray, recentre: bool = True) -> np.ndarray:
    """The printed (d_x, d_u); `recentre` = False forgets ḡ in d_u."""
    y = constrained_sparsemax(x, u)
    free = np.array([Fraction(int(0 < yi < ui)) for yi, ui in zip(y, u, strict=True)], dtype=object)
    capped = np.array([Fraction(int(yi == ui)) for yi, ui in zip(y, u, strict=True)], dtype=object)
    mean = (free @ g) / sum(free)
    return np.concatenate([free * (g - mean), capped * (g - mean * int(recentre))])


def by_enumeration(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The projection from its definition."""
    n = len(x)
    G, h = rational(np.vstack([-np.eye(n), np.eye(n)])), np.concatenate([rational(np.zeros(n)), u])
    return projection(x, G, h, rational(np.ones((1, n))), rational([1.0]))[0]


def constrained_softmax(x: list, u: list) -> list:
    """Cap the entries that exceed their bound, share the rest, repeat."""
    capped: set[int] = set()
    while True:
        rest = 1 - sum(u[i] for i in capped)
        total = sum(mp.exp(x[i]) for i in range(len(x)) if i not in capped)
        y = [u[i] if i in capped else mp.exp(x[i]) * rest / total for i in range(len(x))]
        excess = {i for i in range(len(x)) if i not in capped and y[i] > u[i]}
        if not excess:
            return y
        capped |= excess


def softmax_gradients(x: list, u: list, g: list, normalise: bool = True) -> np.ndarray:
    """The printed (d_x, d_u); `normalise` = False forgets the division by 1 − s."""
    y = constrained_softmax(x, u)
    free = [i for i in range(len(x)) if y[i] < u[i]]
    s = sum(u[i] for i in range(len(x)) if i not in free)
    m = sum(y[i] * g[i] for i in free) / ((1 - s) if normalise else 1)
    d_x = [y[i] * (g[i] - m) if i in free else mp.mpf(0) for i in range(len(x))]
    d_u = [mp.mpf(0) if i in free else g[i] - m for i in range(len(x))]
    return np.array(d_x + d_u, dtype=object)


def by_bisection(x: list, u: list) -> list:
    """min(u, e^{x − t}) with the t at which it sums to 1, by bisection."""
    low, high = min(x) - 40, max(x) + 40
    for _ in range(200):
        t = (low + high) / 2
        if sum(min(ui, mp.exp(xi - t)) for xi, ui in zip(x, u, strict=True)) > 1:
            low = t
        else:
            high = t
    return [min(ui, mp.exp(xi - high)) for xi, ui in zip(x, u, strict=True)]


def _instance(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = generator("capped", k)
    # One bound is tight in most instances, and 1ᵀu > 1 always.
    return rng.normal(size=SIZE), rng.uniform(0.4, 0.6, size=SIZE), rng.normal(size=SIZE)


def _stacked(f: Callable) -> Callable:
    return lambda xu: f(xu[:SIZE], xu[SIZE:])


@check(
    item=6,
    statement="constrained sparsemax = min(u, max(0, x − τ)), with its gradients in x and u",
    source=SPARSEMAX,
    strength="numeric",
    tolerance=0.0,
)
def constrained_sparsemax_layer(instances: int) -> Iterator[float]:
    """Exact equality of value and gradients over the rationals."""
    yield from _sparsemax_errors(instances, True)


@constrained_sparsemax_layer.negative("d_u without subtracting the mean of g over the free set")
def _sparsemax_wrong(instances: int) -> Iterator[float]:
    yield from _sparsemax_errors(instances, False)


def _sparsemax_errors(instances: int, recentre: bool) -> Iterator[float]:
    for k in range(instances):
        x, u, g = map(rational, _instance(k))
        yield relative_error(constrained_sparsemax(x, u), by_enumeration(x, u))
        jacobian = exact_jacobian(_stacked(by_enumeration), np.concatenate([x, u]))
        yield relative_error(sparsemax_gradients(x, u, g, recentre), g @ jacobian)


@check(
    item=6,
    statement="constrained softmax = min(u, eˣ/Z), with its gradients in x and u",
    source=SOFTMAX,
    strength="numeric",
    tolerance=1e-20,
)
def constrained_softmax_layer(instances: int) -> Iterator[float]:
    """Value and gradients at 50 digits."""
    yield from _softmax_errors(instances, True)


@constrained_softmax_layer.negative("m without the division by 1 − s")
def _softmax_wrong(instances: int) -> Iterator[float]:
    yield from _softmax_errors(instances, False)


def _softmax_errors(instances: int, normalise: bool) -> Iterator[float]:
    for k in range(instances):
        x, u, g = map(exact, _instance(k))
        yield error(constrained_softmax(x, u), by_bisection(x, u))
        jacobian = difference(_stacked(by_bisection), x + u)
        yield error(softmax_gradients(x, u, g, normalise), np.array(g, dtype=object) @ jacobian)
