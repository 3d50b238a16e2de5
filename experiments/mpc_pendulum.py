"""Imitating a controller of the pendulum: Amos et al., "Differentiable MPC for end-to-end planning and control"
(arXiv 1810.13400), sections 5.3 and 5.4.

Question: an expert swings a pendulum by model-predictive control over one second. How well do its torques come out of
a learner that differentiates through its own controller and learns the dynamics, the cost, or both; of one that fits
the dynamics to the expert's trajectories; and of an LSTM? The equations are gymnasium's (Pendulum-v1). Then the
expert's pendulum gets a damping and a bias that the learner's model lacks (`*_misspecified`): which of the two ways to
learn the dynamics imitates better, when no dynamics are right?

The settings are the published program's (imitation_nonconvex): T = 20, 10, 50 or 100 training trajectories, 10 for
validation, which choose the epoch, 10 for the test. Seeds draw trajectories of their own; seed 0 starts them where the
published program does. The controller is a sequence of box-constrained programs solved by the shared layer; its
derivative is that of the control problem itself (experiments/common/mpc/sequential.py says where the published one
differs), and `one_step_error` is by how much.

    python -m experiments.run experiment=mpc_pendulum size=companion    # minutes
    python -m experiments.run experiment=mpc_pendulum size=paper        # three hours, two of them for the LSTM
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from experiments.common.cells import run_cells
from experiments.common.config import check_methods, check_seeds
from experiments.common.mpc.imitation import (
    IMITATORS,
    ImitationConfig,
    Model,
    Training,
    Trajectories,
    draws,
    expert,
    learn,
    learner,
    published,
    record_dropped,
)
from experiments.common.mpc.learners import Imitator
from experiments.common.mpc.pendulum import PENDULUM, Pendulum
from experiments.common.mpc.published import PENDULUM as PUBLISHED
from experiments.common.recorder import Recorder
from experiments.common.results import Tables

MISSPECIFIED = ("sysid_misspecified", "mpc_dynamics_misspecified")
METHODS = ("lstm", *IMITATORS, *MISSPECIFIED)
FINAL = (
    *("final_imitation_loss", "last_imitation_loss", "last_prediction_loss"),
    *("one_step_error", "expert_dropped"),
)
DECADES = FINAL[:3]
UNITS = ("N m", "N^2 m^2")
DAMPING, BIAS = 1.0, 0.1
# Centre and width of where the learners of the other pendulum start.
CENTRE, WIDTH = (5.0, 1.0, 1.0), (3.0, 1.0, 1.0)


@dataclass
class TrainingOfTwo(Training):
    """How long, and `misspecified_epochs` for the other pendulum."""

    misspecified_epochs: int = 250  #: with the wrong model [passes]


@dataclass
class Config(ImitationConfig):
    """Settings; the defaults are the published program's. `misspecified_seeds` are those of the other pendulum."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    #: of the random numbers, of the methods with the wrong model [1]
    misspecified_seeds: list[int] = field(default_factory=lambda: list(range(8)))
    # A setting is read and never assigned, so the narrower type is safe.
    train: TrainingOfTwo = field(default_factory=TrainingOfTwo)  # pyright: ignore[reportIncompatibleVariableOverride]
    bound: float = 2.0

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        check_seeds("misspecified_seeds", self.misspecified_seeds)

    def epochs(self, method: str) -> int:
        """How long a method is trained."""
        return self.train.misspecified_epochs if method in MISSPECIFIED else super().epochs(method)


def make_data(config: Config, method: str, seed: int) -> dict[str, Trajectories]:
    """The expert's trajectories: angles uniform within a quarter turn of upright, speeds within 1."""
    pendulum = Pendulum(
        torch.tensor(PENDULUM.true, dtype=torch.float64), *((DAMPING, BIAS) if method in MISSPECIFIED else ())
    )
    angle, speed = draws(config, PENDULUM, seed)
    return expert(config, PENDULUM, pendulum, torch.stack((math.pi * (angle - 0.5), 2 * speed - 1), -1))


def make_model(config: Config, method: str, seed: int) -> Model:
    """The learner before training."""
    if method not in MISSPECIFIED:
        return learner(config, PENDULUM, method, seed)
    spread = torch.tensor(WIDTH) * (torch.rand(3, generator=torch.Generator().manual_seed(seed)) - 0.5)
    start = (torch.tensor(CENTRE) + spread).double()
    return Imitator(config.controller(), PENDULUM, start, True, False)


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the trajectories of one seed, for every size of the training set."""
    record = Recorder("mpc_pendulum", method, seed, UNITS, examples=False)
    data = make_data(config, method, seed)
    record_dropped(config, data, record)
    for count in config.data.train if method not in MISSPECIFIED else [max(config.data.train)]:
        learn(config, method, seed, make_model(config, method, seed), data, count, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment, with the published losses; finished cells are kept for a restart."""
    cells = [
        (method, seed)
        for method in config.methods
        for seed in (config.misspecified_seeds if method in MISSPECIFIED else config.seeds)
    ]
    tables = run_cells(run_cell, config, cells, directory)
    tables["metrics"] += published(Recorder("mpc_pendulum", "published", 0, UNITS, examples=False), PUBLISHED)
    return tables
