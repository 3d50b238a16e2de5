"""The KKT system of a quadratic program on a given active set: the matrix behind polish and derivative.

    K = [Q   G_𝒜ᵀ  Aᵀ]
        [G_𝒜  0    0 ]
        [A    0    0 ]

It holds data only, no iterate, so the derivative does not inherit the error of the solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.products import column_max, max_abs, mtv, mv, one_where_zero, row_max
from layers.linalg.saddle import SHIFT, Block, SaddleFactor, equilibrate, refine
from layers.problem import QP

REFINEMENTS = 20
#: leaves rounding of 1e-10 in the null space of a singular system
ISOTROPIC_SHIFT = 1e-6


@dataclass(frozen=True)
class ActiveSystem:
    """Factorised K of a batch, each element with its own active set.

    Attributes
    ----------
    problem : QP
        Flat problem; h, b and q are not read.
    active : Tensor of bool, shape ``(B, m)``
    rows, present : Tensor, shape ``(B, k)``
        The active rows of each element, padded to the largest number k in the batch, and which are not padding.
    H, C : Tensor
        Equilibrated Q and [G_𝒜; A] (rows of padding are zero).
    D, E, c : Tensor
        Equilibration of the variables ``(B, n)``, of the rows ``(B, k + p)`` and of the objective ``(B, 1)``.
    factor_ : SaddleFactor
    """

    problem: QP
    active: Tensor
    rows: Tensor
    present: Tensor
    H: Tensor
    C: Tensor
    D: Tensor
    E: Tensor
    c: Tensor
    factor_: SaddleFactor

    @classmethod
    def factor(cls, problem: QP, active: Tensor, *, isotropic: bool = False) -> ActiveSystem:
        """Gather the active rows, scale and factorise. Cost: n³/3 + n²(k + p) + (k + p)³/3 per element.

        With ``isotropic`` all variables have one scale and all rows another, so that what :meth:`solve` finds for a
        singular, consistent system is of minimum norm in the caller's units, not in equilibrated ones.
        """
        batch, n = problem.q.shape
        C, rows, present = cls.active_rows(problem, active)
        D, E = equilibrate(problem.Q, C)
        if isotropic:
            size = one_where_zero(max_abs(C.flatten(-2))).unsqueeze(-1)
            D, E = torch.ones_like(D), torch.exp2(-size.log2().round()).expand(E.shape)
        D = D.expand(batch, n)
        H = D.unsqueeze(-1) * problem.Q * D.unsqueeze(-2)
        # weighing the objective by c, and the multipliers with it, brings Q to the size of the constraints
        size = H.abs().amax((-2, -1)).unsqueeze(-1)
        c = torch.exp2(-one_where_zero(size).log2().round())
        H = c.unsqueeze(-1) * H
        C = E.unsqueeze(-1) * C * D.unsqueeze(-2)
        factor = SaddleFactor(H, C, ISOTROPIC_SHIFT if isotropic else SHIFT)
        return cls(problem, active, rows, present, H, C, D, E, c, factor)

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

    def solve(self, r_z: Tensor, r_lam: Tensor, r_nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Solve K (x_z, x_λ, x_ν) = r; x_λ is zero off the active set, where r_λ is not read."""
        k = self.rows.shape[-1]
        r_c = torch.cat([r_lam.gather(-1, self.rows) * self.present, r_nu], dim=-1)
        rhs = ((self.c * self.D * r_z).unsqueeze(-1), (self.E * r_c).unsqueeze(-1))
        (x, y), _ = refine(lambda r: self.factor_.apply(*r), self._matvec, rhs, REFINEMENTS)
        x, y = self.D * x.squeeze(-1), self.E * y.squeeze(-1) / self.c
        x_lam = torch.zeros_like(r_lam).scatter(-1, self.rows, y[:, :k] * self.present)
        return x, x_lam, y[:, k:]

    def solve_columns(self, R: Tensor) -> tuple[Tensor, Tensor]:
        """K⁻¹ [R; 0] for the columns of R, ``(B, n, c)``: parts of the variables and of the rows [G_𝒜; A]."""
        zero = R.new_zeros(len(R), self.C.shape[-2], R.shape[-1])
        rhs = ((self.c * self.D).unsqueeze(-1) * R, zero)
        (x, y), _ = refine(lambda r: self.factor_.apply(*r), self._matvec, rhs, REFINEMENTS, 1e-13)
        return self.D.unsqueeze(-1) * x, self.E.unsqueeze(-1) * y / self.c.unsqueeze(-1)

    @property
    def singular(self) -> Tensor:
        """Elements whose K is singular: dependent active rows, or a solution that is not unique; shape ``(B,)``."""
        return self.factor_.singular

    def residual(self, x: Block, r: Block) -> Block:
        """r − K x in the caller's units, rows off the active set zero; shares no factor with :meth:`solve`."""
        x_z, x_lam, x_nu = x
        G, A = self.problem.G, self.problem.A
        on = self.active
        return (
            r[0] - mv(self.problem.Q, x_z) - mtv(G, x_lam) - mtv(A, x_nu),
            torch.where(on, r[1] - mv(G, x_z), torch.zeros_like(r[1])),
            r[2] - mv(A, x_z),
        )

    def backward_error(self, x: Block, r: Block) -> Tensor:
        """Largest residual relative to r and to the terms of its row, in equilibrated units; shape ``(B,)``.

        The size of all of r counts for every row: at a vertex x_z is zero, and its rounding has no other measure.
        """
        left, k = self.residual(x, r), self.rows.shape[-1]

        def on_rows(lam: Tensor, nu: Tensor) -> Tensor:
            return torch.cat([lam.gather(-1, self.rows) * self.present, nu], dim=-1)

        r_z, r_y = self.c * self.D * r[0], self.E * on_rows(r[1], r[2])
        given = max_abs(r_z).maximum(max_abs(r_y)).unsqueeze(-1)
        size_z = max_abs(x[0] / self.D).unsqueeze(-1)
        size_y = max_abs(self.c * on_rows(x[1], x[2]) / self.E).unsqueeze(-1)
        top = given.maximum(row_max(self.H) * size_z).maximum(column_max(self.C) * size_y)
        rows = given.maximum(row_max(self.C) * size_z)
        worst = max_abs(self.c * self.D * left[0] / one_where_zero(top))
        if k + r[2].shape[-1] == 0:
            return worst
        return worst.maximum(max_abs(self.E * on_rows(left[1], left[2]) / one_where_zero(rows)))

    def _matvec(self, x: Block) -> Block:
        return self.H @ x[0] + self.C.mT @ x[1], self.C @ x[0]
