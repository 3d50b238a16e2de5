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

#: beyond this size and below so many entries per row and column it took half the time of the dense one, or less
LARGE, THIN = 1000, 5


@dataclass(frozen=True)
class SparseSystem:
    """Factorised conditions of every element of a batch.

    Attributes
    ----------
    matrices, factors : list
        The matrix of each element and its LU factors, None where it is singular.
    complement : list
        I − D of each element.
    n : int
    device : torch.device
        That of the program; the factors are on the host.
    """

    matrices: list[Any]
    factors: list[Any]
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
        return cls(matrices, [_lu(M) for M in matrices], complements, s.n, program.q.device)

    @property
    def singular(self) -> Tensor:
        """Elements without a factorisation, shape ``(B,)``."""
        return torch.tensor([factor is None for factor in self.factors], device=self.device)

    def solve(self, r1: Tensor, r2: Tensor, refinements: int) -> tuple[Tensor, Tensor]:
        """(dx, dy) for right-hand sides ``(B, n)`` and ``(B, m)``; zero for singular elements."""
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
        """A Newton step; none for singular elements."""
        return self.solve(r1, r2, 0)

    def solve_shortest(
        self, index: Tensor, r1: Tensor, r2: Tensor, rank: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Least squares of minimum norm by LSMR, in (dx, dv), and the error of the normal equations.

        Iterative: its accuracy is what the error says. ``rank`` is for eigenvalues, which are not computed here.
        """
        parts: list[np.ndarray] = []
        errors: list[float] = []
        for i in index.tolist():
            M, r = self.matrices[i], torch.cat([r1[i], r2[i]]).cpu().numpy()
            x = spla.lsmr(M, r, atol=1e-15, btol=1e-15, conlim=0, maxiter=20 * r.size)[0]
            size = float(spla.norm(M, np.inf))
            scale = size * max(float(np.abs(r).max()), size * float(np.abs(x).max()))
            normal = float(np.abs(M.T @ (M @ x - r)).max())
            errors.append(normal / scale if scale else 0.0)
            parts.append(np.concatenate([x[: self.n], -(self.complement[i] @ x[self.n :])]))
        out = torch.from_numpy(np.stack(parts)).to(r1.device)
        return out[:, : self.n], out[:, self.n :], torch.tensor(errors, dtype=r1.dtype, device=r1.device)


def _lu(M: Any) -> Any:
    """LU factors; None if a pivot vanishes, to rounding."""
    try:
        factor = spla.splu(M)
    except RuntimeError:
        return None
    pivots = np.abs(factor.U.diagonal())
    return factor if pivots.min() > 1e-14 * pivots.max() else None


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
