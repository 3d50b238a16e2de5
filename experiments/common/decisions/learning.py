"""Networks behind decisions, and their training: the epoch whose decisions cost least on held-out examples counts."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.checkpoint import Loop
from experiments.common.errors import require, require_rate
from experiments.common.watch import counted, scalar

Pair = tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Recipe:
    """How networks are trained: Adam, by method with its `epochs`, `batch` and rate `lr`; every method held out alike.

    Of `width` 0 is an affine map, otherwise two hidden layers with batch normalisation that drop the share `dropout` of
    their units. Decisions on the held-out examples are judged every `every` epochs.
    """

    #: through the training data, by method [epochs]
    epochs: dict[str, int] = field(default_factory=dict[str, int])
    #: of a gradient step, by method [examples]
    batch: dict[str, int] = field(default_factory=dict[str, int])
    #: rate of Adam, by method [1]
    lr: dict[str, float] = field(default_factory=dict[str, float])
    width: int = 200  #: of each of two hidden layers, 0 for an affine map [units]
    dropout: float = 0.5  #: of the hidden units that a step leaves out [share]
    every: int = 1  #: between two looks at the held-out examples [epochs]

    def check(self, name: str, methods: tuple[str, ...]) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless `methods` can be trained."""
        for part, least in (("epochs", 1), ("batch", 2), ("lr", 0)):
            given = getattr(self, part)
            require(set(given) == set(methods), f"{name}.{part}", given, f"a number for each of {methods}")
            for method, number in given.items():
                require(number >= least, f"{name}.{part}.{method}", number, f"a number of at least {least}")
        for method, rate in self.lr.items():
            require_rate(f"{name}.lr.{method}", rate)
        require(self.width >= 0, f"{name}.width", self.width, "a number of units, 0 for an affine map")
        require(0 <= self.dropout < 1, f"{name}.dropout", self.dropout, "a share from 0 to less than 1")
        require(self.every > 0, f"{name}.every", self.every, "a positive number of epochs")


def network(inputs: int, outputs: int, recipe: Recipe) -> nn.Sequential:
    """The network of a recipe, float64, its first weights from torch's own generator."""
    layers: list[nn.Module] = []
    for before in (inputs, recipe.width) if recipe.width else ():
        layers.append(nn.Linear(before, recipe.width, dtype=torch.float64))
        layers += [nn.BatchNorm1d(recipe.width, dtype=torch.float64), nn.ReLU(), nn.Dropout(recipe.dropout)]
    layers.append(nn.Linear(recipe.width or inputs, outputs, dtype=torch.float64))
    return nn.Sequential(*layers)


class Forecast(nn.Module):
    """Mean and deviation of every hour: an affine map fitted by least squares, and a network beside it that starts
    small.

    Parameters
    ----------
    train : pair of Tensor
        Inputs and loads, to which the affine map is fitted.
    recipe : Recipe
        Of the network.
    varying : bool
        Whether deviations depend on the inputs too, or are one for each hour.
    """

    def __init__(self, train: Pair, recipe: Recipe, varying: bool = False) -> None:
        super().__init__()
        x, y = train
        self.hours = y.shape[1]
        self.affine = nn.Linear(x.shape[1], self.hours, dtype=torch.float64)
        ones = torch.ones(len(x), 1, dtype=x.dtype)
        # The days of the week and the constant depend on each other: the least of all solutions.
        found = torch.linalg.pinv(torch.cat((x, ones), 1)) @ y
        residual = y - torch.cat((x, ones), 1) @ found
        with torch.no_grad():
            self.affine.weight.copy_(found[:-1].mT)
            self.affine.bias.copy_(found[-1])
        self.log_deviation = nn.Parameter(residual.square().mean(0).sqrt().log())
        self.network = network(x.shape[1], self.hours * (2 if varying else 1), recipe)
        last = self.network[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight.mul_(0.1)
            last.bias.zero_()

    def forward(self, x: Tensor) -> Pair:
        """Means and deviations, both of shape (batch, hours)."""
        more = self.network(x)
        logs = self.log_deviation.expand(len(x), -1)
        if more.shape[1] > self.hours:
            logs = logs + more[:, self.hours :]
        return self.affine(x) + more[:, : self.hours], logs.exp()

    def deviate(self, examples: Pair) -> None:
        """Set the deviation of every hour to what its mean is off by on `examples`."""
        with torch.no_grad():
            off = self(examples[0])[0] - examples[1]
            self.log_deviation.copy_(off.square().mean(0).sqrt().log())


def fit(
    model: nn.Module,
    train: Pair,
    recipe: Recipe,
    method: str,
    rng: np.random.Generator,
    loss: Loss,
    score: Callable[[], float] | None,
) -> tuple[int, float]:
    """Train `model` in place and leave it at the epoch with the least `score()`; that epoch, 0 for none, and its score.

    `loss` gives the number to descend on for a batch of inputs and targets; `score` is asked with the model as at a
    test. Without one the last epoch counts, and the score is none.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr[method])
    loop = Loop(model, optimiser, rng)
    kept = loop.restored({"next": 0, "best": math.inf, "chosen": 0, "state": {}})
    best, chosen, state = kept["best"], kept["chosen"], kept["state"]
    epochs, batch = recipe.epochs[method], recipe.batch[method]
    for epoch in counted(kept["next"], epochs):
        if epoch:
            _epoch(model, train, batch, optimiser, rng, loss)
        if score is not None and (epoch % recipe.every == 0 or epoch == epochs):
            model.eval()
            found = score()
            scalar(f"held-out cost, {method}", epoch, found)
            if found < best:
                best, chosen, state = found, epoch, copy.deepcopy(model.state_dict())
        loop.keep({"next": epoch + 1, "best": best, "chosen": chosen, "state": state})
    model.eval()
    if score is None:
        return epochs, math.nan
    model.load_state_dict(state)
    return chosen, best


def _epoch(
    model: nn.Module,
    train: Pair,
    batch: int,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    loss: Loss,
) -> None:
    x, y = train
    model.train()
    for part in torch.from_numpy(rng.permutation(len(x))).split(batch):
        if len(part) == 1:
            continue  # a batch of one cannot be normalised
        optimiser.zero_grad()
        loss(x[part], y[part]).backward()
        optimiser.step()
