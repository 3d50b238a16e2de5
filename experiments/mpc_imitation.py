"""Learning the dynamics of a controller, from what it does: Amos, Rodriguez, Sacks, Boots & Kolter, "Differentiable MPC
for end-to-end planning and control" (arXiv 1810.13400), section 5.2.

Question: an expert controls a linear system at quadratic cost over 5 steps. A learner that knows the cost, and
only sees where the expert goes, descends in (A, B) through its own optimal controller. Does it find the dynamics?
Published: in half of 8 trials; the others stay at an imitation loss of 0.19 to 0.21.

The published program (imitation_lqr/train.py) draws everything from torch's own generator, seed 42 for the expert
and 0 to 7 for the trials, and so do we: `unbounded` is that program, number for number. The text of the paper has
controls in [-1, 1] and batches of 32: `bounded`. Every step is one quadratic program over the whole horizon,
solved and differentiated by the shared layer.

After the last step every trial is taken on by L-BFGS on fixed initial states. A trial that is caught in
a local minimum would stay; the metrics `descended_*` say where it goes instead.

    python -m experiments.run experiment=mpc_imitation size=companion    # a minute
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.mpc.linear_quadratic import LinearQuadratic, published_draw, published_dynamics
from experiments.common.mpc.published import FINAL_IMITATION_LOSS
from experiments.common.recorder import Recorder
from experiments.common.results import Row, Tables
from experiments.common.stats import wilson
from experiments.common.watch import counted, scalar

METHODS = ("unbounded", "bounded")
FINAL = (
    "initial_imitation_loss",
    "final_imitation_loss",
    "final_model_loss",
    "converged",
    "descended_loss",
    "descended_norm",
)
DECADES = ("final_imitation_loss", "final_model_loss", "descended_loss", "descended_norm")
TRIALS = {"converged": 1}
UNITS = ("1", "1")
PUBLISHED_STEPS = 1000


@dataclass
class System:
    """Sizes of the system, the bound of `bounded`, and the seed of the expert."""

    states: int = 3  #: of the system [states]
    controls: int = 3  #: of the system [controls]
    horizon: int = 5  #: of a plan, T [steps]
    bound: float = 1.0  #: on the absolute value of each control, of `bounded` [1]
    expert_seed: int = 42  #: of the expert; none of the seeds of the run [1]

    def check(self, seeds: list[int]) -> None:
        """Raise a `ConfigError` unless there are such an expert and learners that differ from it."""
        for name in ("states", "controls"):
            count = getattr(self, name)
            require(count > 0, f"system.{name}", count, "a positive number")
        require(self.horizon > 1, "system.horizon", self.horizon, "at least 2 steps, T")
        require(0 < self.bound < math.inf, "system.bound", self.bound, "a positive, finite bound")
        other = self.expert_seed not in seeds
        require(other, "system.expert_seed", self.expert_seed, f"none of the seeds {seeds}, which are trials")


@dataclass
class Training:
    """RMSprop for `steps` steps at rate `lr`; losses are recorded as means over `window` steps.

    The published figure smooths over 25 steps. `batch` and `bounded_batch` are the initial states in a step of
    the two methods. Afterwards L-BFGS takes up to `descent` iterations on `descent_batch` initial states, until the
    parameters are larger than `descent_norm`.
    """

    steps: int = 1000  #: of RMSprop [steps]
    lr: float = 1e-2  #: rate of RMSprop [1]
    batch: int = 128  #: in a step, without bounds [initial states]
    bounded_batch: int = 32  #: in a step, with bounds [initial states]
    window: int = 25  #: over which losses are averaged; a divisor of train.steps [steps]
    descent: int = 400  #: of L-BFGS afterwards, at most [iterations]
    descent_batch: int = 256  #: of L-BFGS [initial states]
    descent_norm: float = 1e3  #: size of the parameters at which it ends [1]

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be run."""
        for name in ("steps", "batch", "bounded_batch", "window", "descent", "descent_batch"):
            count = getattr(self, name)
            require(count > 0, f"train.{name}", count, "a positive integer")
        require(self.steps % self.window == 0, "train.window", self.window, "a divisor of train.steps")
        for name in ("lr", "descent_norm"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"train.{name}", value, "a positive, finite number")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the published program's."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    seeds: list[int] = field(default_factory=lambda: list(range(8)))
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    system: System = field(default_factory=System)
    train: Training = field(default_factory=Training)
    #: sum of the mean squared errors of A and B below which a trial has found the dynamics [1]
    converged_below: float = 0.01

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.system.check(self.seeds)
        self.train.check()
        limit = self.converged_below
        require(0 < limit < math.inf, "converged_below", limit, "a positive, finite model loss")


class Controller(nn.Module):
    """Optimal control of the horizon as a function of the initial state; A and B are the parameters."""

    def __init__(self, config: Config, method: str, linear: Tensor, dynamics: tuple[Tensor, Tensor]):
        super().__init__()
        size, bound = config.system, config.system.bound if method == "bounded" else None
        self.problem = LinearQuadratic(size.horizon, size.states, size.controls, linear, bound)
        self.layer = config.layer.build()
        self.A, self.B = (nn.Parameter(matrix) for matrix in dynamics)

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """States and controls for initial states of shape (batch, states)."""
        return self.problem.solve(self.layer, self.A, self.B, start)

    def norm(self) -> float:
        """Frobenius norm of (A, B)."""
        return torch.cat((self.A, self.B), 1).norm().item()


