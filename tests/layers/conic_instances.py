"""Cone programs that the tests share: random ones made from their solution, and closed forms."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layers.cone.projections import decompose
from layers.cone_program import ConeProgram, Cones, ConeStructure

#: one program per cone, and mixtures: name -> (cones, number of variables)
CONES: dict[str, tuple[Cones, int]] = {
    "linear": (Cones(zero=2, nonneg=5), 5),
    "second-order": (Cones(soc=(4, 3, 4)), 6),
    "semidefinite": (Cones(psd=(3, 2)), 5),
    "exponential": (Cones(exp=3), 9),
    "power": (Cones(power=(0.3, 0.5, 0.8)), 5),
    "mixture": (Cones(zero=2, nonneg=3, soc=(4, 3, 1), psd=(3, 1, 3), exp=2, power=(0.3, 0.6)), 30),
}
CURVED = [name for name in CONES if name != "linear"]


def pattern(rows: int, cols: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All entries of a matrix, by columns."""
    j, i = np.meshgrid(np.arange(cols), np.arange(rows), indexing="ij")
    return i.ravel().astype(np.int64), j.ravel().astype(np.int64)


def values(M: Tensor) -> Tensor:
    """Entries of matrices in the order of :func:`pattern`."""
    return M.mT.reshape(*M.shape[:-2], -1)


def dense_structure(n: int, cones: Cones) -> ConeStructure:
    """A structure whose matrices have no zeros."""
    return ConeStructure(n, cones.rows, cones, *pattern(n, n), *pattern(cones.rows, n))


def from_dense(P: Tensor, q: Tensor, A: Tensor, b: Tensor, cones: Cones) -> ConeProgram:
    """A program from matrices with or without a batch axis."""
    return ConeProgram(dense_structure(q.shape[-1], cones), values(P), q, values(A), b)


def random_program(
    cones: Cones, n: int, batch: int = 3, seed: int = 0
) -> tuple[ConeProgram, Tensor, Tensor, Tensor]:
    """Strictly convex programs made from their solution, with (x, y, s)."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    at = decompose(cones, 2 * normal(batch, cones.rows))
    x, A, root = normal(batch, n), normal(batch, cones.rows, n), normal(batch, n, n)
    P = root @ root.mT / n + 0.5 * torch.eye(n, dtype=torch.float64)
    b = (A @ x.unsqueeze(-1)).squeeze(-1) + at.s
    q = -(P @ x.unsqueeze(-1) + A.mT @ at.y.unsqueeze(-1)).squeeze(-1)
    return from_dense(P, q, A, b, cones), x, at.y, at.s


def entropy(c: Tensor) -> ConeProgram:
    """maximise cᵀx − Σ xⱼ log xⱼ over the simplex: softmax(c). Variables (x, t), with (−tⱼ, xⱼ, 1) ∈ K_exp."""
    batch, n = c.shape
    A = torch.zeros(1 + 3 * n, 2 * n, dtype=torch.float64)
    A[0, :n] = 1
    j = torch.arange(n)
    A[1 + 3 * j, n + j], A[2 + 3 * j, j] = 1, -1
    b = torch.zeros(batch, 1 + 3 * n, dtype=torch.float64)
    b[:, 0] = 1
    b[:, 3::3] = 1
    q = torch.cat([-c, torch.ones_like(c)], -1)
    return sparse(torch.zeros(2 * n, 2 * n, dtype=torch.float64), q, A, b, Cones(zero=1, exp=n))


def sparse(P: Tensor, q: Tensor, A: Tensor, b: Tensor, cones: Cones) -> ConeProgram:
    """A program that shares the matrices P and A, on the pattern of their entries."""
    kept = []
    for M in (P, A):
        cols, rows = np.nonzero(M.mT.numpy())
        kept.append((rows.astype(np.int64), cols.astype(np.int64)))
    structure = ConeStructure(q.shape[-1], cones.rows, cones, *kept[0], *kept[1])
    return ConeProgram(structure, P[kept[0]], q, A[kept[1]], b)


def svec(X: Tensor) -> Tensor:
    """The upper triangle by columns, √2 off the diagonal."""
    k = X.shape[-1]
    entries = [X[..., i, j] * (1.0 if i == j else 2.0**0.5) for j in range(k) for i in range(j + 1)]
    return torch.stack(entries, -1)
