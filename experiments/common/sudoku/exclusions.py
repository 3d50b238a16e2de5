"""Rules read off unsolved puzzles: sets of entries no two of which were ever seen together.

A rule of Sudoku says that of nine entries z[cell, digit] exactly one is 1, so two of them never stand among the givens
of one puzzle; two entries that no rule parts meet sooner or later. All rules are then among the cliques of size nine of
the graph of pairs that never met, and after enough puzzles there are no others. Nothing is used of how entries form
cells, rows or blocks.
"""

from collections.abc import Iterator

import numpy as np

from experiments.common.errors import require
from experiments.common.sudoku.rules import Array


class TooMany(Exception):
    """The search for sets took more steps than it may: too many pairs have not met yet."""


def have_met(givens: Array) -> Array:
    """Which entries were given together in some puzzle, shape (n, n) bool, from one-hot puzzles (puzzles, n).

    Raises
    ------
    ConfigError
        If there is no puzzle.
    """
    require(len(givens) > 0, "unsolved puzzles", len(givens), "at least one puzzle")
    # Counts up to 2^24 are exact in float32.
    few = givens.astype(np.float32)
    return few.T @ few > 0


def exclusive_sets(met: Array, size: int, steps: int) -> Array:
    """All sets of `size` entries of which no two met, shape (sets, size), in lexicographic order.

    Depth first; a branch keeps only the candidates that lack enough others to complete a set.

    Parameters
    ----------
    met : array, shape (n, n) bool
        Symmetric.
    size : int
        Entries of a set, at least 2.
    steps : int
        Branches that may be visited; with few puzzles there are exponentially many.

    Raises
    ------
    TooMany
        If `steps` do not suffice.
    """
    apart = ~met
    np.fill_diagonal(apart, False)
    masks = [int.from_bytes(np.packbits(row, bitorder="little").tobytes(), "little") for row in apart]
    budget = [steps]
    found = sorted(_cliques(masks, (1 << len(masks)) - 1, size, budget))
    return np.array(found, dtype=int).reshape(-1, size)


def equally_many(sets: Array, entries: int) -> Array | None:
    """The rules among `sets` if every entry stands in equally many rules; None if that does not decide which they are.

    All rules are among the sets found, so an entry in fewest of them stands in rules alone: its sets are rules. Where
    an entry has its number of rules, its other sets are none, which leaves other entries in fewest.
    """
    rule, left = np.zeros(len(sets), dtype=bool), np.ones(len(sets), dtype=bool)
    number = np.bincount(sets.ravel(), minlength=entries).min()
    while True:
        counts = np.bincount(sets[left].ravel(), minlength=entries)
        rule |= left & (counts == number)[sets].any(axis=1)
        complete = np.bincount(sets[rule].ravel(), minlength=entries) >= number
        kept = left & (rule | ~complete[sets].any(axis=1))
        if (kept == left).all():
            break
        left = kept
    return sets[left] if number > 0 and (counts == number).all() else None


def as_rows(sets: Array, size: int) -> Array:
    """One row for each set, 1 at its entries: the equations rows z = 1, shape (sets, size)."""
    rows = np.zeros((len(sets), size))
    np.put_along_axis(rows, sets, 1.0, axis=1)
    return rows


def _cliques(masks: list[int], candidates: int, size: int, budget: list[int]) -> Iterator[tuple[int, ...]]:
    budget[0] -= 1
    if budget[0] < 0:
        raise TooMany
    if size == 1:
        yield from ((vertex,) for vertex in _bits(candidates))
        return
    candidates = _core(masks, candidates, size - 1)
    while candidates.bit_count() >= size:
        vertex = (candidates & -candidates).bit_length() - 1
        # Cliques with this vertex now, those without it afterwards: each is met once.
        candidates &= candidates - 1
        for rest in _cliques(masks, masks[vertex] & candidates, size - 1, budget):
            yield (vertex, *rest)


def _core(masks: list[int], candidates: int, degree: int) -> int:
    """The candidates that have `degree` neighbours among those that are left."""
    while True:
        kept = candidates
        for vertex in _bits(candidates):
            if (masks[vertex] & kept).bit_count() < degree:
                kept &= ~(1 << vertex)
        if kept == candidates:
            return kept
        candidates = kept


def _bits(mask: int) -> Iterator[int]:
    while mask:
        yield (mask & -mask).bit_length() - 1
        mask &= mask - 1
