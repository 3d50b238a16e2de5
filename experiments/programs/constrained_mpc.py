"""Imitating model predictive control: the weights of the states are learned from what the controller did.

Notebook `constrained_mpc` of cvxpylayers, with "Learning Convex Optimization Models" (arXiv 2006.04248). The controller
applies the first control of: minimise sum_t (x_t' diag(w) x_t + ||u_t||^2) subject to x_{t+1} = A x_t + B u_t, x_0 the
state, ||u_t||_inf <= beta. Its controls are seen with noise, along one path for training and one for validation;
estimates are compared along the path that they themselves cause. The baseline is a network of one hidden layer.

Weights below zero are set to zero after every step, not after every epoch as in the notebook: in between its programs
need not be convex.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from experiments.common.checkpoint import Leaves, Loop
from experiments.common.errors import require, require_rate
from experiments.common.recorder import Recorder
from experiments.common.watch import counted, scalar
from experiments.programs.notebook import (
    Build,
    Constraints,
    Layer,
    leaf,
    linear,
    mean_square,
    normal,
    numpy_stream,
    require_positive,
    torch_stream,
)

CONES = None
DEFINITE = False
FINAL = ("final_mse", "weight_error")

Policy = Callable[[Tensor], Tensor]
VALIDATION_SEED = 243
NOISE = math.sqrt(0.1)


@dataclass
class Settings:
    """The notebook's system and training: one state at a time, in order; `network_epochs` for the baseline."""

    states: int = 10  #: of the system [states]
    controls: int = 4  #: of the system [controls]
    horizon: int = 5  #: of a plan, T [periods]
    bound: float = 0.5  #: on the absolute value of each control [1]
    length: int = 1000  #: of the trajectory that is imitated [periods]
    epochs: int = 20  #: over the trajectory [passes]
    lr: float = 3e-4  #: learning rate of Adam [1]
    network_epochs: int = 100  #: of the baseline [passes]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless there is something to control and to imitate."""
        fields = ("states", "controls", "horizon", "length", "epochs", "network_epochs")
        require_positive(self, name, *fields)
        require(
            0 < self.bound < np.inf, f"{name}.bound", self.bound, "a positive, finite bound on the controls"
        )
        require_rate(f"{name}.lr", self.lr)


@dataclass
class System:
    """x_{t+1} = A x_t + B u_t + noise, and the true weights of the states."""

    A: Tensor
    B: Tensor
    weights: Tensor
    bound: float

    def simulate(self, policy: Policy, length: int, stream: torch.Generator) -> tuple[Tensor, Tensor]:
        """States and controls of `length` steps from a random state, with standard normal noise."""
        x = normal(stream, len(self.A))
        states, controls = list[Tensor](), list[Tensor]()
        with torch.no_grad():
            for _ in range(length):
                u = policy(x)
                states.append(x)
                controls.append(u)
                x = self.A @ x + self.B @ u + normal(stream, len(self.A))
        return torch.stack(states), torch.stack(controls)

    def disturbed(self, controls: Tensor, stream: torch.Generator) -> Tensor:
        """Controls with the noise under which they are seen, within the bound."""
        noise = torch.stack([normal(stream, controls.shape[1]) for _ in controls])
        return (controls + NOISE * noise).clamp(-self.bound, self.bound)


def make_system(settings: Settings, seed: int) -> System:
    """A system whose spectral radius is 1."""
    n, draw = settings.states, numpy_stream(seed)
    A = draw.randn(n, n)
    A /= np.abs(np.linalg.eigvals(A)).max()
    B = draw.randn(n, settings.controls)
    weights = normal(torch_stream(seed), n).abs()
    return System(torch.from_numpy(A), torch.from_numpy(B), weights, settings.bound)


