"""Symmetric saddle-point systems [H Cᵀ; C 0], the linear algebra that solvers and derivatives share.

The factorisation is of a regularised matrix; iterative refinement against the true one removes the trace of the
regularisation. When the true matrix is singular but the system consistent, refinement from zero converges to the
solution of minimum norm: H ⪰ 0 makes the null space a product N_x × N_y, and the iterates stay orthogonal to it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from layers.linalg.products import power_of_two, row_max, works_ahead

Block = tuple[Tensor, ...]

#: regularisation ρ = δ of an equilibrated system
SHIFT = 1e-9
#: a pivot below this multiple of its own regularisation means that the true matrix is singular; one above so many times
#: that means that it is not: a null vector of many entries hides behind a pivot that is larger
PIVOT, HIDDEN = 4.0, 1e3
#: a relative residual below this that a correction does not halve is rounding
ROUNDING = 1e-12


class SaddleFactor:
    """Approximate inverse of [H Cᵀ; C 0] by two Cholesky factorisations.

    Parameters
    ----------
    H : Tensor, shape ``(B, n, n)``
        Symmetric positive semidefinite, equilibrated: the shifts ρ and δ are absolute.
    C : Tensor, shape ``(k, n)`` or ``(B, k, n)``
        Rows may be zero or dependent.
    shift : float
        The regularisation ρ = δ. A larger one leaves less rounding in the null space of a singular matrix.
    looks : bool
        Whether the host may look at a result, to shift further where a factorisation stumbles.

    Attributes
    ----------
    pivots : Tensor, shape ``(B, n + k)``
        Of both factorisations, in multiples of their regularisation.
    singular : Tensor of bool, shape ``(B,)``
        Whether the true matrix is, to the accuracy of ``shift``, as far as pivots tell.
    failed : Tensor of bool, shape ``(B,)``
        Elements that have no factor; what is solved with them means nothing.

    Notes
    -----
    Adding Cᵀ times the second block row to the first leaves the solution unchanged and makes the first block
    definite on the range of Cᵀ, so with M = H + CᵀC + ρI and S = C M⁻¹ Cᵀ + δI (plus one where C has a row of
    zeros) the solve is y = S⁻¹ (C M⁻¹ (r₁ + Cᵀr₂) − r₂),  x = M⁻¹ (r₁ + Cᵀr₂ − Cᵀy).
    Cost: n³/3 + n²k + k³/3 per batch element.
    """

    def __init__(self, H: Tensor, C: Tensor, shift: float = SHIFT, *, looks: bool = True) -> None:
        self.C = C
        if C.shape[-2] == 0:
            self.M = _Cholesky(H, shift, looks)
            self.pivots, self.singular, self.failed = self.M.pivots, self.M.singular, self.M.failed
            return
        self.M = _Cholesky(H + C.mT @ C, shift, looks)
        half = self.M.half(C.mT.expand(*H.shape[:-2], *C.mT.shape[-2:]))
        empty = (row_max(C) == 0).to(C.dtype)
        self.S = _Cholesky(half.mT @ half + torch.diag_embed(empty), shift, looks)
        self.pivots = torch.cat([self.M.pivots, self.S.pivots], dim=-1)
        self.singular = self.M.singular | self.S.singular
        self.failed = self.M.failed | self.S.failed

    def apply(self, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
        """One application of the regularised inverse to columns ``(B, n, r)`` and ``(B, k, r)``."""
        if self.C.shape[-2] == 0:
            return self.M.solve(r1), r2
        top = r1 + self.C.mT @ r2
        x = self.M.solve(top)
        y = self.S.solve(self.C @ x - r2)
        return self.M.solve(top - self.C.mT @ y), y


def refine(
    apply: Callable[[Block], Block],
    matvec: Callable[[Block], Block],
    rhs: Block,
    steps: int,
    target: float = 4e-15,
    *,
    looks: bool = True,
) -> tuple[Block, Tensor]:
    """Iterative refinement from zero; a column is updated only while its residual shrinks.

    Parameters
    ----------
    apply, matvec : callable
        Approximate inverse and true matrix on blocks of columns ``(B, ·, r)``.
    rhs : tuple of Tensor
    steps : int
        Largest number of corrections after the first solve.
    target : float
        Relative residual that needs no further correction.
    looks : bool
        Whether the host may look at the residual, to leave out corrections that nobody needs.

    Returns
    -------
    solution : tuple of Tensor
    residual : Tensor, shape ``(B, r)``
        Final residual in the maximum norm, relative to the right-hand side (0 for a zero right-hand side).
    """
    rows = [t.shape[-2] for t in rhs]

    def parts(x: Tensor) -> Block:
        return x.split(rows, dim=-2)

    right = torch.cat(rhs, dim=-2)
    size = _norm(right)
    x = torch.cat(apply(rhs), dim=-2)
    residual = right - torch.cat(matvec(parts(x)), dim=-2)
    error = _norm(residual)
    falls = torch.ones_like(error, dtype=torch.bool)
    for _ in range(steps):
        if looks and not (falls & (error > target * size)).any():
            break
        trial = x + torch.cat(apply(parts(residual)), dim=-2)
        trial_residual = right - torch.cat(matvec(parts(trial)), dim=-2)
        trial_error = _norm(trial_residual)
        better = trial_error < error
        falls = better & ((trial_error < 0.5 * error) | (error > ROUNDING * size))
        keep = better.unsqueeze(-2)
        x, residual = torch.where(keep, trial, x), torch.where(keep, trial_residual, residual)
        error = torch.where(better, trial_error, error)
    relative = torch.where(size > 0, error / torch.where(size > 0, size, torch.ones_like(size)), error)
    return parts(x), relative


def equilibrate(H: Tensor, C: Tensor, passes: int = 6) -> tuple[Tensor, Tensor]:
    """Ruiz scaling: D, E such that rows and columns of [DHD DCᵀE; ECD 0] have maximum norm near one.

    Returns D ``(…, n)`` and E ``(…, k)``, powers of two (so that scaling rounds nothing), with a batch axis only
    if H or C has one. Rows of zeros keep the scale one.
    """
    D = (H if H.dim() > C.dim() else C).new_ones(*_lead(H, C), H.shape[-1])
    E = D.new_ones(*_lead(H, C), C.shape[-2])
    absolute_H, absolute_C = H.abs(), C.abs()
    for _ in range(passes):
        scaled_C = absolute_C * E.unsqueeze(-1) * D.unsqueeze(-2)
        column = (absolute_H * D.unsqueeze(-2)).amax(-1) * D
        if C.shape[-2]:
            column = column.maximum(scaled_C.amax(-2))
            E = E / _root(scaled_C.amax(-1))
        D = D / _root(column)
    return power_of_two(D), power_of_two(E)


def _lead(H: Tensor, C: Tensor) -> torch.Size:
    return torch.broadcast_shapes(H.shape[:-2], C.shape[:-2])


def _root(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.ones_like(x)).sqrt()


def _norm(x: Tensor) -> Tensor:
    return x.abs().amax(-2).nan_to_num(nan=torch.inf)


class _Cholesky:
    """Factor L of M + shift · I; elements that stumble are shifted further, alone.

    Substitution goes through a few columns row by row. Where that leaves most of a device idle, L⁻¹ is formed once, and
    applied as a product; the refinement around it does not see the difference.
    """

    def __init__(self, M: Tensor, shift: float, looks: bool) -> None:
        eye = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
        amount = M.new_full((*M.shape[:-2], 1, 1), shift)
        L, info = torch.linalg.cholesky_ex(M + amount * eye)
        for _ in range(2 if looks else 0):
            failed = (info > 0)[..., None, None]
            if not failed.any():
                break
            amount = torch.where(failed, 100 * amount, amount)
            L, info = torch.linalg.cholesky_ex(M + amount * eye)
        # Beyond help (not finite, or far from semidefinite): the identity keeps the rest of the batch alive, and
        # the residual of the solve tells on this element.
        self.failed = info > 0
        L = torch.where(self.failed[..., None, None], eye, L)
        self.pivots = torch.diagonal(L, dim1=-2, dim2=-1).square() / amount[..., 0]
        self.singular = (self.pivots.amin(-1) <= PIVOT) | (amount[..., 0, 0] > shift)
        self._L = L
        self._inverse = torch.linalg.solve_triangular(L, eye, upper=False) if works_ahead(L) else None

    def half(self, r: Tensor) -> Tensor:
        """L⁻¹ r."""
        if self._inverse is None:
            return torch.linalg.solve_triangular(self._L, r, upper=False)
        return self._inverse @ r

    def solve(self, r: Tensor) -> Tensor:
        """L⁻ᵀ L⁻¹ r."""
        if self._inverse is None:
            return torch.cholesky_solve(r, self._L)
        return self._inverse.mT @ (self._inverse @ r)
