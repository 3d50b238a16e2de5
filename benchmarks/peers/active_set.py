"""The backward pass that a careful user writes behind a bare active-set solver: one batched solve on the active rows.

With C the active rows of G below those of A, padded to the largest number in the batch, and L L' = Q,

    W = L^-1 C',   u = L^-1 w,   (W'W) d_y = -W'u,   d_z = -L^-T (u + W d_y)

for the cotangent w of z, and the gradients follow OptNet's equation 8 (d_y for D(lambda) d_lambda). Shared arguments
get the sum over the batch as a product of matrices, and nothing is computed that nobody asks for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

#: z, lambda, nu and which inequalities are active, all with a batch axis
Found = tuple[Tensor, Tensor, Tensor, Tensor]


def attach(found: Found, tensors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """z, a function of (Q, q, G, h, A, b), and the multipliers, constants."""
    return _Solution.apply(*found, *tensors), found[1], found[2]


class _Solution(Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        ctx.save_for_backward(*arguments)
        return arguments[0].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (w,) = grad_outputs
        z, lam, nu, active, *tensors = ctx.saved_tensors
        Q, _, G, _, A, _ = tensors
        d_z, d_lam, d_nu = _differential(Q, G, A, active, w)
        asked = ctx.needs_input_grad[4:]
        found: list[Tensor | None] = [None] * 6
        if asked[0]:
            half = _outer(d_z, z, Q) / 2
            found[0] = half + half.mT
        for place, d in ((1, d_z), (3, -d_lam), (5, -d_nu)):
            if asked[place]:
                found[place] = d if tensors[place].dim() == 2 else d.sum(0)
        for place, d, y, matrix in ((2, d_lam, lam, G), (4, d_nu, nu, A)):
            if asked[place]:
                found[place] = _outer(d, z, matrix) + _outer(y, d_z, matrix)
        return (None, None, None, None, *found)


def _differential(
    Q: Tensor, G: Tensor, A: Tensor, active: Tensor, w: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """d_z, d_lambda (zero off the active rows) and d_nu."""
    batch, p = len(w), A.shape[-2]
    k = int(active.sum(1).max())
    # The active rows first, in their order; what stands behind them is padding.
    rows = active.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :k]
    real = active.gather(1, rows)
    wide = G.expand(batch, *G.shape[-2:])
    chosen = wide.gather(1, rows.unsqueeze(2).expand(batch, k, w.shape[1])) * real.unsqueeze(2)
    C = torch.cat([A.expand(batch, *A.shape[-2:]), chosen], 1)
    L = torch.linalg.cholesky(Q)
    both = torch.linalg.solve_triangular(L, torch.cat([C.mT, w.unsqueeze(2)], 2), upper=False)
    W, u = both[..., :-1], both[..., -1:]
    padding = torch.cat([torch.zeros(batch, p, dtype=w.dtype), (~real).to(w.dtype)], 1)
    factor = torch.linalg.cholesky(W.mT @ W + torch.diag_embed(padding))
    d_y = -torch.cholesky_solve(W.mT @ u, factor)
    d_z = -torch.linalg.solve_triangular(L.mT, u + W @ d_y, upper=True)
    d_lam = torch.zeros(batch, active.shape[1], dtype=w.dtype).scatter(1, rows, d_y[:, p:, 0] * real)
    return d_z[..., 0], d_lam, d_y[:, :p, 0]


def _outer(left: Tensor, right: Tensor, like: Tensor) -> Tensor:
    """left right' for each element, or their sum where the argument `like` is shared."""
    return left.unsqueeze(2) * right.unsqueeze(1) if like.dim() == 3 else left.mT @ right
