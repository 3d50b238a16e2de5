"""Quadratic programs at degenerate points: rows that depend on each other, rows that are active without a multiplier.

Each is drawn so that the gradients asked of it exist all the same and are known: multipliers may be shared out
among dependent rows in many ways, the solution and its change with Q, q or a right-hand side apart from them may not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.problems import Data, data_of


def dependent(draw: int, batch: int, n: int, active: int, dependent: int) -> Data:
    """`active` rows that hold with multipliers of 0.5 to 1.5, `dependent` sums of two of them, and n slack rows."""
    fixed, rng = np.random.default_rng(n), np.random.default_rng((n, draw))
    root, C, free = (fixed.standard_normal(shape) for shape in ((n, n), (active, n), (n, n)))
    sums = np.stack([C[fixed.permutation(active)[:2]].sum(0) for _ in range(dependent)])
    G = np.concatenate([C, sums, free])
    Q = (1 + 1e-3 * draw) * (root @ root.T / n + 0.1 * np.eye(n))
    z, lam = rng.standard_normal((batch, n)), rng.uniform(0.5, 1.5, (batch, active))
    slack = np.concatenate([np.zeros((batch, active + dependent)), rng.uniform(0.1, 1.0, (batch, n))], 1)
    return _degenerate(Q, -(z @ Q + lam @ C), G, z @ G.T + slack, learned=("Q", "q"), draw=draw)


def weak(draw: int, batch: int, n: int, weak: int) -> Data:
    """Two blocks of n/2 variables: one with learned equalities, one whose minimum lies on `weak` of its n rows."""
    half, fixed, rng = n // 2, np.random.default_rng(n + 1), np.random.default_rng((n + 1, draw))
    roots, zero = fixed.standard_normal((2, half, half)), np.zeros((half, half))
    first, second = (root @ root.T / half + 0.1 * np.eye(half) for root in roots)
    A = np.concatenate([fixed.standard_normal((3, half)), np.zeros((3, half))], 1)
    G = fixed.standard_normal((2 * n, half))
    q, inside = rng.standard_normal((batch, n)), rng.standard_normal((batch, half))
    least = -np.linalg.solve(second, q[:, half:].T).T
    slack = rng.uniform(0.1, 1.0, (batch, 2 * n))
    slack[:, n : n + weak] = 0.0
    h = np.concatenate([inside @ G[:n].T, least @ G[n:].T], 1) + slack
    apart = np.concatenate([np.pad(G[:n], ((0, 0), (0, half))), np.pad(G[n:], ((0, 0), (half, 0)))])
    return _degenerate(
        np.block([[first, zero], [zero, second]]),
        q,
        apart,
        h,
        A,
        inside @ A[:, :half].T,
        learned=("b",),
        draw=draw,
    )


def transport(draw: int, batch: int, side: int) -> Data:
    """A matrix made doubly stochastic: 2 `side` sums, one of which follows from the others, z >= 0; q learned."""
    rng, eye = np.random.default_rng((side, draw)), np.eye(side)
    sums = np.concatenate([np.kron(eye, np.ones(side)), np.kron(np.ones(side), eye)])
    n = side * side
    return _degenerate(
        np.eye(n),
        -rng.standard_normal((batch, n)),
        -np.eye(n),
        np.zeros(n),
        sums,
        np.ones(2 * side),
        ("q",),
        draw,
    )


def corners(draw: int, batch: int, n: int) -> Data:
    """A point on the simplex with 0 <= z <= 1: at a corner, where many of them end, n + 1 rows hold; q learned."""
    rng, eye = np.random.default_rng((n + 2, draw)), np.eye(n)
    rows, ends = np.concatenate([-eye, eye]), np.concatenate([np.zeros(n), np.ones(n)])
    return _degenerate(
        eye, -3 * rng.standard_normal((batch, n)), rows, ends, np.ones((1, n)), np.ones(1), ("q",), draw
    )


def _degenerate(
    Q: np.ndarray,
    q: np.ndarray,
    G: np.ndarray,
    h: np.ndarray,
    A: np.ndarray | None = None,
    b: np.ndarray | None = None,
    learned: tuple[str, ...] = (),
    draw: int = 0,
) -> Data:
    return replace(data_of(Q, q, G, h, A, b, learned, draw), degenerate=True)
