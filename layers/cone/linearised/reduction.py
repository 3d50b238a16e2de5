"""Substituting the variables that an equality defines: smaller systems for what CVXPY's reductions produce.

``sum_squares(Fx − g)`` compiles to variables t with curvature of their own and rows t − Fx = −g. A variable that has at
most a diagonal entry in P, and occurs in one row of A, an equality in which no other such variable was chosen, is
t = (r₂ − A_RX x)/a there, and the multiplier of the equality is (r₁ − p t)/a: both leave the linearised system exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from layers.cone_program import ConeProgram, Cones, ConeStructure, Indices
from layers.linalg.products import max_abs, mtv, mv

#: a defined variable whose coefficient falls below this multiple of its row is not substituted
PIVOT = 1e-3


@dataclass(frozen=True)
class Reduction:
    """Which variables T and rows R leave, which X and O stay, and where the entries of P and A go.

    Attributes
    ----------
    T, R, X, O : array of int64
        T[i] is the variable that row R[i] defines.
    cones : Cones
        Those of the rows O.
    pivots, curvature : array of int64
        Entries of A at (R[i], T[i]), and of P at (T[i], T[i]): −1 where P has none.
    P_XX, A_OX, A_RX : tuple of array
        Entries taken, and their places in the flattened dense matrix.
    """

    T: Indices
    R: Indices
    X: Indices
    O: Indices  # noqa: E741
    cones: Cones
    pivots: Indices
    curvature: Indices
    P_XX: tuple[Indices, Indices]
    A_OX: tuple[Indices, Indices]
    A_RX: tuple[Indices, Indices]


@lru_cache(maxsize=64)
def reduction(structure: ConeStructure, *, substitute: bool) -> Reduction:
    """Find the defined variables of a structure, or none."""
    s = structure
    T, R, pivots = _defined(s) if substitute else (np.zeros(0, dtype=np.int64),) * 3
    X, O = np.setdiff1d(np.arange(s.n), T), np.setdiff1d(np.arange(s.m), R)  # noqa: E741
    c = s.cones
    diagonal = {int(j): k for k, (i, j) in enumerate(zip(s.P_rows, s.P_cols, strict=True)) if i == j}
    return Reduction(
        T, R, X, O,
        Cones(c.zero - R.size, c.nonneg, c.soc, c.psd, c.exp, c.power),
        pivots,
        np.array([diagonal.get(int(j), -1) for j in T], dtype=np.int64),
        _within(s.P_rows, s.P_cols, X, X, s.n, s.n),
        _within(s.A_rows, s.A_cols, O, X, s.m, s.n),
        _within(s.A_rows, s.A_cols, R, X, s.m, s.n),
    )  # fmt: skip


def _defined(s: ConeStructure) -> tuple[Indices, Indices, Indices]:
    """Variables, the rows that define them, and the entries of A where they meet."""
    coupled = np.zeros(s.n, dtype=bool)
    coupled[s.P_cols[s.P_rows != s.P_cols]] = True
    once = (np.bincount(s.A_cols, minlength=s.n) == 1) & ~coupled
    entries = np.flatnonzero(once[s.A_cols] & (s.A_rows < s.cones.zero))
    rows, first = np.unique(s.A_rows[entries], return_index=True)
    chosen = entries[first]
    return s.A_cols[chosen], rows, chosen


def _within(
    rows: Indices, cols: Indices, of_rows: Indices, of_cols: Indices, height: int, width: int
) -> tuple[Indices, Indices]:
    """Entries of a pattern inside a block, and their places in that block flattened by rows."""
    row_place, col_place = np.full(height, -1), np.full(width, -1)
    row_place[of_rows], col_place[of_cols] = np.arange(of_rows.size), np.arange(of_cols.size)
    i, j = row_place[rows], col_place[cols]
    taken = np.flatnonzero((i >= 0) & (j >= 0))
    return taken, (i * of_cols.size + j)[taken]


@dataclass(frozen=True)
class Reduced:
    """P and A of what stays, dense, behind a batch axis of B or of one, and the way back.

    Attributes
    ----------
    P : Tensor
        P_XX + WᵀpW, symmetric.
    A : Tensor
        A_OX.
    W, a, p : Tensor
        A_RX / a, the coefficients a of the defined variables, and their curvature p.
    """

    by: Reduction
    P: Tensor
    A: Tensor
    W: Tensor
    a: Tensor
    p: Tensor

    @classmethod
    def of(cls, program: ConeProgram) -> Reduced:
        """Substitute where every coefficient of the batch is large enough."""
        by = reduction(program.structure, substitute=True)
        P, A = (v.unsqueeze(0) if v.dim() == 1 else v for v in (program.P, program.A))
        a = A[:, by.pivots]
        W = _spread(A, by.A_RX, by.R.size, by.X.size)
        if by.R.size and (a.abs() < PIVOT * max_abs(W)).any():
            by = reduction(program.structure, substitute=False)
            a, W = A[:, by.pivots], _spread(A, by.A_RX, by.R.size, by.X.size)
        P_XX = _spread(P, by.P_XX, by.X.size, by.X.size)
        P_XX = 0.5 * (P_XX + P_XX.mT)
        p = torch.cat([P, P.new_zeros(P.shape[0], 1)], -1)[:, by.curvature]
        if by.R.size:
            W = W / a.unsqueeze(-1)
            P_XX = P_XX + (p.unsqueeze(-1) * W).mT @ W
        return cls(by, P_XX, _spread(A, by.A_OX, by.O.size, by.X.size), W, a, p)

    def restrict(self, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
        """The right-hand side of what stays."""
        by = self.by
        if not by.R.size:
            return r1, r2
        return r1[:, by.X] - mtv(self.W, r1[:, by.T] - self.p * r2[:, by.R] / self.a), r2[:, by.O]

    def extend(self, x: Tensor, y: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
        """dx and dy of the whole program."""
        by = self.by
        if not by.R.size:
            return x, y
        t = r2[:, by.R] / self.a - mv(self.W, x)
        whole_x, whole_y = r1.new_empty(r1.shape), r2.new_empty(r2.shape)
        whole_x[:, by.X], whole_x[:, by.T] = x, t
        whole_y[:, by.O], whole_y[:, by.R] = y, (r1[:, by.T] - self.p * t) / self.a
        return whole_x, whole_y


def _spread(values: Tensor, where: tuple[Indices, Indices], height: int, width: int) -> Tensor:
    taken, place = (torch.as_tensor(v, device=values.device) for v in where)
    out = values.new_zeros(values.shape[0], height * width)
    return out.index_copy(1, place, values[:, taken]).unflatten(1, (height, width))
