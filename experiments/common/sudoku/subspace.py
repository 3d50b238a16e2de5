"""The layer for large boards: OptNet's program, its equalities written in an orthonormal basis.

Minimise c/2 ||z||^2 - x'z subject to A(z - mean) = 0, z >= 0. Only the row space of A matters, so A is the Q factor of
what is learned: a step of training turns the space and nothing else. For small c the answer is the point of least norm
among the optimal points of the linear program c = 0. Q is diagonal and each inequality holds one variable, so a solver
that knows it works with 249 x 249 matrices for order 3.
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
    """z = argmin c/2 ||z||^2 - x'z subject to z >= 0 and A(z - mean) = 0; A spans the learned normals.

    With c = 1 this is the projection of x on the set of such z. `curvature` and `nonnegative`, whether there are
    inequalities at all, may be changed between two calls.

    Parameters
    ----------
    normals : Tensor, shape (p, n)
        Of full row rank; learned.
    mean : Tensor, shape (n,)
        Positive, or a `ConfigError` is raised; learned, by its logarithm.
    curvature : float
        c; not learned.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    """

    def __init__(self, normals: Tensor, mean: Tensor, curvature: float, layer: QPLayer):
        super().__init__()
        # Where the mean is zero, no b = A exp(w) says so, and no point has z > 0.
        expected = "as many as it takes for every cell to have held every digit"
        require(bool((mean > 0).all()), "solved boards", "too few", expected)
        self.layer, self.curvature, self.nonnegative = layer, curvature, True
        self.normals = nn.Parameter(normals.clone())
        self.log_mean = nn.Parameter(mean.log())

    def rows(self) -> Tensor:
        """A with orthonormal rows, shape (p, n)."""
        return torch.linalg.qr(self.normals.mT)[0].mT

    def forward(self, x: Tensor) -> Tensor:
        """Scores for linear terms x, shape (boards, n); a one-hot puzzle is one."""
        A, mean = self.rows(), self.log_mean.exp()
        if not self.nonnegative:
            # What is left is a projection: z = x/c - A'A (x/c - mean).
            free = x / self.curvature
            return free - (free - mean) @ A.mT @ A
        eye = torch.eye(len(mean), dtype=mean.dtype)
        return self.layer(self.curvature * eye, -x, -eye, torch.zeros_like(mean), A, A @ mean)


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