def make_data(config: Config, method: str) -> Controller:
    """The expert. The published program draws its linear cost twice and uses the second."""
    generator = torch.Generator().manual_seed(config.system.expert_seed)
    states, controls = config.system.states, config.system.controls
    _, linear = (published_draw(generator, states + controls) for _ in range(2))
    return Controller(config, method, linear, published_dynamics(generator, states, controls))


def make_model(config: Config, expert: Controller, method: str, generator: torch.Generator) -> Controller:
    """The learner: the expert's cost, other dynamics."""
    size = config.system
    dynamics = published_dynamics(generator, size.states, size.controls)
    return Controller(config, method, expert.problem.linear, dynamics)


def imitation_loss(learner: Controller, expert: Controller, start: Tensor) -> Tensor:
    """Mean squared distance of the controls plus that of the states."""
    with torch.no_grad():
        wanted = expert(start)
    return sum(
        ((own - true).square().mean() for own, true in zip(learner(start), wanted, strict=True)),
        0 * start.sum(),
    )


def model_loss(learner: Controller, expert: Controller) -> float:
    """Mean squared error of A plus that of B."""
    errors = ((learner.A - expert.A).square().mean(), (learner.B - expert.B).square().mean())
    return sum(error.item() for error in errors)


def train(
    config: Config, learner: Controller, expert: Controller, generator: torch.Generator, record: Recorder
) -> list[tuple[float, float]]:
    """Train `learner` in place; returns imitation loss and model loss of every window, and records them."""
    count = config.train.batch if learner.problem.bound is None else config.train.bounded_batch
    optimiser = torch.optim.RMSprop(learner.parameters(), lr=config.train.lr)
    losses, windows = [], []
    for step in counted(1, config.train.steps):
        loss = imitation_loss(learner, expert, published_draw(generator, count, config.system.states))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append((loss.item(), model_loss(learner, expert)))
        if step % config.train.window == 0:
            windows.append(tuple(np.mean(losses[-config.train.window :], axis=0)))
            for name, value in zip(("imitation_loss", "model_loss"), windows[-1], strict=True):
                record.metric(name, "train", step, value, "1")
                scalar(f"{name}/train", step, value)
    return windows


def descend(config: Config, learner: Controller, expert: Controller) -> tuple[float, float]:
    """Where L-BFGS takes the imitation loss from here: its value, and the norm of (A, B), cut. Changes `learner`."""
    generator = torch.Generator().manual_seed(config.system.expert_seed)
    start = published_draw(generator, config.train.descent_batch, config.system.states)
    part = 20
    optimiser = torch.optim.LBFGS(
        learner.parameters(), max_iter=part, history_size=30, line_search_fn="strong_wolfe",
        tolerance_grad=1e-9, tolerance_change=1e-14,
    )  # fmt: skip

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = imitation_loss(learner, expert, start)
        loss.backward()
        return loss

    for _ in range(math.ceil(config.train.descent / part)):
        optimiser.step(closure)
        if learner.norm() > config.train.descent_norm:
            break
    return closure().item(), min(learner.norm(), config.train.descent_norm)


def evaluate(
    config: Config, learner: Controller, expert: Controller, windows: list[tuple[float, float]]
) -> dict[str, float]:
    """The metrics of `FINAL` of a trained learner; the losses are those of the first and the last window."""
    imitation, model = windows[-1]
    loss, norm = descend(config, learner, expert)
    values = (windows[0][0], imitation, model, float(model < config.converged_below), loss, norm)
    return dict(zip(FINAL, values, strict=True))


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one trial."""
    record = Recorder("mpc_imitation", method, seed, UNITS, examples=False)
    expert, generator = make_data(config, method), torch.Generator().manual_seed(seed)
    learner = make_model(config, expert, method, generator)
    with record.timed("train"):
        windows = train(config, learner, expert, generator, record)
    with record.timed("evaluate"):
        for name, value in evaluate(config, learner, expert, windows).items():
            record.metric(name, "train", config.train.steps, value, "1")
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    tables = run_cells(run_cell, config, cells, directory)
    tables["intervals"] = [_proportion(tables["metrics"], method) for method in config.methods]
    # The published figure does not name its trials: the seed of these rows is their place in order of size.
    for place, loss in enumerate(FINAL_IMITATION_LOSS):
        record = Recorder("mpc_imitation", "published", place, UNITS, examples=False)
        record.metric("published_imitation_loss", "train", PUBLISHED_STEPS, loss, "1")
        tables["metrics"] += record.tables["metrics"]
    return tables


def _proportion(rows: list[Row], method: str) -> Row:
    """How many trials converged, with the interval of Wilson."""
    own = [row["value"] for row in rows if row["method"] == method and row["metric"] == "converged"]
    share = wilson(sum(value == 1.0 for value in own), len(own))
    numbers = {"mean": share.mean, "lo": share.lo, "hi": share.hi, "unit": "share of trials"}
    labels = {"experiment": "mpc_imitation", "method": method, "baseline": "none", "split": "train"}
    return {**labels, "metric": "converged", **numbers}
