"""Imitating a controller of the cart-pole: Amos et al., "Differentiable MPC for end-to-end planning and control" (arXiv
1810.13400), section 5.3, on the second of its two plants.

Question: that of mpc_pendulum, where gravity is stronger than the motor and the pole has to be balanced: how well do
the forces of a controller come out of a learner that differentiates through its own controller and learns the
dynamics, the cost, or both; of one that fits the dynamics to trajectories; and of an LSTM?

The settings are the published program's (imitation_nonconvex): T = 20, poles that start at any angle, forces up to
100 N, 10, 50 or 100 training trajectories, 10 for validation, which choose the epoch, 10 for the test. Seeds draw
trajectories of their own; seed 0 starts them where the published program does. The derivative is that of the control
problem, as for the pendulum (experiments/common/mpc/sequential.py).

What was learned: with enough trajectories learning through the controller finds the dynamics and imitates better than
fitting them, although the poles start anywhere. With few it may settle on other dynamics that imitate the training
trajectories alone; fitting, whose loss is nearly quadratic, does not. The LSTM comes near neither.

    python -m experiments.run experiment=mpc_cartpole size=companion    # minutes
    python -m experiments.run experiment=mpc_cartpole size=paper        # hours
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import torch

from experiments.common.cells import run_cells
from experiments.common.config import check_methods
from experiments.common.mpc.cartpole import CARTPOLE, Cartpole
from experiments.common.mpc.imitation import (
    IMITATORS,
    ImitationConfig,
    Trajectories,
    draws,
    expert,
    learn,
    learner,
    published,
    record_dropped,
)
from experiments.common.mpc.published import CARTPOLE as PUBLISHED
from experiments.common.recorder import Recorder
from experiments.common.results import Tables

METHODS = ("lstm", *IMITATORS)
FINAL = (
    *("final_imitation_loss", "last_imitation_loss", "last_prediction_loss"),
    *("one_step_error", "expert_dropped"),
)
DECADES = FINAL[:3]
UNITS = ("N", "N^2")


@dataclass
class Config(ImitationConfig):
    """Settings; the defaults are the published program's."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    bound: float = 100.0

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)


def make_data(config: Config, seed: int) -> dict[str, Trajectories]:
    """The expert's trajectories: positions and speeds of the cart within 1/2, any angle, turns within 1."""
    x, v, angle, turn = draws(config, CARTPOLE, seed)
    start = torch.stack((x - 0.5, v - 0.5, 2 * math.pi * (angle - 0.5), 2 * turn - 1), -1)
    return expert(config, CARTPOLE, Cartpole(torch.tensor(CARTPOLE.true, dtype=torch.float64)), start)


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on the trajectories of one seed, for every size of the training set."""
    record = Recorder("mpc_cartpole", method, seed, UNITS, examples=False)
    data = make_data(config, seed)
    record_dropped(config, data, record)
    for count in config.data.train:
        learn(config, method, seed, learner(config, CARTPOLE, method, seed), data, count, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment, with the published losses; finished cells are kept for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    tables = run_cells(run_cell, config, cells, directory)
    tables["metrics"] += published(Recorder("mpc_cartpole", "published", 0, UNITS, examples=False), PUBLISHED)
    return tables
