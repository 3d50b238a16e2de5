"""The layers that are trained with one adjoint after the other, at sizes at which each takes seconds."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.denoisers import PureOptNet
from experiments.common.differentiation import shortest_path
from experiments.common.differentiation.methods import Method
from experiments.common.differentiation.shortest_path import Paths, Sample
from experiments.common.differentiation.training import Task
from experiments.common.signals import Data, make_signals
from experiments.common.sudoku.constraints import independent_rows
from experiments.common.sudoku.models import LearnedEqualities
from experiments.common.sudoku.puzzles import Puzzles, all_grids, puzzles_from
from experiments.common.sudoku.rules import true_constraints
from experiments.common.sudoku.training import predict, score
from experiments.common.training import mean_squared_error, squared_loss
from experiments.common.training import predict as denoise
from layers import QPLayer
from layers.decision import blackbox, fenchel_young, spo_plus

ORDER, ROWS, GIVENS = 2, 40, 5
#: weight of the jumps in the denoiser, and of the absolute entries of its operator in the loss: OptNet's own
JUMPS, SPARSITY = 13.0, 0.1
#: what PyEPO's notebook 03 passes: draws and size of the perturbation
DRAWS, SIGMA = 3, 1.0
LOSSES = ("two_stage", "spo_plus", "fenchel_young", "blackbox")

Loss = Callable[[Tensor, Sample], Tensor]


@contextmanager
def judged(model: LearnedEqualities | PureOptNet) -> Generator[None]:
    """Solve with our own layer meanwhile: what was learned is judged by the solution, however it was learned."""
    own, model.layer = model.layer, QPLayer(tol=1e-6)
    yield
    model.layer = own


def start_near_the_rules(
    model: LearnedEqualities, order: int, noise: float, generator: torch.Generator
) -> None:
    """Hold the rules of Sudoku plus normal `noise`, and the point that is equal in every entry."""
    rules = torch.from_numpy(independent_rows(true_constraints(order)))
    moved = rules + noise * torch.randn(rules.shape, dtype=torch.float64, generator=generator)
    model.hold(moved, torch.full((order**6,), order**-2.0, dtype=torch.float64))


@cache
def _puzzles(seed: int, count: int) -> Puzzles:
    rng = np.random.default_rng([seed, 10])
    return puzzles_from(all_grids(ORDER), np.full(count, GIVENS), ORDER, rng)


def sudoku(method: Method, seed: int, samples: int, test_samples: int, noise: float = 0.0) -> Task:
    """OptNet's 4x4 Sudoku: equalities learned from puzzles and their solutions.

    They start at uniform random numbers, as OptNet's do, or, with `noise`, at the rules plus that much normal noise.
    """
    puzzles = _puzzles(seed, samples + test_samples)
    inputs, targets = puzzles.tensors()
    test = puzzles.take(slice(samples, None))
    generator = torch.Generator().manual_seed(seed)
    model = LearnedEqualities(ORDER**6, ROWS, method.config.build(), generator)
    if noise:
        start_near_the_rules(model, ORDER, noise, generator)

    def measures() -> dict[str, float]:
        with judged(model):
            scores = score(predict(model, inputs[samples:]), test)
        return {"board_error": scores["strict_error"], "mse": scores["mse"]}

    def loss(rows: Tensor) -> Tensor:
        return (model(inputs[rows]) - targets[rows]).square().mean()

    return Task("sudoku", model, loss, measures, {"board_error": "fraction", "mse": "1"})


def denoising(method: Method, seed: int, samples: int, test_samples: int, length: int) -> Task:
    """OptNet's learned operator: which differences are sparse is learned from noisy and clean signals."""
    rng = np.random.default_rng([seed, 11])
    signals = make_signals(samples + test_samples, Data(length=length, max_segments=3), rng)
    noisy, clean = signals.tensors()
    model = PureOptNet(length, JUMPS, method.config.build(), torch.Generator().manual_seed(seed))

    def measures() -> dict[str, float]:
        with judged(model):
            estimate = denoise(model, signals.noisy[samples:])
        return {"mse": mean_squared_error(estimate, signals.clean[samples:])}

    def loss(rows: Tensor) -> Tensor:
        return squared_loss(model, noisy[rows], clean[rows]) + SPARSITY * model.D.abs().sum()

    return Task("denoising", model, loss, measures, {"mse": "signal unit squared"})


def path(name: str, loss: Loss, settings: Paths, seed: int) -> Task:
    """Costs of a grid predicted linearly from features; `loss` is that of predicted costs and samples."""
    data = shortest_path.make_data(settings, seed)
    solve = shortest_path.solver(settings.grid)
    model = nn.Linear(settings.features, data["train"].costs.shape[1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    bound = settings.features**-0.5
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def measures() -> dict[str, float]:
        with torch.no_grad():
            predicted = model(data["test"].features)
        return {"regret": shortest_path.regret(predicted, data["test"], solve)}

    def of_rows(rows: Tensor) -> Tensor:
        some = data["train"].take(rows)
        return loss(model(some.features), some)

    return Task(name, model, of_rows, measures, {"regret": "fraction of the optimum"})


def regularised(method: Method, settings: Paths) -> Loss:
    """min c'w + 1/2 ||w||^2 over the flows; squared distance to the best path."""
    A, b = shortest_path.flow(settings.grid)
    n = A.shape[1]
    eye, zero = torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    return lambda costs, some: (method.solve(eye, costs, -eye, zero, A, b) - some.best).square().mean()


def linear(method: Method, settings: Paths) -> Loss:
    """The linear program itself; the true cost of its path. Its derivative is zero wherever it exists."""
    A, b = shortest_path.flow(settings.grid)
    n = A.shape[1]
    eye, zero = torch.eye(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    return lambda costs, some: (method.solve(0 * eye, costs, -eye, zero, A, b) * some.costs).sum(-1).mean()


def decision_loss(name: str, settings: Paths, seed: int, weight: float) -> Loss:
    """One of LOSSES; the first fits the costs and knows of no decision. `weight` is that of the interpolation."""
    solve = shortest_path.solver(settings.grid)
    generator = torch.Generator().manual_seed(seed)
    losses: dict[str, Loss] = {
        "two_stage": lambda c, some: (c - some.costs).square().mean(),
        "spo_plus": lambda c, some: spo_plus(solve, c, some.costs).mean(),
        "fenchel_young": lambda c, some: fenchel_young(
            solve, c, some.best, SIGMA, DRAWS, generator=generator
        ).mean(),
        "blackbox": lambda c, some: (
            ((blackbox(solve, c, weight) * some.costs).sum(-1) - some.optimum).abs().mean()
        ),
    }
    return losses[name]
