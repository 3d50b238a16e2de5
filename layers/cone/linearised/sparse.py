"""The linearised optimality conditions of one large sparse cone program at a time, by sparse LU factorisation.

In (dx, dv) the conditions of :mod:`layers.cone.linearised.system` read, with D = V diag(δ) Vᵀ block by block,

    [ P   −Aᵀ(I − D) ] [dx]   [ r₁ ]
    [ A    D         ] [dv] = [ r₂ ],   dy = −(I − D) dv:

nothing is filled in but the blocks of the cones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
import torch
from torch import Tensor

from layers.cone.projections import Decomposition, groups
from layers.cone_program import ConeProgram
from layers.linalg.shortest import shortest

#: beyond this size and below so many entries per row and column it took half the time of the dense one, or less
LARGE, THIN = 1000, 5
#: shift of a singular matrix, relative to its largest entry, and refinements that take its trace off a solution
SHIFT, SHIFTED = 1e-9, 4


@dataclass(frozen=True)
class SparseSystem:
    """Factorised conditions of every element of a batch.

    Attributes
    ----------
    matrices, factors : list
        The matrix of each element and its LU factors, those of a shifted matrix where it is singular.
    singular : Tensor of bool, shape ``(B,)``
    complement : list
        I − D of each element.
    n : int
    device : torch.device
        That of the program; the factors are on the host.
    """

    matrices: list[Any]
    factors: list[Any]
    singular: Tensor
    complement: list[Any]
    n: int
    device: torch.device

    @classmethod
    def factor(cls, program: ConeProgram, at: Decomposition) -> SparseSystem:
        """Assemble and factorise, element by element."""
        s = program.structure
        matrices: list[Any] = []
        complements: list[Any] = []
        for i in range(program.batch):
            P_values, A_values = (
                v.cpu().numpy() if v.dim() == 1 else v[i].cpu().numpy() for v in (program.P, program.A)
            )
            P = sp.coo_matrix((P_values, (s.P_rows, s.P_cols)), shape=(s.n, s.n)).tocsc()
            A = sp.coo_matrix((A_values, (s.A_rows, s.A_cols)), shape=(s.m, s.n)).tocsc()
            one = at.take(torch.tensor([i], device=at.s.device))
            inside, outside = _blocks(one, one.inside), _blocks(one, one.outside)
            matrices.append(sp.bmat([[0.5 * (P + P.T), -(A.T @ outside)], [A, inside]], format="csc"))
            complements.append(outside)
        factors = [_lu(M) for M in matrices]
        singular = torch.tensor([factor is None for factor in factors], device=program.q.device)
        factors = [
            _lu(_shifted(M)) if factor is None else factor
            for M, factor in zip(matrices, factors, strict=True)
        ]
        return cls(matrices, factors, singular, complements, s.n, program.q.device)

    def solve(self, r1: Tensor, r2: Tensor, refinements: int) -> tuple[Tensor, Tensor]:
        """(dx, dy) for right-hand sides ``(B, n)`` and ``(B, m)``; if singular any solution."""
        rhs = torch.cat([r1, r2], -1).cpu().numpy()
        answers = np.zeros_like(rhs)
        for i, (M, factor) in enumerate(zip(self.matrices, self.factors, strict=True)):
            if factor is None:
                continue
            x = factor.solve(rhs[i])
            for _ in range(refinements):
                x += factor.solve(rhs[i] - M @ x)
            answers[i, : self.n] = x[: self.n]
            answers[i, self.n :] = -(self.complement[i] @ x[self.n :])
        out = torch.from_numpy(answers).to(r1.device)
        return out[:, : self.n], out[:, self.n :]

    def step(self, r1: Tensor, r2: Tensor, careful: Tensor) -> tuple[Tensor, Tensor]:
        """A Newton step."""
        return self.solve(r1, r2, SHIFTED if self.singular.any() else 0)

    def solve_shortest(self, index: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The elements ``index`` by least squares of minimum norm in (dx, dv), one by one, and the errors."""
        found = [shortest(self.matrices[i], torch.cat([r1[i], r2[i]]).cpu().numpy()) for i in index.tolist()]
        dx = [x[: self.n] for x, _ in found]
        dy = [-(self.complement[i] @ x[self.n :]) for i, (x, _) in zip(index.tolist(), found, strict=True)]
        errors = torch.tensor([error for _, error in found], dtype=r1.dtype, device=r1.device)
        return (
            torch.from_numpy(np.stack(dx)).to(r1.device),
            torch.from_numpy(np.stack(dy)).to(r1.device),
            errors,
        )


def _lu(M: Any) -> Any:
    """LU factors; None if a pivot vanishes, to rounding."""
    try:
        factor = spla.splu(M)
    except RuntimeError:
        return None
    pivots = np.abs(factor.U.diagonal())
    return factor if pivots.min() > 1e-14 * pivots.max() else None


def _shifted(M: Any) -> Any:
    """M with its diagonal raised by a small part of its size: P and D are positive semidefinite."""
    return (M + SHIFT * float(abs(M).max()) * sp.identity(M.shape[0])).tocsc()


def _blocks(at: Decomposition, diagonal: Tensor) -> Any:
    """V diag(·) Vᵀ of one element as a sparse matrix with the blocks of the cones."""
    rows: list[np.ndarray] = []
    cols: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for group, frame in zip(groups(at.cones), at.frames, strict=True):
        count, d = group.shape
        eye = torch.eye(d, dtype=diagonal.dtype, device=diagonal.device).expand(1, count, d, d)
        weight = diagonal[:, group.index].reshape(1, count, d, 1)
        block = frame.out(weight * frame.into(eye))[0].cpu().numpy()
        place = group.rows.numpy()
        rows.append(np.repeat(place, d, axis=1).ravel())
        cols.append(np.tile(place, (1, d)).ravel())
        values.append(block.ravel())
    m = diagonal.shape[1]
    if not rows:
        return sp.csc_matrix((m, m))
    data = np.concatenate(values)
    kept = data != 0
    where = (np.concatenate(rows)[kept], np.concatenate(cols)[kept])
    return sp.coo_matrix((data[kept], where), shape=(m, m)).tocsc()


def pays(program: ConeProgram) -> bool:
    """Whether this factorisation is the faster one: large and thin, as measured."""
    s = program.structure
    return s.n + s.m > LARGE and s.A_rows.size + s.P_rows.size < THIN * (s.n + s.m)
