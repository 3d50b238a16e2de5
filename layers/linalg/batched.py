"""Batches of tensors: the axes that a vmap puts in front, and slices that fit a cache."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from layers.linalg.products import works_ahead

#: a chunk of the batch holds about this many matrix entries (12 MB), and at least this many elements
CHUNK_ENTRIES, MINIMUM_CHUNK = 1_500_000, 8


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


def chunks(vectors: Tensor, entries: int) -> list[slice]:
    """Slices of the batch of ``vectors`` whose matrices fit a cache, on a CPU; one slice on other devices.

    Parameters
    ----------
    entries : int
        Of the matrices of one element.
    """
    batch = len(vectors)
    step = batch if works_ahead(vectors) else max(MINIMUM_CHUNK, CHUNK_ENTRIES // entries)
    return [slice(i, min(i + step, batch)) for i in range(0, batch, step or 1)]
