"""Batches of quadratic programs that are timed: those of two publications, and three families that grow.

minimise 1/2 z'Qz + q'z subject to Gz <= h, Az = b. Matrices are dense with a batch axis and learned, as in OptNet's and
cvxpylayers' dense programs, or sparse, constant and shared over the batch; vectors have a batch axis and are learned.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

NAMES = ("Q", "q", "G", "h", "A", "b")


@dataclass(frozen=True)
class Programs:
    """A batch of programs: arrays of numpy, sparse matrices of scipy where they are shared and constant.

    Attributes
    ----------
    Q, G, A
        Shapes (batch, n, n), (batch, m, n), (batch, p, n), or sparse without the batch axis.
    q, h, b : ndarray
        Shapes (batch, n), (batch, m), (batch, p).
    smooth : bool
        Whether the solution has a derivative.
    """

    Q: Any
    q: np.ndarray
    G: Any
    h: np.ndarray
    A: Any
    b: np.ndarray
    smooth: bool = True

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """(batch, n, m, p)."""
        return *self.q.shape, self.h.shape[-1], self.b.shape[-1]

    @property
    def sparse(self) -> bool:
        """Whether the matrices are sparse, shared and constant."""
        return sp.issparse(self.Q)

    @property
    def learned(self) -> tuple[str, ...]:
        """The arguments that gradients are asked of."""
        _, _, m, p = self.sizes
        present = "Qq" + "Gh" * (m > 0) + "Ab" * (p > 0)
        return tuple(name for name in present if not (self.sparse and name.isupper()))

    def first(self, count: int) -> "Programs":
        """The first programs of the batch."""
        some = {k: getattr(self, k)[:count] for k in NAMES if not sp.issparse(getattr(self, k))}
        return replace(self, **some)

    def one(self, i: int) -> tuple[Any, ...]:
        """Q, q, G, h, A, b of one program, the matrices sparse by columns."""
        each = (getattr(self, name) for name in NAMES)
        parts = [part if sp.issparse(part) else part[i] for part in each]
        return tuple(sp.csc_array(part) if part.ndim == 2 else part for part in parts)

    def leaves(self) -> dict[str, Tensor]:
        """What is learned, as tensors that ask for gradients."""
        return {k: torch.from_numpy(getattr(self, k).copy()).requires_grad_() for k in self.learned}

    def constants(self, *, dense: bool = False) -> dict[str, Tensor | None]:
        """What is not, sparse where it is unless `dense`; None for constraints that are absent."""
        found: dict[str, Tensor | None] = {}
        for name in (name for name in NAMES if name not in self.learned):
            value = getattr(self, name)
            absent = name in "GhAb" and 0 in value.shape
            found[name] = None if absent else _tensor(value, dense=dense)
        return found


def _tensor(value: Any, *, dense: bool) -> Tensor:
    if not sp.issparse(value) or dense:
        return torch.from_numpy(value.toarray() if sp.issparse(value) else value)
    own = sp.coo_array(value)
    places = torch.from_numpy(np.stack(own.coords).astype(np.int64))
    return torch.sparse_coo_tensor(
        places, torch.from_numpy(own.data), own.shape, check_invariants=True
    ).coalesce()


def dense(batch: int, n: int, rng: np.random.Generator) -> Programs:
    """Q = UU' + I/1000 with U uniform, G and q normal, h = Gz + s with z normal and s uniform; m = n, nothing shared.

    So draw prof-gurobi.py and prof-linear.py of qpth, and the dense program of prof.py of cvxpylayers [code].
    """
    U = rng.uniform(size=(batch, n, n))
    Q = U @ U.swapaxes(-1, -2) + 1e-3 * np.eye(n)
    q, G = rng.standard_normal((batch, n)), rng.standard_normal((batch, n, n))
    z, s = rng.standard_normal((batch, n, 1)), rng.uniform(size=(batch, n))
    return Programs(Q, q, G, (G @ z)[..., 0] + s, np.zeros((batch, 0, n)), np.zeros((batch, 0)))


def published_sparse(
    batch: int, n: int, density: float, rng: np.random.Generator, slack: float = 0.0
) -> Programs:
    """Q = I, G and A random plus I, q and z normal, b = Az, h = Gz + `slack` s with s uniform; n = m = p.

    The sparse program of prof.py of cvxpylayers [code] has no slack: its only feasible point is z, where all 2n rows
    hold with equality, so that almost every change of b or h leaves none and the solution has no derivative.
    """
    draw = partial(
        sp.random_array, (n, n), density=density, rng=rng, data_sampler=partial(rng.uniform, 0.0, 1.0)
    )
    G, A = ((draw() + sp.eye_array(n)).tocsc() for _ in range(2))
    q, z = rng.standard_normal((batch, n)), rng.standard_normal((batch, n))
    h = (G @ z.T).T + slack * rng.uniform(size=(batch, n))
    return Programs(sp.eye_array(n).tocsc(), q, G, h, A, (A @ z.T).T, smooth=slack > 0)


def banded(n: int, rng: np.random.Generator) -> Programs:
    """Q = I/10 + D'D with the differences D of neighbours, a row z_i - z_(i+1)/2 <= h_i for each pair: bandwidth 1."""
    D, G = _pairs(n, -1.0, 1.0), _pairs(n, 1.0, -0.5)
    return _alone(D.T @ D + 0.1 * sp.eye_array(n), G, sp.csc_array((0, n)), rng)


