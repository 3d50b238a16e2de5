"""Brute-force derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def central_difference(f: Callable[[Array], ArrayLike], x: ArrayLike, step: float = 1e-4) -> Array:
    """Jacobian of `f` at `x` by the five-point central difference, of error O(step⁴ + ε/step).

    Parameters
    ----------
    f : callable
        Takes an array of the shape of `x`; returns an array or a number.
    x : array
        The point, of any shape.
    step : float
        Absolute step, the same in every coordinate.

    Returns
    -------
    array, shape ``f(x).shape + x.shape``
        Entry (i, j) is ∂f_i/∂x_j.
    """
    point = np.asarray(x, dtype=float)
    columns = []
    for j in np.ndindex(point.shape):
        e = np.zeros_like(point)
        e[j] = step
        near = np.asarray(f(point + e), dtype=float) - np.asarray(f(point - e), dtype=float)
        far = np.asarray(f(point + 2 * e), dtype=float) - np.asarray(f(point - 2 * e), dtype=float)
        columns.append((8 * near - far) / (12 * step))
    stacked = np.stack(columns, axis=-1)
    return stacked.reshape(stacked.shape[:-1] + point.shape)


def relative_error(computed: ArrayLike, reference: ArrayLike) -> float:
    """Largest |computed − reference|, divided by max(1, largest |reference|)."""
    a, b = np.asarray(computed, dtype=float), np.asarray(reference, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape} differ; compare arrays of the same shape")
    if a.size == 0:
        return 0.0
    return float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b)))))
