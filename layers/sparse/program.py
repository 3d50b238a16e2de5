"""A quadratic program of sparse matrices as a cone program, and as a dense one; which of the two is cheaper."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor

from layers.cone_program import ConeProgram, Cones, ConeStructure, Indices
from layers.errors import ProblemError
from layers.linalg.memory import require_memory
from layers.linalg.semidefinite import first_of
from layers.linalg.sparse_curvature import check_sparse_curvature
from layers.modes.kept import lasting
from layers.modes.look import look
from layers.problem import AXES, QP, broadcast
from layers.qp.adjoints import bound
from layers.qp.engines import Request
from layers.sparse.adjoint import CONE_ADJOINTS
from layers.sparse.entries import Entries, Places, read

#: dense matrices are held about so often: as given, symmetric, factorised
COPIES = 3


@dataclass(frozen=True)
class SparseQP:
    """minimise ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b, the matrices as entries; batch axes broadcast.

    Attributes
    ----------
    given : QP
        The caller's tensors.
    Q, G, A : Entries
    """

    given: QP
    Q: Entries
    G: Entries
    A: Entries

    @classmethod
    def read(cls, given: QP) -> SparseQP:
        """Of a problem whose shapes were checked.

        Raises
        ------
        ProblemError
            If an index lies outside of a matrix, or its layout is neither of coordinates nor of rows.
        """
        return cls(given, read("Q", given.Q), read("G", given.G), read("A", given.A))

    @property
    def structure(self) -> ConeStructure:
        """Patterns of ½(Q + Qᵀ) and of [A; G]."""
        return _shape(self.Q.places, self.G.places, self.A.places).structure

    def dense(self) -> QP:
        """The same with dense matrices; the gradients of sparse ones keep their pattern.

        Raises
        ------
        ProblemError
            If there is no memory for them.
        """
        g = self.given
        sizes = [prod(one.places.lead) * prod(one.places.shape) for one in (self.Q, self.G, self.A)]
        require_memory(
            COPIES * 8 * sum(sizes),
            "Q, G and A as dense matrices, which this solver and this adjoint take",
            'leave solver="auto" and adjoint="auto", which keep sparse ones',
        )
        q, h, b = (v.double() for v in (g.q, g.h, g.b))
        return QP(self.Q.dense(), q, self.G.dense(), h, self.A.dense(), b)

    def check(self, precision: float) -> None:
        """Refuse numbers that are not finite, and Q that is not symmetric positive semidefinite, under vmap too.

        Raises
        ------
        ProblemError
        """
        g, places = self.given, self.Q.places
        values = (self.Q.values, g.q, self.G.values, g.h, self.A.values, g.b)

        def rule(*values: Tensor) -> None:
            for name, value in zip(AXES, values, strict=True):
                bad = ~torch.isfinite(value)
                if bad.any():
                    raise ProblemError(f"{name} must be finite; found NaN or infinity{first_of(bad.any(-1))}")
            check_sparse_curvature((places.rows, places.cols), values[0], g.n, precision)

        look(rule, *values)

    def cones(self) -> ConeProgram:
        """A x + s = b with A = [A; G], b = [b; h] and s in zero, then nonnegative rows, one batch axis."""
        g, shape = self.given, _shape(self.Q.places, self.G.places, self.A.places)
        batch = g.batch_shape
        P = _placed(self.Q.values, shape.of_P, shape.structure.P_rows.size)
        P = 0.5 * (P + P.index_select(-1, torch.from_numpy(shape.structure.P_mirror).to(P.device)))
        filled = [one.values for one in (self.A, self.G) if one.places.shape[0]] or [self.A.values]
        lead = broadcast([values.shape[:-1] for values in filled])
        A = torch.cat([values.expand(*lead, -1) for values in filled], -1)
        A = A.index_select(-1, shape.of_A.to(A.device))
        q, h, b = (v.double().expand(*batch, v.shape[-1]) for v in (g.q, g.h, g.b))
        values = [
            v.reshape(-1)
            if prod(v.shape[:-1]) == 1
            else v.expand(*batch, -1).reshape(batch.numel(), v.shape[-1])
            for v in (P, A)
        ]
        vectors = [v.reshape(batch.numel(), v.shape[-1]) for v in (q, torch.cat([b, h], -1))]
        return ConeProgram(shape.structure, values[0], vectors[0], values[1], vectors[1])


def pays(program: SparseQP, request: Request) -> bool:
    """Whether the room of cones solves it: where its factorisations are counted cheaper, for ``solver="auto"``."""
    if request.solver != "auto" or bound(request.adjoint).name not in CONE_ADJOINTS:
        return False
    return program.structure.sparse_pays(program.structure.core_work())


@dataclass(frozen=True, eq=False)
class _Shape:
    structure: ConeStructure
    of_P: Tensor
    of_A: Tensor


@lru_cache(maxsize=16)
def _shape(Q: Places, G: Places, A: Places) -> _Shape:
    """The structure, and where the values of Q, and of A and G one after the other, lie in it."""
    n, (m, p) = Q.shape[0], (G.shape[0], A.shape[0])
    own, mirrored = Q.cols * n + Q.rows, Q.rows * n + Q.cols
    both = np.union1d(own, mirrored)
    P_cols, P_rows = np.divmod(both, n)
    rows, cols = np.concatenate([A.rows, G.rows + p]), np.concatenate([A.cols, G.cols])
    order = np.lexsort((rows, cols))
    structure = ConeStructure(n, m + p, Cones(zero=p, nonneg=m), P_rows, P_cols, rows[order], cols[order])
    with lasting():
        return _Shape(structure, _tensor(np.searchsorted(both, own)), _tensor(order))


def _tensor(indices: Indices) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(indices, dtype=np.int64))


def _placed(values: Tensor, place: Tensor, size: int) -> Tensor:
    return values.new_zeros((*values.shape[:-1], size)).index_add(-1, place.to(values.device), values)
