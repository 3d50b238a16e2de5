"""The linearised optimality conditions of a cone program: the matrix behind refinement and derivative.

With v = s − y (:mod:`layers.cone.projections`) a point is optimal exactly when R(x, v) = (Px + q + Aᵀy(v), Ax + s(v)
− b) = 0. In the frame V in which ds = V diag(δ) Vᵀ dv and dy = −V diag(1 − δ) Vᵀ dv, with C = VᵀA and η = Vᵀdy, the
linearised equations P dx + Aᵀdy = r₁, A dx + ds = r₂ read row by row

    P dx + Cᵀη = r₁,   (1 − δ)(C dx − Vᵀr₂) = δη.

Rows with δ > ½ are solved for η = (1 − δ)/δ · (C dx − Vᵀr₂) and leave the system; the others stay, divided by 1 − δ:

    [ P + Σ (1 − δ)/δ ccᵀ   Cᵀ             ] [dx]   [ r₁ + Σ (1 − δ)/δ c (Vᵀr₂) ]
    [ C                     −diag(δ/(1−δ)) ] [η ] = [ Vᵀr₂                     ].

The map (r₁, r₂) → (dx, dy) is symmetric, so that one solve serves the forward and the reverse derivative.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone.linearised.reduction import Reduced
from layers.cone.linearised.sparse import SparseSystem, pays
from layers.cone.projections import Decomposition
from layers.cone_program import ConeProgram
from layers.linalg import batched
from layers.linalg.batched import put
from layers.linalg.products import mtv, mv
from layers.linalg.quasidefinite import ConicFactor

#: a careful step does not move along eigenvectors of eigenvalues below this, relative to the largest
CAREFUL = 1e-6
#: multiply-adds of a factorisation below which a second thread brings little
ONE_THREAD = 50_000_000


@dataclass(frozen=True)
class ConicSystem:
    """Factorised linearised conditions of a batch, each element at its own point.

    Attributes
    ----------
    data : Reduced
    at : Decomposition
        Of v = s − y, in the rows of the reduced program.
    weight : Tensor, shape ``(B, m)``
        (1 − δ)/δ on the rows that have left the system, 0 on the others.
    C : Tensor, shape ``(B, m, n)``
        VᵀA.
    rows, present : Tensor, shape ``(B, k)``
        The rows that stay, padded to the largest number in the batch, and which are not padding.
    factor_ : ConicFactor
    """

    data: Reduced
    at: Decomposition
    weight: Tensor
    C: Tensor
    rows: Tensor
    present: Tensor
    factor_: ConicFactor

    @classmethod
    def factor(cls, program: ConeProgram, at: Decomposition) -> ConicSystem:
        """Substitute, turn A into the frame, condense, factorise. Cost: n²m + n³/3 + n²k + k³/3 per element."""
        data = Reduced.of(program)
        at = at.without(data.by.O, data.by.cones)
        C = at.into(data.A)
        leaves = at.inside > at.outside
        weight = torch.where(leaves, at.outside / at.inside, 0.0)
        H = data.P + (C * weight.unsqueeze(-1)).mT @ C
        k = int((~leaves).sum(-1).max()) if leaves.numel() else 0
        leaving, rows = torch.sort(leaves, dim=-1, stable=True)
        rows, present = rows[:, :k], ~leaving[:, :k]
        kept = C.gather(1, rows.unsqueeze(-1).expand(-1, -1, C.shape[-1])) * present.unsqueeze(-1)
        E = torch.where(present, (at.inside / at.outside).gather(1, rows), 1.0)
        return cls(data, at, weight, C, rows, present, ConicFactor.of(H, kept, E))

    @property
    def singular(self) -> Tensor:
        """Elements whose system is singular, shape ``(B,)``."""
        return self.factor_.singular

    def solve(self, r1: Tensor, r2: Tensor, refinements: int) -> tuple[Tensor, Tensor]:
        """(dx, dy) for right-hand sides ``(B, n)`` and ``(B, m)`` of the whole program."""
        top, low, turned = self._condense(r1, r2)
        x, eta = self.factor_.solve(top, low, refinements)
        return self._expand(x, eta, turned, r1, r2)

    def step(self, r1: Tensor, r2: Tensor, careful: Tensor, refinements: int = 0) -> tuple[Tensor, Tensor]:
        """A Newton step: :meth:`solve`; the shortest where singular, and shorter with care."""
        dx, dy = self.solve(r1, r2, refinements)
        top, low, turned = self._condense(r1, r2)
        for where, short in ((self.singular & ~careful, False), (careful, True)):
            index = where.nonzero().squeeze(-1)
            if index.numel():
                given = (index, top[index], low[index])
                x, eta = self.factor_.short(*given, CAREFUL) if short else self.factor_.shortest(*given)[:2]
                x, y = self._expanded(x, eta, index, turned, r1, r2)
                dx, dy = put((dx, dy), index, (x, y))
        return dx, dy

    def solve_shortest(self, index: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The elements ``index`` by least squares of minimum norm in (dx, η), and the error."""
        top, low, turned = self._condense(r1, r2)
        x, eta, error = self.factor_.shortest(index, top[index], low[index])
        x, y = self._expanded(x, eta, index, turned, r1, r2)
        return x, y, error

    def _expanded(
        self, x: Tensor, eta: Tensor, index: Tensor, turned: Tensor, r1: Tensor, r2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """:meth:`_expand` for the elements ``index``."""
        whole_x, whole_eta = x.new_zeros(len(turned), x.shape[-1]), x.new_zeros(len(turned), eta.shape[-1])
        whole_x[index], whole_eta[index] = x, eta
        x, y = self._expand(whole_x, whole_eta, turned, r1, r2)
        return x[index], y[index]

    def _condense(self, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r1, r2 = self.data.restrict(r1, r2)
        turned = self.at.into(r2.unsqueeze(-1)).squeeze(-1)
        return r1 + mtv(self.C, self.weight * turned), turned.gather(1, self.rows) * self.present, turned

    def _expand(
        self, x: Tensor, eta: Tensor, turned: Tensor, r1: Tensor, r2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Back to all rows, from the frame, and to all variables."""
        all_eta = self.weight * (mv(self.C, x) - turned)
        all_eta = all_eta.scatter_add(1, self.rows, eta * self.present)
        y = self.at.out(all_eta.unsqueeze(-1)).squeeze(-1)
        return self.data.extend(x, y, r1, r2)


def factorise(program: ConeProgram, at: Decomposition) -> ConicSystem | SparseSystem:
    """The linearised conditions at a point, ready to be solved."""
    return SparseSystem.factor(program, at) if pays(program.structure) else ConicSystem.factor(program, at)


@contextmanager
def threads_for(program: ConeProgram) -> Generator[None]:
    """One thread for what follows if the systems are small.

    torch then shares out operations of microseconds, and where another process has taken a core, each waits for the
    scheduler: a solve of 20 ms has taken more than 1 s.
    """
    s, before = program.structure, torch.get_num_threads()
    small = program.batch * s.n * (s.n + s.m) ** 2 < ONE_THREAD
    if small and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small and before > 1:
            torch.set_num_threads(before)


def chunks(program: ConeProgram) -> list[slice]:
    """Slices of the batch whose matrices fit a cache, on a CPU; one slice on other devices."""
    s = program.structure
    return batched.chunks(program.q, s.n * (s.n + 2 * s.m))
