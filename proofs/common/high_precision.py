"""Brute force at 50 digits: differences whose error is far below 1e-20, in a context of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from mpmath.ctx_mp import MPContext

mp = MPContext()
mp.dps = 50

Vector = list[Any]


def exact(values: Iterable[float]) -> Vector:
    """The doubles `values` as 50-digit numbers, without rounding."""
    return [mp.mpf(float(value)) for value in values]


def difference(f: Callable[[Vector], Vector], x: Vector, step: str = "1e-13") -> np.ndarray:
    """Jacobian of `f` at `x` by the central difference; its error is about step² = 1e-26.

    Parameters
    ----------
    f : callable
        Takes and returns a list of 50-digit numbers.
    x : list
        The point.
    step : str
        Absolute step, written in decimals so that it is read at 50 digits.

    Returns
    -------
    ndarray of 50-digit numbers, shape (len(f(x)), len(x))
    """
    h = mp.mpf(step)
    columns = []
    for j in range(len(x)):
        ahead = [value + h if i == j else value for i, value in enumerate(x)]
        behind = [value - h if i == j else value for i, value in enumerate(x)]
        columns.append([(a - b) / (2 * h) for a, b in zip(f(ahead), f(behind), strict=True)])
    return np.array(columns, dtype=object).T


def one_sided(f: Callable[[Vector], Vector], x: Vector, direction: Vector, step: str = "1e-25") -> Vector:
    """Directional derivative (f(x + t d) − f(x)) / t; its error is about t."""
    t = mp.mpf(step)
    moved = f([a + t * d for a, d in zip(x, direction, strict=True)])
    return [(a - b) / t for a, b in zip(moved, f(x), strict=True)]


def root(equations: Callable[..., Vector], start: Sequence) -> Vector:
    """Root of a square system by Newton's method with a numerical Jacobian, from a nearby `start`."""
    found = mp.findroot(equations, [mp.mpf(value) for value in start], tol=mp.mpf("1e-90"), verify=True)
    return list(found)


def matrix(values: np.ndarray) -> Any:
    """A 50-digit matrix from a two-dimensional array."""
    return mp.matrix([[mp.mpf(value) for value in row] for row in np.asarray(values, dtype=object)])


def array(values: Any) -> np.ndarray:
    """A two-dimensional array of 50-digit numbers from a 50-digit matrix."""
    rows, columns = values.rows, values.cols
    return np.array([[values[i, j] for j in range(columns)] for i in range(rows)], dtype=object)


def error(computed: Any, reference: Any) -> float:
    """Largest |computed − reference| over max(1, largest |reference|), formed at 50 digits."""
    a = np.asarray(computed, dtype=object)
    b = np.asarray(reference, dtype=object)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ; compare arrays of the same shape")
    scale = max([mp.mpf(1), *(abs(value) for value in b.flat)])
    return float(max(abs(value) for value in (a - b).flat) / scale)
