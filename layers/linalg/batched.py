"""Batches of tensors: parts taken out and put back, the axes that a vmap puts in front, slices that fit a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, cast

import torch
from torch import Tensor

from layers.linalg.products import works_ahead

B = TypeVar("B", bound="Batched")
V = TypeVar("V")

#: a chunk of the batch holds about this many matrix entries (12 MB), and at least this many elements
CHUNK_ENTRIES, MINIMUM_CHUNK = 1_500_000, 8


class Batched:
    """A frozen dataclass of tensors with one batch axis in front: parts of the batch are taken out and put back.

    Fields are tensors, dataclasses of this kind, or tuples of either; anything else is the same for every element.
    """

    #: number of axes of a field that the batch may share: with no more than these it has no batch axis
    SHARED: ClassVar[Mapping[str, int]] = {}
    #: fields that the batch may share by a batch axis of one
    ALIKE: ClassVar[frozenset[str]] = frozenset()

    def take(self, index: Tensor | slice) -> Self:
        """The elements ``index``; what is shared stays shared, and a slice copies nothing."""
        own = {name: getattr(self, name) for name in _names(type(self))}
        return type(self)(**{name: v if self._shares(name, v) else take(v, index) for name, v in own.items()})

    def put(self, index: Tensor, other: Self) -> Self:
        """A copy with the elements ``index`` replaced by those of ``other``."""
        names = _names(type(self))
        return type(self)(**{name: put(getattr(self, name), index, getattr(other, name)) for name in names})

    def _shares(self, name: str, value: Any) -> bool:
        if name in self.ALIKE:
            return len(value) == 1
        return name in self.SHARED and value.dim() <= self.SHARED[name]


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def take(value: V, index: Tensor | slice) -> V:
    """The elements ``index`` of a tensor, of a :class:`Batched`, or of each in a tuple of them."""
    return cast(V, _taken(value, index))


def put(value: V, index: Tensor, other: V) -> V:
    """A copy with the elements ``index`` of a tensor, of a :class:`Batched`, or of each in a tuple replaced."""
    return cast(V, _replaced(value, index, other))


def _taken(value: Any, index: Tensor | slice) -> Any:
    if isinstance(value, Tensor):
        return value[index]
    if isinstance(value, Batched):
        return value.take(index)
    return _like(value, [_taken(own, index) for own in value]) if isinstance(value, tuple) else value


def _replaced(value: Any, index: Tensor, other: Any) -> Any:
    if isinstance(value, Tensor):
        return value.index_copy(0, index, other)
    if isinstance(value, Batched):
        return value.put(index, other)
    if not isinstance(value, tuple):
        return value
    return _like(value, [_replaced(own, index, new) for own, new in zip(value, other, strict=True)])


def _like(value: Any, entries: list[Any]) -> Any:
    """A tuple of the same class."""
    return getattr(type(value), "_make", tuple)(entries)


def join(parts: Sequence[B]) -> B:
    """Consecutive parts of a batch as one; what is shared is that of the first."""
    return _joined(parts)


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, Batched):
        names = _names(type(first))
        return type(first)(**{name: _joined([getattr(part, name) for part in parts]) for name in names})
    return first


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
