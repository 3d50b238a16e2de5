"""A network whose ReLU layers are convex programs: z = argmin ||z - (Wx + b)||^2 subject to z >= 0.

Notebook `ReLU Layers` of cvxpylayers (OptNet's Theorem 2 in practice): two such layers and a linear one, fitted to
noise. The notebook makes W a parameter and, because a product of two parameters is not allowed, copies it into a
variable constrained to equal it: 440 variables and equalities for 20 outputs. With `form` product, Wx + b is
formed outside and the program has 20 variables; answers and derivatives are the same.
"""

from dataclasses import dataclass

import cvxpy as cp
import torch
from torch import Tensor

from experiments.common.errors import require_one_of, require_rate
from experiments.common.recorder import Recorder
from experiments.common.watch import counted, scalar
from experiments.programs.notebook import (
    Build,
    Layer,
    leaf,
    linear,
    mean_square,
    normal,
    require_positive,
    torch_stream,
)

CONES = None
# With form product; the copy of W has no curvature of its own.
DEFINITE = True
FINAL = ("initial_mse", "final_mse")
FORMS = ("product", "notebook")


@dataclass
class Settings:
    """The notebook's program, network and data; Adam on all samples at once."""

    #: of the program of a ReLU: `product` has Wx + b as its parameter, `notebook` W, b and x
    form: str = "notebook"
    width: int = 20  #: of each layer [units]
    samples: int = 300  #: to learn from, all in a step [samples]
    steps: int = 25  #: of Adam [steps]
    lr: float = 1e-2  #: learning rate of Adam [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless such a network can be trained."""
        require_one_of(f"{name}.form", self.form, FORMS)
        require_positive(self, name, "width", "samples", "steps")
        require_rate(f"{name}.lr", self.lr)


def make_layer(settings: Settings, build: Build) -> Layer:
    """The ReLU as a layer of W, b and x."""
    n = settings.width
    z = cp.Variable(n)
    if settings.form == "product":
        point = cp.Parameter(n)
        project = build(cp.Problem(cp.Minimize(cp.sum_squares(z - point)), [z >= 0]), [point], [z])

        def relu(weight: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, ...]:
            return project(x @ weight.mT + bias)

        return relu
    copy, weight, bias, x = cp.Variable((n, n)), cp.Parameter((n, n)), cp.Parameter(n), cp.Parameter(n)
    objective = cp.Minimize(cp.sum_squares(z - copy @ x - bias))
    return build(cp.Problem(objective, [z >= 0, copy == weight]), [weight, bias, x], [z])


def make_network(width: int, stream: torch.Generator) -> list[Tensor]:
    """Two weights and biases of ReLU layers, and those of the linear one; single precision as in the notebook."""
    parameters: list[Tensor] = []
    for _ in range(2):
        parameters += [1e-3 * normal(stream, width, width, dtype=torch.float32)]
        parameters += [1e-3 * normal(stream, width, dtype=torch.float32)]
    parameters += linear(width, 1, stream, torch.float32)
    return [leaf(parameter) for parameter in parameters]


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the mean squared error on the training samples, which are noise, by step."""
    stream = torch_stream(seed)
    parameters = make_network(settings.width, stream)
    inputs = normal(stream, settings.samples, settings.width, dtype=torch.float32)
    wanted = normal(stream, settings.samples, 1, dtype=torch.float32)
    layer = make_layer(settings, build)
    first, first_bias, second, second_bias, last, last_bias = parameters
    optimiser = torch.optim.Adam(parameters, lr=settings.lr)
    with record.timed("train"):
        for step in counted(0, settings.steps - 1):
            (hidden,) = layer(first, first_bias, inputs)
            (hidden,) = layer(second, second_bias, hidden)
            loss = mean_square(hidden @ last.mT + last_bias, wanted)
            record.metric("mse", "train", step, loss.item(), "1")
            scalar("mse/train", step, loss.item())
            if step in (0, settings.steps - 1):
                record.metric("initial_mse" if step == 0 else "final_mse", "train", step, loss.item(), "1")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
