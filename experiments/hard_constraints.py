"""Hard constraints against soft ones: DC3 (arXiv 2104.12225), section 4.1, and HardNet (arXiv 2410.10807), section 5.

Question: a network shall answer every input with the solution of an optimisation problem, or with the value of a
function, under constraints that are known. How far from feasible and from the optimum does it stay when a penalty asks
for the constraints (`penalty`), when DC3 completes and corrects its answers (`dc3`), when a projection layer makes them
feasible in training and test (`projection_layer`), and when the projection comes only at the test, after training with
the penalty (`penalty_projected`)? `optimiser` solves every instance; `network`, for the function, knows of no
constraint.

- `convex`: DC3's quadratic program, the input is the right side of its equalities;
- `nonconvex`: the same with sines in the objective, HardNet's draws;
- `piecewise`: HardNet's function with a bound on each of four pieces; `objective` is its mean squared error.

Data are the published ones, from numpy's seed 17; seeds draw first weights, order and dropout, and the last epoch
counts, as published. The optimiser also answers the published sizes (`optima`), whatever the size of the run. `gap` is
relative to the mean optimum; `max_` and `mean_` violations are the largest and the mean over rows, averaged over
instances, as published, and `worst_violation` is the largest of all. An instance without a solution ends the run before
anything is trained, with its index.

What was learned: only the layer's answers are both feasible to rounding and near the optimum, after a quarter of the
steps of the others. On the programs it is training through the projection that brings them there, on the function most
of the gain is the projection itself, also if it comes at the test alone. What the layer does not buy is time: one
instance of these programs is solved exactly in about the time that the projection of an answer takes.

    python -m experiments.run experiment=hard_constraints size=smoke        # seconds
    python -m experiments.run experiment=hard_constraints size=companion    # a minute, programs of 20 variables
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig, check_methods
from experiments.common.constrained.network import TRAINED, Answer, Finish, Recipe, train
from experiments.common.constrained.piecewise import Piecewise
from experiments.common.constrained.problem import Problem, complete, correct, project
from experiments.common.constrained.program import ORDERS, Program, Size, optimum
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from experiments.common.results import Tables

METHODS = ("optimiser", *TRAINED)
PROBLEMS = ("convex", "nonconvex", "piecewise")
VIOLATIONS = ("max_inequality", "mean_inequality", "max_equality", "mean_equality", "worst_violation")
FINAL = ("objective", "gap", *VIOLATIONS)
#: inequalities and equalities of the published optima
OPTIMA = ((50, 50), (50, 10), (50, 30), (50, 70), (10, 50), (30, 50), (70, 50))


def _nonconvex() -> Recipe:
    """HardNet's settings for the program with sines: squared penalties, and a rate of its own for its layer."""
    batch, lr = dict.fromkeys(TRAINED, 500), dict.fromkeys(TRAINED, 1e-4)
    weight = dict(zip(TRAINED, (0.0, 10.0, 10.0, 0.0), strict=True))
    return Recipe(batch=batch | {"dc3": 200}, lr=lr | {"projection_layer": 1e-3}, weight=weight, power=2)


def _piecewise() -> Recipe:
    """HardNet's settings for the function: all points in one batch, plain hidden layers, squared penalties."""
    weight = dict(zip(TRAINED, (0.0, 10.0, 10.0, 0.0), strict=True))
    return Recipe(
        batch=dict.fromkeys(TRAINED, 50), weight=weight, share=0.0, power=2, rate=1e-2, normalised=False
    )


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the published ones. `data` is the size of the programs that are learned.

    `optima` holds the sizes that the optimiser answers apart, variables and examples those of `asked`.
    """

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    problems: list[str] = field(default_factory=lambda: list(PROBLEMS))  #: that are answered
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3, 4, 5])
    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    data: Size = field(default_factory=Size)
    points: int = 50  #: of the piecewise function that are learned from [points]
    asked: Size = field(default_factory=Size)
    #: inequalities and equalities of the programs that the optimiser alone answers [rows]
    optima: list[list[int]] = field(default_factory=lambda: [list(pair) for pair in OPTIMA])
    convex: Recipe = field(default_factory=Recipe)
    nonconvex: Recipe = field(default_factory=_nonconvex)
    piecewise: Recipe = field(default_factory=_piecewise)

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        check_methods(self.methods, METHODS)
        check_methods(self.problems, PROBLEMS, "problems")
        self.data.check("data")
        self.asked.check("asked")
        require(self.points > 1, "points", self.points, "at least 2 points of the function")
        for pair in self.optima:
            fits = len(pair) == 2 and pair[0] > 0 and 0 < pair[1] < self.asked.variables
            require(
                fits,
                "optima",
                pair,
                "pairs [inequalities, equalities], fewer equalities than asked.variables",
            )
        for name in PROBLEMS:
            recipe: Recipe = getattr(self, name)
            recipe.check(name)
            for method, batch in recipe.batch.items():
                # Batch normalisation has nothing to do with a batch of one.
                left = len(make_problem(self, name).inputs["train"]) % batch
                require(
                    left != 1, f"{name}.batch.{method}", batch, "a size that leaves no batch of one example"
                )


def make_problem(config: Config, name: str) -> Problem:
    """The problem of that name with its published draws."""
    if name == "piecewise":
        return Piecewise(config.points)
    return Program(name, config.data, "dc3" if name == "convex" else "hardnet", sines=name == "nonconvex")


def make_answer(config: Config, problem: Problem, method: str) -> Answer:
    """The untrained network of a method with what finishes its answers, from torch's own generator."""
    recipe: Recipe = getattr(config, problem.name)
    n, p = problem.manifold.A.shape[::-1]
    inputs = problem.inputs["train"].shape[1]
    finish: Finish = _as_it_is
    if method == "dc3":
        finish = partial(_completed, problem, recipe)
    elif method == "projection_layer":
        finish = partial(project, problem, config.layer.build())
    return Answer(inputs, n - p if method == "dc3" else n, recipe, finish)


