"""The models of the Sudoku studies: OptNet's layer with learned equalities, and the networks it is compared with.

All map one-hot puzzles to one score for each cell and digit, (boards, N^3) float64 to the same. Notation of the
layer: minimise 1/2 z'Qz + q'z subject to Gz <= h, Az = b.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from layers import QPLayer

# OptNet (arXiv 1703.00443, sudoku/models.py).
CURVATURE = 0.1


class LearnedEqualities(nn.Module):
    """argmin 1/2 c ||z||^2 - x'z subject to Az = b, z >= 0, with A learned (OptNet, section 4.4).

    b = A exp(w) with w learned, as in the published code, keeps the program feasible: exp(w) satisfies it. A starts
    uniform on (0, 1) and w at 0, so nothing is known of the rules but the number of rows.

    Parameters
    ----------
    size : int
        Entries of a one-hot board, n.
    rows : int
        Equalities to learn, p.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    generator : torch.Generator
        Source of the initial A.
    curvature : float
        c; small enough that the linear term decides. The published one is 0.1.
    """

    Q: Tensor
    G: Tensor
    h: Tensor

    def __init__(
        self, size: int, rows: int, layer: QPLayer, generator: torch.Generator, curvature: float = CURVATURE
    ):
        super().__init__()
        self.layer = layer
        eye = torch.eye(size, dtype=torch.float64)
        self.A = nn.Parameter(torch.rand(rows, size, dtype=torch.float64, generator=generator))
        self.log_z0 = nn.Parameter(torch.zeros(size, dtype=torch.float64))
        self.register_buffer("Q", curvature * eye)
        self.register_buffer("G", -eye)
        self.register_buffer("h", torch.zeros(size, dtype=torch.float64))

    @property
    def b(self) -> Tensor:
        """Right-hand side A exp(w), shape (p,)."""
        return self.A @ self.log_z0.exp()

    def hold(self, rows: Tensor, point: Tensor) -> None:
        """Take the equalities rows (z - point) = 0 instead of learned ones; `point` is positive."""
        self.A, self.log_z0 = nn.Parameter(rows), nn.Parameter(point.log())

    def forward(self, givens: Tensor) -> Tensor:
        """Scores for one-hot puzzles, shape (boards, n)."""
        return self.layer(self.Q, -givens, self.G, self.h, self.A, self.b)


class Network(nn.Module):
    """A network that turns (boards, rows, columns, digits) into scores of the same shape, softmax over the digits.

    float32 on the device of `body` inside, dtype and device of the puzzles outside.

    Parameters
    ----------
    body : torch.nn.Module
        Maps float32 tensors of that shape to the same shape.
    order : int
        k; a board has k^2 rows, columns and digits.
    generator : torch.Generator
        Source of the initial weights, uniform on +-1/sqrt(inputs) as torch's own.
    copies : bool
        Whether the answer takes over the givens.
    """

    def __init__(self, body: nn.Module, order: int, generator: torch.Generator, copies: bool):
        super().__init__()
        self.body, self.shape, self.copies = body, (order**2, order**2, order**2), copies
        for module in body.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                bound = module.weight[0].numel() ** -0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                if module.bias is not None:
                    nn.init.uniform_(module.bias, -bound, bound, generator=generator)

    def forward(self, givens: Tensor) -> Tensor:
        """Scores for one-hot puzzles, shape (boards, n)."""
        device = next(self.body.parameters()).device
        boards = givens.to(device, torch.float32).reshape(-1, *self.shape)
        answer = self.body(boards).softmax(dim=-1)
        if self.copies:
            filled = boards.sum(dim=-1, keepdim=True)
            answer = filled * boards + (1 - filled) * answer
        return answer.reshape(givens.shape).to(givens)


def convolutional(order: int, channels: int, depth: int) -> nn.Module:
    """`depth` convolutions 3x3 with `channels` channels and a ReLU each, and one back to the shape of the board.

    As in OptNet's code the rows of the board are the channels, and filters slide over columns and digits.
    """
    size = order**2
    widths = [size, *[channels] * depth]
    body: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        body += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.Conv2d(channels, size, 3, padding=1))


def fully_connected(order: int, widths: list[int]) -> nn.Module:
    """Affine maps with a ReLU between them, n -> widths -> n."""
    shape = (order**2,) * 3
    sizes = [math.prod(shape), *widths]
    body: list[nn.Module] = [nn.Flatten()]
    for inner, outer in pairwise(sizes):
        body += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*body, nn.Linear(sizes[-1], math.prod(shape)), nn.Unflatten(1, shape))
