"""Convex approximate dynamic programming: cvxpylayers (arXiv 1910.12430), section 6.2.

Question: three bounded controls hold two states, which drift at random, near zero; the control is the solution of a
program whose value function is a guess. How much is gained by descending along the gradient of the cost of whole
trajectories, through 25 programs in a row? Published: loss 1.51906 -> 0.910299 in 100 steps, "roughly 40 %".

The program is minimise 1/2 ‖Su‖² + (M'x + r)'u subject to ‖u‖ <= 1, a cone program. Settings are the published
notebook's: S and M start at the controller that is best without the bound, r at zero; 8 trajectories of 25 periods
from x = 0, with the same noise in every step. Seed 0 has the notebook's random numbers; further seeds have other
noise in the same system. Because the descent sees the same 200 random vectors all the time, its loss does not tell
what was learned from what was memorised: both policies are also followed along trajectories that no descent has
seen (split `fresh`).

    python -m experiments.run experiment=adp size=companion    # minutes
    python -m experiments.run experiment=adp size=companion layer=cvxpylayers
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.control.descent import Descent
from experiments.common.control.linear import LinearSystem, symmetric_root
from experiments.common.control.published import ADP, record_published
from experiments.common.control.study import FRESH, UNIT, Sample, Study, TrajectoriesOfSystem, stream
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.programs.engines import QUADRATIC, builder
from experiments.programs.notebook import leaf, normal, numpy_stream

METHODS = ("untuned", "tuned")
LEARNED = METHODS[1:]
FINAL = ("final_cost",)
STATES, CONTROLS, DEVIATION = 2, 3, 0.2
# The notebook seeds torch with this before every step.
NOTEBOOK = 1


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the notebook's, but for the fresh trajectories, which it does not have."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: TrajectoriesOfSystem = field(
        default_factory=lambda: TrajectoriesOfSystem(horizon=25, train=8, fresh=200, system=1)
    )
    train: Descent = field(default_factory=lambda: Descent(lr=0.02, momentum=0.9, evaluate_every=10))

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        solver = self.layer.solver
        cone = f"one for cone programs: layer.solver={solver} solves quadratic programs only"
        require(solver not in QUADRATIC, "layer.solver", solver, cone)
        self.data.check("data")
        self.train.check("train")


def make_system(seed: int) -> LinearSystem:
    """The notebook's system: A near the identity, B small, so that little can be steered in a period."""
    draw = numpy_stream(seed)
    A = torch.eye(STATES).double() + 1e-2 * torch.from_numpy(draw.randn(STATES, STATES))
    return LinearSystem(A, 1e-2 / 3 * torch.from_numpy(draw.randn(STATES, CONTROLS)), DEVIATION)


def make_data(config: Config, seed: int) -> dict[str, Sample]:
    """Start and noise of each split: the eight trajectories of the descent, and fresh ones."""
    counts = {"train": (NOTEBOOK, config.data.train), "fresh": (FRESH, config.data.fresh)}
    return {
        split: _draw(config.data.horizon, count, stream(seed, number))
        for split, (number, count) in counts.items()
    }


def make_model(config: Config) -> Study:
    """The policy that ignores the bound in its value function."""
    system = make_system(config.data.system)
    S, price, u = cp.Parameter((CONTROLS, CONTROLS)), cp.Parameter(CONTROLS), cp.Variable(CONTROLS)
    cost: Any = 0.5 * cp.sum_squares(S @ u) + price @ u
    layer = builder(config.layer)(cp.Problem(cp.Minimize(cost), [cp.norm(u) <= 1]), [S, price], [u])
    P, A, B = torch.from_numpy(system.riccati()), system.A, system.B
    # Without the bound, u'Ru + (Ax + Bu)'P(Ax + Bu) is least; half of it is 1/2 u'(R + B'PB)u + x'A'PB u and a
    # constant.
    root = leaf(symmetric_root((torch.eye(CONTROLS) + B.mT @ P @ B).numpy()))
    coupling, slope = leaf(A.mT @ P @ B), leaf(torch.zeros(CONTROLS, dtype=torch.float64))

    def policy(x: Tensor) -> Tensor:
        return layer(root, x @ coupling + slope)[0]

    return Study(system, policy, [root, coupling, slope])


def evaluate(study: Study, data: dict[str, Sample], record: Recorder) -> None:
    """Record the mean cost of a period for each split."""
    for split, sample in data.items():
        record.metric("final_cost", split, 0, study.evaluate(sample), UNIT)


def train(config: Config, study: Study, data: dict[str, Sample], record: Recorder) -> None:
    """Tune the policy in place; the cost on fresh trajectories is recorded along the way and decides nothing."""

    def measure(step: int) -> None:
        record.metric("cost", "fresh", step, study.evaluate(data["fresh"]), UNIT)

    study.train(config.train, lambda step: data["train"], measure, record)


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one policy on the noise of one seed."""
    record = Recorder("adp", method, seed, ("1", "1"), examples=False)
    data, study = make_data(config, seed), make_model(config)
    if method == "tuned":
        with record.timed("train"):
            record.learned(study.named(), lambda: train(config, study, data, record))
        if seed == config.seeds[0]:
            record_published(ADP, "cost", "train", UNIT, record)
    with record.timed("evaluate"):
        evaluate(study, data, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)


def _draw(horizon: int, count: int, numbers: torch.Generator) -> Sample:
    """Noise in the notebook's order, one trajectory after the other, in float32."""
    shocks = [normal(numbers, STATES, dtype=torch.float32) for _ in range(count * horizon)]
    noise = torch.stack(shocks).reshape(count, horizon, STATES).transpose(0, 1)
    return torch.zeros(count, STATES, dtype=torch.float64), noise
