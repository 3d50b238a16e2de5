"""The KKT system of a quadratic program on a given active set: the matrix behind polish and derivative.

    K = [Q   G_𝒜ᵀ  Aᵀ]
        [G_𝒜  0    0 ]
        [A    0    0 ]

It holds data only, no iterate, so the derivative does not inherit the error of the solution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from layers.linalg.parts import largest_of_parts, parts_of_rows, parts_of_variables
from layers.linalg.products import max_abs, mtv, mv, one_where_zero, row_max
from layers.linalg.saddle import HIDDEN, Block, SaddleFactor, equilibrate, refine
from layers.problem import QP

REFINEMENTS = 20
#: the part of the terms of its neighbours that counts for a row whose right-hand side is zero; others have their own
LEAST_TERMS = 1e-5
#: what a solve with K leaves of a vector that was multiplied by K, if K is regular, to this; relative
LEFT = 1e-6
#: where rows are so much stiffer than curvature they are corrected by themselves, so many times, or until so much of
#: what is given is left
STIFF, SETTLINGS, SETTLED = 1e6, 20, 1e-25


@dataclass(frozen=True)
class ActiveSystem:
    """Factorised K of a batch, each element with its own active set.

    Vectors are blocks (x_z, x_λ, x_ν) over all constraints, or *joined*: the rows of G that are active and those of A
    behind the variables, shape ``(B, n + k + p)``.

    Attributes
    ----------
    problem : QP
        Flat problem; h, b and q are not read.
    active : Tensor of bool, shape ``(B, m)``
    rows, present : Tensor, shape ``(B, k)``
        The active rows of each element, padded to the largest number k in the batch, and which are not padding.
    given : Tensor, shape ``(B, k + p, n)``
        [G_𝒜; A] (rows of padding are zero).
    H, C : Tensor
        Q and [G_𝒜; A], equilibrated.
    D, E : Tensor
        Equilibration of the variables ``(B, n)`` and of the rows ``(B, k + p)``.
    c, c_rows : Tensor
        That of the objective, of each part by itself: at its variables ``(B, n)`` and at its rows ``(B, k + p)``.
    factor_ : SaddleFactor
    """

    problem: QP
    active: Tensor
    rows: Tensor
    present: Tensor
    given: Tensor
    H: Tensor
    C: Tensor
    D: Tensor
    E: Tensor
    c: Tensor
    c_rows: Tensor
    factor_: SaddleFactor

    @classmethod
    def factor(cls, problem: QP, active: Tensor) -> ActiveSystem:
        """Gather the active rows, scale and factorise. Cost: n³/3 + n²(k + p) + (k + p)³/3 per element."""
        batch, n = problem.q.shape
        given, rows, present = cls.active_rows(problem, active)
        D, E = equilibrate(problem.Q, given)
        D = D.expand(batch, n)
        H = D.unsqueeze(-1) * problem.Q * D.unsqueeze(-2)
        # weighing the objective by c, and the multipliers with it, brings Q to the size of the constraints
        label = parts_of_variables([problem.Q, given]).expand(batch, n)
        size = largest_of_parts(row_max(H).expand(batch, n), label)
        c = torch.exp2(-one_where_zero(size).log2().round())
        H = c.unsqueeze(-1) * H
        C = E.unsqueeze(-1) * given * D.unsqueeze(-2)
        c_rows = c.gather(-1, parts_of_rows(C, label))
        return cls(problem, active, rows, present, given, H, C, D, E, c, c_rows, SaddleFactor(H, C))

    @staticmethod
    def active_rows(problem: QP, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[G_𝒜; A] of every element, ``(B, k + p, n)``, with the indices of its rows and which are not padding."""
        batch, n = problem.q.shape
        k = int(active.sum(-1).max()) if active.numel() else 0
        order, rows = torch.sort(active.to(torch.int8), dim=-1, descending=True, stable=True)
        rows, present = rows[:, :k], order[:, :k].bool()
        G = (
            problem.G[rows]
            if problem.G.dim() == 2
            else problem.G.gather(1, rows.unsqueeze(-1).expand(-1, -1, n))
        )
        A = problem.A.expand(batch, *problem.A.shape[-2:])
        return torch.cat([G * present.unsqueeze(-1), A], dim=-2), rows, present

    def joined(self, x: Block) -> Tensor:
        """(x_z, x_λ, x_ν) side by side, without what is not active."""
        return torch.cat([x[0], x[1].gather(-1, self.rows) * self.present, x[2]], dim=-1)

    def parted(self, whole: Tensor) -> Block:
        """Undo :meth:`joined`; x_λ is zero off the active set."""
        z, on, nu = whole.split([self.H.shape[-1], self.rows.shape[-1], self.problem.p], dim=-1)
        lam = self.active.new_zeros(self.active.shape, dtype=whole.dtype)
        return z, lam.scatter_add(-1, self.rows, on * self.present), nu

    def solve(self, r_z: Tensor, r_lam: Tensor, r_nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Solve K (x_z, x_λ, x_ν) = r; x_λ is zero off the active set, where r_λ is not read."""
        z, lam, nu = self.parted(self.columns(self.joined((r_z, r_lam, r_nu)).unsqueeze(-1)).squeeze(-1))
        return z, lam, nu

    def columns(self, R: Tensor, target: float = 4e-15) -> Tensor:
        """K⁻¹ R, or a generalised inverse of a singular K, for joined columns ``(B, n + k + p, c)``."""
        into, out = (v.unsqueeze(-1) for v in self.scales)
        n = self.H.shape[-1]
        rhs = (into * R).split([n, R.shape[-2] - n], dim=-2)
        found, _ = refine(lambda r: self.factor_.apply(*r), self._matvec, rhs, REFINEMENTS, target)
        return out * torch.cat(self._settled(found, rhs), dim=-2)

    def _settled(self, x: Block, given: Block) -> Block:
        """A solution whose rows have been corrected by themselves, where they are far stiffer than curvature.

        What rows hold at zero is rounding of what curvature alone would let it be, r / Q: beside a curvature of 1e-13
        no small number. The residual of the rows does not see r.
        """
        stiff = ((self.c_rows > STIFF) & ~self.factor_.singular.unsqueeze(-1)).unsqueeze(-1)
        if not stiff.any():
            return x
        enough = SETTLED * torch.cat(given, dim=-2).abs().amax(-2, keepdim=True)
        for _ in range(SETTLINGS):
            left = torch.where(stiff, given[1] - self.C @ x[0], 0.0)
            if not (left.abs() > enough).any():
                break
            step = self.factor_.apply(torch.zeros_like(x[0]), left)
            x = tuple(old + new for old, new in zip(x, step, strict=True))
        return x

    @property
    def scales(self) -> tuple[Tensor, Tensor]:
        """What brings right-hand sides to equilibrated units, and solutions back."""
        return torch.cat([self.c * self.D, self.E], dim=-1), torch.cat([self.D, self.E / self.c_rows], dim=-1)

    @cached_property
    def singular(self) -> Tensor:
        """Elements whose K is singular: dependent active rows, or a solution that is not unique; shape ``(B,)``.

        Where the pivots leave it open (a row that is the sum of a hundred others has a pivot a hundred times that of a
        doubled one), a vector is multiplied by K and solved for: what K does not see does not come back.
        """
        told = self.factor_.singular | self.empty.any(-1)
        asked = ~told & (self.factor_.pivots.amin(-1) <= HIDDEN)
        if not asked.any():
            return told
        size = self.H.shape[-1] + self.C.shape[-2]
        numbers = torch.arange(1, size + 1, dtype=self.H.dtype, device=self.H.device)
        probe = torch.sin(numbers * numbers).expand(len(self.H), size)
        probe = torch.cat([probe[:, : self.H.shape[-1]], probe[:, self.H.shape[-1] :] * self.real], -1)
        _, out = self.scales
        back = self.columns(self.product((out * probe).unsqueeze(-1)), 1e-13).squeeze(-1) / out
        return told | (asked & ~(max_abs(back - probe) <= LEFT))

    @property
    def empty(self) -> Tensor:
        """Rows [G_𝒜; A] of zeros that are not padding, ``(B, k + p)``."""
        return (row_max(self.C) == 0) & self.real

    @property
    def real(self) -> Tensor:
        """Rows of C that are not padding."""
        ones = self.present.new_ones(len(self.present), self.problem.p)
        return torch.cat([self.present, ones], dim=-1)

    def product(self, X: Tensor, *, size: bool = False) -> Tensor:
        """K X for joined columns, or with ``size`` |K| |X|; shares no factor with :meth:`columns`."""
        Q, C = self.problem.Q, self.given
        if size:
            Q, C, X = Q.abs(), C.abs(), X.abs()
        x, y = X.split([Q.shape[-1], C.shape[-2]], dim=-2)
        return torch.cat([Q @ x + C.mT @ y, C @ x], dim=-2)

    def residual(self, x: Block, r: Block) -> Block:
        """r − K x in the caller's units, rows off the active set zero."""
        x_z, x_lam, x_nu = x
        G, A = self.problem.G, self.problem.A
        on = self.active
        return (
            r[0] - mv(self.problem.Q, x_z) - mtv(G, x_lam) - mtv(A, x_nu),
            torch.where(on, r[1] - mv(G, x_z), torch.zeros_like(r[1])),
            r[2] - mv(A, x_z),
        )

    def backward_error(self, x: Block, r: Block) -> Tensor:
        """Largest residual relative to the terms of its row; shape ``(B,)``. See :meth:`relative`."""
        given, whole, left = (self.joined(v).unsqueeze(-1) for v in (r, x, self.residual(x, r)))
        return self.relative(left, given.abs() + self.product(whole, size=True), given)

    def relative(self, left: Tensor, terms: Tensor, given: Tensor) -> Tensor:
        """The largest of joined columns of residuals, each relative to the terms of its row; shape ``(B,)``.

        Where what should be zero is rounding, as x_z at a vertex, the terms of rows that are connected with a row count
        for a part (:func:`least_terms`), in equilibrated units: what nothing connects excuses nothing.
        """
        into = self.scales[0].unsqueeze(-1)
        left, terms = into * left.abs(), into * terms
        H, C = self.H.abs(), self.C.abs()
        near = terms
        for _ in range(2):
            x, y = near.split([H.shape[-1], C.shape[-2]], dim=-2)
            near = near.maximum(torch.cat([H @ x + C.mT @ y, C @ x], dim=-2))
        terms = terms.maximum(least_terms(given) * near)
        return (left / one_where_zero(terms)).flatten(-2).amax(-1).nan_to_num(nan=torch.inf)

    def _matvec(self, x: Block) -> Block:
        return self.H @ x[0] + self.C.mT @ x[1], self.C @ x[0]


def least_terms(given: Tensor) -> Tensor:
    """The part of the terms of its neighbours that counts for a row with this right-hand side."""
    return torch.where(given == 0, LEAST_TERMS, 0.0)
