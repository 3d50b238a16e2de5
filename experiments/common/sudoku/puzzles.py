"""Puzzles with exactly one solution, with as many givens as asked for."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from experiments.common.sudoku.rules import Array, one_hot
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
        board, left = list(solved), order**4
        for cell in rng.permutation(order**4).tolist():
            if left == count:
                return board, solved
            board[cell] = 0
            if has_one_solution(board, order):
                left -= 1
            else:
                board[cell] = solved[cell]
        if left == count:
            return board, solved
