"""Projections onto polyhedra in exact rational arithmetic, by trying every active set."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from typing import Any

import flint
import numpy as np


def rational(values: Any) -> np.ndarray:
    """An array of fractions; doubles are taken at their exact value."""
    given = np.asarray(values)
    return np.array(
        [Fraction(v) if isinstance(v, Fraction) else Fraction(float(v)) for v in given.flat], dtype=object
    ).reshape(given.shape)


def solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
    """Exact solution of a square system, or None if the matrix is singular."""
    lhs = flint.fmpq_mat([[_fmpq(v) for v in row] for row in matrix])
    rhs = flint.fmpq_mat([[_fmpq(v)] for v in right])
    try:
        found = lhs.solve(rhs)
    except ZeroDivisionError:
        return None
    return np.array(
        [Fraction(int(found[i, 0].p), int(found[i, 0].q)) for i in range(len(right))], dtype=object
    )


def projection(
    x: np.ndarray, G: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The z of min ½‖z − x‖² s.t. Gz ≤ h, Az = b, and its λ, from the definition alone.

    Every subset of the inequalities is tried as the active one; a KKT point of this strictly convex
    program is its solution. Cost: 2^m solves of size at most n + m + p.

    Raises
    ------
    ValueError
        If no subset gives a KKT point, which means that the polyhedron is empty or its rows dependent.
    """
    for active in _subsets(len(h)):
        rows = np.vstack([G[list(active)], A]) if len(A) else G[list(active)]
        rhs = np.concatenate([h[list(active)], b])
        size = len(x) + len(rows)
        kkt = np.full((size, size), Fraction(0), dtype=object)
        kkt[: len(x), : len(x)] = rational(np.eye(len(x)))
        kkt[len(x) :, : len(x)], kkt[: len(x), len(x) :] = rows, rows.T
        found = solve(kkt, np.concatenate([x, rhs]))
        if found is None:
            continue
        z, multipliers = found[: len(x)], found[len(x) : len(x) + len(active)]
        if all(value >= 0 for value in multipliers) and all(G @ z <= h):
            lam = np.full(len(h), Fraction(0), dtype=object)
            lam[list(active)] = multipliers
            return z, lam
    raise ValueError("no active set gives a KKT point; the polyhedron is empty or its rows are dependent")


def critical_cone_projection(
    x: np.ndarray, G: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray, d: np.ndarray
) -> np.ndarray:
    """Projection of `d` onto the critical cone of `x`: tangent at the projection, orthogonal to x − z."""
    z, lam = projection(x, G, h, A, b)
    active = G @ z == h
    weak, strong = active & (lam == 0), active & (lam > 0)
    equalities = np.vstack([G[strong], A]) if len(A) else G[strong]
    zero = np.full(len(equalities), Fraction(0), dtype=object)
    return projection(d, G[weak], np.full(weak.sum(), Fraction(0), dtype=object), equalities, zero)[0]


def _subsets(size: int) -> Iterator[tuple[int, ...]]:
    for count in range(size + 1):
        yield from combinations(range(size), count)


def _fmpq(value: Fraction) -> flint.fmpq:
    return flint.fmpq(value.numerator, value.denominator)
