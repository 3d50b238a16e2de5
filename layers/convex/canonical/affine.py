"""Affine maps of the parameters, given by their nonzero coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from layers.cone_program import Indices

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AffineMap:
    """θ ↦ constant + Σₖ weightₖ θ[columnₖ] e[rowₖ], a vector of ``size`` entries.

    Attributes
    ----------
    constant : array, shape ``(size,)``
    rows, columns, weights : array, shape ``(entries,)``
        Sorted by row, without duplicates.
    """

    constant: Floats
    rows: Indices
    columns: Indices
    weights: Floats

    @property
    def size(self) -> int:
        """Length of the value."""
        return self.constant.size

    def take(self, kept: Indices) -> AffineMap:
        """The entries ``kept`` of the value, which must increase."""
        place = np.full(self.size, -1, dtype=np.int64)
        place[kept] = np.arange(kept.size)
        chosen = place[self.rows] >= 0
        rows = place[self.rows[chosen]]
        return AffineMap(self.constant[kept], rows, self.columns[chosen], self.weights[chosen])

    def entries(self) -> Entries:
        """Coefficients and constants alike."""
        return Entries(
            np.concatenate([self.rows, np.arange(self.size)]),
            np.concatenate([self.columns, np.full(self.size, -1)]),
            np.concatenate([self.weights, self.constant]),
        )


@dataclass(frozen=True)
class Entries:
    """Entries of a sparse matrix (value, column of θ or −1); rows may repeat."""

    rows: Indices
    columns: Indices
    weights: Floats

    def take(self, where: NDArray[np.bool_]) -> Entries:
        """The chosen entries."""
        return Entries(self.rows[where], self.columns[where], self.weights[where])

    def moved(self, by: int) -> Entries:
        """The entries, further down."""
        return Entries(self.rows + by, self.columns, self.weights)

    def and_also(self, other: Entries) -> Entries:
        """The sum of both."""
        return Entries(
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.columns, other.columns]),
            np.concatenate([self.weights, other.weights]),
        )

    def mapped(self, matrix: sp.csc_array) -> Entries:
        """The entries of ``matrix`` times the vector."""
        # Column r of the matrix, once for every entry in row r.
        chosen = matrix[:, self.rows].tocoo()
        return Entries(
            chosen.row.astype(np.int64), self.columns[chosen.col], chosen.data * self.weights[chosen.col]
        )

    def placed(self, rows: Indices) -> Entries:
        """The entries in other rows."""
        return Entries(rows, self.columns, self.weights)


def entries_of(matrix: Any, columns: Indices) -> Entries:
    """Entries of a sparse matrix whose columns are renamed to ``columns``."""
    coo = sp.coo_array(matrix)
    return Entries(coo.row.astype(np.int64), columns[coo.col], coo.data.astype(np.float64))


def affine(entries: Entries, size: int) -> AffineMap:
    """Add up the entries that share a place, and part the constant ones from the others."""
    fixed = entries.columns < 0
    constant = np.bincount(entries.rows[fixed], entries.weights[fixed], minlength=size).astype(np.float64)
    moving = entries.take(~fixed)
    width = int(moving.columns.max(initial=-1)) + 1
    place, inverse = np.unique(moving.rows * max(width, 1) + moving.columns, return_inverse=True)
    weights = np.bincount(inverse, moving.weights, minlength=place.size).astype(np.float64)
    kept = weights != 0
    place, weights = place[kept], weights[kept]
    return AffineMap(constant, place // max(width, 1), place % max(width, 1), weights)


def on_pattern(entries: Entries, height: int) -> tuple[Indices, Indices, AffineMap]:
    """The pattern (rows, columns) of a matrix given by column-major places, and the map to its values."""
    places, inverse = np.unique(entries.rows, return_inverse=True)
    values = affine(entries.placed(inverse.astype(np.int64)), places.size)
    return places % max(height, 1), places // max(height, 1), values
