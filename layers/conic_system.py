"""The linearised optimality conditions of a cone program: the matrix behind refinement and derivative.

With v = s − y (:mod:`layers.cones`) a point is optimal exactly when R(x, v) = (Px + q + Aᵀy(v), Ax + s(v) − b) = 0.
In the frame V in which ds = V diag(δ) Vᵀ dv and dy = −V diag(1 − δ) Vᵀ dv, with C = VᵀA and η = Vᵀdy, the linearised
equations P dx + Aᵀdy = r₁, A dx + ds = r₂ read row by row

    P dx + Cᵀη = r₁,   (1 − δ)(C dx − Vᵀr₂) = δη.

Rows with δ > ½ are solved for η = (1 − δ)/δ · (C dx − Vᵀr₂) and leave the system; the others stay, divided by 1 − δ:

    [ P + Σ (1 − δ)/δ ccᵀ   Cᵀ             ] [dx]   [ r₁ + Σ (1 − δ)/δ c (Vᵀr₂) ]
    [ C                     −diag(δ/(1−δ)) ] [η ] = [ Vᵀr₂                     ].

The map (r₁, r₂) → (dx, dy) is symmetric, so that one solve serves the forward and the reverse derivative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone_program import ConeProgram, Indices
from layers.cones import Decomposition
from layers.linalg import column_max, max_abs, mtv, mv, one_where_zero, row_max
from layers.problem import CHUNK_ENTRIES, MINIMUM_CHUNK
from layers.saddle import Block, equilibrate, refine

#: regularisation of the equilibrated matrices; a pivot below this multiple of it means that the true matrix is singular
SHIFT, PIVOT = 1e-12, 4.0
REFINEMENTS = 8
#: an eigenvalue of a singular system below this, relative to the largest, is zero
RANK = 1e-10
#: bound on the backward error of a regular solve
SOLVE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Dense:
    """P, symmetric, and A of a batch as dense matrices behind a batch axis of B, or of one where shared."""

    P: Tensor
    A: Tensor

    @classmethod
    def of(cls, program: ConeProgram) -> Dense:
        """Spread the values over their patterns."""
        s = program.structure
        P = _spread(program.P, s.P_rows, s.P_cols, (s.n, s.n))
        return cls(0.5 * (P + P.mT), _spread(program.A, s.A_rows, s.A_cols, (s.m, s.n)))


def _spread(values: Tensor, rows: Indices, cols: Indices, shape: tuple[int, int]) -> Tensor:
    flat = values.reshape(-1, values.shape[-1])
    place = torch.as_tensor(rows * shape[1] + cols, device=values.device)
    out = flat.new_zeros(flat.shape[0], shape[0] * shape[1])
    return out.index_copy(1, place, flat).unflatten(1, shape)


@dataclass(frozen=True)
class Step:
    """Answer of the linearised system: dx ``(B, n)``, dv and dy ``(B, m)``, and its relative residual ``(B,)``."""

    x: Tensor
    v: Tensor
    y: Tensor
    error: Tensor


@dataclass(frozen=True)
class _Factor:
    """Approximate inverse of [H Cᵀ; C −E], E ≥ 0 diagonal, equilibrated, by two Cholesky factorisations.

    With F = (1 + E)⁻¹ the second row, multiplied by F and used to add CᵀF(C x − E y) to the first, gives
    M x + CᵀF y = r₁ + CᵀF r₂ with M = H + CᵀFC, and then (FCM⁻¹CᵀF + EF) y = F (C M⁻¹(r₁ + CᵀF r₂) − r₂).
    Both matrices are positive definite exactly when the system is regular.
    """

    H: Tensor
    C: Tensor
    E: Tensor
    D: Tensor
    S: Tensor
    c: Tensor
    M: Tensor
    N: Tensor
    singular: Tensor

    @classmethod
    def of(cls, H: Tensor, C: Tensor, E: Tensor) -> _Factor:
        D, S = equilibrate(H, C)
        H = D.unsqueeze(-1) * H * D.unsqueeze(-2)
        size = H.abs().amax((-2, -1))
        c = torch.exp2(-one_where_zero(size).log2().round()).unsqueeze(-1)
        H = c.unsqueeze(-1) * H
        C = S.unsqueeze(-1) * C * D.unsqueeze(-2)
        E = S * S * E / c
        F = (1 / (1 + E)).unsqueeze(-1)
        M, flat = _cholesky(H + (F * C).mT @ C)
        half = torch.linalg.solve_triangular(M, (F * C).mT, upper=False)
        N, dependent = _cholesky(half.mT @ half + torch.diag_embed(E * F.squeeze(-1)))
        return cls(H, C, E, D, S, c, M, N, flat | dependent)

    def solve(self, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor]:
        """x and y by refinement in the scaled system."""
        rhs = ((self.c * self.D * r1).unsqueeze(-1), (self.S * r2).unsqueeze(-1))
        (x, y), _ = refine(self._apply, self._times, rhs, REFINEMENTS)
        return self.D * x.squeeze(-1), self.S * y.squeeze(-1) / self.c

    def _apply(self, r: Block) -> Block:
        F = (1 / (1 + self.E)).unsqueeze(-1)
        top = r[0] + self.C.mT @ (F * r[1])
        x = torch.cholesky_solve(top, self.M)
        y = torch.cholesky_solve(F * (self.C @ x - r[1]), self.N)
        return torch.cholesky_solve(top - self.C.mT @ (F * y), self.M), y

    def _times(self, x: Block) -> Block:
        return self.H @ x[0] + self.C.mT @ x[1], self.C @ x[0] - self.E.unsqueeze(-1) * x[1]


def _cholesky(M: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factor of M + shift · I, and whether M is singular; the identity where there is none."""
    eye = torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    L, info = torch.linalg.cholesky_ex(M + SHIFT * eye)
    failed = (info > 0) | ~torch.isfinite(L).all(-1).all(-1)
    L = torch.where(failed[..., None, None], eye, L)
    if M.shape[-1] == 0:
        return L, failed
    return L, failed | (torch.diagonal(L, dim1=-2, dim2=-1).square().amin(-1) <= PIVOT * SHIFT)


