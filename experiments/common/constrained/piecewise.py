"""HardNet's function of one variable, bounded from one side on each of four pieces (arXiv 2410.10807, section 5.1)."""

import numpy as np
import torch
from torch import Tensor

from experiments.common.constrained.problem import Manifold, Problem
from experiments.common.constrained.program import SEED

#: where the training points lie, and where the function is asked for
INSIDE, ASKED = 1.2, 2.0


class Piecewise(Problem):
    """Learn f from `points` values in [-1.2, 1.2] and be asked on [-2, 2], where a bound on y holds on each piece.

    y ≥ 5 sin²(π(x+1)/2) for x ≤ -1, y ≤ 0 up to 0, y ≥ (4 - 9(x-⅔)²)x up to 1, y ≤ 3 - 4.5(x-1) beyond. The points come
    from the published seed; the test is the published grid.
    """

    def __init__(self, points: int = 50, asked: int = 401) -> None:
        x = np.random.RandomState(SEED).uniform(-INSIDE, INSIDE, (points, 1))
        grid = torch.linspace(-ASKED, ASKED, asked, dtype=torch.float64)[:, None]
        self.name = "piecewise"
        self.manifold = Manifold(torch.zeros(0, 1, dtype=torch.float64), torch.tensor([0]))
        self.inputs = {"train": torch.from_numpy(x), "test": grid}

    def target(self, x: Tensor) -> Tensor:
        """f at x, the same shape."""
        values = (
            -5 * (torch.pi * (x + 1) / 2).sin(),
            torch.zeros_like(x),
            4 - 9 * (x - 2 / 3) ** 2,
            8 - 5 * x,
        )
        return _piece(x, *values)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The squared error, shape (batch,)."""
        return (y - self.target(x)).square().sum(-1)

    def rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """G, shape (batch, 1, 1), and h, shape (batch, 1)."""
        one = torch.ones_like(x)
        sign = _piece(x, -one, one, -one, one)
        bound = (
            5 * (torch.pi * (x + 1) / 2).sin() ** 2,
            0 * x,
            (4 - 9 * (x - 2 / 3) ** 2) * x,
            7.5 - 4.5 * x,
        )
        return sign.unsqueeze(-1), sign * _piece(x, *bound)


def _piece(x: Tensor, *values: Tensor) -> Tensor:
    """The value of the piece in which x lies: up to -1, up to 0, up to 1, beyond."""
    first, second, third, fourth = values
    return torch.where(x <= -1, first, torch.where(x <= 0, second, torch.where(x <= 1, third, fourth)))
