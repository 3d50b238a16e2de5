"""Controllers learned for linear systems, beside what theory knows: an example of arXiv 1912.09529.

Question: a policy looks one step ahead, u = argmin u'u + V(Ax + Bu) with V(y) = ‖Sy‖² + r'y, and its V is learned by
descending along the cost of simulated trajectories. How close does it come to the best? Two problems:

- `unconstrained`: the best is the Riccati controller. Published: 0.389 above it before learning, 0.001 after 50
  steps.
- `box`, with |u_i| <= 0.1: the best is not known, but nothing can be better than the bound of a semidefinite program
  (experiments/common/control/linear.py). Published: 16.940 -> 13.014; bound 10.7947, its own policy 12.9754.

Settings are those of the published notebooks, and seed 0 has their random numbers. Further seeds have other noise, in
training and in the test, for the same system; `fresh` is a larger set of trajectories. Rows `<problem>/untuned`,
`box/bound_policy` (V from the bound) and `unconstrained/optimal` are the references, on the same trajectories.

    python -m experiments.run experiment=cocp_lqr size=companion    # a minute
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.config import RunConfig, check_methods
from experiments.common.control.descent import Descent
from experiments.common.control.linear import LinearSystem, lower_bound, random_system, symmetric_root
from experiments.common.control.policies import Box, Value, look_ahead
from experiments.common.control.published import BOX, UNCONSTRAINED, record_published
from experiments.common.control.study import FRESH, UNIT, Sample, Study, TrajectoriesOfSystem, stream
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.programs.notebook import normal, numpy_stream
from layers import QPLayer

METHODS = LEARNED = ("unconstrained", "box")
FINAL = ("final_cost", "final_gap", "average_cost")
DEVIATION, REACH = 0.5, 0.1
SIZES = {"unconstrained": (4, 2), "box": (8, 2)}


@dataclass
class Problem:
    """Trajectories and descent of one problem."""

    data: TrajectoriesOfSystem = field(default_factory=TrajectoriesOfSystem)
    train: Descent = field(default_factory=Descent)

    def check(self, name: str) -> None:
        """Raise a `ConfigError` about the section `name` unless this can be run."""
        self.data.check(f"{name}.data")
        self.train.check(f"{name}.train")


def _unconstrained() -> Problem:
    return Problem(train=Descent(steps=50, lr=0.5, late_from=26, late_lr=0.1))


def _box() -> Problem:
    return Problem(TrajectoriesOfSystem(system=1), Descent(steps=100, lr=0.1, late_from=51, late_lr=0.01))


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the notebooks'. `methods` names problems."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    unconstrained: Problem = field(default_factory=_unconstrained)
    box: Problem = field(default_factory=_box)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.unconstrained.check("unconstrained")
        self.box.check("box")


def make_system(problem: Problem, method: str) -> LinearSystem:
    """The random system of a problem."""
    return random_system(*SIZES[method], DEVIATION, numpy_stream(problem.data.system))


def make_data(problem: Problem, method: str, seed: int, number: int, count: int) -> Sample:
    """Start and noise of `count` trajectories, in the notebooks' order and precision."""
    numbers, shape = stream(seed, number), (count, SIZES[method][0])
    dtype, spread = (torch.float64, DEVIATION) if method == "box" else (torch.float32, 1.0)
    start = spread * normal(numbers, *shape, dtype=dtype)
    noise = [normal(numbers, *shape, dtype=dtype) for _ in range(problem.data.horizon)]
    return start, torch.stack(noise)


def make_model(layer: QPLayer, system: LinearSystem, method: str, value: Value) -> Study:
    """The policy that looks ahead with `value`; its slope is learned where the controls are bounded."""
    controls = system.sizes[1]
    R, boxed = torch.eye(controls, dtype=torch.float64), method == "box"
    rows = Box(torch.full((controls,), REACH, dtype=torch.float64)).rows() if boxed else (None, None)

    def policy(x: Tensor) -> Tensor:
        return look_ahead(layer, (R, None), value, (system.drift(x), system.B), rows)

    return Study(system, policy, value.parameters if boxed else [value.root])


