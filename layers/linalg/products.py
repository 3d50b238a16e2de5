"""Batched products that keep what is shared over the batch unexpanded.

A matrix is either shared, shape ``(k, n)``, or batched, shape ``(B, k, n)``; vectors are ``(B, n)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mv(M: Tensor, x: Tensor) -> Tensor:
    """``M x`` per batch element: one matrix product when ``M`` is shared."""
    if M.dim() == 2:
        # torch's own vmap of forward derivatives gives the product of a single row from the left a wrong shape
        return M @ x if x.dim() == 1 else x @ M.mT
    return (M @ x.unsqueeze(-1)).squeeze(-1)


def mtv(M: Tensor, y: Tensor) -> Tensor:
    """``Mᵀ y`` per batch element."""
    if M.dim() == 2:
        return M.mT @ y if y.dim() == 1 else y @ M
    return (M.mT @ y.unsqueeze(-1)).squeeze(-1)


def dot(x: Tensor, y: Tensor) -> Tensor:
    """Inner product over the last axis."""
    return (x * y).sum(-1)


def gram(G: Tensor, w: Tensor) -> Tensor:
    """``Gᵀ diag(w) G``, shape ``(B, n, n)``."""
    return (G * w.unsqueeze(-1)).mT @ G


def max_abs(x: Tensor) -> Tensor:
    """Largest magnitude over the last axis; 0 where that axis is empty."""
    if x.shape[-1] == 0:
        return x.new_zeros(x.shape[:-1])
    return x.abs().amax(-1)


def row_max(M: Tensor) -> Tensor:
    """Largest magnitude of each row, shape ``M.shape[:-1]``."""
    return max_abs(M)


def column_max(M: Tensor) -> Tensor:
    """Largest magnitude of each column; zeros when ``M`` has no rows."""
    return max_abs(M.mT)


def one_where_zero(x: Tensor) -> Tensor:
    """``x`` with its zeros replaced by ones: a divisor that leaves empty rows alone."""
    return torch.where(x == 0, torch.ones_like(x), x)


def power_of_two(x: Tensor) -> Tensor:
    """The power of two nearest to x > 0 on a logarithmic scale: multiplying by it rounds nothing."""
    return torch.exp2(x.log2().round())


def power_to_one(size: Tensor) -> Tensor:
    """The power of two that brings ``size`` nearest to one; 1 for a size of zero."""
    return torch.exp2(-one_where_zero(size).log2().round())


def works_ahead(x: Tensor) -> bool:
    """Whether the device of ``x`` computes while the host goes on: a look at one of its numbers makes the host wait."""
    return x.device.type != "cpu"