@dataclass(frozen=True)
class ConicSystem:
    """Factorised linearised conditions of a batch, each element at its own point.

    Attributes
    ----------
    data : Dense
    at : Decomposition
        Of v = s − y.
    weight : Tensor, shape ``(B, m)``
        (1 − δ)/δ on the rows that have left the system, 0 on the others.
    C : Tensor, shape ``(B, m, n)``
        VᵀA.
    rows, present : Tensor, shape ``(B, k)``
        The rows that stay, padded to the largest number in the batch, and which are not padding.
    """

    data: Dense
    at: Decomposition
    weight: Tensor
    C: Tensor
    rows: Tensor
    present: Tensor
    H: Tensor
    kept: Tensor
    E: Tensor
    factor_: _Factor

    @classmethod
    def factor(cls, data: Dense, at: Decomposition) -> ConicSystem:
        """Turn A into the frame, condense, scale, factorise. Cost: n²m + n³/3 + n²k + k³/3 per element."""
        batch, n = at.s.shape[0], data.P.shape[-1]
        C = at.into(data.A).expand(batch, -1, -1)
        leaves = at.inside > at.outside
        weight = torch.where(leaves, at.outside / torch.where(leaves, at.inside, 1.0), 0.0)
        H = data.P + (C * weight.unsqueeze(-1)).mT @ C
        order, rows = torch.sort((~leaves).to(torch.int8), dim=-1, descending=True, stable=True)
        k = int((~leaves).sum(-1).max()) if leaves.numel() else 0
        rows, present = rows[:, :k], order[:, :k].bool()
        kept = C.gather(1, rows.unsqueeze(-1).expand(-1, -1, n)) * present.unsqueeze(-1)
        E = (at.inside / torch.where(leaves, 1.0, at.outside)).gather(1, rows)
        E = torch.where(present, E, 1.0)
        return cls(data, at, weight, C, rows, present, H, kept, E, _Factor.of(H, kept, E))

    def solve(self, r1: Tensor, r2: Tensor) -> Step:
        """(dx, dv, dy) for right-hand sides ``(B, n)`` and ``(B, m)``; of minimum norm in (dx, η) where singular."""
        turned = self._into(r2)
        top = r1 + mtv(self.C, self.weight * turned)
        low = turned.gather(1, self.rows) * self.present
        x, eta = self.factor_.solve(top, low)
        step = self._assemble(x, eta, turned, r1, r2)
        hard = self.factor_.singular | ~(step.error <= SOLVE_TOLERANCE)
        if not hard.any():
            return step
        index = hard.nonzero().squeeze(-1)
        shortest = _shortest(self.H[index], self.kept[index], self.E[index], top[index], low[index])
        x, eta = x.index_copy(0, index, shortest[0]), eta.index_copy(0, index, shortest[1])
        step = self._assemble(x, eta, turned, r1, r2)
        return Step(step.x, step.v, step.y, step.error.index_copy(0, index, shortest[2]))

    def _into(self, h: Tensor) -> Tensor:
        return self.at.into(h.unsqueeze(-1)).squeeze(-1)

    def _out(self, h: Tensor) -> Tensor:
        return self.at.out(h.unsqueeze(-1)).squeeze(-1)

    def _assemble(self, x: Tensor, eta: Tensor, turned: Tensor, r1: Tensor, r2: Tensor) -> Step:
        """Back from the rows that stayed to dv and dy, and the residual in the caller's units."""
        at = self.at
        stays = torch.zeros_like(at.s, dtype=torch.bool).scatter(1, self.rows, self.present)
        kept = torch.zeros_like(at.s).scatter(1, self.rows, eta * self.present)
        free = turned - mv(self.C, x)
        v = torch.where(
            stays, -kept / torch.where(stays, at.outside, 1.0), free / torch.where(stays, 1.0, at.inside)
        )
        y = self._out(torch.where(stays, kept, -self.weight * free))
        s = self._out(at.inside * v)
        P, A = self.data.P, self.data.A
        top = r1 - mv(P, x) - mtv(A, y)
        low = r2 - mv(A, x) - s
        x_size, y_size = max_abs(x).unsqueeze(-1), max_abs(y).unsqueeze(-1)
        top_size = r1.abs().maximum(row_max(P) * x_size).maximum(column_max(A) * y_size)
        low_size = r2.abs().maximum(row_max(A) * x_size).maximum(max_abs(s).unsqueeze(-1))
        error = max_abs(top / one_where_zero(top_size)).maximum(max_abs(low / one_where_zero(low_size)))
        return Step(x, self._out(v), y, error.nan_to_num(nan=torch.inf))


