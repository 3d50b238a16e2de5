"""Pseudo-inverses in exact rational arithmetic, and degenerate programs of blocks that nothing connects."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = list[list[Fraction]]

KINDS = (
    "regular", "weakly active", "two weakly active", "doubled row", "doubled, one weak", "redundant equality",
    "flat", "no curvature", "vertex",
)  # fmt: skip


def pseudo_inverse_times(K: Array, r: Array) -> Array:
    """K⁺ r: with K = BC of full rank, K⁺ = Cᵀ(CCᵀ)⁻¹(BᵀB)⁻¹Bᵀ. Entries are the rational numbers that they are."""
    exact, side = _rational(K), _rational(r[:, None])
    C, pivots = _reduced(exact)
    if not C:
        return np.zeros(K.shape[1])
    B = [[row[j] for j in pivots] for row in exact]
    y = _solved(_product(_turned(B), B), _product(_turned(B), side))
    x = _product(_turned(C), _solved(_product(C, _turned(C)), y))
    return np.array([float(row[0]) for row in x])


def _rational(M: Array) -> Rows:
    return [[Fraction(float(v)) for v in row] for row in M]


def _turned(M: Rows) -> Rows:
    return [list(column) for column in zip(*M, strict=True)]


def _product(A: Rows, B: Rows) -> Rows:
    columns = _turned(B)
    return [
        [sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0)) for column in columns]
        for row in A
    ]


def _solved(A: Rows, B: Rows) -> Rows:
    reduced, _ = _reduced([a + b for a, b in zip(A, B, strict=True)])
    return [row[len(A) :] for row in reduced]


def _reduced(M: Rows) -> tuple[Rows, list[int]]:
    """Reduced row echelon form without its zero rows, and the columns of its pivots."""
    M, pivots = [list(row) for row in M], []
    for j in range(len(M[0])):
        k = len(pivots)
        found = next((i for i in range(k, len(M)) if M[i][j]), None)
        if found is None:
            continue
        M[k], M[found] = M[found], M[k]
        M[k] = [v / M[k][j] for v in M[k]]
        for i in range(len(M)):
            if i != k and M[i][j]:
                factor = M[i][j]
                M[i] = [a - factor * b for a, b in zip(M[i], M[k], strict=True)]
        pivots.append(j)
    return M[: len(pivots)], pivots


@dataclass
class Block:
    """A program in units of its own, powers of two, so that nothing is rounded; `lam` and `slack` tell what binds."""

    Q: Array
    G: Array
    lam: Array
    slack: Array
    A: Array
    variable: float = 1.0
    cost: float = 1.0
    rows: Array = field(default_factory=lambda: np.zeros(0))
    equalities: Array = field(default_factory=lambda: np.zeros(0))

    def matrix(self) -> tuple[Array, list[int], list[int]]:
        """K with the rows of the strongly active and the columns of all active constraints; both in order."""
        touched = np.flatnonzero(self.slack == 0).tolist()
        strong = [i for i in touched if self.lam[i] > 0]
        low = np.vstack([self.G[strong], self.A])
        top = np.hstack([self.Q, self.G[touched].T, self.A.T])
        return (
            np.vstack([top, np.hstack([low, np.zeros((len(low), top.shape[1] - len(self.Q)))])]),
            strong,
            touched,
        )


def draw_block(rng: np.random.Generator, kind: str, spread: int) -> Block:
    """Small integers, scaled by powers of two up to ``spread``: variables, cost, and every row by itself."""
    n = int(rng.integers(2, 4))

    def integers(*shape: int) -> Array:
        found = rng.integers(-3, 4, shape).astype(float)
        found[..., 0] += found[..., 0] == 0
        return found

    L, g, other = integers(n, n) + 3 * np.eye(n), integers(n), integers(n)
    Q, A = L @ L.T, np.zeros((0, n))
    rows = {
        "weakly active": [(g, 0, 0), (other, 1, 0)],
        "two weakly active": [(g, 0, 0), (other, 0, 0)],
        "doubled row": [(g, 1, 0), (2 * g, 1, 0)],
        "doubled, one weak": [(g, 1, 0), (g, 0, 0)],
        "flat": [(other, 0, 1)],
        "no curvature": [(g, 1, 0)],
        "vertex": [*((row, 1, 0) for row in np.eye(n)), (np.ones(n), 1, 0)],
    }.get(kind, [(g, 0, 1), (other, 1, 0)])
    if kind == "redundant equality":
        rows, A = [], np.vstack([g, other, g + other])
    if kind in ("no curvature", "vertex"):
        Q = np.zeros((n, n))
    if kind == "flat":
        Q = np.outer(g, g)
    unit = [2.0 ** int(rng.integers(-spread, spread + 1)) for _ in range(2)]
    row, equality = (2.0 ** rng.integers(-spread, spread + 1, k) for k in (len(rows), len(A)))
    G = np.array([r[0] for r in rows]).reshape(-1, n)
    lam, slack = np.array([r[1] for r in rows], float), np.array([r[2] for r in rows], float)
    scale_G, scale_A = row[:, None] / unit[0], equality[:, None] / unit[0]
    return Block(unit[1] * Q / unit[0] ** 2, scale_G * G, lam, slack, scale_A * A, *unit, row, equality)


def assembled(blocks: list[Block]) -> tuple[Array, Array, Array]:
    """Q, G and A of all."""
    Q, G, A = (scipy.linalg.block_diag(*(getattr(b, name) for b in blocks)) for name in "QGA")
    return Q, G, A
