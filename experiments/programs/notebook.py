"""What the example programs share: the random numbers of the notebooks, and their training loop.

The notebooks (cvxpy/cvxpylayers, examples/torch) seed torch and NumPy globally. A `torch.Generator` and a
`RandomState` of the same seed give the same numbers and leave the global state alone, so that seed 0 of an
experiment is the notebook itself, to the last digit of its data; seed s adds s to every seed of the notebook.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from experiments.common.checkpoint import Leaves, Loop
from experiments.common.errors import require, require_rate
from experiments.common.recorder import Recorder
from experiments.common.training import History
from experiments.common.watch import counted, scalar

# A layer takes a tensor for each parameter, with or without a batch axis, and returns one for each variable.
Layer = Callable[..., tuple[Tensor, ...]]
# cvxpy has a class for each kind of constraint, and bool among the types of a comparison.
Constraints = list[Any]
Build = Callable[[cp.Problem, list[cp.Parameter], list[cp.Variable]], Layer]

# Added to the seed of the test data, which no notebook has: they are drawn from a stream of their own, so that
# the notebook's numbers stay what they are.
TEST_SEED = 10_000


@dataclass
class Schedule:
    """Adam for `epochs` passes over shuffled mini-batches of `batch` samples at rate `lr`."""

    epochs: int = 20  #: over the training data [passes]
    batch: int = 16  #: in a step [samples]
    lr: float = 1e-2  #: learning rate of Adam [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be trained."""
        require_positive(self, name, "epochs", "batch")
        require_rate(f"{name}.lr", self.lr)


@dataclass
class Pairs:
    """Inputs and wanted outputs, one sample in each row."""

    inputs: Tensor
    outputs: Tensor


def require_positive(settings: object, name: str, *fields: str) -> None:
    """Raise a `ConfigError` unless each of `fields` of the section `name` is a positive integer."""
    for field in fields:
        value = getattr(settings, field)
        require(value > 0, f"{name}.{field}", value, "a positive integer")


def torch_stream(seed: int) -> torch.Generator:
    """The random numbers that a program gets after `torch.manual_seed(seed)`."""
    return torch.Generator().manual_seed(seed)


def numpy_stream(seed: int) -> np.random.RandomState:
    """The random numbers that a program gets after `np.random.seed(seed)`, which newer generators do not give."""
    return np.random.RandomState(seed)


def normal(generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, drawn in `dtype` (which decides the stream), returned as float64."""
    return torch.randn(*shape, generator=generator, dtype=dtype).double()


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers uniform on [0, 1)."""
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def linear(
    inputs: int, outputs: int, generator: torch.Generator, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Initial weight and bias of `torch.nn.Linear(inputs, outputs)`, as float64."""
    bound = inputs**-0.5
    weight, bias = torch.empty(outputs, inputs, dtype=dtype), torch.empty(outputs, dtype=dtype)
    for tensor in (weight, bias):
        tensor.uniform_(-bound, bound, generator=generator)
    return weight.double(), bias.double()


def shuffled(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of the mini-batches of one epoch, in the order of the notebooks' DataLoader.

    In their days (PyTorch 1.4) it drew a number for its workers from the global stream, whether it had any or not,
    and the permutation after that; newer versions draw in another order.
    """
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    return iter(torch.randperm(count, generator=generator).split(batch))


def mean_square(estimate: Tensor, wanted: Tensor) -> Tensor:
    """Mean of the squared differences."""
    return (estimate - wanted).square().mean()


def leaf(value: Tensor) -> Tensor:
    """A copy of `value` that can be learned."""
    return value.detach().clone().requires_grad_()


def fit(
    predict: Callable[[Tensor], Tensor],
    parameters: list[Tensor],
    splits: dict[str, Pairs],
    schedule: Schedule,
    generator: torch.Generator,
    project: Callable[[], None] = lambda: None,
) -> History:
    """Train `parameters` in place on the squared error and leave them at the epoch of least validation error.

    Parameters
    ----------
    predict : callable
        Inputs to estimates, by way of `parameters`.
    parameters : list of Tensor
        Leaves that require a gradient.
    splits : dict
        `train`, `validation`, and whichever others shall be measured by epoch; only the first two steer anything.
    schedule : Schedule
        Epochs, size of the mini-batches, learning rate.
    generator : torch.Generator
        Shuffles, see `shuffled`.
    project : callable
        Called after every step, to put the parameters back where they may be.

    Returns
    -------
    History
        By epochs finished: step k here is line k + 1 of a notebook's output.
    """
    train = splits["train"]
    optimiser = torch.optim.Adam(parameters, lr=schedule.lr)
    learned = Leaves(parameters)
    loop = Loop(learned, optimiser, generator)
    counts: dict[str, Any] = {"next": 0, "mse": {name: {} for name in splits}, "chosen": 0}
    kept = loop.restored({**counts, "best": math.inf, "state": learned.state_dict()})
    history, best, state = History(kept["mse"], kept["chosen"]), kept["best"], kept["state"]
    for epoch in counted(kept["next"], schedule.epochs):
        if epoch > 0:
            losses: list[float] = []
            for part in shuffled(len(train.inputs), schedule.batch, generator):
                optimiser.zero_grad()
                loss = mean_square(predict(train.inputs[part]), train.outputs[part])
                loss.backward()
                optimiser.step()
                project()
                losses.append(loss.item())
            history.mse["train"][epoch] = float(np.mean(losses))
        for name, error in evaluate(predict, splits).items():
            history.mse[name][epoch] = error
            scalar(f"mse/{name}", epoch, error)
        if history.mse["validation"][epoch] < best:
            best, history.chosen = history.mse["validation"][epoch], epoch
            state = learned.state_dict()
        counts = {"next": epoch + 1, "mse": history.mse, "chosen": history.chosen}
        loop.keep({**counts, "best": best, "state": state})
    learned.load_state_dict(state)
    return history


def evaluate(predict: Callable[[Tensor], Tensor], splits: dict[str, Pairs]) -> dict[str, float]:
    """Mean squared error on every split but the training samples."""
    with torch.no_grad():
        return {
            name: mean_square(predict(split.inputs), split.outputs).item()
            for name, split in splits.items()
            if name != "train"
        }


def record_history(record: Recorder, history: History) -> None:
    """Record the curves, and the errors at the chosen epoch."""
    record.curves(history.mse)
    final = {name: curve[history.chosen] for name, curve in history.mse.items() if name != "train"}
    record.errors(final, step=history.chosen)
