"""Denoising with a learned quadratic program: argmin ||theta (x - y)||^2 + lambda ||Dy||^2, D taking differences.

Notebook `signal_denoising` of cvxpylayers, with "Learning Convex Optimization Models" (arXiv 2006.04248). The noise is
correlated, so that a learned theta can whiten it; the baseline is theta = I with the best lambda of a grid, chosen on
the training signals as in the notebook.
"""

import math
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch

from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.programs.notebook import (
    TEST_SEED,
    Build,
    Layer,
    Pairs,
    Schedule,
    evaluate,
    fit,
    leaf,
    normal,
    numpy_stream,
    record_history,
    require_positive,
    torch_stream,
)

CONES = None
DEFINITE = False
FINAL = ("final_mse", "lambda")

# The grid of the notebook's baseline.
WEIGHTS = np.linspace(0.0, 20.0, 10)


@dataclass
class Settings(Schedule):
    """The notebook's, and a test set that it does not have."""

    length: int = 100  #: of a signal [samples]
    train: int = 500  #: to learn from [signals]
    validation: int = 100  #: that choose the epoch [signals]
    test: int = 200  #: that are reported; the notebook has none [signals]
    epochs: int = 150
    batch: int = 64

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless such signals can be drawn and trained on."""
        super().check(name)
        require_positive(self, name, "train", "validation", "test")
        require(self.length >= 3, f"{name}.length", self.length, "at least 3 samples")


def make_layer(length: int, build: Build) -> Layer:
    """The denoiser as a layer of signal, theta and lambda, in the notebook's form."""
    y, residual = cp.Variable(length), cp.Variable(length)
    x, theta, weight = cp.Parameter(length), cp.Parameter((length, length)), cp.Parameter(pos=True)
    objective = cp.sum_squares(theta @ residual) + weight * cp.sum_squares(cp.diff(y))
    return build(cp.Problem(cp.Minimize(objective), [residual == x - y]), [x, theta, weight], [y])


def make_data(settings: Settings, seed: int, stream: torch.Generator) -> dict[str, Pairs]:
    """Cosines of random frequency, and the same with noise of a random covariance."""
    length, frequencies = settings.length, numpy_stream(seed)
    root = torch.from_numpy(0.1 * frequencies.randn(length, length))
    mixing = torch.linalg.cholesky(root.mT @ root)
    time = torch.linspace(0.0, 2.0 * math.pi, length, dtype=torch.float64)

    def draw(count: int, frequencies: np.random.RandomState, stream: torch.Generator) -> Pairs:
        clean = [torch.cos(frequencies.uniform(1.0, 3.0) * time) for _ in range(count)]
        noisy = [signal + mixing @ normal(stream, length) for signal in clean]
        return Pairs(torch.stack(noisy), torch.stack(clean))

    splits = {name: draw(getattr(settings, name), frequencies, stream) for name in ("train", "validation")}
    splits["test"] = draw(settings.test, numpy_stream(TEST_SEED + seed), torch_stream(TEST_SEED + seed))
    return splits


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the noise, the baseline and the learned denoiser."""
    stream = torch_stream(seed)
    splits = make_data(settings, seed, stream)
    layer = make_layer(settings.length, build)
    record.errors(evaluate(lambda x: x, splits), method=f"{record.method}/noisy")
    run_baseline(layer, splits, record)
    theta = leaf(torch.eye(settings.length, dtype=torch.float64))
    weight = leaf(torch.tensor(0.5, dtype=torch.float64))
    with record.timed("train"):
        history = fit(lambda x: layer(x, theta, weight)[0], [theta, weight], splits, settings, stream)
    record_history(record, history)
    record.metric("lambda", "train", history.chosen, weight.item(), "1")
    shown = Pairs(splits["test"].inputs[:1], splits["test"].outputs[:1])
    record.signals(shown.inputs.numpy(), f"{record.method}/noisy")
    record.signals(shown.outputs.numpy(), f"{record.method}/clean")
    record.signals(layer(shown.inputs, theta, weight)[0].detach().numpy())


def run_baseline(layer: Layer, splits: dict[str, Pairs], record: Recorder) -> None:
    """Record theta = I with the lambda of least error on the training signals."""
    name, train = f"{record.method}/identity", splits["train"]
    eye = torch.eye(train.inputs.shape[1], dtype=torch.float64)
    # lambda must be positive, and at zero the answer is the signal itself.
    answers = [train.inputs, *(layer(train.inputs, eye, torch.tensor(w))[0] for w in WEIGHTS[1:])]
    errors = [(answer - train.outputs).square().mean().item() for answer in answers]
    best = int(np.argmin(errors))
    weight = torch.tensor(WEIGHTS[best])
    record.metric("lambda", "train", 0, weight.item(), "1", name)
    record.errors({"train": errors[best]}, method=name)
    record.errors(evaluate(lambda x: x if best == 0 else layer(x, eye, weight)[0], splits), method=name)
