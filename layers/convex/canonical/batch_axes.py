"""Batch axes: the caller's outside, one axis or none inside."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor


def flattened(value: Tensor, core: tuple[int, ...], batch: torch.Size) -> Tensor:
    """A value, ``lead + core``, row by row: ``(size,)`` where it is shared over the batch, else ``(B, size)``."""
    size = prod(core)
    if value.numel() == size:
        return value.reshape(size)
    return value.expand(batch + core).reshape(prod(batch), size)


def shaped(value: Tensor, batch: torch.Size, core: tuple[int, ...]) -> Tensor:
    """A flat value in the batch axes of the call, over which it is repeated if nothing in it depends on them."""
    if value.numel() != prod(batch) * prod(core):
        value = value.expand((prod(batch), *value.shape))
    return value.reshape(batch + core)
