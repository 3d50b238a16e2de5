"""Total variation with a weight for every pair of neighbours, the weights a function of the noisy picture.

    z = argmin 1/2 ||z - y||^2 + sum_e w_e |z_j - z_i|   over pairs e = (i, j) of neighbours in a row or a column,

as a quadratic program in (z, t) with -t <= Dz <= t, as in experiments/common/denoisers.py: of the whole picture with
sparse matrices, or of windows of it with dense ones, whose answers are averaged where they overlap.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from layers import QPLayer, Solution


@dataclass(frozen=True)
class Pairs:
    """The pairs of neighbours of a picture: those of a row first, then those of a column.

    Attributes
    ----------
    height, width : int
    along, down : array of int
        The number of the pair of each pixel with the next of its row, `(height, width - 1)`, and of its column.
    """

    height: int
    width: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.height * (self.width - 1) + (self.height - 1) * self.width

    @property
    def along(self) -> np.ndarray:
        """Numbers of the pairs in a row, shape `(height, width - 1)`."""
        return np.arange(self.height * (self.width - 1)).reshape(self.height, self.width - 1)

    @property
    def down(self) -> np.ndarray:
        """Numbers of the pairs in a column, shape `(height - 1, width)`."""
        first = self.height * (self.width - 1)
        return first + np.arange((self.height - 1) * self.width).reshape(self.height - 1, self.width)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The two pixels of every pair."""
        pixel = np.arange(self.height * self.width).reshape(self.height, self.width)
        first = np.concatenate([pixel[:, :-1].ravel(), pixel[:-1].ravel()])
        return first, np.concatenate([pixel[:, 1:].ravel(), pixel[1:].ravel()])


@lru_cache(maxsize=8)
def matrices(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Q = diag(1, 0) and G = [D, -I; -D, -I] of a picture, sparse by coordinates, float64."""
    pairs = Pairs(height, width)
    pixels, count = height * width, pairs.count
    size = pixels + count
    kept = torch.arange(pixels).expand(2, -1)
    Q = torch.sparse_coo_tensor(
        kept, torch.ones(pixels, dtype=torch.float64), (size, size), is_coalesced=True, check_invariants=True
    )
    first, second = pairs.ends
    row = np.arange(count)
    rows = np.concatenate([row, row, row, count + row, count + row, count + row])
    cols = np.concatenate([first, second, pixels + row, first, second, pixels + row])
    signs = np.repeat([-1.0, 1.0, -1.0, 1.0, -1.0, -1.0], count)
    G = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows, cols])),
        torch.from_numpy(signs),
        (2 * count, size),
        check_invariants=True,
    )
    return Q, G.coalesce()


# Weights stay within this power of e of their start: what a program can be asked for is bounded.
LARGEST = 4.0


class WeightMap(nn.Module):
    """w = start * exp(4 tanh(m / 4)): m takes absolute values of small filters of y, and is linear in these.

    Filters add up to zero, so neither the offset nor the sign of y matters. m starts at zero: all weights are `start`.

    Parameters
    ----------
    reach : tuple of int
        How far filters reach up and down, and left and right.
    filters : int
    start, scale : float
        Weight to start from; size of a signal, by which y is divided.
    generator : torch.Generator
        Source of the filters to start from, uniform on +-1/sqrt(entries).
    """

    def __init__(
        self, reach: tuple[int, int], filters: int, start: float, scale: float, generator: torch.Generator
    ):
        super().__init__()
        self.reach, self.start, self.scale = reach, start, scale
        shape = (2 * reach[0] + 1, 2 * reach[1] + 1)
        bound = (shape[0] * shape[1]) ** -0.5
        first = torch.empty(filters, 1, *shape, dtype=torch.float64).uniform_(
            -bound, bound, generator=generator
        )
        self.filters = nn.Parameter(first)
        self.mix = nn.Parameter(torch.zeros(2, filters, *shape, dtype=torch.float64))
        self.level = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, noisy: Tensor) -> Tensor:
        """Weights of the pairs of pictures `(copies, height, width)`, shape `(copies, pairs)`."""
        centred = self.filters - self.filters.mean((-2, -1), keepdim=True)
        sizes = self._filtered(noisy.unsqueeze(1) / self.scale, centred).abs()
        along, down = (self._filtered(sizes, self.mix) + self.level[:, None, None]).unbind(1)
        along, down = 0.5 * (along[..., :-1] + along[..., 1:]), 0.5 * (down[:, :-1] + down[:, 1:])
        m = torch.cat((along.flatten(1), down.flatten(1)), 1)
        return self.start * (LARGEST * (m / LARGEST).tanh()).exp()

    def _filtered(self, pictures: Tensor, filters: Tensor) -> Tensor:
        up, left = self.reach
        return functional.conv2d(functional.pad(pictures, (left, left, up, up), mode="replicate"), filters)


class MappedTV(nn.Module):
    """The denoiser: weights by a map, total variation by the layer, on whole pictures or on windows of them.

    Parameters
    ----------
    weights : WeightMap
    layer : QPLayer
    window : tuple of int, optional
        Height and width; whole pictures if left out.
    stride : int
        Between windows.
    """

    def __init__(
        self, weights: WeightMap, layer: QPLayer, window: tuple[int, int] | None = None, stride: int = 1
    ):
        super().__init__()
        self.weights, self.layer, self.window, self.stride = weights, layer, window, stride

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise pictures, shape `(copies, height, width)`."""
        weights = self.weights(noisy)
        if self.window is None:
            return self._solved(noisy, weights).z[:, : noisy[0].numel()].reshape(noisy.shape)
        pixels, pairs = window_places((noisy.shape[1], noisy.shape[2]), self.window, self.stride)
        parts, of_parts = noisy.flatten(1)[:, pixels], weights[:, pairs]
        found = self._solved(parts.reshape(-1, *self.window), of_parts.flatten(0, 1)).z[:, : pixels.shape[1]]
        total = torch.zeros_like(noisy.flatten(1)).index_add(
            1, pixels.flatten(), found.reshape(len(noisy), -1)
        )
        return (total / pixels.flatten().bincount()).reshape(noisy.shape)

    def solution(self, noisy: Tensor) -> Solution:
        """The solution of the programs of whole pictures."""
        return self._solved(noisy, self.weights(noisy))

    def _solved(self, noisy: Tensor, weights: Tensor) -> Solution:
        Q, G = matrices(*noisy.shape[1:])
        if self.window is not None:
            Q, G = Q.to_dense(), G.to_dense()
        h = torch.zeros(len(G), dtype=torch.float64)
        return self.layer.solve(Q, torch.cat((-noisy.flatten(1), weights), 1), G, h)


def window_places(size: tuple[int, int], window: tuple[int, int], stride: int) -> tuple[Tensor, Tensor]:
    """The pixels of every window, one in each row, and its pairs."""
    (height, width), (window_height, window_width) = size, window
    pairs = Pairs(height, width)
    pixel, along, down = np.arange(height * width).reshape(height, width), pairs.along, pairs.down
    pixels: list[np.ndarray] = []
    inner: list[np.ndarray] = []
    for top in _starts(height, window_height, stride):
        for left in _starts(width, window_width, stride):
            rows, cols = slice(top, top + window_height), slice(left, left + window_width)
            pixels.append(pixel[rows, cols].ravel())
            inner.append(
                np.concatenate(
                    [
                        along[rows, left : left + window_width - 1].ravel(),
                        down[top : top + window_height - 1, cols].ravel(),
                    ]
                )
            )
    return torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(inner))


