"""The derivative of a batch at degenerate points: K⁺ r by projections, with the factor that is there already.

With bases N and L of the null spaces of K and Kᵀ, and any generalised inverse K⁻,

    K⁺ = (I − N N⁺) K⁻ (I − L L⁺),   K⁺ᵀ = (I − L L⁺) K⁻ᵀ (I − N N⁺):

the projections are in the caller's units, K⁻ in equilibrated ones. Two cases have their bases at the cost of a few
solves:

*weakly active rows.* A weakly active constraint has a multiplier that may move and a row that is not enforced:
K = [K₀ C], with one column c = (gᵀ, 0, 0) for each weak row g. If K₀ is regular, N = [−K₀⁻¹C; I], and L = 0.

*a singular K*, of dependent rows or of a solution that is not unique. K is symmetric, N = L, and v = e − K⁻K e is in it
for every vector e. The unit vectors of the small pivots of the factorisation give a basis.

What is not of these two, or does not come out, is left with an infinite error to :mod:`layers.linalg.shortest`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.products import max_abs, one_where_zero
from layers.linalg.saddle import HIDDEN, Block
from layers.problem import QP
from layers.qp.active_set import ActiveSystem, least_terms

#: a vector that K takes to less than this, relative to the terms of each row, is in its null space
NULL = 1e-14
#: vectors of a basis this near to the span of the others may be in it
INDEPENDENT = 1e-6
#: products of columns of norm one below this are none
ROUNDING = 1e-15
#: corrections of an answer by its residual, and the error that needs none
CORRECTIONS, FINE = 3, 1e-13


@dataclass(frozen=True)
class Projected:
    """K⁻ with the projections around it.

    Attributes
    ----------
    system : ActiveSystem
        Of the strongly active rows.
    weak : Tensor of bool, shape ``(B, m)``
    rows, present : Tensor, shape ``(B, w)``
        The weak rows of each element, padded to the largest number w in the batch, and which are not padding.
    C : Tensor, shape ``(B, w, n)``
        Those rows; zeros for padding.
    N, L : Tensor, shapes ``(B, n + k + p + w, ·)`` and ``(B, n + k + p, ·)``
        Orthonormal by columns.
    trusted : Tensor of bool, shape ``(B,)``
        Whether N and L are what they are meant to be.
    """

    system: ActiveSystem
    weak: Tensor
    rows: Tensor
    present: Tensor
    C: Tensor
    N: Tensor
    L: Tensor
    trusted: Tensor

    @classmethod
    def of(cls, problem: QP, system: ActiveSystem, weak: Tensor) -> Projected:
        """Of elements that all have weak rows and a regular K₀, or all none and a singular one.

        Cost: d solves for bases of d vectors.
        """
        C, rows, present = ActiveSystem.active_rows(problem, weak)
        C = C[:, : rows.shape[-1]]
        if rows.shape[-1]:
            top = C.mT
            out = system.scales[1].unsqueeze(-1)
            W = system.columns(torch.nn.functional.pad(top, (0, 0, 0, system.C.shape[-2])), 1e-15)
            W = out * _cleaned(W / out)
            below = torch.eye(rows.shape[-1], dtype=W.dtype, device=W.device).expand(len(W), -1, -1)
            N, trusted = _orthonormal(torch.cat([-W, below], dim=-2))
            L = N[:, : W.shape[-2], :0]
        else:
            V, kept = _null_vectors(system)
            # padding has a row of its own, apart from all other columns
            N, trusted = _orthonormal(
                torch.cat([V * kept.unsqueeze(-2), torch.diag_embed((~kept).to(V))], dim=-2)
            )
            N = N[:, : V.shape[-2]]
            terms = system.product(V, size=True)
            seen = (system.product(V).abs() / one_where_zero(terms)).flatten(-2).amax(-1)
            trusted, L = trusted & (seen <= NULL), N
        return cls(system, weak, rows, present, C, N, L, trusted)

    def solve(self, r: Block, *, transpose: bool) -> tuple[Block, Tensor]:
        """K⁺ r or K⁺ᵀ r, and the error: infinite where the bases are not to be trusted."""
        system, size = self.system, self.L.shape[-2]
        into, out = (self.N, self.L) if transpose else (self.L, self.N)
        given = system.joined(r)
        if transpose:
            given = torch.cat([given, r[1].gather(-1, self.rows) * self.present], -1)
        given = given.unsqueeze(-1)
        terms = given.abs() + into.abs() @ (into.mT @ given).abs()
        given = _without(into, given)
        left, x = given, given.new_zeros(len(given), out.shape[-2], 1)
        error = self.trusted.new_full(self.trusted.shape, torch.inf, dtype=given.dtype)
        for _ in range(CORRECTIONS):
            step = system.columns(left[:, :size])
            x = _without(out, x + torch.nn.functional.pad(step, (0, 0, 0, out.shape[-2] - size)))
            left = given - self._product(x, transpose=transpose)
            error = self._error(left, terms + self._product(x, transpose=transpose, size=True), given)
            if not (self.trusted & (error > FINE)).any():
                break
        z, lam, nu = system.parted(x[:, :size].squeeze(-1))
        if not transpose:
            lam = lam.scatter_add(-1, self.rows, x[:, size:].squeeze(-1) * self.present)
        return (z, lam, nu), torch.where(self.trusted, error, torch.inf)

    def _error(self, left: Tensor, terms: Tensor, given: Tensor) -> Tensor:
        """Largest residual relative to the terms of its row, in equilibrated units; ``(B,)``."""
        size = self.L.shape[-2]
        error = self.system.relative(left[:, :size], terms[:, :size], given[:, :size])
        if left.shape[-2] == size or not self.rows.shape[-1]:
            return error
        # the weak rows, with the terms of the variables in them as in ActiveSystem.relative
        C, D = self.C.abs(), self.system.D.unsqueeze(-1)
        near = C @ (self.system.c.unsqueeze(-1) * D * D * terms[:, : C.shape[-1]])
        terms = terms[:, size:].maximum(least_terms(given[:, size:]) * near)
        return error.maximum(max_abs((left[:, size:] / one_where_zero(terms)).squeeze(-1)))

    def _product(self, x: Tensor, *, transpose: bool, size: bool = False) -> Tensor:
        """K x or Kᵀ x, or with ``size`` the sizes of the terms."""
        C, x = (self.C.abs(), x.abs()) if size else (self.C, x)
        n, k = C.shape[-1], self.L.shape[-2]
        found = self.system.product(x[:, :k], size=size)
        if transpose:
            return torch.cat([found, C @ x[:, :n]], dim=-2)
        return found + torch.nn.functional.pad(C.mT @ x[:, k:], (0, 0, 0, k - n))


def _null_vectors(system: ActiveSystem) -> tuple[Tensor, Tensor]:
    """v = e − K⁻K e for the unit vectors of small pivots, padded to one number, and which are not padding or zero."""
    pivots = system.factor_.pivots
    n = system.H.shape[-1]
    small = (pivots <= HIDDEN) | torch.nn.functional.pad(system.empty, (n, 0))
    count = int(small.sum(-1).max())
    order, place = torch.sort(small.to(torch.int8), dim=-1, descending=True, stable=True)
    place, kept = place[:, :count], order[:, :count].bool()
    E = torch.zeros_like(pivots).unsqueeze(-1).expand(-1, -1, count).contiguous()
    E = E.scatter(1, place.unsqueeze(1), kept.to(E.dtype).unsqueeze(1))
    _, out = system.scales
    V = E - system.columns(system.product(out.unsqueeze(-1) * E), 1e-15) / out.unsqueeze(-1)
    # H ⪰ 0 makes the null space a product of one of the variables and one of the multipliers
    of_x = place < n
    V = torch.cat([V[:, :n] * of_x.unsqueeze(-2), V[:, n:] * ~of_x.unsqueeze(-2)], dim=-2)
    kept = kept & (V.abs().amax(-2) > INDEPENDENT)
    return out.unsqueeze(-1) * _cleaned(V), kept


def _cleaned(V: Tensor) -> Tensor:
    """Rounding among equilibrated entries set to zero: in other units it would be an entry among others."""
    return torch.where(V.abs() > NULL * V.abs().amax(-2, keepdim=True), V, 0.0)


def _orthonormal(V: Tensor) -> tuple[Tensor, Tensor]:
    """An orthonormal basis of the span of the columns of V, and whether they are independent; ``(B,)``.

    V R⁻¹ keeps zeros, which in other units are no rounding; once more, because the first is orthonormal only up to the
    condition of V.
    """
    trusted = V.new_ones(len(V), dtype=torch.bool)
    for _ in range(2):
        V = V / one_where_zero(V.norm(dim=-2, keepdim=True))
        R = torch.linalg.qr(V, mode="r")[1]
        R = torch.where(R.abs() > ROUNDING, R, 0.0)
        trusted = trusted & (torch.diagonal(R, dim1=-2, dim2=-1).abs() > INDEPENDENT).all(-1)
        safe = torch.where(trusted[:, None, None], R, torch.eye(R.shape[-1], dtype=R.dtype, device=R.device))
        V = torch.linalg.solve_triangular(safe, V, upper=True, left=False)
    return V, trusted


def _without(basis: Tensor, x: Tensor) -> Tensor:
    """(I − B Bᵀ) x, twice: once leaves rounding of the size of what it takes off."""
    x = x - basis @ (basis.mT @ x)
    return x - basis @ (basis.mT @ x)
