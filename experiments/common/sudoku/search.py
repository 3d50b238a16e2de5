"""Solves Sudoku boards exactly, by backtracking on bit masks: it makes puzzles and proves that they have one solution.

The learned models never see it.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np

Board = list[int]


@cache
def _houses(order: int) -> tuple[tuple[int, int, int], ...]:
    """Row, column and block of each cell, as places in one list of 3 N masks."""
    size = order**2
    places = [divmod(cell, size) for cell in range(size**2)]
    return tuple((r, size + c, 2 * size + r // order * order + c // order) for r, c in places)


def solutions(board: Board, order: int, rng: np.random.Generator | None = None) -> Iterator[Board]:
    """All completions of `board`, lazily; in random order if `rng` is given.

    Parameters
    ----------
    board : list of int
        N^2 entries, 0 for an empty cell.
    order : int
        k, with N = k^2.
    rng : numpy.random.Generator, optional
        Shuffles the digits at each branch; without it they are tried in increasing order.
    """
    houses, size = _houses(order), order**2
    free = [(1 << size) - 1] * (3 * size)
    empty: list[int] = []
    for cell, digit in enumerate(board):
        if digit == 0:
            empty.append(cell)
            continue
        mask = 1 << (digit - 1)
        if any(not free[house] & mask for house in houses[cell]):
            return
        _toggle(free, houses[cell], mask)
    yield from _complete(list(board), empty, free, houses, rng)


def has_one_solution(board: Board, order: int) -> bool:
    """Whether exactly one board completes `board`."""
    found = solutions(board, order)
    return next(found, None) is not None and next(found, None) is None


def random_grid(order: int, rng: np.random.Generator) -> Board:
    """A solved board: the first that a search with random branches meets."""
    return next(solutions([0] * order**4, order, rng))


def _complete(
    board: Board,
    empty: list[int],
    free: list[int],
    houses: tuple[tuple[int, int, int], ...],
    rng: np.random.Generator | None,
) -> Iterator[Board]:
    if not empty:
        yield list(board)
        return
    # The cell with fewest candidates: a dead end shows at once, and a single candidate is no branch.
    fewest, chosen, candidates = 99, 0, 0
    for cell in empty:
        row, column, block = houses[cell]
        mask = free[row] & free[column] & free[block]
        count = mask.bit_count()
        if count < fewest:
            fewest, chosen, candidates = count, cell, mask
            if count <= 1:
                break
    rest = [cell for cell in empty if cell != chosen]
    for digit in _digits(candidates, rng):
        _toggle(free, houses[chosen], 1 << (digit - 1))
        board[chosen] = digit
        yield from _complete(board, rest, free, houses, rng)
        _toggle(free, houses[chosen], 1 << (digit - 1))
    board[chosen] = 0


def _digits(mask: int, rng: np.random.Generator | None) -> list[int]:
    digits = [place + 1 for place in range(mask.bit_length()) if mask >> place & 1]
    return digits if rng is None or len(digits) < 2 else rng.permutation(digits).tolist()


def _toggle(free: list[int], houses: tuple[int, int, int], mask: int) -> None:
    for house in houses:
        free[house] ^= mask