def _shortest(H: Tensor, C: Tensor, E: Tensor, r1: Tensor, r2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares of minimum norm by the eigenvalues of [H Cᵀ; C −E], and the error of the normal equations."""
    n = r1.shape[-1]
    K = torch.cat([torch.cat([H, C.mT], -1), torch.cat([C, -torch.diag_embed(E)], -1)], -2)
    rhs = torch.cat([r1, r2], -1)
    values, vectors = torch.linalg.eigh(K)
    largest = values.abs().amax(-1, keepdim=True)
    keep = values.abs() > RANK * largest
    x = mv(vectors, torch.where(keep, 1 / torch.where(keep, values, 1.0), 0.0) * mtv(vectors, rhs))
    normal = max_abs(mv(K, mv(K, x) - rhs))
    scale = largest.squeeze(-1) * torch.maximum(max_abs(rhs), largest.squeeze(-1) * max_abs(x))
    return x[:, :n], x[:, n:], normal / one_where_zero(scale)


def factorise(program: ConeProgram, at: Decomposition) -> ConicSystem:
    """The linearised conditions at a point, ready to be solved."""
    return ConicSystem.factor(Dense.of(program), at)


def chunks(program: ConeProgram) -> list[slice]:
    """Slices of the batch whose matrices fit a cache, on a CPU; one slice on other devices."""
    s, batch = program.structure, program.batch
    if program.q.device.type != "cpu":
        return [slice(0, batch)] if batch else []
    step = max(MINIMUM_CHUNK, CHUNK_ENTRIES // (s.n * (s.n + 2 * s.m)))
    return [slice(i, min(i + step, batch)) for i in range(0, batch, step)]
