"""Families of planted programs: each draws Q, G, A with a solution, so that everything about them is known.

A family takes a generator and the sizes n, m, p, and gives a draft, or None where the sizes leave no room for it. All
numbers are small integers and powers of two, so the floats of the program are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.adversary.program import INFEASIBLE, UNBOUNDED, Draft

Array = np.ndarray
Generator = np.random.Generator
Family = Callable[[Generator, int, int, int], Draft | None]


def integers(rng: Generator, *shape: int, most: int = 3) -> Array:
    """Small whole numbers."""
    return rng.integers(-most, most + 1, shape).astype(float)


def nonzero_rows(rng: Generator, count: int, n: int) -> Array:
    """Rows of small whole numbers, none of them zero."""
    M = integers(rng, count, n)
    M[np.arange(count), rng.integers(0, n, count)] += 7 * (M == 0).all(1)
    return M


def draft(
    rng: Generator, n: int, m: int, p: int, *, rank: int, strong: int, weak: int = 0, G: Array | None = None
) -> Draft:
    """A draft with Q of this rank, and so many strongly and weakly active rows; the first rows are the active ones."""
    factor = integers(rng, rank, n)
    z = integers(rng, n) / 2
    G = nonzero_rows(rng, m, n) if G is None else G
    lam, s = np.zeros(m), rng.integers(1, 9, m) / 2
    lam[:strong] = rng.integers(1, 9, strong) / 2
    s[: strong + weak] = 0
    nu = integers(rng, p)
    return Draft(factor.T @ factor, G, nonzero_rows(rng, p, n), z, lam, nu, s)


def regular(rng: Generator, n: int, m: int, p: int) -> Draft:
    """Q ≻ 0 mostly, a few active rows."""
    return draft(rng, n, m, p, rank=n, strong=int(rng.integers(0, min(m, n - p) + 1)))


def singular(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Q of low rank, as a covariance of few samples, and active rows that hold the rest."""
    rank = int(rng.integers(0, n))
    strong = n - p - rank
    return None if not 0 <= strong <= m else draft(rng, n, m, p, rank=rank, strong=strong)


