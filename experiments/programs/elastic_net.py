"""The derivative of a test loss with respect to the weights of an elastic net.

Notebook `tutorial` of cvxpylayers: fit (a, b) = argmin 1/N sum_i (a x_i + b - y_i)^2 + lambda |a| + alpha a^2,
sweep one weight while the other is zero, and set the derivative of the test loss beside its numerical derivative.
Here the sweep is one batch of programs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.programs.notebook import Build, Layer, Pairs, leaf, numpy_stream

CONES = None
DEFINITE = False
FINAL = ("slope", "intercept", "gradient_error")

# Relative step of the central differences: its square is their error, and solutions are far more accurate.
STEP = 1e-4


@dataclass
class Settings:
    """The notebook's samples (half to fit, half to test), and `weights` values from 1e-3 to 1e2."""

    samples: int = 60  #: half to fit, half to test [samples]
    weights: int = 200  #: from 1e-3 to 1e2 [weights]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless a line can be fitted and a sweep be made."""
        require(self.samples >= 6, f"{name}.samples", self.samples, "at least 6 samples")
        require(self.weights >= 2, f"{name}.weights", self.weights, "at least 2 weights")


def make_layer(samples: int, build: Build) -> Layer:
    """Slope and intercept as a layer of data and weights, in the notebook's form."""
    a, b = cp.Variable(1), cp.Variable()
    x, y = cp.Parameter((samples, 1)), cp.Parameter(samples)
    weight, ridge = cp.Parameter(nonneg=True), cp.Parameter(nonneg=True)
    loss = (1 / samples) * cp.sum(cp.square(x @ a + b - y))
    objective = cp.Minimize(loss + weight * cp.norm1(a) + ridge * cp.sum_squares(a))
    return build(cp.Problem(objective), [x, y, weight, ridge], [a, b])


def make_data(settings: Settings, seed: int) -> dict[str, Pairs]:
    """Points around a line of random slope; scikit-learn's split gives the first half of a permutation to the test."""
    stream = numpy_stream(seed)
    x = stream.randn(settings.samples, 1)
    y = x @ stream.randn(1) + 0.5 * stream.randn(settings.samples)
    order, half = stream.permutation(settings.samples), (settings.samples + 1) // 2
    parts = {"test": order[:half], "train": order[half:]}
    return {name: Pairs(torch.from_numpy(x[part]), torch.from_numpy(y[part])) for name, part in parts.items()}


def test_losses(layer: Layer, splits: dict[str, Pairs], weight: Tensor, ridge: Tensor) -> Tensor:
    """Mean squared error on the test half, for each pair of weights."""
    train, test = splits["train"], splits["test"]
    a, b = layer(train.inputs, train.outputs, weight, ridge)
    return (a @ test.inputs.mT + b[:, None] - test.outputs).square().mean(1)


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the fit without penalty, and both sweeps with their derivatives."""
    splits = make_data(settings, seed)
    layer = make_layer(len(splits["train"].inputs), build)
    zero = torch.zeros((), dtype=torch.float64)
    a, b = layer(splits["train"].inputs, splits["train"].outputs, zero, zero)
    record.metric("slope", "train", 0, a.item(), "1")
    record.metric("intercept", "train", 0, b.item(), "1")
    grid = torch.logspace(-3, 2, settings.weights, dtype=torch.float64)
    for name in ("alpha", "lambda"):

        def losses(values: Tensor, name: str = name) -> Tensor:
            pair = (0 * values, values) if name == "alpha" else (values, 0 * values)
            return test_losses(layer, splits, *pair)

        sweep(losses, grid, name, record)


def sweep(losses: Callable[[Tensor], Tensor], grid: Tensor, name: str, record: Recorder) -> None:
    """Record test loss, derivative and numerical derivative over the grid of one weight."""
    values = leaf(grid)
    with record.timed(f"sweep {name}"):
        loss = losses(values)
        (gradient,) = torch.autograd.grad(loss.sum(), values)
    with torch.no_grad():
        numeric = (losses(grid * (1 + STEP)) - losses(grid * (1 - STEP))) / (2 * STEP * grid)
    error = (gradient - numeric).abs().max() / numeric.abs().max()
    record.metric("gradient_error", name, 0, error.item(), "1")
    curves = (grid, loss.detach(), gradient, numeric)
    record.signals(np.stack([curve.numpy() for curve in curves]), f"{record.method}/{name}")
