"""Stochastic gradient descent along rollouts."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.common.checkpoint import Leaves, Loop
from experiments.common.errors import require
from experiments.common.results import Row
from experiments.common.watch import counted

# Every step has random numbers of its own; later ones belong to tests.
MOST = 1_000


@dataclass
class Descent:
    """`steps` at rate `lr`, from step `late_from` on at `late_lr`; gradients longer than `clip` are shortened to it."""

    steps: int = 100  #: of gradient descent [steps]
    lr: float = 0.1  #: rate of a step [1]
    late_from: int | None = None  #: first step at `late_lr`; null: none [step]
    late_lr: float = 0.01  #: rate from there on [1]
    momentum: float = 0.0  #: share of the last step in the next, from 0 to less than 1 [1]
    clip: float = math.inf  #: length to which longer gradients are shortened [1]
    evaluate_every: int = 1  #: between two losses that are recorded [steps]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` unless this can be run."""
        require(
            0 < self.steps < MOST, f"{name}.steps", self.steps, f"a positive number of steps, below {MOST}"
        )
        every = self.evaluate_every
        require(every > 0, f"{name}.evaluate_every", every, "a positive number of steps")
        for field in ("lr", "late_lr"):
            rate = getattr(self, field)
            require(0 < rate < math.inf, f"{name}.{field}", rate, "a positive, finite rate")
        late = self.late_from
        require(late is None or late >= 0, f"{name}.late_from", late, "a step, 0 or more, or null for none")
        require(0 <= self.momentum < 1, f"{name}.momentum", self.momentum, "a number from 0 to less than 1")
        require(self.clip > 0, f"{name}.clip", self.clip, "a positive length")

    def rate(self, step: int) -> float:
        """The rate of step 0, 1, ..."""
        return self.lr if self.late_from is None or step < self.late_from else self.late_lr


def descend(
    descent: Descent,
    parameters: list[Tensor],
    loss: Callable[[int], Tensor],
    measure: Callable[[int], None],
    rows: list[Row] | None = None,
) -> None:
    """Change `parameters` in place along the gradient of `loss`.

    Parameters
    ----------
    descent : Descent
    parameters : list of Tensor
        Leaves that require a gradient.
    loss : callable
        The number of steps done before, to a scalar tensor.
    measure : callable
        Called with the number of steps done: before the first, every `evaluate_every`, and after the last.
    rows : list, optional
        To which `loss` and `measure` add what they record.
    """
    optimiser = torch.optim.SGD(parameters, lr=descent.lr, momentum=descent.momentum)
    loop = Loop(Leaves(parameters), optimiser, rows=rows)
    done = loop.restored({"done": 0})["done"]
    if done == 0:
        measure(0)
    for step in counted(done, descent.steps - 1):
        optimiser.param_groups[0]["lr"] = descent.rate(step)
        optimiser.zero_grad()
        loss(step).backward()
        torch.nn.utils.clip_grad_norm_(parameters, descent.clip)
        optimiser.step()
        if (step + 1) % descent.evaluate_every == 0 or step + 1 == descent.steps:
            measure(step + 1)
        loop.keep({"done": step + 1})
