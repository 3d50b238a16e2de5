"""The derivative of a controller, by the implicit function theorem and by unrolling: Amos et al., "Differentiable MPC
for end-to-end planning and control" (arXiv 1810.13400), section 5.1 and figure 1.

Question: a controller is found by an iteration. How does the time of the backward pass grow with the number of
iterations? Published, for sequential linear-quadratic control: constant (0.0153 s at 32, 0.0154 s at 128) when the
fixed point is differentiated, linear (1.33 s, 5.93 s) when autograd runs back through every iteration.

Here the controller of experiments/mpc_imitation.py with controls in [-1, 1] is written in its controls alone and both
methods run the same accelerated projected gradient. `unrolled` records every iteration. `implicit` records none: it
hands the last iterate to the shared layer as a warm start, which finishes the solution and differentiates it. The
derivative of both, with respect to the dynamics, is compared with that of many more unrolled iterations.

Both methods are timed in turn in one process. Times are medians over repetitions, with quartiles; they are in the
table of timings, with the slope of log time against log iterations, and differ from run to run. The table of metrics
holds the errors of the derivatives, which repeat.

    python -m experiments.run experiment=mpc_timing size=companion    # seconds
"""

import itertools
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.errors import require
from experiments.common.mpc.linear_quadratic import (
    LinearQuadratic,
    box,
    published_draw,
    published_dynamics,
)
from experiments.common.mpc.projected_gradient import projected_gradient
from experiments.common.mpc.published import TIMES
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from layers import QPLayer

METHODS = ("implicit", "unrolled")
FINAL = ("final_gradient_error",)
UNITS = ("1", "1")
QUARTILES = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}


@dataclass
class System:
    """The controller: sizes, bound, and initial states in a batch."""

    states: int = 3  #: of the system [states]
    controls: int = 3  #: of the system [controls]
    horizon: int = 5  #: of a plan, T [steps]
    bound: float = 1.0  #: on the absolute value of each control [1]
    batch: int = 32  #: solved at once [initial states]

    def check(self) -> None:
        """Raise a `ConfigError` unless there is such a controller."""
        for name in ("states", "controls", "batch"):
            count = getattr(self, name)
            require(count > 0, f"system.{name}", count, "a positive number")
        require(self.horizon > 1, "system.horizon", self.horizon, "at least 2 steps, T")
        require(0 < self.bound < math.inf, "system.bound", self.bound, "a positive, finite bound")


