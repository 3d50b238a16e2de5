"""Total variation whose weights are told by a few learned stencils, the same at every sample.

    minimise 1/2 |z - y|^2 + sum_i c_i |z_{i+1} - z_i|,   log c_i = w - sum_k a_k log(1 + (v_k * y)_i^2)

The stencils v_k look for a jump between samples i and i + 1 and start at differences of means on both sides, over 1, 2,
4 .. samples; where they see one, the jump costs less, and a_k = 0 is total variation. OptNet frees every matrix of the
program instead, tens of thousands of numbers at 100 samples; these are a few dozen.
"""

import torch
from torch import Tensor, nn

from experiments.common.denoisers import RIDGE, differences, jump_bounds
from layers import QPLayer


class StencilTV(nn.Module):
    """Denoises piecewise constant signals; starts at total variation, its weights then follow learned stencils.

    Parameters
    ----------
    length : int
        Samples in a signal, n.
    weight : float
        Weight of the total variation to start from.
    scales : int
        K stencils, with means over 1 .. 2^(K-1) samples on either side; each may use 2^K entries.
    noise : float
        Typical size of the noise, the unit of what the stencils see.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    """

    Q: Tensor
    G: Tensor
    h: Tensor

    def __init__(self, length: int, weight: float, scales: int, noise: float, layer: QPLayer):
        super().__init__()
        self.length, self.noise, self.layer, reach = length, noise, layer, 2 ** (scales - 1)
        v = torch.zeros(scales, 2 * reach, dtype=torch.float64)
        for k, row in enumerate(v):
            # The mean of 2^k samples less that of the 2^k before has noise of variance 2 / 2^k.
            row[reach : reach + 2**k] = (2 * 2**k) ** -0.5
            row[reach - 2**k : reach] = -((2 * 2**k) ** -0.5)
        self.v = nn.Parameter(v)
        self.a = nn.Parameter(torch.zeros(scales, dtype=torch.float64))
        self.w = nn.Parameter(torch.tensor(weight, dtype=torch.float64).log())
        curvature = torch.ones(2 * length - 1, dtype=torch.float64)
        curvature[length:] = RIDGE
        self.register_buffer("Q", torch.diag(curvature))
        self.register_buffer("G", jump_bounds(differences(length)))
        self.register_buffer("h", torch.zeros(2 * length - 2, dtype=torch.float64))

    def weights(self, noisy: Tensor) -> Tensor:
        """The cost c of each jump for the rows of `noisy`, shape (batch, length - 1)."""
        pad = self.v.shape[1] // 2 - 1
        # The first and the last sample go on.
        longer = nn.functional.pad(noisy[:, None] / self.noise, (pad, pad), mode="replicate")
        seen = nn.functional.conv1d(longer, self.v[:, None])
        return (self.w - self.a @ seen.square().log1p()).exp()

    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise the rows of `noisy`, shape (batch, length), float64."""
        q = torch.cat((-noisy, self.weights(noisy)), 1)
        return self.layer(self.Q, q, self.G, self.h)[:, : self.length]
