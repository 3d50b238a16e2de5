"""Sudoku boards as arrays and as points of R^n, and the equations that every solved board satisfies.

A board of order k has N = k^2 rows, columns, blocks and digits. Boards are integer arrays, shape (boards, N^2), cells
row by row, 0 for an empty cell. One-hot, they are vectors of n = N^3 entries, cell by cell, z[cell, digit]. A
solved board satisfies Mz = 1 with one row of M for each cell (it has one digit) and for each digit in each row, column
and block (it stands there once): 4 N^2 equations, of which 40 of 64 are independent for k = 2 and 249 of 324 for k = 3.
"""

import numpy as np

from experiments.common.errors import require

Array = np.ndarray


def units(order: int) -> Array:
    """Cells of each row, column and block, shape (3 N, N)."""
    size = order**2
    cells = np.arange(size**2).reshape(size, size)
    blocks = cells.reshape(order, order, order, order).transpose(0, 2, 1, 3).reshape(size, size)
    return np.concatenate([cells, cells.T, blocks])


def true_constraints(order: int) -> Array:
    """M with Mz = 1 for every solved board z, shape (4 N^2, N^3)."""
    size = order**2
    shape = (size**2, size)
    one_digit = np.eye(size**2).repeat(size, axis=1).reshape(size**2, *shape)
    one_digit *= np.eye(size**2)[:, :, None]
    members = np.zeros((3 * size, size**2))
    np.put_along_axis(members, units(order), 1.0, axis=1)
    once = np.einsum("uc,de->udce", members, np.eye(size)).reshape(-1, *shape)
    return np.concatenate([one_digit, once]).reshape(-1, size**3)


def one_hot(boards: Array, order: int) -> Array:
    """Boards as 0-1 vectors, shape (boards, N^3) float64; empty cells are zero."""
    digits = np.arange(1, order**2 + 1)
    return (boards[..., None] == digits).astype(float).reshape(len(boards), -1)


def decode(z: Array, order: int) -> Array:
    """The boards that have in each cell the digit of largest entry, shape (boards, N^2)."""
    return z.reshape(len(z), order**4, order**2).argmax(axis=2) + 1


def is_permutation(boards: Array, order: int) -> Array:
    """Whether each row, column and block holds each digit once, shape (boards,)."""
    filled = np.sort(boards[:, units(order)], axis=2)
    return (filled == np.arange(1, order**2 + 1)).all(axis=(1, 2))


def agrees(boards: Array, givens: Array) -> Array:
    """Whether a board repeats all givens of its puzzle, shape (boards,)."""
    return ((givens == 0) | (boards == givens)).all(axis=1)


def parse_board(text: str, order: int, name: str) -> Array:
    """The board written as N^2 characters, `.` or `0` for an empty cell, shape (N^2,).

    Raises
    ------
    ConfigError
        If length or characters are wrong, or a digit stands twice in a row, column or block.
    """
    size = order**2
    valid = f"{size**2} characters out of . and 0 to {size}"
    allowed = set(".0") | {str(digit) for digit in range(1, size + 1)}
    require(len(text) == size**2 and set(text) <= allowed, name, text, valid)
    board = np.array([0 if character == "." else int(character) for character in text])
    kinds = ("row", "column", "block")
    for place, unit in enumerate(board[units(order)]):
        digits, counts = np.unique(unit[unit > 0], return_counts=True)
        twice = digits[counts > 1]
        where = f"{kinds[place // size]} {place % size + 1}"
        told = ", ".join(str(digit) for digit in twice)
        expected = f"a board that does not contradict itself: digit {told} stands twice in {where}"
        require(twice.size == 0, name, text, expected)
    return board
