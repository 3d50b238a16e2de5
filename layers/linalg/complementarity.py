"""Linear complementarity on sparse matrices, from a point near its solution to rounding.

    P x + q + Aᵀy = 0,  A x + s = b,  s = 0 in the first rows;  s ≥ 0, y ≥ 0, s ∘ y = 0 in the others.

On a guess 𝒜 of the rows with s = 0 these are linear equations with the matrix [P A_𝒜ᵀ; A_𝒜 0]. Each round solves them
for the change of (x, y), a short one where there are several (:mod:`layers.linalg.sparse_saddle`), and guesses again:
rows whose y came out negative leave, rows that are violated enter (primal-dual active set: Hintermüller, Ito & Kunisch
2002). In contrast to Newton's method with a line search the residual may rise on the way; the best point is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from layers.linalg.kept import factorised
from layers.linalg.sparse_saddle import Array

#: rounds, and the residual that needs no further one
ROUNDS, SHARP = 6, 1e-13
#: a guess that more rows leave or enter than the last, and more than these, leads away
FEW = 5
#: multipliers below this part of the largest are rounding
ROUNDING = 1e-13

Point = tuple[Array, Array, Array]


def polish(
    data: tuple[Any, Array, Any, Array], zero: int, start: Point, judge: Callable[[Point], float]
) -> tuple[Point, float]:
    """The best point (x, y, s) that the rounds came to, and what the judge says of it.

    Parameters
    ----------
    data : tuple
        P, q, A and b; P and A sparse.
    zero : int
        Number of the first rows.
    start : tuple of array
        x, y and s near a solution.
    judge : callable
        The residual of a point whose y and s are exactly complementary and of the right signs.

    Notes
    -----
    Cost: a sparse factorisation for each round, most often one or two.
    """
    P, q, A, b = data
    x, y, s = start
    by_rows, free = A.tocsr(), np.arange(b.size) >= zero
    row = abs(by_rows).max(axis=1).toarray().ravel() if b.size else b
    active = presumably_active(row, x, y, s) | ~free
    best, error, changes = start, np.inf, b.size + FEW
    for _ in range(ROUNDS):
        x, y = _on_face(P, by_rows, q, b, active, x, y)
        room = b - by_rows @ x
        rounding = ROUNDING * abs(y).max(initial=0.0)
        leaves, enters = active & free & (y < -rounding), ~active & (room < 0)
        y[free] = y[free].clip(min=0.0)
        point = x, y, np.where(active, 0.0, room.clip(min=0.0))
        after = judge(point)
        if after < error:
            best, error = point, after
        moved, changes = changes, int(leaves.sum() + enters.sum())
        if not changes or error <= SHARP or changes >= max(moved, FEW):
            break
        active = (active & ~leaves) | enters
    return best, error


def presumably_active(row: Array, x: Array, y: Array, s: Array) -> Any:
    """The rows with s = 0: more of all y than of the s that their entries, ``row``, make possible."""
    row = np.where(row > 0, row, 1.0)
    size_x, size_y = (max(abs(v).max(initial=0.0), np.finfo(float).tiny) for v in (x, y * row))
    with np.errstate(over="ignore"):  # beside an x that vanishes any slack is infinite
        return y * row / size_y > s / row / size_x


def _on_face(P: Any, A: Any, q: Array, b: Array, active: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """The nearest point that satisfies the equations of the active rows."""
    C, y = A[np.flatnonzero(active)], np.where(active, y, 0.0)
    saddle = factorised(P, C)
    step = saddle.solve(np.concatenate([-(P @ x + q + C.T @ y[active]), b[active] - C @ x]))
    y[active] += step[x.size :]
    return x + step[: x.size], y
