"""Search with rules of the form "of these entries exactly one": what the same rules give without a layer."""

from functools import reduce
from operator import or_

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.sudoku.rules import Array


class Search(nn.Module):
    """Completes one-hot puzzles (boards, n) by depth-first search; the first completion is the answer.

    The rule with fewest entries left is branched on. Where there is no completion, or none within `steps` branches, the
    answer is the puzzle itself.

    Parameters
    ----------
    sets : array, shape (rules, size)
        Of the entries of each, exactly one is 1.
    entries : int
        n.
    steps : int
        Branches that may be visited for each puzzle.
    """

    def __init__(self, sets: Array, entries: int, steps: int):
        super().__init__()
        self.entries, self.steps, self.taken = entries, steps, 0
        self.rules = [sum(1 << int(entry) for entry in rule) for rule in sets]
        # What an entry that is 1 leaves no room for.
        self.against = [
            reduce(or_, (rule for rule in self.rules if rule >> entry & 1), 0) & ~(1 << entry)
            for entry in range(entries)
        ]

    def forward(self, givens: Tensor) -> Tensor:
        """Completed boards for one-hot puzzles, shape (boards, n)."""
        found = np.stack([self._complete(row) for row in givens.numpy()])
        return torch.from_numpy(found)

    def _complete(self, puzzle: Array) -> Array:
        possible, self.taken = (1 << self.entries) - 1, 0
        for entry in np.flatnonzero(puzzle).tolist():
            possible &= ~self.against[entry]
        answer = self._search(possible, self.rules)
        if answer is None:
            return puzzle
        return np.array([float(answer >> entry & 1) for entry in range(self.entries)])

    def _search(self, possible: int, rules: list[int]) -> int | None:
        """The entries of the first completion that keeps `rules`, those without an entry that is 1 already."""
        if not rules:
            return possible
        self.taken += 1
        choices = possible & min(rules, key=lambda rule: (possible & rule).bit_count())
        while choices and self.taken < self.steps:
            one = choices & -choices
            choices ^= one
            left = [rule for rule in rules if not rule & one]
            answer = self._search(possible & ~self.against[one.bit_length() - 1], left)
            if answer is not None:
                return answer
        return None
