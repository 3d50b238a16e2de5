"""Tuning the driver of a car by its derivative: an example of arXiv 1912.09529.

Question: a car follows a path of changing curvature at a changing speed. Its policy is a quadratic program that looks
a step ahead, with a quadratic value function of four features that begins at the identity. How much is gained by
descending along the cost of simulated drives? Published: cost of 100 drives 4.0553 -> 0.9117 after 100 steps.

Settings are those of the published notebook: one drive of 100 periods in a step, rate 0.1, gradients no longer than
10; a test of four drives by step (3.512 before, 1.057 at the end), and the 100 drives before and after (split
`fresh`). Seed 0 has the notebook's random numbers; further seeds have other drives, in training and in both tests.
The paper's text reports 3.978 -> 0.971 with six drives in a step. System and notation:
experiments/common/control/vehicle.py.

    python -m experiments.run experiment=cocp_vehicle size=companion    # a minute
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.control.descent import Descent
from experiments.common.control.policies import Box, Value, look_ahead
from experiments.common.control.published import VEHICLE, record_published
from experiments.common.control.study import FRESH, UNIT, Sample, Study, Trajectories, stream
from experiments.common.control.vehicle import REACH, WEIGHTS, WHEELBASE, Vehicle, draw
from experiments.common.recorder import Recorder
from experiments.common.results import Tables

METHODS = ("untuned", "tuned")
LEARNED = METHODS[1:]
FINAL = ("final_cost",)
FEATURES = 4


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the notebook's."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    data: Trajectories = field(default_factory=lambda: Trajectories(train=1, test=4, fresh=100))
    train: Descent = field(default_factory=lambda: Descent(lr=0.1, clip=10.0))

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.data.check("data")
        self.train.check("train")


def make_data(config: Config, seed: int) -> dict[str, Sample]:
    """Start and noise of each split; every fresh drive has random numbers of its own, as in the notebook."""
    horizon, counts = config.data.horizon, config.data
    drives = [draw(horizon, 1, stream(seed, FRESH + k)) for k in range(counts.fresh)]
    noise = {"test": draw(horizon, counts.test, stream(seed, 0)), "fresh": torch.cat(drives, 1)}
    return {split: (Vehicle().start(drawn.shape[1]), drawn) for split, drawn in noise.items()}


def make_model(config: Config) -> Study:
    """The untuned driver."""
    vehicle, layer = Vehicle(), config.layer.build()
    eye = torch.eye(FEATURES, dtype=torch.float64)
    value = Value.learned(eye, torch.zeros(FEATURES, dtype=torch.float64))
    effort, box = torch.diag(torch.tensor(WEIGHTS[2:]).double()), Box(torch.tensor(REACH).double())

    def policy(x: Tensor) -> Tensor:
        # The steering angle is bounded, and z is what is steered beyond the curve: |z + Lκ| <= 0.68.
        curve = -WHEELBASE * x[:, -1]
        rows = box.rows(torch.stack((torch.zeros_like(curve), curve), -1))
        return look_ahead(layer, (effort, None), value, vehicle.predicted(x), rows)

    return Study(vehicle, policy, value.parameters)


def evaluate(study: Study, data: dict[str, Sample], record: Recorder) -> None:
    """Record the mean cost of a period for each split."""
    for split, sample in data.items():
        record.metric("final_cost", split, 0, study.evaluate(sample), UNIT)


def train(config: Config, study: Study, data: dict[str, Sample], record: Recorder) -> None:
    """Tune the driver in place; the cost of the test is recorded along the way and decides nothing."""

    def measure(step: int) -> None:
        record.metric("cost", "test", step, study.evaluate(data["test"]), UNIT)

    def sample(step: int) -> Sample:
        count = config.data.train
        return Vehicle().start(count), draw(config.data.horizon, count, stream(record.seed, step + 1))

    study.train(config.train, sample, measure, record)


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one driver on the drives of one seed."""
    record = Recorder("cocp_vehicle", method, seed, ("1", "1"), examples=False)
    data, study = make_data(config, seed), make_model(config)
    if method == "tuned":
        with record.timed("train"):
            record.learned(study.named(), lambda: train(config, study, data, record))
        if seed == config.seeds[0]:
            record_published(VEHICLE, "cost", "test", UNIT, record)
    with record.timed("evaluate"):
        evaluate(study, data, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)