@dataclass
class Config(RunConfig):
    """Settings; the numbers of iterations are the published ones, `reference` is how many count as all."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    system: System = field(default_factory=System)
    #: that are timed and differentiated through, rising [iterations]
    iterations: list[int] = field(default_factory=lambda: [1, 32, 64, 128])
    repetitions: int = 20  #: of a measurement, whose median counts [times]
    reference: int = 2000  #: that count as all [iterations]

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        self.system.check()
        counts = self.iterations
        valid = len(counts) > 1 and all(0 < a < b for a, b in itertools.pairwise([*counts, self.reference]))
        require(valid, "iterations", counts, "two or more rising numbers from 1 up, below `reference`")
        require(self.repetitions > 0, "repetitions", self.repetitions, "a positive number")


@dataclass
class Instance:
    """One controller with its dynamics (leaves of the derivative), initial states, and the direction of the loss."""

    problem: LinearQuadratic
    dynamics: tuple[Tensor, Tensor]
    start: Tensor
    direction: Tensor


def make_data(config: Config, seed: int) -> Instance:
    """The controller of `seed`; the loss is the inner product of its controls with a random direction."""
    generator, size = torch.Generator().manual_seed(seed), config.system
    linear = published_draw(generator, size.states + size.controls)
    A, B = published_dynamics(generator, size.states, size.controls)
    start = published_draw(generator, size.batch, size.states)
    direction = published_draw(generator, size.batch, size.horizon * size.controls)
    problem = LinearQuadratic(size.horizon, size.states, size.controls, linear, size.bound)
    return Instance(problem, (A.requires_grad_(), B.requires_grad_()), start, direction)


class Controller:
    """Controls found by a given number of iterations; `method` says how they are differentiated."""

    def __init__(self, method: str, layer: QPLayer, instance: Instance):
        self.method, self.layer, self.instance = method, layer, instance
        size = instance.direction.shape[-1]
        self.bound = instance.problem.bound or math.inf
        self.box = box(size, self.bound)
        with torch.no_grad():
            H, q, _ = instance.problem.condensed(*instance.dynamics, instance.start)
            # A solution of programs of these sizes, whose fields the warm starts replace.
            self.template = layer.solve(H, q, *self.box)

    def loss(self, H: Tensor, q: Tensor, iterations: int) -> Tensor:
        """Inner product of the controls of the program (H, q) with the direction of the instance."""
        if self.method == "unrolled":
            u = projected_gradient(H, q, self.bound, iterations)
        else:
            u = self._implicit(H, q, iterations)
        return (u * self.instance.direction).sum()

    def _implicit(self, H: Tensor, q: Tensor, iterations: int) -> Tensor:
        with torch.no_grad():
            u = projected_gradient(H, q, self.bound, iterations)
            slope = u @ H + q
            # Multipliers of a bound that the iterate touches: minus the slope, where it points outwards.
            force = torch.where(u.abs() == self.bound, -slope, torch.zeros_like(u))
            lam = torch.cat((force.clamp(min=0), (-force).clamp(min=0)), -1)
            s = self.bound + torch.cat((-u, u), -1)
        return self.layer.solve(H, q, *self.box, warm_start=replace(self.template, z=u, lam=lam, s=s)).z

    def gradient(self, iterations: int) -> tuple[Tensor, float, float]:
        """Derivative of the loss in the dynamics, and the seconds of the forward and of the backward pass.

        What both methods share is not timed: the way from the dynamics to the program, and back.
        """
        instance = self.instance
        program = instance.problem.condensed(*instance.dynamics, instance.start)[:2]
        H, q = (tensor.detach().requires_grad_() for tensor in program)
        begin = time.perf_counter()
        loss = self.loss(H, q, iterations)
        middle = time.perf_counter()
        cotangents = torch.autograd.grad(loss, (H, q))
        end = time.perf_counter()
        gradients = torch.autograd.grad(program, instance.dynamics, cotangents)
        return torch.cat([g.reshape(-1) for g in gradients]), middle - begin, end - middle


def evaluate(config: Config, models: dict[str, Controller]) -> dict[str, dict[int, float]]:
    """Relative error of the derivative by method and number of iterations; nothing is timed here."""
    instance = next(iter(models.values())).instance
    wanted, _, _ = Controller("unrolled", config.layer.build(), instance).gradient(config.reference)
    errors: dict[str, dict[int, float]] = {}
    for method, model in models.items():
        found = {count: model.gradient(count)[0] for count in config.iterations}
        errors[method] = {c: ((g - wanted).norm() / wanted.norm()).item() for c, g in found.items()}
    return errors


def measure(config: Config, models: dict[str, Controller]) -> dict[tuple[str, str, int], np.ndarray]:
    """Seconds of every repetition by method, pass and number of iterations; the methods take turns."""
    seconds: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(config.repetitions):
        for count, (method, model) in itertools.product(config.iterations, models.items()):
            _, forward, backward = model.gradient(count)
            seconds.setdefault((method, "forward", count), []).append(forward)
            seconds.setdefault((method, "backward", count), []).append(backward)
    return {key: np.array(values) for key, values in seconds.items()}


def slope(times: dict[int, float]) -> float:
    """Least-squares slope of log time against log number: 0 for constant time, 1 for time in proportion."""
    return float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])


def run_cell(config: Config, _: str, seed: int) -> Tables:
    """The tables of all methods on the controller of one seed."""
    record = Recorder("mpc_timing", "all", seed, UNITS, examples=False)
    instance = make_data(config, seed)
    models = {method: Controller(method, config.layer.build(), instance) for method in config.methods}
    for method, errors in evaluate(config, models).items():
        for count, error in errors.items():
            record.metric("gradient_error", "derivative", count, error, "1", method)
        last = config.iterations[-1]
        record.metric("final_gradient_error", "derivative", last, errors[last], "1", method)
    _record_times(config, measure(config, models), record)
    return record.tables


def _record_times(config: Config, seconds: dict[tuple[str, str, int], np.ndarray], record: Recorder) -> None:
    for (method, phase, count), values in seconds.items():
        for name, level in QUARTILES.items():
            record.timing(f"{phase} {count} {name}", float(np.quantile(values, level)), method=method)
    for method, phase in itertools.product(config.methods, ("forward", "backward")):
        medians = {count: float(np.median(seconds[method, phase, count])) for count in config.iterations}
        record.timing(f"{phase} slope", slope(medians), "1", method)


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment, with the published times; the seeds are timed one after the other."""
    tables = run_cells(run_cell, config, [("all", seed) for seed in config.seeds], directory)
    record = Recorder("mpc_timing", "published", 0, UNITS, examples=False)
    for method, times in TIMES.items():
        for place, phase in enumerate(("forward", "backward")):
            for count, both in times.items():
                record.timing(f"{phase} {count} median", both[place], method=f"{method}_published")
            line = {count: both[place] for count, both in times.items()}
            record.timing(f"{phase} slope", slope(line), "1", f"{method}_published")
    tables["timings"] += record.tables["timings"]
    return tables
