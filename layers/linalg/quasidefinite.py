"""Symmetric quasi-definite systems [H Cᵀ; C −E], H ⪰ 0 and E ≥ 0 diagonal, batched.

With F = (1 + E)⁻¹ the second row, multiplied by F and used to add CᵀF(C x − E y) to the first, gives

    M x + CᵀF y = r₁ + CᵀF r₂ with M = H + CᵀFC,   (FCM⁻¹CᵀF + EF) y = F (C M⁻¹(r₁ + CᵀF r₂) − r₂).

Both matrices are positive definite exactly when the system is regular.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.batched import Batched, put
from layers.linalg.parts import largest_of_parts, parts_of_rows, parts_of_variables
from layers.linalg.products import max_abs, mtv, mv, one_where_zero
from layers.linalg.shortest import shortest

#: regularisation relative to the diagonal; a pivot below this multiple of it may mean that the true matrix is singular,
#: also where its null vectors have a thousand entries
SHIFT, PIVOT = 1e-13, 1e3
#: a step of refinement that moves the answer by more than this has not come to its end, and so many more may be needed
UNSETTLED, MORE = 1e-9, 10


@dataclass(frozen=True)
class ConicFactor(Batched):
    """Equilibrated system and its two Cholesky factors.

    Attributes
    ----------
    H, C, E : Tensor, shapes ``(B, n, n), (B, k, n), (B, k)``
        Equilibrated.
    D, S : Tensor, shapes ``(B, n)`` and ``(B, k)``
        Equilibration of variables and rows, the matrix being multiplied by (D, S) from both sides.
    M, N : Tensor
        Factors of the two positive definite matrices.
    singular : Tensor of bool, shape ``(B,)``
    """

    H: Tensor
    C: Tensor
    E: Tensor
    D: Tensor
    S: Tensor
    F: Tensor
    M: Tensor
    N: Tensor
    singular: Tensor

    @classmethod
    def of(cls, H: Tensor, C: Tensor, E: Tensor) -> ConicFactor:
        """Scale and factorise. Cost: n³/3 + 2n²k + nk² + k³/3 per element."""
        D, S = _equilibrate(H, C)
        H = D.unsqueeze(-1) * H * D.unsqueeze(-2)
        C = S.unsqueeze(-1) * C * D.unsqueeze(-2)
        E = S * S * E
        F = 1 / (1 + E)
        M, flat = _cholesky(H + (F.unsqueeze(-1) * C).mT @ C)
        half = torch.linalg.solve_triangular(M, (F.unsqueeze(-1) * C).mT, upper=False)
        N, dependent = _cholesky(half.mT @ half + torch.diag_embed(E * F))
        return cls(H, C, E, D, S, F, M, N, flat | dependent)

    def solve(self, r1: Tensor, r2: Tensor, refinements: int) -> tuple[Tensor, Tensor]:
        """x and y, with steps of iterative refinement against the true matrix; by elimination where they do not settle.

        They do not where the matrix is regular and yet so ill conditioned that the shift of its diagonal counts.
        """
        r1, r2 = self.D * r1, self.S * r2
        x, y = self._apply(r1, r2)
        moving = torch.zeros_like(self.singular)
        for step in range(refinements + MORE if refinements else 0):
            if step >= refinements and not moving.any():
                break
            dx, dy = self._apply(*self._left(x, y, r1, r2))
            x, y = x + dx, y + dy
            # beside rows that are nearly parallel y is as large as their condition, and hides what x still moves by
            moving = (max_abs(dx) > UNSETTLED * max_abs(x)) | (max_abs(dy) > UNSETTLED * max_abs(y))
            moving = moving & ~self.singular
        index = moving.nonzero().squeeze(-1)
        if index.numel():
            x, y = put((x, y), index, self._eliminated(index, x, y, r1, r2))
        return self.D * x, self.S * y

    def _left(self, x: Tensor, y: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
        return r1 - mv(self.H, x) - mtv(self.C, y), r2 - mv(self.C, x) + self.E * y

    def _eliminated(
        self, index: Tensor, x: Tensor, y: Tensor, r1: Tensor, r2: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The elements ``index`` by Gaussian elimination of the true matrix, where it leaves less than is left."""
        own, x, y, r1, r2 = self.take(index), x[index], y[index], r1[index], r2[index]
        K = torch.cat(
            [torch.cat([own.H, own.C.mT], -1), torch.cat([own.C, -torch.diag_embed(own.E)], -1)], -2
        )
        new = torch.linalg.solve_ex(K, torch.cat([r1, r2], -1).unsqueeze(-1))[0].squeeze(-1)
        new_x, new_y = new[:, : x.shape[-1]], new[:, x.shape[-1] :]
        after, before = (max_abs(torch.cat(own._left(*v, r1, r2), -1)) for v in ((new_x, new_y), (x, y)))
        better = (after < before).unsqueeze(-1)
        return torch.where(better, new_x, x), torch.where(better, new_y, y)

    def _apply(self, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
        top = r1 + mtv(self.C, self.F * r2)
        x = _solve(self.M, top)
        y = _solve(self.N, self.F * (mv(self.C, x) - r2))
        return _solve(self.M, top - mtv(self.C, self.F * y)), y

    def matrix(self, index: Tensor) -> Tensor:
        """[H Cᵀ; C −E] of the elements ``index``, in the caller's units."""
        D, S = self.D[index], self.S[index]
        H = self.H[index] / (D.unsqueeze(-1) * D.unsqueeze(-2))
        C = self.C[index] / (S.unsqueeze(-1) * D.unsqueeze(-2))
        E = self.E[index] / (S * S)
        return torch.cat([torch.cat([H, C.mT], -1), torch.cat([C, -torch.diag_embed(E)], -1)], -2)

    def short(self, index: Tensor, r1: Tensor, r2: Tensor, least: float) -> tuple[Tensor, Tensor]:
        """x and y of the elements ``index``, without eigenvectors of eigenvalues below ``least`` times the largest.

        Zero where the matrix has overflowed.
        """
        K = self.matrix(index)
        finite = torch.isfinite(K).all(-1).all(-1)[:, None, None]
        values, vectors = torch.linalg.eigh(torch.where(finite, K, 0.0))
        keep = values.abs() > least * values.abs().amax(-1, keepdim=True)
        inverse = torch.where(keep, 1 / torch.where(keep, values, 1.0), 0.0)
        x = mv(vectors, inverse * mtv(vectors, torch.cat([r1, r2], -1)))
        return x[:, : r1.shape[-1]], x[:, r1.shape[-1] :]

    def shortest(self, index: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x and y of the elements ``index`` by least squares of minimum norm, one by one, and the errors."""
        matrices, rhs = self.matrix(index).cpu().numpy(), torch.cat([r1, r2], -1).cpu().numpy()
        n = r1.shape[-1]
        found = [shortest(matrix, side, saddle=n) for matrix, side in zip(matrices, rhs, strict=True)]
        x = torch.stack([torch.from_numpy(one) for one, _ in found]).to(r1.device)
        error = torch.tensor([error for _, error in found], dtype=r1.dtype, device=r1.device)
        return x[:, : r1.shape[-1]], x[:, r1.shape[-1] :], error


def _equilibrate(H: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """D and S such that DHD and SCD have entries of about one at most, but for a factor of each part between them."""
    curvature = torch.diagonal(H, dim1=-2, dim2=-1).clamp(min=0)
    if C.shape[-2] == 0:
        return one_where_zero(curvature).rsqrt(), C.new_ones(C.shape[:-1])
    absolute = C.abs()
    row = one_where_zero(absolute.amax(-1))
    column = (absolute / row.unsqueeze(-1)).amax(-2).square()
    # the objective is weighed so that no column of H outgrows that of C; columns that C lacks do not count
    ratio = torch.where(column > 0, curvature / one_where_zero(column), 0.0)
    label = parts_of_variables([H, C])
    ratio, alone = largest_of_parts(ratio, label), largest_of_parts(curvature, label)
    c = 1 / torch.where(ratio > 0, ratio, one_where_zero(alone))
    D = one_where_zero(torch.maximum(column, c * curvature)).rsqrt()
    S = 1 / one_where_zero((absolute * D.unsqueeze(-2)).amax(-1))
    weight = c.sqrt()
    return weight * D, S / weight.gather(-1, parts_of_rows(C, label))


def _solve(L: Tensor, r: Tensor) -> Tensor:
    return torch.cholesky_solve(r.unsqueeze(-1), L).squeeze(-1)


def _cholesky(M: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of M with its diagonal raised, and whether M is singular; the identity where there is none."""
    if M.shape[-1] == 0:
        return M, torch.zeros(M.shape[0], dtype=torch.bool, device=M.device)
    diagonal = torch.diagonal(M, dim1=-2, dim2=-1)
    shift = SHIFT * one_where_zero(diagonal)
    L, info = torch.linalg.cholesky_ex(M + torch.diag_embed(shift))
    pivots = torch.diagonal(L, dim1=-2, dim2=-1).square()
    singular = (info > 0) | ~(pivots > PIVOT * shift).all(-1)
    failed = (info > 0) | ~torch.isfinite(pivots).all(-1)
    if failed.any():
        eye = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
        L = torch.where(failed[..., None, None], eye, L)
    return L, singular