def make_layer(settings: Settings, system: System, build: Build) -> Layer:
    """The first control as a layer of the state and the weights, in the notebook's form."""
    n, m, T = settings.states, settings.controls, settings.horizon
    start, weights = cp.Parameter(n), cp.Parameter(n, nonneg=True)
    x, u = [cp.Variable(n) for _ in range(T)], [cp.Variable(m) for _ in range(T)]
    A, B = system.A.numpy(), system.B.numpy()
    cost: Any = sum(cp.sum(cp.multiply(weights, cp.square(x[t]))) + cp.sum_squares(u[t]) for t in range(T))
    constraints: Constraints = [x[0] == start, *(cp.norm(u[t], "inf") <= settings.bound for t in range(T))]
    constraints += [x[t] == A @ x[t - 1] + B @ u[t - 1] for t in range(1, T)]
    return build(cp.Problem(cp.Minimize(cost), constraints), [start, weights], [u[0]])


class Network:
    """States to controls by one hidden layer of ReLU, as wide as the state, clipped to the bound."""

    def __init__(self, settings: Settings, stream: torch.Generator):
        n, m = settings.states, settings.controls
        drawn = (*linear(n, n, stream, torch.float64), *linear(n, m, stream, torch.float64))
        self.parameters, self.bound = [leaf(tensor) for tensor in drawn], settings.bound

    def __call__(self, x: Tensor) -> Tensor:
        """The control for a state."""
        inner, inner_bias, outer, outer_bias = self.parameters
        hidden = (inner @ x + inner_bias).relu()
        return (outer @ hidden + outer_bias).clamp(-self.bound, self.bound)


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the true weights, the learned ones by epoch, and the network by epoch."""
    system = make_system(settings, seed)
    layer = make_layer(settings, system, build)

    def controller(weights: Tensor) -> Policy:
        return lambda x: layer(x, weights)[0]

    path = system.simulate(controller(system.weights), settings.length, torch_stream(seed))
    seen = system.disturbed(path[1], torch_stream(seed + 1))
    stream = torch_stream(VALIDATION_SEED + seed)
    _, clean = system.simulate(controller(system.weights), settings.length, stream)
    wanted = system.disturbed(clean, stream)

    def error(policy: Policy) -> float:
        validation = torch_stream(VALIDATION_SEED + seed)
        return mean_square(system.simulate(policy, settings.length, validation)[1], wanted).item()

    record.errors(
        {"validation": mean_square(clean, wanted).item()}, method=f"{record.method}/true_parameters"
    )
    weights = leaf(torch.ones(settings.states, dtype=torch.float64))

    def project() -> None:
        with torch.no_grad():
            weights.clamp_(min=0.0)

    with record.timed("train"):
        imitate(
            controller(weights), [weights], (path[0], seen), settings, settings.epochs, error, record, project
        )
    distance = (weights.detach() - system.weights).norm() / system.weights.norm()
    record.metric("weight_error", "train", settings.epochs, distance.item(), "1")
    network = Network(settings, torch_stream(seed))
    name = f"{record.method}/network"
    with record.timed("train", name):
        imitate(
            network, network.parameters, (path[0], seen), settings, settings.network_epochs, error, record,
            method=name,
        )  # fmt: skip


def imitate(
    policy: Policy,
    parameters: list[Tensor],
    seen: tuple[Tensor, Tensor],
    settings: Settings,
    epochs: int,
    error: Callable[[Policy], float],
    record: Recorder,
    project: Callable[[], None] = lambda: None,
    method: str | None = None,
) -> None:
    """Train on one state after the other, in order, and record the error after every epoch."""
    optimiser = torch.optim.Adam(parameters, lr=settings.lr)
    loop = Loop(Leaves(parameters), optimiser)
    done = loop.restored({"curve": {}})
    curve = done["curve"] or {0: error(policy)}
    for epoch in counted(len(curve), epochs):
        for x, u in zip(*seen, strict=True):
            optimiser.zero_grad()
            mean_square(policy(x), u).backward()
            optimiser.step()
            project()
        curve[epoch] = error(policy)
        scalar(f"mse/validation {method or record.method}", epoch, curve[epoch])
        loop.keep({"curve": curve})
    for epoch, value in curve.items():
        record.metric("mse", "validation", epoch, value, "1", method)
    record.errors({"validation": curve[epochs]}, step=epochs, method=method)
