"""Linear algebra over any field of numbers: float, mpmath, rationals and balls in object arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


class SingularError(ArithmeticError):
    """No pivot of a linear system is known to differ from zero."""


def eliminate(matrix: Numbers, rhs: Numbers) -> Numbers:
    """Solve ``matrix @ x = rhs`` by Gaussian elimination with partial pivoting, entry by entry.

    Parameters
    ----------
    matrix : array, shape (N, N)
        Entries of one type: float, mpf, fmpq, arb or acb. Exact over fmpq, an enclosure over balls.
    rhs : array, shape (N,) or (N, r)
        Right-hand sides.

    Raises
    ------
    SingularError
        If every candidate for a pivot is zero, or is a ball that contains zero.
    """
    size = len(matrix)
    a, x = np.array(matrix, dtype=object), np.array(rhs, dtype=object)
    for k in range(size):
        pivots = [i for i in range(k, size) if is_nonzero(a[i, k])]
        if not pivots:
            raise SingularError(f"no pivot in column {k} of a {size}×{size} matrix")
        best = max(pivots, key=lambda i: float(abs(middle(a[i, k]))))
        a[[k, best]], x[[k, best]] = a[[best, k]], x[[best, k]]
        for i in range(k + 1, size):
            factor = a[i, k] / a[k, k]
            a[i, k:] = a[i, k:] - factor * a[k, k:]
            x[i] = x[i] - factor * x[k]
    for k in reversed(range(size)):
        tail = a[k, k + 1 :] @ x[k + 1 :] if k + 1 < size else 0
        x[k] = (x[k] - tail) / a[k, k]
    return x


def is_nonzero(value: Any) -> bool:
    """Whether `value` is proved to differ from zero (a ball must not contain it)."""
    return not value.contains(0) if hasattr(value, "contains") else bool(value != 0)


def middle(value: Any) -> Any:
    """The midpoint of a ball; any other number is its own."""
    if hasattr(value, "mid"):
        return value.mid()
    # acb has no mid() of its own: its parts have.
    return type(value)(value.real.mid(), value.imag.mid()) if hasattr(value, "rad") else value


def block(rows: list[list[Numbers]]) -> Numbers:
    """Block matrix that accepts blocks with no row or no column, as an object array."""
    joined = [np.concatenate([np.asarray(part, dtype=object) for part in row], axis=1) for row in rows]
    return np.concatenate(joined, axis=0)


def zeros(rows: int, columns: int) -> Numbers:
    """Matrix of integer zeros that any number type absorbs."""
    return np.zeros((rows, columns), dtype=int).astype(object)
