"""Denoising by an undecimated wavelet transform whose filters and weights are learned: OptNet's operator with a start.

    minimise ½|z - y|² + Σⱼᵢ cⱼᵢ |(vⱼ * z)ᵢ|,   log cⱼᵢ = wⱼ - aⱼ log(1 + ((vⱼ * y)ᵢ / σ)²)

The rows vⱼ * z are the details of an undecimated (stationary) wavelet transform to begin with, filters of unit
length; aⱼ = 0 is one weight for each scale, and with aⱼ > 0 a detail that stands out of the noise costs less, as
under the garrote. Only rows that lie inside the signal are taken, D of them.

Where many details vanish their rows depend on each other, and the program with a bound for each detail has no unique
multipliers. It is solved as its dual, whose bounds never depend: z = y - D'u, u the minimiser of ½|D'u - y|² + ε/2 |u|²
subject to |u| ≤ c. With ε > 0 the minimiser is unique, and a detail of less than ε c is charged by its square.
"""

import numpy as np
import pywt
import torch
from torch import Tensor, nn

from layers import QPLayer

#: ε, in units of the square of a filter's length, which is one
RIDGE = 1e-3


def details(wavelet: str, levels: int) -> list[np.ndarray]:
    """The filters, of unit length, of the details of scales 1 .. levels of the undecimated transform."""
    low, high = (np.asarray(each) for each in pywt.Wavelet(wavelet).filter_bank[:2])  # pyright: ignore[reportAttributeAccessIssue]
    found, coarse = [], np.ones(1)
    for level in range(levels):
        holes = [
            np.kron(each, np.eye(1, 2**level)[0])[: (len(each) - 1) * 2**level + 1] for each in (low, high)
        ]
        filtered = np.convolve(coarse, holes[1])
        found.append(filtered / np.linalg.norm(filtered))
        coarse = np.convolve(coarse, holes[0])
    return found


class WaveletOperator(nn.Module):
    """Denoises windows of a signal; starts at the undecimated transform with one weight for each scale.

    Parameters
    ----------
    length : int
        Samples in a window, n, at least the length of the longest filter.
    wavelet, levels
        Whose details the rows begin at.
    noise : float
        Deviation σ of the noise.
    multiple : float
        The weight of scale j begins at `multiple` σ 2^-j: of the 2^j details that share what one detail of the
        decimated transform has, each is charged a 2^j-th.
    falling : float
        What all aⱼ begin at.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    """

    def __init__(
        self,
        length: int,
        wavelet: str,
        levels: int,
        noise: float,
        multiple: float,
        falling: float,
        layer: QPLayer,
    ) -> None:
        super().__init__()
        self.length, self.noise, self.layer = length, noise, layer
        filters = [torch.from_numpy(each) for each in details(wavelet, levels)]
        self.v = nn.ParameterList(nn.Parameter(each) for each in filters)
        scales = torch.arange(1, levels + 1, dtype=torch.float64)
        self.w = nn.Parameter((multiple * noise * 2**-scales).log())
        self.a = nn.Parameter(torch.full((levels,), falling, dtype=torch.float64))

    def operator(self) -> Tensor:
        """The rows of all scales, shape (rows, length)."""
        blocks: list[Tensor] = []
        for v in self.v:
            count = self.length - len(v) + 1
            # Row i has the filter at samples i, i + 1, ...
            shift = torch.arange(self.length) - torch.arange(count)[:, None]
            inside = (shift >= 0) & (shift < len(v))
            blocks.append(torch.where(inside, v[shift.clamp(0, len(v) - 1)], 0.0))
        return torch.cat(blocks)

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise the rows of `noisy`, shape (batch, length), float64."""
        D = self.operator()
        counts = torch.tensor([self.length - len(v) + 1 for v in self.v])
        w, a = (each.repeat_interleave(counts) for each in (self.w, self.a))
        seen = noisy @ D.mT
        cost = (w - a * (seen / self.noise).square().log1p()).exp()
        eye = torch.eye(len(D), dtype=D.dtype)
        u = self.layer(D @ D.mT + RIDGE * eye, -seen, torch.cat((eye, -eye)), torch.cat((cost, cost), 1))
        return noisy - u @ D