def start_value(system: LinearSystem, method: str) -> Value:
    """Where learning begins: the identity, or with bounds the value function of the problem without them."""
    root = symmetric_root(system.riccati()) if method == "box" else torch.eye(system.sizes[0]).double()
    return Value.learned(root, torch.zeros(len(root), dtype=torch.float64))


def references(system: LinearSystem, method: str, record: Recorder) -> dict[str, Value]:
    """The value functions of theory by name; what they promise, an average over all time, is recorded."""
    P = system.riccati()
    promised = DEVIATION**2 * float(np.trace(P))
    record.metric("average_cost", "theory", 0, promised, UNIT, f"{method}/riccati")
    bound = lower_bound(system, REACH if method == "box" else None)
    record.metric("average_cost", "theory", 0, bound.cost, UNIT, f"{method}/lower_bound")
    slope = torch.zeros(len(P), dtype=torch.float64)
    if method == "box":
        return {"bound_policy": Value(symmetric_root(bound.P), slope)}
    return {"optimal": Value(symmetric_root(P), slope)}


def evaluate(study: Study, data: dict[str, Sample], record: Recorder, name: str) -> dict[str, float]:
    """Record the mean cost of a period on each split, under the method `name`."""
    costs = {split: study.evaluate(sample) for split, sample in data.items()}
    for split, cost in costs.items():
        record.metric("final_cost", split, 0, cost, UNIT, name)
    return costs


def train(
    problem: Problem, method: str, study: Study, data: dict[str, Sample], reference: float, record: Recorder
) -> None:
    """Learn in place; cost on the test, and how far above `reference` it is, are recorded and decide nothing."""

    def measure(step: int) -> None:
        cost = study.evaluate(data["test"])
        record.metric("cost", "test", step, cost, UNIT)
        record.metric("gap", "test", step, cost - reference, UNIT)
        if method == "unconstrained":
            _record_distances(study, step, record)

    def draw(step: int) -> Sample:
        return make_data(problem, method, record.seed, step + 1, problem.data.train)

    study.train(problem.train, draw, measure, record)


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one problem on the noise of one seed."""
    record = Recorder("cocp_lqr", method, seed, ("1", "1"), examples=False)
    problem: Problem = getattr(config, method)
    layer, system = config.layer.build(), make_system(problem, method)
    counts = {"test": (0, problem.data.test), "fresh": (FRESH, problem.data.fresh)}
    data = {split: make_data(problem, method, seed, *place) for split, place in counts.items()}
    ((name, value),) = references(system, method, record).items()
    best = evaluate(make_model(layer, system, method, value), data, record, f"{method}/{name}")
    study = make_model(layer, system, method, start_value(system, method))
    evaluate(study, data, record, f"{method}/untuned")
    with record.timed("train"):
        record.learned(study.named(), lambda: train(problem, method, study, data, best["test"], record))
    for split, cost in evaluate(study, data, record, method).items():
        record.metric("final_gap", split, 0, cost - best[split], UNIT)
    if seed == config.seeds[0]:
        curve = (BOX, "cost") if method == "box" else (UNCONSTRAINED, "gap")
        record_published(*curve, "test", UNIT, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart."""
    cells = [(method, seed) for method in config.methods for seed in config.seeds]
    return run_cells(run_cell, config, cells, directory)


def _record_distances(study: Study, step: int, record: Recorder) -> None:
    """Frobenius distances of the gain and of P = S'S to the optimal ones; many P have the same gain."""
    assert isinstance(study.system, LinearSystem)
    root, best = study.parameters[0].detach().numpy(), study.system.riccati()
    P, gain = root.T @ root, study.system.gain
    record.metric("gain_distance", "train", step, float(np.linalg.norm(gain(P) - gain(best))), "1")
    record.metric("value_distance", "train", step, float(np.linalg.norm(P - best)), "1")
