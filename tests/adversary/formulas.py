"""Curved programs whose solutions are formulas, evaluated with 50 digits and more, and their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mpmath as mp
import numpy as np

#: digits of all of this; differences of a formula over 1e-30 then leave more than 50
DIGITS = 90
STEP = mp.mpf(10) ** -30

Vector = list  # of mpf
Formula = Callable[..., Vector]


def ball(y: Vector, r: Vector) -> Vector:
    """The nearest point of ‖x‖ ≤ r."""
    size = mp.norm(y)
    return list(y) if size <= r[0] else [r[0] * v / size for v in y]


def cut_ball(y: Vector, r: Vector, t: Vector) -> Vector | None:
    """The nearest point of ‖x‖ ≤ r with x₀ ≥ t; None if there is none."""
    if t[0] > r[0]:
        return None
    x = ball(y, r)
    if x[0] >= t[0]:
        return x
    return [t[0], *ball(y[1:], [mp.sqrt(r[0] ** 2 - t[0] ** 2)])]


def farthest(c: Vector, a: Vector, r: Vector) -> Vector:
    """The largest cᵀx over the ball around a."""
    size = mp.norm(c)
    return [u + r[0] * v / size for u, v in zip(a, c, strict=True)]


def cone(y: Vector) -> Vector:
    """The nearest point of the second-order cone x₀ ≥ ‖(x₁, …)‖."""
    t, size = y[0], mp.norm(y[1:])
    if size <= t:
        return list(y)
    if size <= -t:
        return [mp.mpf(0)] * len(y)
    half = (1 + t / size) / 2
    return [half * size, *(half * v for v in y[1:])]


def softmax(y: Vector) -> Vector:
    """Σ y x + entropy of x, at its largest over the simplex."""
    parts = [mp.exp(v - max(y)) for v in y]
    return [v / sum(parts) for v in parts]


def sigmoid(y: Vector) -> Vector:
    """The same with an entropy of x and of 1 − x for every entry."""
    return [1 / (1 + mp.exp(-v)) for v in y]


def logarithm(a: Vector) -> Vector:
    """The largest x with exp(x) ≤ a."""
    return [mp.log(v) for v in a]


def tangent(a: Vector, b: Vector) -> Vector:
    """The least exp(ax) − bx."""
    return [mp.log(b[0] / a[0]) / a[0]]


def reciprocal(c: Vector) -> Vector:
    """The largest Σ log x − cᵀx."""
    return [1 / v for v in c]


def power(y: Vector) -> Vector:
    """The least |x|³/3 − yx."""
    return [mp.sign(v) * mp.sqrt(abs(v)) for v in y]


def semidefinite(y: Vector) -> Vector:
    """The nearest positive semidefinite matrix of order two, by the formula of its eigenvalues."""
    a, b, c = y[0], (y[1] + y[2]) / 2, y[3]
    middle, half = (a + c) / 2, mp.sqrt(((a - c) / 2) ** 2 + b * b)
    high, low = middle + half, middle - half
    if low >= 0:
        return [a, b, b, c]
    if high <= 0:
        return [mp.mpf(0)] * 4
    scale = high / (2 * half)  # high · (M − low I) / (high − low)
    return [scale * (a - low), scale * b, scale * b, scale * (c - low)]


def inverse(s: Vector) -> Vector:
    """The largest log det X − ⟨S, X⟩ over matrices of order two."""
    a, b, c = s[0], (s[1] + s[2]) / 2, s[3]
    det = a * c - b * b
    return [c / det, -b / det, -b / det, a / det]


def crate(v: Vector) -> Vector:
    """The least 3xy + 2xz + 2yz with xyz ≥ v: a geometric program."""
    side = (2 * v[0] / 3) ** (mp.mpf(1) / 3)
    return [side, side, v[0] / side**2]


def balance(a: Vector, b: Vector) -> Vector:
    """The least x/a + b/x: a geometric program."""
    return [mp.sqrt(a[0] * b[0])]


def evaluated(formula: Formula, parameters: Sequence[np.ndarray]) -> np.ndarray | None:
    """The nearest floats to the solution."""
    with mp.workdps(DIGITS):
        found = formula(*(_numbers(p) for p in parameters))
        return None if found is None else np.array([float(v) for v in found])


def pulled_back(
    formula: Formula, parameters: Sequence[np.ndarray], weights: np.ndarray, *, sizes: bool = False
) -> list[np.ndarray]:
    """The gradient of ⟨w, x⟩ in every parameter; with ``sizes`` the sum of the magnitudes of its terms."""
    with mp.workdps(DIGITS):
        given = [_numbers(p) for p in parameters]
        gradients: list[np.ndarray] = []
        for i, parameter in enumerate(given):
            entries: list[float] = []
            for j, value in enumerate(parameter):
                step = STEP * max(abs(value), mp.mpf(10) ** -20)
                sides: list[Vector] = []
                for sign in (1, -1):
                    parameter[j] = value + sign * step
                    sides.append(formula(*given))
                parameter[j] = value
                terms = [mp.mpf(w) * (u - v) for w, u, v in zip(weights.tolist(), *sides, strict=True)]
                entries.append(float(sum(map(abs, terms) if sizes else terms) / (2 * step)))
            gradients.append(np.array(entries).reshape(parameters[i].shape))
        return gradients


def _numbers(value: np.ndarray) -> Vector:
    return [mp.mpf(v) for v in np.ravel(value).tolist()]
