"""Puzzles with exactly one solution, with as many givens as asked for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.common.errors import require
from experiments.common.sudoku.rules import Array, one_hot, parse_board
from experiments.common.sudoku.search import Board, has_one_solution, random_grid, solutions


@dataclass(frozen=True)
class Puzzles:
    """Boards with empty cells and the solved boards behind them, both (boards, N^2), 0 for empty."""

    givens: Array
    solved: Array
    order: int

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Both as one-hot vectors, shape (boards, N^3) float64."""
        pair = (one_hot(boards, self.order) for boards in (self.givens, self.solved))
        givens, solved = (torch.from_numpy(vectors) for vectors in pair)
        return givens, solved

    def take(self, chosen: Array | slice) -> "Puzzles":
        """Some of the puzzles."""
        return Puzzles(self.givens[chosen], self.solved[chosen], self.order)

    def __len__(self) -> int:
        return len(self.givens)


def all_grids(order: int) -> Array:
    """Every solved board, shape (boards, N^2): 288 for order 2. For order 3 there are 6.7e21."""
    return np.array(list(solutions([0] * order**4, order)))


def random_grids(count: int, order: int, rng: np.random.Generator) -> Array:
    """`count` solved boards drawn by random search, shape (count, N^2)."""
    return np.array([random_grid(order, rng) for _ in range(count)])


def read_puzzles(path: Path, order: int, name: str) -> Array:
    """The boards of a file, one a line of N^2 characters, `.` or `0` for an empty cell, shape (boards, N^2).

    Raises
    ------
    ConfigError
        About the setting `name`, if there is no such file, no board in it, or one that cannot be read or contradicts
        itself.
    """
    require(path.is_file(), name, str(path), "a file of puzzles, one a line")
    lines = path.read_text(encoding="utf-8").split()
    require(len(lines) > 0, name, str(path), "at least one puzzle: the file is empty")
    return np.array([parse_board(line, order, f"{name}, line {i}") for i, line in enumerate(lines, start=1)])


def puzzles_from(grids: Array, counts: Array, order: int, rng: np.random.Generator) -> Puzzles:
    """One puzzle for each entry of `counts`, its number of givens, each from a grid drawn from `grids`.

    Cells are emptied in random order, each if the puzzle keeps one solution, until `counts[i]` givens are left. Where
    no cell can be emptied before that, another grid is drawn; so the counts must be ones that occur.
    """
    pairs = [_puzzle(grids, int(count), order, rng) for count in counts]
    givens, solved = (np.array(boards) for boards in zip(*pairs, strict=True))
    return Puzzles(givens, solved, order)


def _puzzle(grids: Array, count: int, order: int, rng: np.random.Generator) -> tuple[Board, Board]:
    while True:
        solved = grids[rng.integers(len(grids))].tolist()
        board = _emptied(solved, rng.permutation(order**4).tolist(), order**4 - count, order)
        if board is not None:
            return board, solved


def _emptied(solved: Board, cells: Board, count: int, order: int) -> Board | None:
    """`solved` with `count` cells emptied, those of `cells` one after the other that leave one solution.

    Where several at once leave one solution, each of them does, as a board with more givens has no more solutions; so
    they are tried many at a time.
    """
    board, place, left, width = list(solved), 0, count, max(1, count // 2)
    while left > 0:
        tried = cells[place : place + min(width, left)]
        if not tried:
            return None
        for cell in tried:
            board[cell] = 0
        if has_one_solution(board, order):
            place, left, width = place + len(tried), left - len(tried), 2 * width
            continue
        for cell in tried:
            board[cell] = solved[cell]
        width = len(tried) // 2
        if width == 0:
            place, width = place + 1, 1
    return board