def random_sparse(n: int, rng: np.random.Generator) -> Programs:
    """Q diagonal, n/2 rows of G with two entries in random places and n/10 of A with three and one of its own.

    Rows connect variables: with more of them, or longer ones, factors of a random pattern fill with the square of n.
    """
    Q = sp.diags_array(rng.uniform(0.1, 1.0, n))
    G, A = _rows(n // 2, 2, n, rng), _rows(n // 10, 3, n, rng)
    own = sp.coo_array(
        (2 * np.ones(n // 10), (np.arange(n // 10), rng.permutation(n)[: n // 10])), shape=A.shape
    )
    return _alone(Q, G, A + own, rng)


def grid(n: int, rng: np.random.Generator) -> Programs:
    """An obstacle problem on a square of about n points: Q = I/10 + the Laplacian of the grid, z <= h."""
    side = max(2, math.isqrt(n))
    D = _pairs(side, -1.0, 1.0)
    line, eye = D.T @ D, sp.eye_array(side)
    n = side * side
    Q = sp.kron(line, eye) + sp.kron(eye, line) + 0.1 * sp.eye_array(n)
    return _alone(Q, sp.eye_array(n), sp.csc_array((0, n)), rng)


FAMILIES: dict[str, Callable[[int, np.random.Generator], Programs]] = {
    "banded": banded,
    "random": random_sparse,
    "grid": grid,
}


def _pairs(n: int, first: float, second: float) -> Any:
    """A row with two numbers for each pair of neighbours, shape (n - 1, n)."""
    diagonals: Any = sp.diags_array
    return diagonals([np.full(n - 1, first), np.full(n - 1, second)], offsets=[0, 1], shape=(n - 1, n))


def _rows(count: int, entries: int, n: int, rng: np.random.Generator) -> Any:
    """So many normal entries in each of `count` rows."""
    places = (np.repeat(np.arange(count), entries), rng.integers(n, size=entries * count))
    return sp.coo_array((rng.standard_normal(entries * count), places), shape=(count, n))


def _alone(Q: Any, G: Any, A: Any, rng: np.random.Generator) -> Programs:
    """A batch of one: q normal, h = Gz + s and b = Az with z normal and s uniform."""
    Q, G, A = (sp.csc_array(M) for M in (Q, G, A))
    n = Q.shape[0]
    z, s = rng.standard_normal(n), rng.uniform(size=G.shape[0])
    return Programs(Q, rng.standard_normal((1, n)), G, (G @ z + s)[None], A, (A @ z)[None])
