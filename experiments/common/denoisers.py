"""The denoising models: total variation as a quadratic program, OptNet's two learned versions, and its
network.

Notation of the layer: minimise 1/2 z'Qz + q'z subject to Gz <= h. The variables are the signal and one bound
on the size of each jump, (z, t) in R^(2n-1) for signals of length n, so that TV denoising,

    minimise 1/2 ||z - y||^2 + weight * sum(t)   subject to   -t <= Dz <= t,

has Q = diag(1, 0), q = (-y, weight), G = [D, -I; -D, -I], h = 0, where D takes differences of neighbouring
samples.
"""

import torch
from torch import Tensor, nn

from layers import QPLayer

# OptNet (arXiv 1703.00443, denoising/models.py) puts 1e-4 on the diagonal so that its solver meets a
# definite Q.
RIDGE = 1e-4


def differences(length: int) -> Tensor:
    """D with (Dz)_i = z_{i+1} - z_i, shape (length - 1, length), float64."""
    eye = torch.eye(length, dtype=torch.float64)
    return eye[1:] - eye[:-1]


def jump_bounds(D: Tensor) -> Tensor:
    """G = [D, -I; -D, -I], the rows of -t <= Dz <= t."""
    eye = torch.eye(len(D), dtype=D.dtype, device=D.device)
    return torch.cat((torch.cat((D, -eye), 1), torch.cat((-D, -eye), 1)))


class TunedTV(nn.Module):
    """OptNet started at total variation, every matrix of the program free (OptNet, section 4.3).

    Q = LL' + ridge I with L lower triangular, q = Wy + c, G, and h = G z0 + s0 are learned, as in the
    published code, and the answer is the first n entries of the minimiser. Two departures, so that training
    starts at total variation itself: W and h start without the small random perturbation, and the weight in
    c is the caller's.

    Parameters
    ----------
    length : int
        Samples in a signal, n.
    weight : float
        Weight of the total variation to start from.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    """

    def __init__(self, length: int, weight: float, layer: QPLayer):
        super().__init__()
        self.length, self.layer = length, layer
        jumps = length - 1
        signal = torch.ones(length, dtype=torch.float64)
        self.L = nn.Parameter(
            torch.diag(torch.cat((signal, torch.full((jumps,), 1e-4, dtype=torch.float64))))
        )
        self.W = nn.Parameter(-torch.eye(length + jumps, length, dtype=torch.float64))
        self.c = nn.Parameter(torch.cat((0 * signal, torch.full((jumps,), weight, dtype=torch.float64))))
        self.G = nn.Parameter(jump_bounds(differences(length)))
        self.z0 = nn.Parameter(torch.zeros(length + jumps, dtype=torch.float64))
        self.s0 = nn.Parameter(torch.zeros(2 * jumps, dtype=torch.float64))

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise the rows of `noisy`, shape (batch, length), float64."""
        L = self.L.tril()
        Q = L @ L.mT + RIDGE * torch.eye(len(L), dtype=L.dtype)
        h = self.G @ self.z0 + self.s0
        z = self.layer(Q, noisy @ self.W.mT + self.c, self.G, h)
        return z[:, : self.length]


class PureOptNet(nn.Module):
    """Analysis-sparse denoising with a learned operator: argmin 1/2 ||z - y||^2 + weight * ||Dz||_1, D in
    R^((n-1) x n).

    D starts at 0.3 times standard normal entries, so nothing is known of the signals; the weight stays fixed.

    Parameters
    ----------
    length : int
        Samples in a signal, n.
    weight : float
        Fixed weight of the penalty.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    generator : torch.Generator
        Source of the initial D.
    """

    Q: Tensor
    h: Tensor
    cost: Tensor

    def __init__(self, length: int, weight: float, layer: QPLayer, generator: torch.Generator):
        super().__init__()
        self.length, self.layer = length, layer
        start = torch.randn(length - 1, length, dtype=torch.float64, generator=generator)
        self.D = nn.Parameter(0.3 * start)
        curvature = torch.ones(2 * length - 1, dtype=torch.float64)
        curvature[length:] = RIDGE
        self.register_buffer("Q", torch.diag(curvature))
        self.register_buffer("h", torch.zeros(2 * length - 2, dtype=torch.float64))
        self.register_buffer("cost", torch.full((length - 1,), weight, dtype=torch.float64))

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise the rows of `noisy`, shape (batch, length), float64."""
        q = torch.cat((-noisy, self.cost.expand(len(noisy), -1)), 1)
        return self.layer(self.Q, q, jump_bounds(self.D), self.h)[:, : self.length]


class FullyConnected(nn.Module):
    """Two affine maps with a ReLU between them, n -> width -> n: the network OptNet compares with.

    Parameters
    ----------
    length : int
        Samples in a signal, n.
    width : int
        Hidden units.
    generator : torch.Generator
        Source of the initial weights, uniform on +-1/sqrt(inputs) as in torch.nn.Linear.
    """

    def __init__(self, length: int, width: int, generator: torch.Generator):
        super().__init__()
        self.inner, self.outer = nn.Linear(length, width), nn.Linear(width, length)
        for affine in (self.inner, self.outer):
            bound = affine.in_features**-0.5
            nn.init.uniform_(affine.weight, -bound, bound, generator=generator)
            nn.init.uniform_(affine.bias, -bound, bound, generator=generator)

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise the rows of `noisy`, shape (batch, length); float32 inside, the given dtype outside."""
        return self.outer(self.inner(noisy.float()).relu()).to(noisy.dtype)
