"""Families with a structure of their own: unrelated blocks, chains that grow, transport, control, covariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.adversary.families import FAMILIES, Array, Family, Generator, integers
from tests.adversary.program import OPTIMAL, Draft


def _powers(rng: Generator, count: int, most: int) -> Array:
    return 2.0 ** rng.integers(-most, most + 1, count)


def scaled(rng: Generator, family: Family, n: int, m: int, p: int) -> Draft | None:
    """Another family with rows, columns or the objective in other units."""
    d = family(rng, n, m, p)
    if d is None:
        return None
    rows, columns, objective = rng.integers(0, 2, 3) * (24, 6, 24)
    c = float(2.0 ** rng.integers(-objective, objective + 1))
    return d.scaled(_powers(rng, n, columns), _powers(rng, m, rows), _powers(rng, p, rows), c)


def _joined(d: Draft, e: Draft) -> Draft:
    """Two programs that know nothing of each other as one."""

    def corner(M: Array, N: Array) -> Array:
        out = np.zeros((M.shape[0] + N.shape[0], M.shape[1] + N.shape[1]))
        out[: M.shape[0], : M.shape[1]], out[M.shape[0] :, M.shape[1] :] = M, N
        return out

    pairs = {name: np.concatenate([getattr(d, name), getattr(e, name)]) for name in ("z", "lam", "nu", "s")}
    return Draft(corner(d.Q, e.Q), corner(d.G, e.G), corner(d.A, e.A), **pairs)


def blocks(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Two programs of far apart units in one."""
    if n < 2:
        return None
    names = ("regular", "singular", "vertex", "weakly active", "doubled", "box", "degenerate vertex")
    first = int(rng.integers(1, n))
    own = int(rng.integers(0, m + 1)), int(rng.integers(0, min(p, first - 1) + 1))
    sizes = (first, *own), (n - first, m - own[0], p - own[1])
    if sizes[1][2] >= sizes[1][0]:
        return None
    parts: list[Draft] = []
    for size, sign in zip(sizes, rng.permutation([-1, 1]), strict=True):
        d = FAMILIES[names[rng.integers(0, len(names))]](rng, *size)
        if d is None or d.status != OPTIMAL:
            return None
        most = int(rng.choice([9, 18, 27]))
        unit = [2.0 ** (sign * int(v)) for v in rng.integers(0, 2, 3) * most]
        parts.append(d.scaled(*(np.full(k, u) for k, u in zip(size, (*unit[:2], 1.0), strict=True)), unit[2]))
    return _joined(*parts)


