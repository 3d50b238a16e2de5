"""The layer for large boards: OptNet's program, its equalities written in an orthonormal basis.

Minimise c/2 ||z||^2 - x'z subject to A(z - mean) = 0, z >= 0. Only the row space of A matters, so A is the Q factor of
what is learned: a step of training turns the space and nothing else. For small c the answer is the point of least norm
among the optimal points of the linear program c = 0. Q is diagonal and each inequality holds one variable, so a solver
that knows it works with 249 x 249 matrices for order 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.checkpoint import Loop
from experiments.common.errors import require, require_one_of
from experiments.common.results import Row
from experiments.common.training import rate_schedule
from experiments.common.watch import counted, scalar
from layers import QPLayer

# A mini-batch of so many boards: linear terms, what the layer is to answer, and which entries of it count.
Draw = Callable[[np.random.Generator, int], tuple[Tensor, Tensor, Tensor]]
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "momentum": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}

# Steps between two moments at which a training may be kept.
KEPT = 10


class Subspace(nn.Module):
    """z = argmin c/2 ||z||^2 - x'z subject to z >= 0 and A(z - mean) = 0; A spans the learned normals.

    With c = 1 this is the projection of x on the set of such z. `curvature` and `nonnegative`, whether there are
    inequalities at all, may be changed between two calls.

    Parameters
    ----------
    normals : Tensor, shape (p, n)
        Of full row rank; learned.
    mean : Tensor, shape (n,)
        A point of the space, as the mean of solved boards is; positive, or a `ConfigError` is raised. Not learned.
    curvature : float
        c; not learned.
    layer : QPLayer
        Any solver that accepts data shared over the batch.
    """

    mean: Tensor

    def __init__(self, normals: Tensor, mean: Tensor, curvature: float, layer: QPLayer):
        super().__init__()
        # Where the mean is zero, no point of the program has z > 0.
        expected = "as many as it takes for every cell to have held every digit"
        require(bool((mean > 0).all()), "solved boards", "too few", expected)
        self.layer, self.curvature, self.nonnegative = layer, curvature, True
        self.normals = nn.Parameter(normals.clone())
        self.register_buffer("mean", mean)

    def rows(self) -> Tensor:
        """A with orthonormal rows, shape (p, n); `normals` themselves where they are orthonormal."""
        Q, R = torch.linalg.qr(self.normals.mT)
        return (Q * R.diagonal().sign()).mT

    def retract(self) -> None:
        """Put A in the place of `normals`: otherwise they grow with every step, and steps turn them less and less."""
        with torch.no_grad():
            self.normals.copy_(self.rows())

    def forward(self, x: Tensor) -> Tensor:
        """Scores for linear terms x, shape (boards, n); a one-hot puzzle is one."""
        A, mean = self.rows(), self.mean
        if not self.nonnegative:
            # What is left is a projection: z = x/c - A'A (x/c - mean).
            free = x / self.curvature
            return free - (free - mean) @ A.mT @ A
        eye = torch.eye(len(mean), dtype=mean.dtype)
        return self.layer(self.curvature * eye, -x, -eye, torch.zeros_like(mean), A, A @ mean)


@dataclass
class Stage:
    """`steps` mini-batches of `batch` boards at rate `lr`, which falls to zero like a cosine.

    `optimiser` is "adam" or "momentum" (Nesterov's). `curvature` and `nonnegative` are those of the
    layer; the curvature moves geometrically to `final_curvature`, if given.
    """

    steps: int = 200  #: of training, a mini-batch each [steps]
    batch: int = 16  #: in a step [boards]
    lr: float = 1e-3  #: learning rate, which falls to zero like a cosine [1]
    optimiser: str = "adam"  #: adam, or momentum: Nesterov's
    curvature: float = 1e-3  #: of the layer, at the start [1]
    final_curvature: float | None = None  #: of the layer, to which it moves geometrically; null: it stays [1]
    nonnegative: bool = True  #: whether the layer has z >= 0

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        require(self.steps > 0, f"{name}.steps", self.steps, "a positive integer")
        require(self.batch > 0, f"{name}.batch", self.batch, "a positive integer")
        require_one_of(f"{name}.optimiser", self.optimiser, OPTIMISERS)
        for field in ("lr", "curvature", "final_curvature"):
            value = getattr(self, field)
            if value is None:
                continue
            finite = math.isfinite(value) and value > 0
            require(finite, f"{name}.{field}", value, "a positive, finite number")


def pairs(inputs: Tensor, targets: Tensor) -> Draw:
    """Linear terms with the boards that are the answers, both (boards, n); every entry counts."""

    def draw(rng: np.random.Generator, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        part = torch.from_numpy(rng.integers(len(inputs), size=batch))
        return inputs[part], targets[part], torch.ones(1, dtype=inputs.dtype)

    return draw


def hiding(puzzles: Tensor, size: int, shown: float) -> Draw:
    """Unsolved one-hot puzzles (puzzles, n), of whose givens a share `shown` is shown and the others count.

    Cells are `size` entries each.
    """

    def draw(rng: np.random.Generator, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        givens = puzzles[torch.from_numpy(rng.integers(len(puzzles), size=batch))]
        kept = torch.from_numpy(rng.random((batch, givens.shape[1] // size)) < shown)
        seen = givens * kept.repeat_interleave(size, dim=1)
        asked = (givens - seen).reshape(batch, -1, size).sum(dim=2).repeat_interleave(size, dim=1)
        return seen, givens, asked

    return draw


def fit_stage(
    model: Subspace,
    draw: Draw,
    stage: Stage,
    rng: np.random.Generator,
    watch: Callable[[int, float], None],
    rows: list[Row] | None = None,
) -> None:
    """Train `model` in place on the squared distance of its answers from the targets that `draw` gives.

    The loss is the sum over the entries of a board that count and the mean over the mini-batch. Every step ends at
    orthonormal rows. Then comes `watch(step, loss)`, with the loss met before it, which adds to `rows` what it records.
    """
    model.nonnegative = stage.nonnegative
    ratio = (stage.final_curvature or stage.curvature) / stage.curvature
    optimiser = OPTIMISERS[stage.optimiser](model.parameters(), lr=stage.lr)
    schedule = rate_schedule(optimiser, True, stage.steps)
    loop = Loop(model, optimiser, rng, schedule, rows)
    for step in counted(loop.restored({"next": 1})["next"], stage.steps):
        model.curvature = stage.curvature * ratio ** (step / stage.steps)
        x, targets, asked = draw(rng, stage.batch)
        optimiser.zero_grad()
        loss = ((model(x) - targets).square() * asked).sum(dim=1).mean()
        loss.backward()
        optimiser.step()
        schedule.step()
        model.retract()
        watch(step, loss.item())
        scalar("loss/train", step, loss.item())
        # What watches over the steps between has recorded them by then.
        if step % KEPT == 0:
            loop.keep({"next": step + 1})
