"""A matrix as places and values: what a sparse tensor of torch holds, read once for each pattern.

The values are a differentiable function of the tensor, so that its gradient comes back sparse on the same pattern. In
a batch the places are the union of those of all elements: where an element has no entry its value is zero, and no
gradient is asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]

from layers.cone_program import Indices
from layers.errors import ProblemError
from layers.modes.kept import lasting
from layers.modes.transforms import in_transform

#: patterns that are remembered
KEPT = 16


@dataclass(frozen=True, eq=False)
class Places:
    """Where a matrix has entries.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    rows, cols : array of int64, shape ``(k,)``
        Sorted by column, then row, without duplicates.
    lead : torch.Size
        Batch axes.
    slot : Tensor of int64
        The place of each entry, as the tensor lists them, in the values of all elements one after the other.
    """

    shape: tuple[int, int]
    rows: Indices
    cols: Indices
    lead: torch.Size
    slot: Tensor


@dataclass(frozen=True)
class Entries:
    """Places, and the values there, float64, shape ``lead + (k,)``."""

    places: Places
    values: Tensor

    def dense(self) -> Tensor:
        """The matrix with its zeros, shape ``lead + shape``."""
        height, width = self.places.shape
        place = torch.from_numpy(self.places.rows * width + self.places.cols).to(self.values.device)
        whole = self.values.new_zeros((*self.places.lead, height * width))
        return whole.index_add(-1, place, self.values).reshape(*self.places.lead, height, width)


def read(name: str, matrix: Tensor) -> Entries:
    """The entries of a matrix: those that a sparse tensor lists, or of a dense one all that may have a gradient.

    Raises
    ------
    ProblemError
        If an index lies outside of the shape, or the layout is another one.
    """
    if matrix.layout is torch.strided:
        return _of_dense(matrix)
    with lasting():
        plain = _unwrapped(name, matrix)
    if matrix.layout is torch.sparse_coo:
        indices, values = _of_coordinates(name, plain, matrix)
    elif matrix.layout is torch.sparse_csr:
        indices, values = _of_rows(name, plain)
    else:
        raise ProblemError(
            f"{name} must be dense, or sparse by coordinates or rows; found layout {matrix.layout}; call "
            f"{name}.to_sparse_coo()"
        )
    places = _remembered(indices, matrix.shape, lambda: _places(indices, matrix.shape))
    count, entries = prod(places.lead), places.rows.size
    own = values.new_zeros(count * entries, dtype=torch.float64)
    own = own.index_add(0, places.slot.to(values.device), values.double())
    return Entries(places, own.reshape(*places.lead, entries))


def _of_dense(matrix: Tensor) -> Entries:
    """Where nothing is differentiated, what is not zero in some element."""
    lead, (height, width) = matrix.shape[:-2], matrix.shape[-2:]
    if matrix.requires_grad or in_transform():
        cols, rows = np.divmod(np.arange(height * width), max(height, 1))
    else:
        there = (matrix != 0).reshape(prod(lead), height, width).any(0)
        cols, rows = np.nonzero(there.mT.cpu().numpy())
    with lasting():
        places = Places((height, width), rows, cols, lead, torch.arange(rows.size, device="cpu"))
    places = _remembered(np.vstack([rows, cols]), matrix.shape, lambda: places)
    place = torch.from_numpy(rows * width + cols).to(matrix.device)
    return Entries(places, matrix.double().reshape(*lead, height * width).index_select(-1, place))


def _of_coordinates(name: str, plain: Tensor, matrix: Tensor) -> tuple[Indices, Tensor]:
    """Element axes, row and column of each entry, ``(axes, nnz)``, and the values."""
    if plain.dense_dim():
        raise ProblemError(
            f"{name} must have one number in each place, found a hybrid tensor of {plain.dense_dim()} dense axes; "
            f"call {name}.to_dense().to_sparse(), or stack the elements of the batch by torch.stack"
        )
    # before torch sorts them: it looks at memory where an index says
    with lasting():
        _require_inside(name, plain._indices().cpu().numpy(), matrix.shape)
        indices = plain.detach().coalesce().indices().cpu().numpy()
    return indices, matrix.coalesce().values()


def _of_rows(name: str, plain: Tensor) -> tuple[Indices, Tensor]:
    """The same of rows, whose offsets may have batch axes."""
    with lasting():
        offsets, cols = plain.crow_indices().cpu().numpy(), plain.col_indices().cpu().numpy()
    lead, height = plain.shape[:-2], plain.shape[-2]
    steps, last = np.diff(offsets, axis=-1), offsets[..., -1:]
    if (
        steps.shape[-1] != height
        or (steps < 0).any()
        or (offsets[..., 0] != 0).any()
        or (last != cols.shape[-1]).any()
    ):
        raise ProblemError(
            f"{name}.crow_indices() must rise from 0 to the number of entries, {cols.shape[-1]}, in {height} steps; "
            f"build it by torch.sparse_csr_tensor(..., check_invariants=True)"
        )
    element = np.indices((*lead, cols.shape[-1])).reshape(len(lead) + 1, -1)[:-1]
    rows = np.repeat(np.tile(np.arange(height), prod(lead)), steps.ravel())
    indices = np.vstack([element, rows, cols.ravel()])
    _require_inside(name, indices, plain.shape)
    # transforms of torch.func have no rules for rows: a tensor of rows is never one of theirs
    with lasting():
        if lead:
            return indices, plain.values().reshape(-1)
        by_coordinates = plain.to_sparse_coo().coalesce()  # which torch differentiates twice
        return by_coordinates.detach().indices().cpu().numpy(), by_coordinates.values()


def _unwrapped(name: str, matrix: Tensor) -> Tensor:
    """The sparse tensor itself, inside of ``torch.func.grad`` too."""
    while functorch.is_functorch_wrapped_tensor(matrix):
        if functorch.is_batchedtensor(matrix):
            raise ProblemError(
                f"{name} must not be a sparse tensor that torch.func.vmap goes over, which torch has no rules for; "
                f"leave vmap out and pass a batch of values, as torch.stack([{name}, {name}])"
            )
        matrix = functorch.get_unwrapped(matrix)
    return matrix


def _require_inside(name: str, indices: Indices, shape: torch.Size) -> None:
    sizes = np.array(shape)[:, None]
    outside = ((indices < 0) | (indices >= sizes)).any(axis=0)
    if outside.any():
        first = tuple(indices[:, outside.argmax()].tolist())
        raise ProblemError(f"{name} has an entry at {first}, outside of its shape {tuple(shape)}")


_recent: deque[tuple[tuple[int, ...], Indices, Places]] = deque(maxlen=KEPT)


def _remembered(indices: Indices, shape: torch.Size, make: Callable[[], Places]) -> Places:
    """The places of a pattern; the same object where it was seen before."""
    for own_shape, own, places in tuple(_recent):
        if own_shape == tuple(shape) and np.array_equal(own, indices):
            return places
    places = make()
    _recent.appendleft((tuple(shape), indices.copy(), places))
    return places


def _places(indices: Any, shape: torch.Size) -> Places:
    lead, (height, width) = shape[:-2], shape[-2:]
    element = np.zeros(indices.shape[1], dtype=np.int64)
    for size, axis in zip(lead, indices, strict=False):
        element = element * size + axis
    code, order = np.unique(indices[-1] * max(height, 1) + indices[-2], return_inverse=True)
    cols, rows = np.divmod(code, max(height, 1))
    with lasting():
        slot = torch.from_numpy(element * code.size + order)
    return Places((height, width), rows, cols, lead, slot)
