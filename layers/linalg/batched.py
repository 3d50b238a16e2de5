"""Batches of tensors: the axes that a vmap puts in front."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def align(in_dims: Sequence[int | None], tensors: Sequence[Tensor], axes: Sequence[int]) -> list[Tensor]:
    """Put the vmapped axis in front of every tensor that has one, before batch axes of one common number.

    Parameters
    ----------
    in_dims : sequence of int or None
        Where each tensor has the vmapped axis.
    axes : sequence of int
        Number of axes that each tensor has behind its batch axes.
    """
    lead = [t.dim() - a - (d is not None) for t, a, d in zip(tensors, axes, in_dims, strict=True)]
    most = max(lead)
    aligned: list[Tensor] = []
    for tensor, dim, own in zip(tensors, in_dims, lead, strict=True):
        if dim is not None:
            tensor = tensor.movedim(dim, 0)
            tensor = tensor.reshape(tensor.shape[0], *([1] * (most - own)), *tensor.shape[1:])
        aligned.append(tensor)
    return aligned
