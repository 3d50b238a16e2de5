"""Regression onto increasing vectors: y = argmin ||y - X theta||_2 subject to y_1 <= ... <= y_m.

Notebook `monotonic_output_regression` of cvxpylayers, with "Learning Convex Optimization Models" (Agrawal, Barratt
& Boyd, arXiv 2006.04248), section on monotone output regression.

The notebook starts at theta = 0, where every sample sits at the tip of the second-order cone: the layer is not
differentiable there, and the first steps depend on which of the possible answers an engine gives.
"""

from dataclasses import dataclass

import cvxpy as cp
import torch
from torch import Tensor

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
    record_history,
    require_positive,
    torch_stream,
)

CONES = "a second-order cone"
DEFINITE = False
FINAL = ("final_mse",)


@dataclass
class Settings(Schedule):
    """The notebook's, and a test set that it does not have."""

    features: int = 20  #: of an input [1]
    outputs: int = 10  #: of an answer [1]
    train: int = 100  #: to learn from [samples]
    validation: int = 50  #: that choose the epoch [samples]
    test: int = 200  #: that are reported; the notebook has none [samples]
    lr: float = 0.1

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless such data can be drawn and trained on."""
        super().check(name)
        require_positive(self, name, "features", "outputs", "train", "validation", "test")


def make_layer(outputs: int, build: Build) -> Layer:
    """The projection onto increasing vectors of `outputs` entries, in the notebook's form."""
    y, estimate = cp.Variable(outputs), cp.Parameter(outputs)
    problem = cp.Problem(cp.Minimize(cp.norm2(y - estimate)), [cp.diff(y) >= 0])
    return build(problem, [estimate], [y])


def make_data(
    settings: Settings, layer: Layer, seed: int, stream: torch.Generator
) -> tuple[dict[str, Pairs], torch.Tensor]:
    """Samples of a model of the right form with noise inside the layer, and its coefficients."""
    truth = normal(stream, settings.features, settings.outputs)

    def draw(count: int, stream: torch.Generator) -> Pairs:
        inputs = normal(stream, count, settings.features)
        noise = normal(stream, count, settings.outputs)
        return Pairs(inputs, layer(inputs @ truth + noise)[0].detach())

    splits = {"train": draw(settings.train, stream), "validation": draw(settings.validation, stream)}
    splits["test"] = draw(settings.test, torch_stream(TEST_SEED + seed))
    return splits, truth


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the learned model, least squares without the layer, and the true coefficients."""
    layer = make_layer(settings.outputs, build)
    stream = torch_stream(seed)
    splits, truth = make_data(settings, layer, seed, stream)
    train = splits["train"]
    solution: Tensor = torch.linalg.lstsq(train.inputs, train.outputs).solution
    record.errors(evaluate(solution.__rmatmul__, splits), method=f"{record.method}/least_squares")
    record.errors(evaluate(lambda x: layer(x @ truth)[0], splits), method=f"{record.method}/true_parameters")
    theta = leaf(torch.zeros_like(truth))
    with record.timed("train"):
        history = fit(lambda x: layer(x @ theta)[0], [theta], splits, settings, stream)
    record_history(record, history)
