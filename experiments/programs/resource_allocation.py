"""Learning how a buyer spends a budget: maximise the utility of y subject to sum(y) = B, y >= 0.

Notebook `resource_allocation` of cvxpylayers, with "Learning Convex Optimization Models" (arXiv 2006.04248). The
utility of y_i / p_i units of good i is -exp(-alpha_i y_i / p_i) / alpha_i; the prices p and the budget B are seen, the
risk aversions alpha are learned from what was bought, which is disturbed by up to a half.
"""

from dataclasses import dataclass

import cvxpy as cp
import torch
from torch import Tensor

from experiments.common.recorder import Recorder
from experiments.programs.notebook import (
    TEST_SEED,
    Build,
    Constraints,
    Layer,
    Pairs,
    Schedule,
    evaluate,
    fit,
    leaf,
    record_history,
    require_positive,
    torch_stream,
    uniform,
)

CONES = "exponential cones"
DEFINITE = False
FINAL = ("final_mse",)

# At alpha_i = 0 the program, which divides by it, has no feasible point.
LEAST = 1e-6


@dataclass
class Settings(Schedule):
    """The notebook's, and a test set that it does not have."""

    goods: int = 10  #: that are shared out [goods]
    train: int = 100  #: to learn from [samples]
    validation: int = 50  #: that choose the epoch [samples]
    test: int = 50  #: that are reported; the notebook has none [samples]
    epochs: int = 25
    batch: int = 4

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless such data can be drawn and trained on."""
        super().check(name)
        require_positive(self, name, "goods", "train", "validation", "test")


def make_layer(goods: int, build: Build) -> Layer:
    """The allocation as a layer of budget, inverse prices and risk aversions, in the notebook's form."""
    y, units, t = (cp.Variable(goods) for _ in range(3))
    budget = cp.Parameter(nonneg=True)
    inverse, alpha = cp.Parameter(goods, nonneg=True), cp.Parameter(goods, nonneg=True)
    constraints: Constraints = [
        cp.sum(y) == budget,
        y >= 0,
        -cp.exp(-cp.multiply(alpha, units)) >= cp.multiply(alpha, t),
        units == cp.multiply(y, inverse),
    ]
    return build(cp.Problem(cp.Maximize(cp.sum(t)), constraints), [budget, inverse, alpha], [y])


def allocate(layer: Layer, inputs: Tensor, alpha: Tensor) -> Tensor:
    """The allocation for rows of budget and prices."""
    return layer(inputs[:, 0], 1 / inputs[:, 1:], alpha)[0]


def make_data(settings: Settings, layer: Layer, seed: int) -> tuple[dict[str, Pairs], Tensor]:
    """Budgets, prices and disturbed allocations, and the risk aversions behind them."""
    stream = torch_stream(seed)
    truth = uniform(stream, settings.goods)

    def draw(count: int, stream: torch.Generator) -> Pairs:
        prices = uniform(stream, count, settings.goods)
        budget = 10 * uniform(stream, count)[:, None]
        inputs = torch.cat((budget, prices), 1)
        bought = allocate(layer, inputs, truth).detach() * (uniform(stream, count, settings.goods) + 0.5)
        return Pairs(inputs, bought * budget / bought.sum(1, keepdim=True))

    splits = {"train": draw(settings.train, stream), "validation": draw(settings.validation, stream)}
    splits["test"] = draw(settings.test, torch_stream(TEST_SEED + seed))
    return splits, truth


def run(settings: Settings, build: Build, seed: int, record: Recorder) -> None:
    """Record the learned model and the true one."""
    layer = make_layer(settings.goods, build)
    splits, truth = make_data(settings, layer, seed)
    everything = {**splits, "all training": splits["train"]}
    record.errors(
        evaluate(lambda x: allocate(layer, x, truth), everything), method=f"{record.method}/true_parameters"
    )
    stream = torch_stream(seed + 1)
    alpha = leaf(uniform(stream, settings.goods))

    def project() -> None:
        with torch.no_grad():
            alpha.clamp_(min=LEAST)

    with record.timed("train"):
        history = fit(lambda x: allocate(layer, x, alpha), [alpha], splits, settings, stream, project)
    record_history(record, history)
