"""Quadratic programs for the proofs: random data, and the optimum by trying every active set.

The oracle is brute force on purpose: it solves one equality-constrained problem for each subset of the
inequalities and keeps the subset whose solution is feasible with multipliers of the right sign. It works
over floats, mpmath numbers and rationals alike, and over rationals it is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, combinations
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq

from proofs.common.linear import Numbers, SingularError, block, eliminate, zeros


class Quadratic(NamedTuple):
    """Data of min ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b; entries of any one number type."""

    Q: Numbers
    q: Numbers
    G: Numbers
    h: Numbers
    A: Numbers
    b: Numbers

    def convert(self, number: Callable[[Any], Any]) -> Quadratic:
        """The same data with `number` applied to each entry, as object arrays."""
        entries = (
            np.array([number(v) for v in part.flat], dtype=object).reshape(part.shape) for part in self
        )
        return Quadratic(*entries)

    def perturbed(self, name: str, index: tuple[int, ...], step: Any) -> Quadratic:
        """The same data with `step` added to one entry of the part called `name`."""
        part = getattr(self, name).copy()
        part[index] = part[index] + step
        return self._replace(**{name: part})


class Optimum(NamedTuple):
    """Primal and dual optimum, and the inequalities that were held with equality to find it."""

    z: Numbers
    lam: Numbers
    nu: Numbers
    active: tuple[int, ...]


def random_quadratic(
    rng: np.random.Generator, n: int, m: int, p: int, *, active: int, weak: int = 0
) -> Quadratic:
    """Float data built around an optimum: the first `active` inequalities hold with equality.

    Their multipliers lie in [1/2, 3/2], except for the last `weak` of them, whose multipliers are 0; the
    other inequalities have slack in [1/2, 3/2]. Q ≻ 0, and the active rows are independent almost surely.
    """
    root = rng.standard_normal((n, n))
    Q, G, A = root @ root.T / n + 0.5 * np.eye(n), rng.standard_normal((m, n)), rng.standard_normal((p, n))
    z, nu = rng.standard_normal(n), rng.standard_normal(p)
    lam, s = np.zeros(m), rng.uniform(0.5, 1.5, m)
    lam[: active - weak], s[:active] = rng.uniform(0.5, 1.5, active - weak), 0.0
    return Quadratic(Q, -(Q @ z + G.T @ lam + A.T @ nu), G, G @ z + s, A, A @ z)


def rational_quadratic(
    rng: np.random.Generator, n: int, m: int, p: int, *, active: int, weak: int = 0
) -> Quadratic:
    """The same over the rationals: entries are multiples of 1/4, and of products of two of those.

    The active rows are drawn again until their smallest singular value exceeds 1/2: small integers give
    dependent rows too often.
    """

    def draw(low: int, high: int, *shape: int) -> Numbers:
        return np.array(
            [fmpq(int(v), 4) for v in rng.integers(low, high, int(np.prod(shape)))], dtype=object
        ).reshape(shape)

    root, z, nu, G, A = (
        draw(-4, 5, n, n),
        draw(-8, 9, n),
        draw(-8, 9, p),
        draw(-8, 9, m, n),
        draw(-8, 9, p, n),
    )
    while active + p and _smallest_singular_value(np.concatenate([G[:active], A])) <= 0.5:
        G, A = draw(-8, 9, m, n), draw(-8, 9, p, n)
    Q = root @ root.T + np.array([[fmpq(int(i == j)) for j in range(n)] for i in range(n)], dtype=object)
    lam, s = np.array([fmpq(0)] * m, dtype=object), draw(2, 7, m)
    lam[: active - weak], s[:active] = draw(2, 7, active - weak), fmpq(0)
    AT_nu = A.T @ nu if p else np.array([fmpq(0)] * n, dtype=object)
    return Quadratic(Q, -(Q @ z + G.T @ lam + AT_nu), G, G @ z + s, A, A @ z)


def optimum(problem: Quadratic, *, first: Sequence[int] = (), tolerance: Any = 0) -> Optimum:
    """Primal and dual optimum by enumeration of the active sets.

    Parameters
    ----------
    problem : Quadratic
        With Q ≻ 0 and a feasible point.
    first : sequence of int
        An active set to try before the others.
    tolerance : number
        Violation of a sign that still counts as zero: 0 over the rationals.

    Raises
    ------
    ArithmeticError
        If no active set passes: the problem is infeasible or ``tolerance`` is too small.
    """
    m = len(problem.h)
    subsets = chain.from_iterable(combinations(range(m), k) for k in range(m + 1))
    for active in chain([tuple(first)], subsets):
        try:
            z, lam, nu = equality_constrained(problem, active)
        except SingularError:
            continue
        slack = problem.h - problem.G @ z if m else np.array([])
        if all(v >= -tolerance for v in lam) and all(v >= -tolerance for v in slack):
            return Optimum(z, lam, nu, active)
    raise ArithmeticError("no active set satisfies the optimality conditions: the problem has no solution")


def equality_constrained(problem: Quadratic, active: Sequence[int]) -> tuple[Numbers, Numbers, Numbers]:
    """Stationary point (z, λ, ν) with the inequalities in `active` as equalities and the others dropped."""
    Q, q, G, h, A, b = problem
    rows = list(active)
    n, k, p = len(q), len(rows), len(b)
    C, d = np.concatenate([G[rows], A]), np.concatenate([h[rows], b])
    solution = eliminate(block([[Q, C.T], [C, zeros(k + p, k + p)]]), np.concatenate([-q, d]))
    lam = np.zeros(len(h), dtype=int).astype(object)
    lam[rows] = solution[n : n + k]
    return solution[:n], lam, solution[n + k :]


def _smallest_singular_value(rows: Numbers) -> float:
    floats = np.array([int(fmpq(v).p) / int(fmpq(v).q) for v in rows.flat]).reshape(rows.shape)
    return float(np.linalg.svd(floats, compute_uv=False)[-1])
