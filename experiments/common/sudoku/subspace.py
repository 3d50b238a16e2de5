"""The layer for large boards: the equalities Az = b solved once and for all by z = mean + Nw, only z >= 0 is left.

With N an orthonormal basis of the null space of A, minimise c/2 ||z||^2 - x'z subject to Az = A mean, z >= 0 is the
same program as minimise c/2 ||w||^2 - (x - c mean)'Nw subject to -Nw <= mean, with 480 variables instead of 729 for
order 3; and N is what a singular value decomposition of solved boards gives. For small c its answer is the point of
least norm among the optimal points of the linear program c = 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.errors import require
from layers import QPLayer


class Subspace(nn.Module):
    """z = argmin c/2 ||z||^2 - x'z subject to z >= 0 and z = mean + Nw for some w; N spans the learned directions.

    With c = 1 this is the projection of x on the set of such z. `curvature` and `nonnegative`, whether there are
    inequalities at all, may be changed between two calls.

    Parameters
    ----------
    directions : Tensor, shape (n, d)
        Of full column rank; learned.
    mean : Tensor, shape (n,)
        Positive, or a `ConfigError` is raised; learned, by its logarithm.
    curvature : float
        c; not learned.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    """

    def __init__(self, directions: Tensor, mean: Tensor, curvature: float, layer: QPLayer):
        super().__init__()
        # Where the mean is zero, z is zero on the whole space, and the row of N is rounding that no solver should see.
        expected = "as many as it takes for every cell to have held every digit"
        require(bool((mean > 0).all()), "solved boards", "too few", expected)
        self.layer, self.curvature, self.nonnegative = layer, curvature, True
        self.directions = nn.Parameter(directions.clone())
        self.log_mean = nn.Parameter(mean.log())

    def basis(self) -> Tensor:
        """N with orthonormal columns, shape (n, d)."""
        return torch.linalg.qr(self.directions)[0]

    def forward(self, x: Tensor) -> Tensor:
        """Scores for linear terms x, shape (boards, n); a one-hot puzzle is one."""
        N, mean = self.basis(), self.log_mean.exp()
        Q = self.curvature * torch.eye(N.shape[1], dtype=N.dtype)
        inequalities = (-N, mean) if self.nonnegative else ()
        return mean + self.layer(Q, -(x - self.curvature * mean) @ N, *inequalities) @ N.mT


@dataclass
class Stage:
    """Adam for `steps` mini-batches of `batch` boards at rate `lr`; `curvature` and `nonnegative` are the layer's."""

    steps: int = 200
    batch: int = 16
    lr: float = 3e-4
    curvature: float = 1e-3
    nonnegative: bool = True

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        require(self.steps > 0, f"{name}.steps", self.steps, "a positive integer")
        require(self.batch > 0, f"{name}.batch", self.batch, "a positive integer")
        for field in ("lr", "curvature"):
            value = getattr(self, field)
            finite = math.isfinite(value) and value > 0
            require(finite, f"{name}.{field}", value, "a positive, finite number")


def fit_stage(
    model: Subspace,
    inputs: Tensor,
    targets: Tensor,
    stage: Stage,
    rng: np.random.Generator,
    watch: Callable[[int, float], None],
) -> None:
    """Train `model` in place on the squared distance of its answers from `targets`.

    The loss is the sum over the entries of a board and the mean over the mini-batch. After each step comes
    `watch(step, loss)`, with the loss met before it.
    """
    model.curvature, model.nonnegative = stage.curvature, stage.nonnegative
    optimiser = torch.optim.Adam(model.parameters(), lr=stage.lr)
    for step in range(1, stage.steps + 1):
        part = torch.from_numpy(rng.integers(len(inputs), size=stage.batch))
        optimiser.zero_grad()
        loss = (model(inputs[part]) - targets[part]).square().sum(dim=1).mean()
        loss.backward()
        optimiser.step()
        watch(step, loss.item())