def chain(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """0 ≤ zₖ ≤ ratio · zₖ₋₁, z₀ ≤ 1, pulled up at its end; or zₖ ≥ ratio · zₖ₋₁, z₀ ≥ 1, pushed down; or equalities."""
    ratio = float(rng.choice([2, 4, 8, 10]))
    lower = np.eye(n) - np.diag(np.full(n - 1, ratio), -1)
    z = ratio ** np.arange(n)
    curvature = float(2.0 ** -int(rng.integers(0, 60))) * int(rng.integers(0, 2))
    Q = curvature * np.eye(n) if curvature * z[-1] < 0.5 else np.zeros((n, n))
    if p == n - 1 and m:  # z₀ is held by a row, the rest follows
        G = np.zeros((m, n))
        G[:, 0] = rng.choice([-1.0, 1.0])
        G[1:] = -np.eye(n)[rng.integers(0, n, m - 1)]
        lam, s = np.zeros(m), np.full(m, 2.0 ** rng.integers(0, 4))
        lam[0], s[0] = 1.0, 0.0
        return Draft(Q, G, lower[1:], z, lam, integers(rng, p), s)
    if m != 2 * n or p:
        return None
    sign = float(rng.choice([-1.0, 1.0]))
    G = np.vstack([sign * lower, -np.eye(n)])
    lam = np.zeros(2 * n)
    lam[n - 1] = 1.0
    for k in range(n - 2, -1, -1):
        lam[k] = ratio * lam[k + 1] + (1.0 if sign < 0 else 0.0)
    return Draft(Q, G, np.zeros((0, n)), z, lam, np.zeros(0), np.concatenate([np.zeros(n), z]))


def transport(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Two sources, three sinks: dependent equalities, a plan that is a vertex, prices on the rest."""
    if (n, m) != (6, 6) or p != 5:
        return None
    A = np.vstack([np.kron(np.eye(2), np.ones(3)), np.kron(np.ones(2), np.eye(3))])
    used = np.array([1, 1, 0, 0, 1, 1], dtype=bool)
    if rng.integers(0, 2):
        used = used[rng.permutation(6)]
    z = np.where(used, rng.integers(1, 6, 6), 0).astype(float)
    lam = np.where(used, 0, rng.integers(1, 6, 6)).astype(float)
    Q = np.eye(6) * float(rng.choice([0.0, 0.25]))
    return Draft(Q, -np.eye(6), A, z, lam, integers(rng, 5), z.copy())


def control(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """Two steps of a linear system with bounded inputs; the variables are u₀, x₁, u₁, x₂ (states of two numbers)."""
    if (n, p) != (6, 4) or m != 4:
        return None
    F, B = integers(rng, 2, 2), integers(rng, 2, 1)
    zero = np.zeros((2, 1))
    A = np.block([[-B, np.eye(2), zero, np.zeros((2, 2))], [zero, -F, -B, np.eye(2)]])
    G = np.zeros((4, 6))
    G[0, 0], G[1, 0], G[2, 3], G[3, 3] = 1, -1, 1, -1
    bound = rng.integers(0, 3, 2)
    u = np.array([1.0, -1.0, 0.0])[bound]
    lam, s = np.zeros(4), np.ones(4)
    for step, which in enumerate(bound):
        s[2 * step], s[2 * step + 1] = 1 - u[step], 1 + u[step]
        if which < 2:
            lam[2 * step + which] = rng.integers(0, 5)
    z = np.concatenate([u[:1], integers(rng, 2), u[1:], integers(rng, 2)])
    Q = np.diag([0.25, 1, 1, 0.25, 1, 1]) * float(2.0 ** rng.integers(-10, 11))
    return Draft(Q, G, A, z, lam, integers(rng, 4), s)


def portfolio(rng: Generator, n: int, m: int, p: int) -> Draft | None:
    """A covariance of fewer samples than assets, a budget, and no short sales."""
    if p != 1 or m < n or n < 2:
        return None
    samples = int(rng.integers(1, n + 1))
    factor = integers(rng, samples, n)
    held = rng.integers(0, 2, n).astype(bool)
    held[rng.integers(0, n)] = True
    z = np.where(held, rng.integers(1, 5, n), 0) / 4
    G = np.vstack([-np.eye(n), np.tile(np.eye(n), (2, 1))[: m - n]])
    G = np.vstack([G, np.ones((m - len(G), n))])
    s = np.concatenate([z, np.full(m - n, 2.0)])
    lam = np.where(s == 0, rng.integers(1, 5, m), 0).astype(float)
    return Draft(factor.T @ factor / samples if samples & (samples - 1) == 0 else factor.T @ factor,
                 G, np.ones((1, n)), z, lam, integers(rng, 1), s)  # fmt: skip


def wrapped(name: str) -> Family:
    """A family in other units."""
    return lambda rng, n, m, p: scaled(rng, FAMILIES[name], n, m, p)


STRUCTURES: dict[str, Family] = {
    "unrelated blocks": blocks, "chain": chain, "transport": transport, "control": control,
    "portfolio": portfolio,
} | {f"{name}, other units": wrapped(name) for name in FAMILIES}  # fmt: skip


def draw(rng: Generator, n: int, m: int, p: int) -> Draft:
    """A draft of these sizes, of any family that has room in them."""
    everything = FAMILIES | STRUCTURES
    names = [
        *everything,
        *["unrelated blocks"] * 8,
        *["chain"] * (12 if n > 6 else 4),
        *["transport", "control", "portfolio"] * 8,
    ]
    while True:
        name = names[rng.integers(0, len(names))]
        made = everything[name](rng, n, m, p)
        if made is not None:
            return replace(made, family=name)