def vertex(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """A linear program with its vertex."""
    return None if m < n - p else draft(rng, n, m, p, rank=0, strong=n - p)


def degenerate_vertex(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """More rows meet in a vertex than it has dimensions."""
    if m < n - p + 1:
        return None
    strong = int(rng.integers(n - p + 1, m + 1))
    return draft(rng, n, m, p, rank=int(rng.integers(0, 2)) * n, strong=strong)


def weakly_active(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Rows that hold with equality and do not push."""
    room = min(m, n - p)
    if room < 1:
        return None
    weak = int(rng.integers(1, room + 1))
    return draft(rng, n, m, p, rank=n, strong=int(rng.integers(0, room - weak + 1)), weak=weak)


def doubled(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Active rows that are multiples of each other, of both signs, or sums of two."""
    if m < 2:
        return None
    d = draft(rng, n, m, p, rank=n, strong=0)
    base = int(rng.integers(1, max(2, min(n - p, m // 2) + 1)))
    count = int(rng.integers(base + 1, m + 1))
    G = d.G.copy()
    for i in range(base, count):
        kind = rng.integers(0, 3)
        G[i] = 2.0 ** rng.integers(-3, 4) * G[i % base] * (-1 if kind == 1 else 1)
        if kind == 2 and base > 1:
            G[i] = G[i % base] + G[(i + 1) % base]
    lam, s = d.lam.copy(), d.s.copy()
    lam[:count], s[:count] = rng.integers(1, 9, count) / 2, 0
    return replace(d, G=G, lam=lam, s=s)


def dependent_equalities(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """One equality follows from the others."""
    if p < 2:
        return None
    d = regular(rng, n, m, p)
    A = d.A.copy()
    A[-1] = A[0] * 2.0 ** rng.integers(-2, 3) if p == 2 else A[0] - A[1]
    return replace(d, A=A)


def parallel(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Active rows that are nearly parallel."""
    if m < 2 or n - p < 2:
        return None
    d = draft(rng, n, m, p, rank=n, strong=2)
    G = d.G.copy()
    G[1] = G[0]
    G[1, rng.integers(0, n)] += 2.0 ** -int(rng.integers(4, 30))
    return replace(d, G=G)


def zero_row(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """A row 0ᵀz ≤ 1, or 0ᵀz ≤ 0."""
    if m < 1:
        return None
    d = draft(rng, n, m, p, rank=n, strong=int(rng.integers(0, min(m - 1, n - p) + 1)))
    G, s, lam = d.G.copy(), d.s.copy(), d.lam.copy()
    G[-1], s[-1] = 0, rng.integers(0, 2)
    lam[-1] = 1 - s[-1]  # any multiplier of 0 ≤ 0 is right
    return replace(d, G=G, s=s, lam=lam)


def box(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Bounds on the variables, as in control and portfolios."""
    if m < 2 * n:
        return None
    G = np.vstack([np.eye(n), -np.eye(n), nonzero_rows(rng, m - 2 * n, n)])
    d = draft(rng, n, m, p, rank=int(rng.integers(1, n + 1)), strong=0, G=G)
    lam, s = d.lam.copy(), d.s.copy()
    for i in rng.permutation(n)[: rng.integers(0, n - p + 1)]:
        row = i + n * int(rng.integers(0, 2))
        lam[row], s[row] = rng.integers(1, 9) / 2, 0
    return replace(d, lam=lam, s=s)


def flat(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Several minimisers: a low rank and too few active rows."""
    if n - p < 1:
        return None
    rank = int(rng.integers(0, n - p))
    strong = int(rng.integers(0, min(m, n - p - rank - 1) + 1))
    return draft(rng, n, m, p, rank=rank, strong=strong)


def contradictory(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """The last row contradicts a combination of the others, by a half or by a hair; or only meets it."""
    if m + p < 2 or m < 1:
        return None
    d = draft(rng, n, m, p, rank=int(rng.integers(0, n + 1)), strong=0)
    count = int(rng.integers(1, m)) if m > 1 else 0
    lam, nu = np.zeros(m), integers(rng, p, most=2)
    lam[:count], lam[m - 1] = rng.integers(1, 4, count), 1
    G, s = d.G.copy(), d.s.copy()
    G[m - 1] = -(G[:count].T @ lam[:count] + d.A.T @ nu)
    s[:count] = s[m - 1] = 0
    depth = 2.0 ** -int(rng.choice([1, 1, 10, 20, 27, 34, 40, 47]))
    gap = np.zeros(m)
    kind = rng.integers(0, 4)
    if kind >= 2:  # infeasible by depth
        gap[m - 1] = -depth
        return replace(d, G=G, s=s, gap=gap, certificate=(lam, nu), status=INFEASIBLE)
    if kind == 1:  # feasible by depth: the last row is not active
        s[m - 1] = depth
        own = d.lam.copy()
        own[:count] = rng.integers(1, 9, count) / 2
        return replace(d, G=G, s=s, lam=own)
    return replace(d, G=G, s=s, lam=d.lam + lam * rng.integers(1, 4))


def bottomless(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """A ray along which the objective falls, steeply or by a hair; or just rises."""
    if n < 2 or p > n - 1:
        return None
    ray = rng.integers(-1, 2, n).astype(float)
    ray[rng.integers(0, n)] = 1.0
    length = ray @ ray
    d = draft(rng, n, m, p, rank=0, strong=0)

    def across(M: Array) -> Array:
        return length * M - np.outer(M @ ray, ray)

    factor = across(integers(rng, int(rng.integers(0, n)), n, most=2))
    G, A = -np.sign(d.G @ ray)[:, None] * d.G, across(d.A)
    zero = (d.G @ ray) == 0
    G[zero] = d.G[zero]
    tilt = np.zeros(n)
    depth = 2.0 ** -int(rng.choice([0, 1, 10, 20, 27, 34, 40, 47]))
    tilt[np.flatnonzero(ray == 1)[0]] = -depth
    lam, s = d.lam.copy(), d.s.copy()
    for i in np.flatnonzero(zero)[:2]:
        lam[i], s[i] = 1, 0
    made = replace(d, Q=factor.T @ factor, G=G, A=A, lam=lam, s=s)
    falls = np.flatnonzero(G @ ray < 0)
    if rng.integers(0, 3) or not len(falls):
        return replace(made, tilt=tilt, certificate=(ray,), status=UNBOUNDED)
    lam[falls[0]], s[falls[0]] = depth, 0  # bounded by a hair: one row pushes back by so much
    return replace(made, lam=lam, s=s)


def bent(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """A hair of curvature in one direction."""
    d = regular(rng, n, m, p)
    Q = d.Q.copy()
    Q[0, :] = Q[:, 0] = 0
    Q[0, 0] = 2.0 ** -int(rng.integers(1, 27))
    return replace(d, Q=Q)


def tiny(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """A solution of size 1e-8 (or 1e8), with right-hand sides to match."""
    d = regular(rng, n, m, p)
    return d.scaled(np.full(n, 2.0 ** int(rng.choice([-27, 27]))), np.ones(m), np.ones(p), 1.0)


FAMILIES: dict[str, Family] = {
    "regular": regular, "singular": singular, "vertex": vertex, "degenerate vertex": degenerate_vertex,
    "weakly active": weakly_active, "doubled": doubled, "dependent equalities": dependent_equalities,
    "nearly parallel": parallel, "zero row": zero_row, "box": box, "several minimisers": flat,
    "contradictory": contradictory, "bottomless": bottomless, "bent": bent, "tiny": tiny,
}  # fmt: skip
