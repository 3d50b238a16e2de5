"""Quadratic programs whose solution is known without solving them, to the last bit.

Every number is a multiple of a power of two, small enough that double precision forms q = -(Qz + G'lam + A'nu),
h = Gz + s and b = Az without rounding. So z, lam, nu and s are the exact solution of the program that the layer is
given, and a margin of strict complementarity may be as small as 2^-40 and mean what it says; `exact.py` checks it in
integers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
NAMES = ("Q", "q", "G", "h", "A", "b")


@dataclass(frozen=True)
class Instance:
    """A program, its solution, the rows of G that determine the derivative, and the cotangent w of the loss w'z."""

    Q: Array
    q: Array
    G: Array
    h: Array
    A: Array
    b: Array
    z: Array
    lam: Array
    nu: Array
    active: Array
    w: Array

    @property
    def data(self) -> dict[str, Array]:
        """The six arguments of a layer."""
        return {name: getattr(self, name) for name in NAMES}


@dataclass(frozen=True)
class Size:
    """Numbers of variables, inequalities, active inequalities and equalities."""

    n: int
    m: int
    k: int
    p: int

    @classmethod
    def of(cls, n: int) -> "Size":
        """As many inequalities as variables, a third of them active, and equalities for a fifth."""
        return cls(n, n, max(1, n // 3), n // 5)


def dyadic(value: float) -> float:
    """The power of two next to `value`, or zero."""
    return 0.0 if value == 0 else 2.0 ** round(math.log2(value))


def regular(rng: np.random.Generator, size: Size, margin: float = 1.0) -> Instance:
    """A well conditioned program; `margin` is one active multiplier, and the slack of one inactive row.

    With margin 0 the first row alone is weakly active, and counted as active.
    """
    scale = 2.0 ** math.ceil(math.log2(size.n))
    M = rng.integers(-2, 3, (size.n, size.n)).astype(float)
    return _assembled(rng, M @ M.T / scale + np.eye(size.n), size, dyadic(margin))


def ill_conditioned(rng: np.random.Generator, condition: float) -> Instance:
    """Sixteen variables; the eigenvalues of Q fall from 1 to 1/`condition`, rounded to powers of two.

    The eigenvectors are the columns of a Hadamard matrix, whose entries are +-1/4.
    """
    H = np.array([[1.0]])
    while len(H) < 16:
        H = np.block([[H, H], [H, -H]])
    eigenvalues = np.array([dyadic(condition ** (-i / 15)) for i in range(16)])
    return _assembled(rng, H * eigenvalues @ H.T / 16, Size(16, 16, 5, 3), 1.0)


def linear_program(rng: np.random.Generator, n: int) -> Instance:
    """No curvature, and a vertex at which as many rows hold as there are variables."""
    p = n // 5
    return _assembled(rng, np.zeros((n, n)), Size(n, 2 * n, n - p, p), 1.0)


def repeated_row(rng: np.random.Generator, size: Size) -> Instance:
    """A regular program, one active row of which stands there twice: multipliers are not unique, z is."""
    once = regular(rng, size)
    return Instance(
        once.Q,
        once.q,
        np.vstack([once.G, once.G[:1]]),
        np.append(once.h, once.h[0]),
        *(once.A, once.b, once.z),
        np.append(once.lam, 0.0),
        once.nu,
        np.append(once.active, False),
        once.w,
    )


def _assembled(rng: np.random.Generator, Q: Array, size: Size, margin: float) -> Instance:
    n, m, k, p = size.n, size.m, size.k, size.p
    z, nu = rng.integers(-4, 5, n) / 4, rng.integers(-4, 5, p) / 4
    lam, s = np.zeros(m), np.zeros(m)
    lam[:k], s[k:] = rng.integers(2, 5, k) / 4, rng.integers(2, 5, m - k) / 4
    lam[0] = margin
    if margin > 0:
        s[k : k + 1] = margin
    draw = _independent(lambda: rng.integers(-2, 3, (m + p, n)) / 2, [*range(k), *range(m, m + p)])
    G, A = draw[:m], draw[m:]
    active = np.arange(m) < k
    q = -(Q @ z + G.T @ lam + A.T @ nu)
    return Instance(Q, q, G, G @ z + s, A, A @ z, z, lam, nu, active, rng.integers(1, 5, n) / 4)


def _independent(draw: Callable[[], Array], rows: list[int]) -> Array:
    """The first draw whose `rows` are far from dependent and which has no row of zeros."""
    while True:
        found = draw()
        if found.any(axis=1).all() and np.linalg.svd(found[rows], compute_uv=False).min(initial=1.0) > 0.05:
            return found
