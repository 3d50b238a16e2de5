"""The derivative where some constraints are weakly active and the system of the others is regular.

A weakly active constraint has a multiplier that may move and a row that is not enforced: K = [K₀ C] with the square
matrix K₀ of the strongly active rows and one column c = (gᵀ, 0, 0) for each weak row g. With W = K₀⁻¹C and
x₀ = K₀⁻¹r, the solutions of K (a, b) = r are a = x₀ − Wb, and the shortest of them has

    b = argmin ‖[W; I] b − [x₀; 0]‖².

In reverse Kᵀy = (r₀, r_w) has more rows than unknowns; with K₀y = r₀ + Wt, the least-squares solution has

    t = argmin ‖[W; I] t + [r₀; −r_w]‖².

So K⁺ costs one more solve per weak row with a factor that is there already, and a QR decomposition of as many
columns: nothing of the size of K is decomposed again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.products import max_abs, mtv, mv
from layers.linalg.saddle import Block
from layers.problem import QP
from layers.qp.active_set import ActiveSystem


@dataclass(frozen=True)
class WeakColumns:
    """The columns C of the weak rows, and what solving with them needs.

    Attributes
    ----------
    system : ActiveSystem
        Of the strongly active rows.
    weak : Tensor of bool, shape ``(B, m)``
    rows, present : Tensor, shape ``(B, w)``
        The weak rows of each element, padded to the largest number w in the batch, and which are not padding.
    W : Tensor, shape ``(B, n + k + p, w)``
        K₀⁻¹C, zero in the columns of padding.
    basis, triangle : Tensor, shapes ``(B, n + k + p + w, w)`` and ``(B, w, w)``
        QR of [W; I].
    """

    system: ActiveSystem
    weak: Tensor
    rows: Tensor
    present: Tensor
    W: Tensor
    basis: Tensor
    triangle: Tensor

    @classmethod
    def of(cls, problem: QP, system: ActiveSystem, weak: Tensor) -> WeakColumns:
        """Cost: w solves with the factor of ``system``, and 2 (n + k + p) w² for the decomposition."""
        C, rows, present = ActiveSystem.active_rows(problem, weak)
        count = rows.shape[-1]
        W = torch.cat(system.solve_columns(C[:, :count].mT), dim=-2)
        eye = torch.eye(count, dtype=W.dtype, device=W.device).expand(len(W), count, count)
        basis, triangle = torch.linalg.qr(torch.cat([W, eye], dim=-2))
        return cls(system, weak, rows, present, W, basis, triangle)

    def shortest(self, x: Block) -> Block:
        """K⁺ r from x = K₀⁻¹r."""
        whole = self._joined(x)
        b = self._fitted(whole, torch.zeros_like(whole[:, : self.W.shape[-1]]))
        z, lam, nu = self._parted(whole - mv(self.W, b), x)
        return z, lam.scatter_add(-1, self.rows, b * self.present), nu

    def closest(self, r: Block) -> Block:
        """Kᵀ⁺ r."""
        whole = self._joined(r)
        t = self._fitted(-whole, r[1].gather(-1, self.rows) * self.present)
        return self.system.solve(*self._parted(whole + mv(self.W, t), r))

    def normal_error(self, x: Block, r: Block, *, transpose: bool) -> Tensor:
        """Residual of the normal equations of Kx = r, or Kᵀx = r, relative to the size of their terms; ``(B,)``."""
        touched, on = self.system.active | self.weak, self.system.active
        into, out = (touched, on) if transpose else (on, touched)
        left = tuple(u - v for u, v in zip(self._product(x, out, into), r, strict=True))
        left = (left[0], left[1] * into, left[2])
        size = self._size()
        scale = size * self._largest((r[0], r[1] * into, r[2])).maximum(size * self._largest(x))
        error = self._largest(self._product(left, into, out))
        return torch.where(scale > 0, error / scale, error)

    def _fitted(self, upper: Tensor, lower: Tensor) -> Tensor:
        """argmin over v of ‖[W; I] v − [upper; lower]‖."""
        right = mtv(self.basis, torch.cat([upper, lower], dim=-1)).unsqueeze(-1)
        return torch.linalg.solve_triangular(self.triangle, right, upper=True).squeeze(-1)

    def _joined(self, x: Block) -> Tensor:
        """The entries of z, of the strongly active rows and of A side by side, as in W."""
        system = self.system
        return torch.cat([x[0], x[1].gather(-1, system.rows) * system.present, x[2]], dim=-1)

    def _parted(self, whole: Tensor, like: Block) -> Block:
        """Undo `_joined`; zero off the strongly active rows."""
        system = self.system
        z, on, nu = whole.split([like[0].shape[-1], system.rows.shape[-1], like[2].shape[-1]], dim=-1)
        return z, torch.zeros_like(like[1]).scatter_add(-1, system.rows, on * system.present), nu

    def _product(self, x: Block, columns: Tensor, rows: Tensor) -> Block:
        """K x with the multipliers of ``columns`` and the constraints of ``rows``."""
        problem = self.system.problem
        top = mv(problem.Q, x[0]) + mtv(problem.G, x[1] * columns) + mtv(problem.A, x[2])
        return top, mv(problem.G, x[0]) * rows, mv(problem.A, x[0])

    def _size(self) -> Tensor:
        """The largest entry of K: at most its norm, so that no error is understated."""
        problem = self.system.problem
        G = problem.G * (self.system.active | self.weak).unsqueeze(-1)
        return torch.stack(
            torch.broadcast_tensors(*(max_abs(M.flatten(-2)) for M in (problem.Q, G, problem.A)))
        ).amax(0)

    @staticmethod
    def _largest(x: Block) -> Tensor:
        return torch.stack([max_abs(part) for part in x]).amax(0)
