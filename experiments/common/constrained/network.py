"""The network of DC3 and HardNet, and how it is trained to answer under constraints."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.checkpoint import Loop
from experiments.common.constrained.problem import Problem
from experiments.common.errors import require, require_rate
from experiments.common.training import rate_schedule
from experiments.common.watch import counted

TRAINED: tuple[str, ...] = ("network", "penalty", "dc3", "projection_layer")
Finish = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Recipe:
    """How the network answers one problem: Adam, by method with its `epochs`, `batch` and rate `lr`.

    The loss is that of the problem and `weight` times ((1 - share)‖(Gy - h)⁺‖ʳ + share ‖Ay - b‖ʳ), r = `power`. DC3's
    correction takes `steps` gradient steps at `rate` with `momentum`. With `normalised` every hidden layer has batch
    normalisation and drops a fifth of its units; with `anneal` rates fall to zero along half a cosine.
    """

    #: over the training data, by method [passes]
    epochs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TRAINED, 1000))
    #: in a step, by method [examples]
    batch: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TRAINED, 200))
    #: learning rate of Adam, by method [1]
    lr: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TRAINED, 1e-4))
    #: of violations in the loss, by method [1]
    weight: dict[str, float] = field(
        default_factory=lambda: dict(zip(TRAINED, (0.0, 100.0, 10.0, 0.0), strict=True))
    )
    share: float = 0.5  #: of equalities in that part of the loss, from 0 to 1 [1]
    power: int = 1  #: r of the norms of violations there, 1 or 2 [1]
    steps: int = 10  #: of DC3's correction [steps]
    rate: float = 1e-7  #: of a step of DC3's correction [1]
    momentum: float = 0.5  #: of DC3's correction, from 0 to less than 1 [1]
    width: int = 200  #: of a hidden layer [units]
    normalised: bool = True  #: whether hidden layers have batch normalisation and drop a fifth of their units
    anneal: bool = False  #: whether rates fall to zero along half a cosine

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        for part in ("steps", "width"):
            require(getattr(self, part) > 0, f"{name}.{part}", getattr(self, part), "a positive integer")
        for part in ("epochs", "batch", "lr", "weight"):
            given = getattr(self, part)
            require(set(given) == set(TRAINED), f"{name}.{part}", given, f"a number for each of {TRAINED}")
        for method in TRAINED:
            for part, least in (("epochs", 1), ("batch", 2)):
                count = getattr(self, part)[method]
                require(count >= least, f"{name}.{part}.{method}", count, f"an integer of at least {least}")
            require_rate(f"{name}.lr.{method}", self.lr[method])
            weight = self.weight[method]
            require(0 <= weight < math.inf, f"{name}.weight.{method}", weight, "zero or a positive number")
        require(0 <= self.share <= 1, f"{name}.share", self.share, "a number from 0 to 1")
        require(self.power in (1, 2), f"{name}.power", self.power, "1 or 2")
        require(0 <= self.rate < math.inf, f"{name}.rate", self.rate, "zero or a positive number")
        require(0 <= self.momentum < 1, f"{name}.momentum", self.momentum, "a number from 0 to less than 1")


class Answer(nn.Module):
    """`finish(x, network(x))`, float64: two hidden layers, Kaiming's normal weights, from torch's own generator."""

    def __init__(self, inputs: int, outputs: int, recipe: Recipe, finish: Finish) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before in (inputs, recipe.width):
            layers.append(nn.Linear(before, recipe.width, dtype=torch.float64))
            layers += [nn.BatchNorm1d(recipe.width, dtype=torch.float64)] if recipe.normalised else []
            layers.append(nn.ReLU())
            layers += [nn.Dropout(0.2)] if recipe.normalised else []
        layers.append(nn.Linear(recipe.width, outputs, dtype=torch.float64))
        # After all of them, as in the published programs: their seeds give their weights.
        for layer in layers:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
        self.network, self.finish = nn.Sequential(*layers), finish

    def forward(self, x: Tensor) -> Tensor:
        """The answer, shape (batch, n)."""
        return self.finish(x, self.network(x))


def penalised(problem: Problem, recipe: Recipe, weight: float, x: Tensor, y: Tensor) -> Tensor:
    """The loss of each answer with its penalty, shape (batch,)."""
    loss = problem.loss(x, y)
    if weight == 0:
        return loss
    inequality, equality = (
        _norm(part, recipe.power) for part in (problem.inequality(x, y), problem.equality(x, y))
    )
    return loss + weight * ((1 - recipe.share) * inequality + recipe.share * equality)


def train(problem: Problem, answer: Answer, recipe: Recipe, method: str, seed: int) -> None:
    """Train in place on the sum of the penalised losses; the last epoch counts, as in the published programs."""
    x, batch, epochs = problem.inputs["train"], recipe.batch[method], recipe.epochs[method]
    rng = np.random.default_rng([seed, TRAINED.index(method)])
    optimiser = torch.optim.Adam(answer.parameters(), lr=recipe.lr[method])
    schedule = rate_schedule(optimiser, recipe.anneal, epochs * math.ceil(len(x) / batch))
    loop = Loop(answer, optimiser, rng, schedule)
    answer.train()
    for epoch in counted(loop.restored({"next": 0})["next"], epochs - 1):
        for part in torch.from_numpy(rng.permutation(len(x))).split(batch):
            optimiser.zero_grad()
            penalised(problem, recipe, recipe.weight[method], x[part], answer(x[part])).sum().backward()
            optimiser.step()
            schedule.step()
        loop.keep({"next": epoch + 1})
    answer.eval()


def _norm(values: Tensor, power: int) -> Tensor:
    return values.square().sum(-1) if power == 2 else torch.linalg.vector_norm(values, dim=-1)
