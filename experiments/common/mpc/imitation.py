"""Imitating a model-predictive controller of a plant: what the studies of arXiv 1810.13400, section 5.3, share."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from experiments.common.checkpoint import Loop
from experiments.common.config import LayerConfig, RunConfig
from experiments.common.errors import require
from experiments.common.mpc.learners import Imitator, Recurrent
from experiments.common.mpc.plant import Kind, Plant
from experiments.common.mpc.sequential import Controller
from experiments.common.recorder import Recorder
from experiments.common.results import Row
from experiments.common.watch import counted, scalar

IMITATORS = ("sysid", "mpc_dynamics", "mpc_cost", "mpc_cost_dynamics")
SPLITS = ("validation", "test", "train")
# About so many points of a learning curve go into the tables.
POINTS = 100


@dataclass
class Data:
    """Steps in a trajectory, and trajectories: training sets of several sizes out of one pool, the rest apart."""

    horizon: int = 20  #: of a trajectory, T [steps]
    #: to learn from, sets of several sizes out of one pool [trajectories]
    train: list[int] = field(default_factory=lambda: [10, 50, 100])
    validation: int = 10  #: that choose the epoch [trajectories]
    test: int = 10  #: that are reported [trajectories]

    def check(self) -> None:
        """Raise a `ConfigError` unless such trajectories can be drawn."""
        require(self.horizon > 1, "data.horizon", self.horizon, "at least 2 steps, T")
        distinct = len(self.train) > 0 and min(self.train) > 0 and len(set(self.train)) == len(self.train)
        require(distinct, "data.train", self.train, "different positive numbers of trajectories")
        for name in ("validation", "test"):
            count = getattr(self, name)
            require(count > 0, f"data.{name}", count, "a positive number of trajectories")


@dataclass
class Training:
    """RMSprop with rate `lr` and memory `alpha` for the controllers, Adam with `lstm_lr` for the LSTM.

    Warm starts are forgotten every `restart` epochs; when both
    parts of a cost are learned they take turns of `turn` epochs. Training ends early when `patience` epochs have not
    improved the loss on validation.
    """

    epochs: int = 10_000  #: of the controllers [passes]
    lstm_epochs: int = 10_000  #: of the LSTM [passes]
    batch: int = 32  #: in a step [trajectories]
    lr: float = 1e-2  #: learning rate of RMSprop, of the controllers [1]
    alpha: float = 0.5  #: memory of RMSprop, from 0 to less than 1 [1]
    lstm_lr: float = 1e-4  #: learning rate of Adam, of the LSTM [1]
    width: int = 256  #: of the LSTM [units]
    restart: int = 50  #: after which warm starts are forgotten [epochs]
    turn: int = 10  #: of each part of a cost, where both are learned [epochs]
    evaluate_every: int = 1  #: between two evaluations, among which the best is chosen [epochs]
    patience: int = 10_000  #: without a better loss on validation, after which training ends [epochs]

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be run."""
        for name in (f.name for f in fields(self) if f.type is int):
            count = getattr(self, name)
            require(count > 0, f"train.{name}", count, "a positive integer")
        for name in ("lr", "lstm_lr"):
            rate = getattr(self, name)
            require(0 < rate < math.inf, f"train.{name}", rate, "a positive, finite rate")
        require(0 <= self.alpha < 1, "train.alpha", self.alpha, "a number from 0 to less than 1")


@dataclass
class ImitationConfig(RunConfig):
    """Settings; the defaults are the published program's."""

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3])
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    data: Data = field(default_factory=Data)
    train: Training = field(default_factory=Training)
    iterations: int = 100  #: most of a plan [linearisations]
    bound: float = 1.0  #: on the absolute value of the torque or force [N m or N]

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        self.data.check()
        self.train.check()
        require(self.iterations > 0, "iterations", self.iterations, "a positive number of linearisations")
        require(0 < self.bound < math.inf, "bound", self.bound, "a positive, finite torque or force")

    def controller(self) -> Controller:
        """The model-predictive controller."""
        return Controller(self.layer.build(), self.bound, self.iterations)

    def epochs(self, method: str) -> int:
        """How long a method is trained."""
        return self.train.lstm_epochs if method == "lstm" else self.train.epochs


