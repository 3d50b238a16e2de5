"""A task is parameters, a loss and a measure; training records the measure, and says where a derivative gave out."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.differentiation.methods import reason
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.common.watch import counted
from layers import LayerError

#: largest entry of a gradient that is zero but for rounding
ZERO = 1e-9


@dataclass
class Recipe:
    """Adam for `steps` mini-batches of `batch` of `samples` samples, measured `points` times on `test` others."""

    samples: int  #: to learn from [samples]
    steps: int  #: of Adam, a mini-batch each [steps]
    batch: int  #: in a step [samples]
    lr: float  #: learning rate of Adam [1]
    points: int = 10  #: of the curve, from the start to the end [measurements]
    test: int = 200  #: that are reported [samples]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        for part in ("samples", "steps", "batch", "points", "test"):
            require(getattr(self, part) > 0, f"{name}.{part}", getattr(self, part), "a positive number")
        require(0 < self.lr < math.inf, f"{name}.lr", self.lr, "a positive, finite learning rate")


@dataclass
class Task:
    """What is trained: a model, the loss of some of its samples, and what is measured on others.

    Attributes
    ----------
    name : str
    model : torch.nn.Module
    loss : callable
        Indices of training samples -> scalar tensor.
    measures : callable
        () -> the measures by name, first the one that counts.
    units : dict
        Unit of each measure.
    """

    name: str
    model: nn.Module
    loss: Callable[[Tensor], Tensor]
    measures: Callable[[], dict[str, float]]
    units: dict[str, str] = field(default_factory=dict)


def train(
    task: Task, recipe: Recipe, rng: np.random.Generator, record: Recorder, limit: int | None = None
) -> None:
    """Train the model in place and record its curves; a refused solve or derivative ends it where it stands.

    Parameters
    ----------
    limit : int, optional
        The most steps, of those of the recipe, that there is time for.
    """
    optimiser = torch.optim.Adam(task.model.parameters(), lr=recipe.lr)
    count = recipe.steps if limit is None else min(limit, recipe.steps)
    stops = {round(recipe.steps * i / recipe.points) for i in range(1, recipe.points + 1)} | {count}
    start, taken, still = _record(task, 0, record), 0, 0
    with record.timed(f"train {task.name}"):
        for step, rows in zip(counted(1, count), _batches(recipe, rng)[:count], strict=True):
            try:
                largest = _step(task, optimiser, rows)
            except LayerError as error:
                record.metric("refused", task.name, step, 1.0, "1")
                record.refusal(task.name, step, reason(error))
                break
            taken, still = step, still + (largest <= ZERO)
            if step in stops:
                _record(task, step, record)
    end = task.measures()
    for name, value in end.items():
        record.metric(f"final_{name}", task.name, 0, value, task.units[name])
    first = next(iter(end))
    record.metric("final_steps", task.name, 0, taken, "step")
    record.metric("final_trained", task.name, 0, end[first] < start[first], "1")
    record.metric("final_still", task.name, 0, still / max(taken, 1), "1")


def _step(task: Task, optimiser: torch.optim.Optimizer, rows: Tensor) -> float:
    """Take a step; the largest entry of the gradient."""
    optimiser.zero_grad()
    task.loss(rows).backward()
    gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
    largest = torch.stack([gradient.abs().max() for gradient in gradients]).max().item()
    if not math.isfinite(largest):
        raise LayerError("the gradient is not finite")
    optimiser.step()
    return largest


def _record(task: Task, step: int, record: Recorder) -> dict[str, float]:
    found = task.measures()
    for name, value in found.items():
        record.metric(name, task.name, step, value, task.units[name])
    return found


def _batches(recipe: Recipe, rng: np.random.Generator) -> list[Tensor]:
    """Passes in random order, each cut into mini-batches as in PyTorch's loader, as many as there are steps."""
    found: list[Tensor] = []
    while len(found) < recipe.steps:
        found += torch.from_numpy(rng.permutation(recipe.samples)).split(recipe.batch)
    return found[: recipe.steps]
