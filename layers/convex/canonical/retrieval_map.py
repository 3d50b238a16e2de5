"""Solution to variables: one gather from the pieces of a solution, and a scale where one is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layers.cone_program import Indices
from layers.convex.canonical.retrieval import Retrieval
from layers.modes.kept import lasting

Piece = Callable[[], Tensor]


class Retriever:
    """Variables and dual variables out of the pieces that an engine computes; a piece that none needs is not computed.

    Parameters
    ----------
    retrievals : sequence of Retrieval
    pieces : sequence of array of int64
        For each piece of the solution, the places of its entries in (x, y).
    n : int
        Number of entries of x.
    """

    def __init__(self, retrievals: Sequence[Retrieval], pieces: Sequence[Indices], n: int) -> None:
        nothing = np.zeros(0, dtype=np.int64)
        index = np.concatenate([nothing, *(r.index + (n if r.dual else 0) for r in retrievals)])
        weights = np.concatenate([nothing, *(r.weights for r in retrievals)])
        self.used = [i for i, piece in enumerate(pieces) if np.isin(piece, index).any()]
        there = np.concatenate([nothing, *(pieces[i] for i in self.used)])
        place = np.zeros(int(there.max(initial=-1)) + 1, dtype=np.int64)
        place[there] = np.arange(there.size)
        self.shapes = [r.shape for r in retrievals]
        self.sizes = [prod(shape) for shape in self.shapes]
        self.dual = [r.dual for r in retrievals]
        where = place[index]
        with lasting():
            self._index = None if np.array_equal(where, np.arange(there.size)) else torch.from_numpy(where)
            self._weights = None if (weights == 1).all() else torch.from_numpy(weights)

    def __call__(self, pieces: Sequence[Piece]) -> list[Tensor]:
        """The entries of each variable, row-major, shapes ``batch + (size,)``."""
        if not self.used:
            return []
        return self.split(self.gather([pieces[i]() for i in self.used]))

    def gather(self, parts: Sequence[Tensor]) -> Tensor:
        """The entries of all variables, one after the other, from the pieces that are ``used``."""
        entries = parts[0] if len(parts) == 1 else torch.cat(list(parts), -1)
        if self._index is not None:
            entries = entries.index_select(-1, self._index.to(entries.device))
        if self._weights is not None:
            entries = entries * self._weights.to(entries.device)
        return entries

    def picks(self, sizes: Sequence[int]) -> list[tuple[Indices, Indices, NDArray[np.float64]]]:
        """For each variable the pieces, the places in them and the factors of its entries; ``sizes`` of all pieces."""
        starts = np.cumsum([0, *(sizes[i] for i in self.used)])
        index = np.arange(starts[-1]) if self._index is None else self._index.numpy()
        weights = np.ones(index.size) if self._weights is None else self._weights.numpy()
        which = np.searchsorted(starts, index, side="right") - 1
        pieces = np.asarray(self.used, dtype=np.int64)[which]
        cuts = np.cumsum(self.sizes)[:-1]
        split = [np.split(array, cuts) for array in (pieces, index - starts[which], weights)]
        return list(zip(*split, strict=True))

    def split(self, entries: Tensor) -> list[Tensor]:
        """The entries of each variable."""
        return [entries] if len(self.sizes) == 1 else list(entries.split_with_sizes(self.sizes, -1))
