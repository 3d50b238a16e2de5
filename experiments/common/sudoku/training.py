"""Training on puzzles, and how often the boards of a model are right."""

import copy
import math
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.checkpoint import Loop
from experiments.common.sudoku.puzzles import Puzzles
from experiments.common.sudoku.rules import agrees, decode, is_permutation
from experiments.common.training import Recipe, rate_schedule
from experiments.common.watch import counted, scalar

Scores = dict[str, float]
BATCH = 150
# Large boards solved at once: the program of each holds some matrices of 249 x 249.
CHUNK = 16


@dataclass
class History:
    """Scores by split and epoch, 0 before training, and the epoch of least validation error."""

    scores: dict[str, dict[int, Scores]] = field(default_factory=dict)
    chosen: int = 0


def predict(model: nn.Module, givens: Tensor, batch: int = BATCH) -> Tensor:
    """Scores of `model`, `batch` boards at a time, without recording gradients."""
    with torch.no_grad():
        return torch.cat([cast(Tensor, model(part)) for part in givens.split(batch)])


def repeated(model: nn.Module, givens: Tensor, passes: int) -> Tensor:
    """The answer after `passes` passes, each with the answer before added to the givens.

    A pass maximises the linear part of ||z||^2 at the last answer, which draws z to a vertex (Frank-Wolfe); an answer
    that is a vertex already stays, so only the others are computed again.
    """
    z = predict(model, givens, CHUNK)
    for _ in range(passes - 1):
        size = round(givens.shape[1] ** (1 / 3))
        open_ = z.reshape(len(z), -1, size).amax(dim=2).amin(dim=1) < 0.99
        if open_.any():
            z[open_] = predict(model, givens[open_] + z[open_], CHUNK)
    return z


def score(z: Tensor, puzzles: Puzzles) -> Scores:
    """Mean squared error, and the fractions of wrong boards.

    `board_error` counts boards of which a row, column or block is no permutation, the paper's measure;
    `strict_error` also those that change a given.
    """
    boards = decode(z.numpy(), puzzles.order)
    valid = is_permutation(boards, puzzles.order)
    error = (z - puzzles.tensors()[1]).square().mean().item()
    strict = valid & agrees(boards, puzzles.givens)
    wrong = {"board_error": float(1 - valid.mean()), "strict_error": float(1 - strict.mean())}
    return {"mse": error, **wrong}


def dead_units(network: nn.Module, givens: Tensor) -> float:
    """The largest share, over the hidden layers of `network`, of units that are zero for all of `givens`.

    A unit of a convolution is a channel. Where it is 1, a layer passes nothing on, and the answer is the same for every
    puzzle.
    """
    largest: dict[nn.Module, Tensor] = {}

    def watch(module: nn.Module, _: object, output: Tensor) -> None:
        met = output.transpose(0, 1).flatten(1).amax(1)
        largest[module] = torch.maximum(met, largest.get(module, met))

    hooks = [part.register_forward_hook(watch) for part in network.modules() if isinstance(part, nn.ReLU)]
    predict(network, givens)
    for hook in hooks:
        hook.remove()
    return max((units <= 0).double().mean().item() for units in largest.values())


def fit(
    model: nn.Module, splits: dict[str, Puzzles], recipe: Recipe, rng: np.random.Generator, epoch_size: int
) -> History:
    """Train `model` in place with Adam on the squared error; it ends at its best epoch on validation.

    Parameters
    ----------
    model : torch.nn.Module
        Maps (boards, n) to (boards, n).
    splits : dict
        `train`, `validation` and others; the others are only measured.
    recipe : Recipe
        Epochs, size of the mini-batches, learning rate.
    rng : numpy.random.Generator
        Shuffles the training puzzles before every pass.
    epoch_size : int
        Training puzzles between two measurements of the other splits; this is what an epoch means here.

    Returns
    -------
    History
        The training scores of an epoch are those of the answers met on the way, before each step.
    """
    stream = _stream(len(splits["train"]), recipe.epochs * epoch_size, rng)
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    steps = recipe.epochs * math.ceil(epoch_size / recipe.batch)
    schedule = rate_schedule(optimiser, recipe.anneal, steps)
    inputs, targets = splits["train"].tensors()
    loop = Loop(model, optimiser, rng, schedule)
    kept = loop.restored({"next": 0, "scores": {}, "chosen": 0, "best": math.inf, "state": {}})
    history = History(kept["scores"], kept["chosen"])
    best, state = kept["best"], kept["state"]
    for epoch in counted(kept["next"], recipe.epochs):
        if epoch > 0:
            chosen = stream[(epoch - 1) * epoch_size : epoch * epoch_size]
            met = []
            for part in np.array_split(chosen, math.ceil(epoch_size / recipe.batch)):
                met.append(_step(model, optimiser, inputs[part], targets[part]))
                schedule.step()
            training = splits["train"].take(chosen)
            history.scores.setdefault("train", {})[epoch] = score(torch.cat(met), training)
        for name in splits.keys() - {"train"}:
            measured = score(predict(model, splits[name].tensors()[0]), splits[name])
            history.scores.setdefault(name, {})[epoch] = measured
            for metric, value in measured.items():
                scalar(f"{metric}/{name}", epoch, value)
        error = _criterion(history.scores["validation"][epoch])
        if error < best:
            best, state, history.chosen = error, copy.deepcopy(model.state_dict()), epoch
        counts = {"next": epoch + 1, "scores": history.scores, "chosen": history.chosen}
        loop.keep({**counts, "best": best, "state": state})
    model.load_state_dict(state)
    return history


def _criterion(scores: Scores) -> float:
    # Wrong boards first; among equals, as before anything is learned, the squared error, which is below one.
    return scores["strict_error"] + 1e-3 * scores["mse"]


def _stream(count: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of training puzzles: as many passes in random order as `length` needs."""
    passes = [rng.permutation(count) for _ in range(math.ceil(length / count))]
    return np.concatenate(passes)[:length]


def _step(model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> Tensor:
    optimiser.zero_grad()
    answer = model(inputs)
    (answer - targets).square().mean().backward()
    optimiser.step()
    return answer.detach()