def _starts(length: int, window: int, stride: int) -> list[int]:
    return sorted({*range(0, length - window + 1, stride), length - window})


class Convolutional(nn.Module):
    """Three convolutions with ReLU between them whose answer is added to y: a network without a program.

    Parameters
    ----------
    reach : tuple of int
        How far each filter reaches up and down, and left and right.
    width : int
        Channels inside.
    scale : float
        Size of a signal, by which y is divided inside.
    generator : torch.Generator
        Source of the weights, uniform on +-1/sqrt(inputs) as in torch.nn.Conv2d; the last start at zero.
    """

    def __init__(self, reach: tuple[int, int], width: int, scale: float, generator: torch.Generator):
        super().__init__()
        self.scale = scale
        shape, around = (2 * reach[0] + 1, 2 * reach[1] + 1), (reach[0], reach[1])
        sizes = ((1, width), (width, width), (width, 1))
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, shape, padding=around, padding_mode="replicate", dtype=torch.float64)
            for a, b in sizes
        )
        for step in self.steps:
            assert isinstance(step, nn.Conv2d)
            assert step.bias is not None
            bound = (step.in_channels * shape[0] * shape[1]) ** -0.5
            nn.init.uniform_(step.weight, -bound, bound, generator=generator)
            nn.init.uniform_(step.bias, -bound, bound, generator=generator)
        nn.init.zeros_(self.steps[-1].weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(self.steps[-1].bias)  # pyright: ignore[reportArgumentType]

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise pictures, shape `(copies, height, width)`."""
        inside = noisy.unsqueeze(1) / self.scale
        for place, step in enumerate(self.steps):
            inside = step(inside.relu() if place else inside)
        return noisy + self.scale * inside.squeeze(1)
