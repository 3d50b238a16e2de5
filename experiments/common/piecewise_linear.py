"""Piecewise-linear functions as quadratic programs: OptNet (arXiv 1703.00443), section 3.2, Theorems 2 and 3.

Notation of the layer: minimise 1/2 z'Qz + q'z subject to Gz <= h.
"""

import torch
from torch import Tensor, nn

from layers import QPLayer


def relu(values: Tensor, layer: QPLayer) -> Tensor:
    """max(v, 0) = argmin 1/2 ||z - v||^2 subject to z >= 0, shape (batch, n)."""
    eye = torch.eye(values.shape[1], dtype=values.dtype)
    return layer(eye, -values, -eye, torch.zeros_like(eye[0]))


def piecewise_linear(x: Tensor, slopes: Tensor, offsets: Tensor, weights: Tensor, layer: QPLayer) -> Tensor:
    """f(x) = sum_i w_i max(a_i x + b_i, 0) as argmin ||t||^2 + (z - w't)^2 subject to a_i x + b_i <= t_i.

    The last variable z is free, so z = w't and the first term makes t_i = max(a_i x + b_i, 0).

    Parameters
    ----------
    x : Tensor, shape (batch,)
    slopes, offsets, weights : Tensor, shape (k,)
        a, b and w.
    layer : QPLayer
        Any solver that accepts data shared over the batch.

    Returns
    -------
    Tensor, shape (batch,)
    """
    k = len(slopes)
    residual = torch.cat((-weights, torch.ones_like(weights[:1])))
    Q = torch.outer(residual, residual)
    Q = 2 * (Q + torch.diag(torch.cat((torch.ones_like(weights), torch.zeros_like(weights[:1])))))
    G = torch.cat((-torch.eye(k, dtype=x.dtype), torch.zeros(k, 1, dtype=x.dtype)), dim=1)
    return layer(Q, torch.zeros_like(Q[0]), G, -(torch.outer(x, slopes) + offsets))[:, -1]


def interpolation(knots: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes, offsets and weights of the interpolant of `values`, for x between the first and the last knot.

    f(x) = f(x_0) + sum over the changes of slope; the constant is a term with slope zero.
    """
    rises = values.diff() / knots.diff()
    changes = torch.cat((rises[:1], rises.diff()))
    slopes = torch.cat((torch.zeros_like(knots[:1]), torch.ones_like(changes)))
    offsets = torch.cat((torch.ones_like(knots[:1]), -knots[:-1]))
    return slopes, offsets, torch.cat((values[:1], changes))


class MaxOfLinear(nn.Module):
    """max(0, max_i a_i'x + b_i) = argmin z^2 subject to a_i'x + b_i <= z, with a and b learned.

    The program is that of the paper's Theorem 3. Its value is never negative, so it is the maximum of the k functions
    only where that is not negative: everywhere, if 0 is in the convex hull of the a_i and no b_i is negative.

    Parameters
    ----------
    inputs, pieces : int
        Entries of x, and k.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    generator : torch.Generator
        Source of the initial a and b, standard normal and zero.
    """

    Q: Tensor
    q: Tensor
    G: Tensor

    def __init__(self, inputs: int, pieces: int, layer: QPLayer, generator: torch.Generator):
        super().__init__()
        self.layer = layer
        self.slopes = nn.Parameter(torch.randn(pieces, inputs, dtype=torch.float64, generator=generator))
        self.offsets = nn.Parameter(torch.zeros(pieces, dtype=torch.float64))
        self.register_buffer("Q", 2 * torch.ones(1, 1, dtype=torch.float64))
        self.register_buffer("q", torch.zeros(1, dtype=torch.float64))
        self.register_buffer("G", -torch.ones(pieces, 1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Values, shape (batch, 1), at the rows of x."""
        return self.layer(self.Q, self.q, self.G, -(x @ self.slopes.mT + self.offsets))


class TwoLayerNetwork(nn.Module):
    """w'max(Wx + b, 0) + c with `width` hidden units, float64; weights start uniform on +-1/sqrt(inputs)."""

    def __init__(self, inputs: int, width: int, generator: torch.Generator):
        super().__init__()
        self.inner = nn.Linear(inputs, width, dtype=torch.float64)
        self.outer = nn.Linear(width, 1, dtype=torch.float64)
        for affine in (self.inner, self.outer):
            bound = affine.in_features**-0.5
            nn.init.uniform_(affine.weight, -bound, bound, generator=generator)
            nn.init.uniform_(affine.bias, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Values, shape (batch, 1), at the rows of x."""
        return self.outer(self.inner(x).relu())
