"""Training by mini-batches, with the epoch chosen on validation data."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.checkpoint import Loop
from experiments.common.errors import require, require_rate
from experiments.common.watch import counted, scalar

Loss = Callable[[Any, Tensor, Tensor], Tensor]


@dataclass
class Split:
    """Noisy signals and the clean ones behind them, both (signals, length) float64."""

    noisy: np.ndarray
    clean: np.ndarray

    def tensors(self) -> tuple[Tensor, Tensor]:
        """The two arrays as tensors."""
        return torch.from_numpy(self.noisy), torch.from_numpy(self.clean)


@dataclass
class History:
    """Mean squared error of each split by epoch, 0 before training, and the epoch chosen."""

    mse: dict[str, dict[int, float]] = field(default_factory=dict)
    chosen: int = 0


@dataclass
class Recipe:
    """How a model is trained: Adam for `epochs` passes over mini-batches of `batch` signals at rate `lr`.

    With `anneal` the rate falls to zero along half a cosine over the whole training, otherwise it is
    constant.
    """

    epochs: int = 50  #: over the training data [passes]
    batch: int = 150  #: in a step [samples]
    lr: float = 1e-4  #: learning rate of Adam [1]
    anneal: bool = False  #: whether the rate falls to zero along half a cosine

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        require(self.epochs > 0, f"{name}.epochs", self.epochs, "a positive integer")
        require(self.batch > 0, f"{name}.batch", self.batch, "a positive integer")
        require_rate(f"{name}.lr", self.lr)


@dataclass
class NetworkRecipe(Recipe):
    """Recipe of the fully connected network with `width` hidden units."""

    epochs: int = 200
    lr: float = 1e-3
    width: int = 1000  #: hidden [units]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        super().check(name)
        require(self.width > 0, f"{name}.width", self.width, "a positive number of hidden units")


def predict(model: nn.Module, noisy: np.ndarray, batch: int = 150) -> np.ndarray:
    """Denoise every row of `noisy`, `batch` rows at a time, without recording gradients."""
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.from_numpy(noisy).split(batch)]).numpy()


def mean_squared_error(estimate: np.ndarray, clean: np.ndarray) -> float:
    """Mean over signals and samples of the squared error."""
    return float(np.mean((estimate - clean) ** 2))


def squared_loss(model: nn.Module, noisy: Tensor, clean: Tensor) -> Tensor:
    """Mean squared error of `model` on one mini-batch, differentiable."""
    return (model(noisy) - clean).square().mean()


def fit(
    model: nn.Module,
    splits: dict[str, Split],
    recipe: Recipe,
    rng: np.random.Generator,
    loss: Loss = squared_loss,
    evaluate_every: int = 1,
) -> History:
    """Train `model` in place with Adam and leave it at the epoch of least validation error.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (batch, length) to (batch, length).
    splits : dict
        `train`, `validation` and whichever others shall be measured by epoch; only the first two steer
        anything.
    recipe : Recipe
        Epochs, size of the mini-batches, learning rate.
    rng : numpy.random.Generator
        Shuffles the training signals before every epoch.
    loss : callable
        (model, noisy, clean) -> scalar tensor.
    evaluate_every : int
        Epochs between two evaluations of the other splits; the last epoch is always one.

    Returns
    -------
    History
        The training error of an epoch is the mean over its mini-batches of the loss met on the way, before
        each step.
    """
    noisy, clean = splits["train"].tensors()
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    steps = recipe.epochs * math.ceil(len(noisy) / recipe.batch)
    schedule = rate_schedule(optimiser, recipe.anneal, steps)
    loop = Loop(model, optimiser, rng, schedule)
    kept = loop.restored(
        {"next": 0, "mse": {name: {} for name in splits}, "chosen": 0, "best": math.inf, "state": {}}
    )
    history = History(kept["mse"], kept["chosen"])
    best, state = kept["best"], kept["state"]
    for epoch in counted(kept["next"], recipe.epochs):
        if epoch > 0:
            order = torch.from_numpy(rng.permutation(len(noisy)))
            losses = []
            for part in order.split(recipe.batch):
                losses.append(_step(model, optimiser, loss, noisy[part], clean[part]))
                schedule.step()
            history.mse["train"][epoch] = float(np.mean(losses))
            scalar("mse/train", epoch, history.mse["train"][epoch])
        if epoch % evaluate_every and epoch != recipe.epochs:
            continue
        for name in splits.keys() - {"train"}:
            estimate = predict(model, splits[name].noisy)
            history.mse[name][epoch] = mean_squared_error(estimate, splits[name].clean)
            scalar(f"mse/{name}", epoch, history.mse[name][epoch])
        if history.mse["validation"][epoch] < best:
            best, state = history.mse["validation"][epoch], copy.deepcopy(model.state_dict())
            history.chosen = epoch
        counts = {
            "next": epoch + 1,
            "mse": history.mse,
            "chosen": history.chosen,
            "best": best,
            "state": state,
        }
        loop.keep(counts)
    model.load_state_dict(state)
    return history


def rate_schedule(
    optimiser: torch.optim.Optimizer, anneal: bool, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate over `steps` steps: falling to zero along half a cosine with `anneal`, or constant."""

    def factor(step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * step / max(steps, 1))) if anneal else 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _step(
    model: nn.Module, optimiser: torch.optim.Optimizer, loss: Loss, noisy: Tensor, clean: Tensor
) -> float:
    optimiser.zero_grad()
    value = loss(model, noisy, clean)
    value.backward()
    optimiser.step()
    return value.item()