@dataclass
class Trajectories:
    """Where the expert starts, (count, S), what it does, (count, T), and where it goes, (count, T, S)."""

    start: Tensor
    controls: Tensor
    states: Tensor

    def __getitem__(self, chosen: slice | Tensor) -> "Trajectories":
        return Trajectories(self.start[chosen], self.controls[chosen], self.states[chosen])


Model = Imitator | Recurrent


def expert(config: ImitationConfig, kind: Kind, plant: Plant, start: Tensor) -> dict[str, Trajectories]:
    """What the expert does on `plant` from each start, (count, S), in order: for training, validation and test."""
    zero = torch.zeros(len(start), config.data.horizon, dtype=torch.float64)
    controls, converged = config.controller().solve(plant, kind.cost(), start, zero)
    states = torch.stack(plant.rollout(start, controls), -1)
    # An expert that has not made up its mind is no example.
    keep, pool = converged.nonzero()[:, 0], max(config.data.train)
    everything = Trajectories(start, controls, states)
    train, rest = everything[keep[keep < pool]], everything[keep[keep >= pool]]
    return {
        "train": train,
        "validation": rest[: config.data.validation],
        "test": rest[config.data.validation :],
    }


def draws(config: ImitationConfig, kind: Kind, seed: int) -> list[Tensor]:
    """Numbers uniform on [0, 1) for every quantity of a start, as the published program draws them, (count,) each."""
    count = config.data.validation + config.data.test + max(config.data.train)
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(count, generator=generator).double() for _ in range(kind.states)]


def learner(config: ImitationConfig, kind: Kind, method: str, seed: int) -> Model:
    """The learner before training."""
    if method == "lstm":
        return Recurrent(kind, config.train.width, config.data.horizon, torch.Generator().manual_seed(seed))
    learns_dynamics, learns_cost = method != "mpc_cost", "cost" in method
    start = torch.tensor(kind.start if learns_dynamics else kind.true, dtype=torch.float64)
    return Imitator(config.controller(), kind, start, learns_dynamics, learns_cost)


def predict(model: Model, given: Trajectories, warm: Tensor) -> Tensor:
    """The learner's controls, constants, from `warm` ones, which are brought up to date."""
    with torch.no_grad():
        if isinstance(model, Recurrent):
            return model(given.start)
        warm[:] = model.plan(given.start, warm)[0]
        return warm


def imitation_loss(model: Model, given: Trajectories, warm: Tensor) -> Tensor:
    """Mean squared distance from the expert's controls, differentiable; `warm` is brought up to date."""
    if isinstance(model, Recurrent):
        return (model(given.start) - given.controls).square().mean()
    warm[:], converged = model.plan(given.start, warm)
    return (model.attach(given.start, warm, converged) - given.controls).square().mean()


def evaluate(model: Model, *parts: Trajectories) -> tuple[float, ...]:
    """Mean squared distances from the expert's controls, of a learner that starts to think from zero controls.

    One for each of the parts, which share the calls of the controller.
    """
    given = Trajectories(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Trajectories)))
    errors = (predict(model, given, torch.zeros_like(given.controls)) - given.controls).square()
    return tuple(part.mean().item() for part in errors.split([len(part.start) for part in parts]))


def train(
    config: ImitationConfig,
    method: str,
    seed: int,
    model: Model,
    data: dict[str, Trajectories],
    record: Recorder,
    label: int,
) -> dict[int, tuple[float, ...]]:
    """Train `model` and return the losses of `SPLITS` by epoch; `label` is the nominal number of trajectories."""
    given, epochs = data["train"], config.epochs(method)
    rng, optimiser = np.random.default_rng([seed, label]), _optimiser(config, model)
    loop = Loop(model, optimiser, rng)
    kept = loop.restored({"next": 0, "warm": torch.zeros_like(given.controls), "history": {}})
    warm, history = kept["warm"], kept["history"]
    for epoch in counted(kept["next"], epochs):
        if epoch % config.train.evaluate_every == 0 or epoch == epochs:
            history[epoch] = evaluate(model, *(data[name] for name in SPLITS))
            for name, loss in zip(SPLITS, history[epoch], strict=True):
                scalar(f"imitation_loss/{name}_{label}", epoch, loss)
            if epoch == epochs or epoch - _best(history) >= config.train.patience:
                break
        if epoch % config.train.restart == 0:
            warm.zero_()
        for part in torch.from_numpy(rng.permutation(len(warm))).split(config.train.batch):
            guess = warm[part]
            _step(config, method, model, optimiser, given[part], guess, epoch)
            warm[part] = guess
        loop.keep({"next": epoch + 1, "warm": warm, "history": history})
    spacing = math.ceil(epochs / POINTS / config.train.evaluate_every) * config.train.evaluate_every
    for epoch in (epoch for epoch in history if epoch % spacing == 0):
        for name, loss in zip(SPLITS, history[epoch], strict=True):
            record.metric("imitation_loss", f"{name}_{label}", epoch, loss, record.squared_unit)
    return history


