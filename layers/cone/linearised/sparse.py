"""The linearised optimality conditions of large sparse cone programs, one at a time, by sparse LDLᵀ.

The conditions of :mod:`layers.cone.linearised.system` in (dx, η), none of their rows eliminated:

    [ P   Cᵀ ] [dx]   [ r₁   ]
    [ C   −E ] [η ] = [ Vᵀr₂ ],   C = VᵀA,  E = diag(δ/(1−δ)),  dy = Vη,

without the rows with δ = 1, whose η is zero. Nothing is filled in but the blocks of the cones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from layers.cone.projections import Decomposition, groups
from layers.cone_program import ConeProgram, ConeStructure, Indices, dense_work
from layers.linalg.shortest import shortest
from layers.linalg.sparse_saddle import Array, SparseSaddle
from layers.linalg.sparse_shortest import Doubtful, SparseInverse

#: with curved cones, beyond this size and below so many entries per row and column, it took half the time or less
LARGE, THIN = 1000, 5
#: most unknowns of a degenerate system that is answered by a dense decomposition where the sparse one does not do
MOST_DENSE = 3000
#: backward error of an answer that does
ACCURATE = 1e-9


@dataclass(frozen=True)
class SparseSystem:
    """Factorised conditions of every element of a batch.

    Attributes
    ----------
    saddles : list of SparseSaddle
    frames : list
        Vᵀ of each element, sparse; None for the identity.
    rows : list of array
        The rows of each element that are in its system.
    size : tuple of int
        n and m.
    device : torch.device
        That of the program; the factors are on the host.
    """

    saddles: list[SparseSaddle]
    frames: list[Any]
    rows: list[Indices]
    size: tuple[int, int]
    device: torch.device

    @classmethod
    def factor(cls, program: ConeProgram, at: Decomposition) -> SparseSystem:
        """Assemble and factorise, element by element."""
        s = program.structure
        saddles: list[SparseSaddle] = []
        frames: list[Any] = []
        kept: list[Indices] = []
        for i in range(program.batch):
            P, A = element(program, i)
            frame = None if s.cones.linear else _frame(at.take(torch.tensor([i], device=at.s.device)))
            inside, outside = (v[i].cpu().numpy() for v in (at.inside, at.outside))
            rows = np.flatnonzero(outside > 0)
            C = (A if frame is None else frame @ A).tocsr()[rows]
            saddles.append(SparseSaddle(P, C, inside[rows] / outside[rows]))
            frames.append(frame)
            kept.append(rows)
        return cls(saddles, frames, kept, (s.n, s.m), program.q.device)

    @property
    def singular(self) -> Tensor:
        """Elements whose conditions do not determine (dx, η)."""
        return torch.tensor([saddle.singular for saddle in self.saddles], device=self.device)

    def solve(self, r1: Tensor, r2: Tensor, refinements: int) -> tuple[Tensor, Tensor]:
        """(dx, dy) for right-hand sides ``(B, n)`` and ``(B, m)``; if singular any solution."""
        given = [self._given(i, r1[i], r2[i]) for i in range(len(self.saddles))]
        return self._out([saddle.solve(r) for saddle, r in zip(self.saddles, given, strict=True)], r1)

    def step(self, r1: Tensor, r2: Tensor, careful: Tensor, refinements: int = 0) -> tuple[Tensor, Tensor]:
        """A Newton step."""
        return self.solve(r1, r2, 1 + refinements)

    def solve_shortest(self, index: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The elements ``index`` by least squares of minimum norm in (dx, η), one by one, and the errors."""
        places = index.tolist()
        found = [shortest_of(self.saddles[i], self._given(i, r1[i], r2[i])) for i in places]
        errors = torch.tensor([error for _, error in found], dtype=r1.dtype, device=r1.device)
        part = SparseSystem(
            [self.saddles[i] for i in places],
            [self.frames[i] for i in places],
            [self.rows[i] for i in places],
            self.size,
            self.device,
        )
        return *part._out([x for x, _ in found], r1), errors

    def _given(self, i: int, r1: Tensor, r2: Tensor) -> Array:
        low, frame = r2.cpu().numpy(), self.frames[i]
        low = low if frame is None else frame @ low
        return np.concatenate([r1.cpu().numpy(), low[self.rows[i]]])

    def _out(self, answers: list[Array], like: Tensor) -> tuple[Tensor, Tensor]:
        n, m = self.size
        dx, dy = np.zeros((len(answers), n)), np.zeros((len(answers), m))
        for i, x in enumerate(answers):
            dx[i] = x[:n]
            dy[i, self.rows[i]] = x[n:]
            if self.frames[i] is not None:
                dy[i] = self.frames[i].T @ dy[i]
        return torch.from_numpy(dx).to(like.device), torch.from_numpy(dy).to(like.device)


def shortest_of(saddle: SparseSaddle, r: Array) -> tuple[Array, float]:
    """K⁺ r of a singular K and its error, infinite where K is too large for what it would take."""
    try:
        x, error = SparseInverse(saddle, sp.csc_array((saddle.scale.size, 0))).forward(r)
        if error <= ACCURATE:
            return x, error
    except Doubtful:
        pass
    return shortest(saddle.K, r) if saddle.scale.size <= MOST_DENSE else (np.zeros_like(r), np.inf)


def element(program: ConeProgram, i: int) -> tuple[Any, Any]:
    """½(P + Pᵀ) and A of one element, sparse by columns."""
    s = program.structure
    P, A = (v.cpu().numpy() if v.dim() == 1 else v[i].cpu().numpy() for v in (program.P, program.A))
    if P.size:
        P = 0.5 * (P + P[s.P_mirror])
    return (
        sp.csc_array((P, s.P_rows, _offsets(s.P_cols, s.n)), shape=(s.n, s.n)),
        sp.csc_array((A, s.A_rows, _offsets(s.A_cols, s.n)), shape=(s.m, s.n)),
    )


def _offsets(columns: Indices, width: int) -> Indices:
    return np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=width))])


def _frame(at: Decomposition) -> Any:
    """Vᵀ of one element as a sparse matrix with the blocks of the cones."""
    rows: list[np.ndarray] = []
    cols: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for group, frame in zip(groups(at.cones), at.frames, strict=True):
        count, d = group.shape
        eye = torch.eye(d, dtype=at.s.dtype, device=at.s.device).expand(1, count, d, d)
        place = group.rows.numpy()
        rows.append(np.repeat(place, d, axis=1).ravel())
        cols.append(np.tile(place, (1, d)).ravel())
        values.append(frame.into(eye)[0].cpu().numpy().ravel())
    m = at.s.shape[1]
    data = np.concatenate(values)
    kept = data != 0
    where = (np.concatenate(rows)[kept], np.concatenate(cols)[kept])
    return sp.csr_array((data[kept], where), shape=(m, m))


def pays(structure: ConeStructure) -> bool:
    """Whether this factorisation is the faster one: of linear rows as counted, of others if large and thin."""
    s = structure
    if s.cones.linear:
        return s.sparse_pays(dense_work(s.n, s.cones.nonneg, s.cones.zero))
    return s.n + s.m > LARGE and s.A_rows.size + s.P_rows.size < THIN * (s.n + s.m)


def linear(program: ConeProgram) -> bool:
    """Whether a program is sparse with linear rows only."""
    return program.structure.cones.linear and pays(program.structure)