def evaluate(problem: Problem, x: Tensor, y: Tensor) -> dict[str, float]:
    """The mean objective and the violations of the answers y to x, as in the published tables; see `VIOLATIONS`."""
    found = {"objective": problem.loss(x, y).mean().item()}
    worst = 0.0
    for name, parts in (("inequality", problem.inequality(x, y)), ("equality", problem.equality(x, y))):
        if parts.shape[1]:
            found[f"max_{name}"] = parts.amax(-1).mean().item()
            found[f"mean_{name}"] = parts.mean().item()
            worst = max(worst, parts.max().item())
    return found | {"worst_violation": worst}


def run_cell(config: Config, method: str, seed: int) -> Tables:
    """The tables of one method on every problem with one seed."""
    record = Recorder("hard_constraints", method, seed, ("1", "1"), examples=False)
    if method == "optimiser":
        _record_optima(config, record)
    for name in config.problems:
        # A program without its constraints has one minimiser for all inputs, and a function has no other optimum.
        if method == ("optimiser" if name == "piecewise" else "network"):
            continue
        problem = make_problem(config, name)
        optima = _optimum(config, problem, problem.inputs["test"]) if isinstance(problem, Program) else None
        if method == "optimiser" and isinstance(problem, Program):
            _record(config, problem, optima, record, partial(_optimum, config, problem))
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _record_trained(config, problem, optima, record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; finished cells are kept in `directory` for a restart.

    The optimiser needs no luck: it answers once.
    """
    cells = [
        (method, seed)
        for method in config.methods
        for seed in (config.seeds if method != "optimiser" else config.seeds[:1])
    ]
    return run_cells(run_cell, config, cells, directory)


def _as_it_is(x: Tensor, y: Tensor) -> Tensor:
    return y


def _completed(problem: Problem, recipe: Recipe, x: Tensor, v: Tensor) -> Tensor:
    return correct(problem, x, complete(problem, x, v), recipe.steps, recipe.rate, recipe.momentum)


def _optimum(config: Config, program: Program, x: Tensor) -> Tensor:
    layer = config.layer
    return optimum(program, x, solver=layer.solver, tol=layer.tol, max_iterations=layer.max_iterations)


def _record_optima(config: Config, record: Recorder) -> None:
    """The mean optima of the published sizes, and of the two published programs with sines."""
    sizes = [Size(config.asked.variables, m, p, config.asked.examples) for m, p in config.optima]
    programs = [
        Program(f"{size.inequalities} inequalities, {size.equalities} equalities", size, "dc3", sines=False)
        for size in sizes
    ]
    programs += [Program(f"sines, {order}", config.asked, order, sines=True) for order in ORDERS]
    for program in programs:
        x = program.inputs["test"]
        with record.timed(f"solve {program.name}"):
            y = _optimum(config, program, x)
        for name, value in evaluate(program, x, y).items():
            record.metric(name, program.name, 0, value, "1")


def _record_trained(config: Config, problem: Problem, optima: Tensor | None, record: Recorder) -> None:
    recipe: Recipe = getattr(config, problem.name)
    answer = make_answer(config, problem, record.method)
    with record.timed(f"train {problem.name}"):
        train(problem, answer, recipe, record.method, record.seed)
    with torch.no_grad():
        _record(config, problem, optima, record, answer)
        if record.method == "penalty":
            layer = config.layer.build()

            def projected(x: Tensor) -> Tensor:
                return project(problem, layer, x, answer(x))

            _record(config, problem, optima, record, projected, "penalty_projected")


def _record(
    config: Config,
    problem: Problem,
    optima: Tensor | None,
    record: Recorder,
    answer: Callable[[Tensor], Tensor],
    method: str | None = None,
) -> None:
    """The measures of a finished method on the test inputs, and its time for each of them, all asked at once."""
    x, recipe = problem.inputs["test"], getattr(config, problem.name)
    answer(x[:1])
    start = time.perf_counter()
    y = answer(x)
    record.timing(f"answer {problem.name}", (time.perf_counter() - start) / len(x), method=method)
    found = evaluate(problem, x, y)
    if optima is not None:
        best = problem.loss(x, optima).mean().item()
        found["gap"] = (found["objective"] - best) / abs(best)
    for name, value in found.items():
        record.metric(name, problem.name, recipe.epochs.get(record.method, 0), value, "1", method)