def learn(
    config: ImitationConfig,
    method: str,
    seed: int,
    model: Model,
    data: dict[str, Trajectories],
    count: int,
    record: Recorder,
) -> None:
    """Train `model` on the first `count` trajectories and record what became of it."""
    split, own = f"test_{count}", data | {"train": data["train"][:count]}
    if isinstance(model, Imitator):
        error = model.one_step_error(own["train"].start, own["train"].controls)
        record.metric("one_step_error", split, 0, error, "1")
    with record.timed(f"train {count}"):
        history = train(config, method, seed, model, own, record, count)
    best, last = _best(history), max(history)
    record.metric("final_imitation_loss", split, best, history[best][1], record.squared_unit)
    for name, loss in zip(SPLITS, history[last], strict=True):
        record.metric("last_imitation_loss", f"{name}_{count}", last, loss, record.squared_unit)
    if isinstance(model, Imitator):
        with torch.no_grad():
            for name, (value, unit) in model.kind.believed(model.plant()).items():
                record.metric(name, split, last, value, unit)
            loss = model.prediction_loss(own["test"].states, own["test"].controls).item()
            record.metric("last_prediction_loss", split, last, loss, model.kind.squared)


def record_dropped(config: ImitationConfig, data: dict[str, Trajectories], record: Recorder) -> None:
    """How many of the expert's trajectories had not converged and are in no split, and so how many tests remain."""
    kept = {name: len(part.start) for name, part in data.items()}
    apart = config.data.validation + config.data.test
    dropped = {"train": max(config.data.train) - kept["train"]}
    dropped["validation and test"] = apart - kept["validation"] - kept["test"]
    for split, count in dropped.items():
        record.metric("expert_dropped", split, 0, count, "trajectory")


def published(record: Recorder, losses: Mapping[str, Mapping[int, float]]) -> list[Row]:
    """Rows of the published losses by method and number of trajectories."""
    for method, by_count in losses.items():
        for count, loss in by_count.items():
            name = f"{method}_published"
            record.metric("published_imitation_loss", f"test_{count}", 0, loss, record.squared_unit, name)
    return record.tables["metrics"]


def _best(history: dict[int, tuple[float, ...]]) -> int:
    """The epoch of the least loss on validation, the first split."""
    return min(history, key=lambda epoch: history[epoch])


def _optimiser(config: ImitationConfig, model: Model) -> torch.optim.Optimizer:
    if isinstance(model, Recurrent):
        return torch.optim.Adam(model.parameters(), lr=config.train.lstm_lr)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.RMSprop(learned, lr=config.train.lr, alpha=config.train.alpha)


def _step(
    config: ImitationConfig,
    method: str,
    model: Model,
    optimiser: torch.optim.Optimizer,
    part: Trajectories,
    warm: Tensor,
    epoch: int,
) -> None:
    optimiser.zero_grad()
    if isinstance(model, Imitator) and method.startswith("sysid"):
        model.prediction_loss(part.states, part.controls).backward()
    else:
        imitation_loss(model, part, warm).backward()
    if isinstance(model, Imitator) and model.learns_cost:
        # The published order: linear terms first.
        resting = model.logits if epoch // config.train.turn % 2 == 0 else model.p
        resting.grad = torch.zeros_like(resting)
    optimiser.step()
    if isinstance(model, Imitator):
        model.project()
