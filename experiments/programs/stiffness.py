"""Springs whose stiffness is learned: blocks between two walls settle where their energy is least.

Notebook `optimizing_stiffness_constants` of cvxpylayers: minimise 1/2 sum_i k_i (x_{i+1} - x_i)^2 subject to x_0 = 0,
x_{n+1} = l, x_{i+1} - x_i >= w, and move the stiffnesses k down the gradient of the squared distance to wanted places.
The notebook shows a film and prints nothing.
"""

from dataclasses import dataclass

import cvxpy as cp
import torch

from experiments.common.errors import require, require_rate
from experiments.common.recorder import Recorder
from experiments.programs.notebook import (
    Build,
    Constraints,
    Layer,
    leaf,
    require_positive,
    torch_stream,
    uniform,
)

CONES = None
DEFINITE = False
FINAL = ("initial_distance", "final_distance")


@dataclass
class Settings:
    """The notebook's blocks, and its gradient descent."""

    blocks: int = 5  #: between two springs each [blocks]
    width: float = 0.05  #: of a block; the walls are 1 apart [distance of the walls]
    steps: int = 300  #: of gradient descent [steps]
    lr: float = 0.1  #: rate of a step [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless the blocks fit between the walls, which are 1 apart."""
        require_positive(self, name, "blocks", "steps")
        fits = 0 <= self.width * (self.blocks + 1) < 1
        require(fits, f"{name}.width", self.width, "a width of which (blocks + 1) fit into 1")
        require_rate(f"{name}.lr", self.lr)


def make_layer(settings: Settings, build: Build) -> Layer:
    """Places of walls and blocks as a layer of the stiffnesses, in the notebook's form."""
    stiffness = cp.Parameter(settings.blocks + 1, nonneg=True)
    x = cp.Variable(settings.blocks + 2)
    energy = cp.sum(cp.multiply(stiffness, 0.5 * cp.square(cp.diff(x))))
    constraints: Constraints = [x[0] == 0, x[-1] == 1]
    constraints += [x[i] - x[i - 1] >= settings.width for i in range(1, settings.blocks + 2)]
    return build(cp.Problem(cp.Minimize(energy), constraints), [stiffness], [x])


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the squared distance to the wanted places, by step."""
    layer = make_layer(settings, build)
    wanted = uniform(torch_stream(seed), settings.blocks).sort().values
    stiffness = leaf(torch.ones(settings.blocks + 1, dtype=torch.float64))
    with record.timed("train"):
        for step in range(settings.steps + 1):
            (places,) = layer(stiffness)
            distance = (places[1:-1] - wanted).square().sum()
            record.metric("distance", "train", step, distance.item(), "length squared")
            if step in (0, settings.steps):
                name = "initial_distance" if step == 0 else "final_distance"
                record.metric(name, "train", step, distance.item(), "length squared")
                record.signals(places.detach().numpy()[None], f"{record.method}/step_{step}")
            (gradient,) = torch.autograd.grad(distance, stiffness)
            with torch.no_grad():
                stiffness.sub_(settings.lr * gradient).clamp_(min=0.0)
    record.signals(wanted.numpy()[None], f"{record.method}/wanted", first_index=1)
