"""What the study of decisions does with the newsvendor: its settings, its methods, what they are judged by."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.decisions.learning import Pair, Recipe, fit, network
from experiments.common.decisions.newsvendor import (
    DEMANDS,
    INPUTS,
    TEST_SEED,
    TRUTHS,
    Costs,
    draw,
    order,
    true_logits,
)
from experiments.common.errors import require, require_one_of
from experiments.common.recorder import Recorder
from layers import QPLayer

TRAINED: tuple[str, ...] = ("mle", "policy", "task")
MODELS = ("linear", "nonlinear")


def _recipe(rate: float, width: int) -> Recipe:
    """The published settings, but for the held-out examples, which judge every method."""
    each = dict.fromkeys(TRAINED, 1000), dict.fromkeys(TRAINED, 150), dict.fromkeys(TRAINED, rate)
    return Recipe(*each, width=width)


@dataclass
class Shop:
    """Sizes of the training data, true models, fitted models; the share `held` of the data judges every method.

    `weight` is that of the negative log-likelihood in the loss of the task.
    """

    #: to train on and to hold out, one data set each [examples]
    samples: list[int] = field(default_factory=lambda: [100, 200, 300, 500, 1000, 3000, 5000, 10_000])
    truths: list[str] = field(default_factory=lambda: list(TRUTHS))  #: true models: linear, nonlinear
    models: list[str] = field(default_factory=lambda: list(MODELS))  #: fitted ones: linear, nonlinear
    test: int = 1000  #: for the test [examples]
    held: float = 0.2  #: of the training data, held out [share]
    weight: float = 10.0  #: of the negative log-likelihood in the loss of the task [1]
    costs: Costs = field(default_factory=Costs)
    linear: Recipe = field(default_factory=lambda: _recipe(1e-2, 0))
    nonlinear: Recipe = field(default_factory=lambda: _recipe(1e-3, 200))

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` of the settings unless this can be run."""
        require(0 < self.held < 1, f"{name}.held", self.held, "a share between 0 and 1")
        require(len(self.samples) > 0, f"{name}.samples", self.samples, "at least one number of examples")
        for count in self.samples:
            enough = int(count * (1 - self.held)) >= 2 and int(count * (1 - self.held)) < count
            require(enough, f"{name}.samples", count, "enough examples to train on two and to hold one out")
        for part, valid in (("truths", TRUTHS), ("models", MODELS)):
            require(len(getattr(self, part)) > 0, f"{name}.{part}", [], f"some of {list(valid)}")
            for each in getattr(self, part):
                require_one_of(f"{name}.{part}", each, valid)
        require(self.test > 0, f"{name}.test", self.test, "a positive number of examples")
        require(0 <= self.weight < 1e9, f"{name}.weight", self.weight, "zero or a positive number")
        self.costs.check(f"{name}.costs")
        self.linear.check(f"{name}.linear", TRAINED)
        self.nonlinear.check(f"{name}.nonlinear", TRAINED)


def run_shop(shop: Shop, layer: QPLayer, record: Recorder) -> None:
    """The costs of one method on the published test data, for every truth, model and number of examples."""
    for truth in shop.truths:
        x, y = draw(truth, shop.test, np.random.RandomState(TEST_SEED))
        best = _cost(shop, order(layer, shop.costs, true_logits(truth, x).softmax(-1)), y)
        if record.method == "true_model":
            record.metric("cost", f"{truth} truth", 0, best, "1")
            continue
        for count in shop.samples:
            for model in shop.models:
                split = f"{truth} truth, {model} model, {count} examples"
                with record.timed(f"train {split}"):
                    found, epoch = _trained(shop, layer, truth, model, count, record)
                with torch.no_grad():
                    cost = _cost(shop, decide(shop, layer, record.method, found, x), y)
                record.metric("cost", split, epoch, cost, "1")
                record.metric("regret", split, epoch, cost / best - 1, "1")


def decide(shop: Shop, layer: QPLayer, method: str, model: nn.Module, x: Tensor) -> Tensor:
    """The orders of a method, shape (batch,): the policy's own, or the best ones under its distribution."""
    if method == "policy":
        return model(x)[:, 0]
    return order(layer, shop.costs, model(x).softmax(-1))


def _trained(
    shop: Shop, layer: QPLayer, truth: str, kind: str, count: int, record: Recorder
) -> tuple[nn.Module, int]:
    """The trained model of a method, and the epoch that the held-out examples chose."""
    method, recipe = record.method, shop.linear if kind == "linear" else shop.nonlinear
    # The same examples for all methods and models.
    x, y = draw(truth, count, np.random.RandomState([record.seed, count]))
    kept = int(count * (1 - shop.held))
    model = network(INPUTS, 1 if method == "policy" else len(DEMANDS), recipe)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        if method == "policy":
            return _costs(shop, decide(shop, layer, method, model, x), y).mean()
        logits = model(x)
        likelihood = nn.functional.cross_entropy(logits, y)
        if method == "mle":
            return likelihood
        orders = order(layer, shop.costs, logits.softmax(-1))
        return _costs(shop, orders, y).mean() + shop.weight * likelihood

    def score() -> float:
        with torch.no_grad():
            return _cost(shop, decide(shop, layer, method, model, x[kept:]), y[kept:])

    rng = np.random.default_rng([record.seed, count, TRAINED.index(method)])
    train: Pair = x[:kept], y[:kept]
    return model, fit(model, train, recipe, method, rng, loss, score)[0]


def _costs(shop: Shop, orders: Tensor, y: Tensor) -> Tensor:
    return shop.costs.of(orders, torch.tensor(DEMANDS, dtype=orders.dtype)[y])


def _cost(shop: Shop, orders: Tensor, y: Tensor) -> float:
    return _costs(shop, orders, y).mean().item()
