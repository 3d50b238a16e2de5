"""Programs for layers of any disciplined parametrized problem, in CVXPY, with values of their parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Program:
    """A parametrized problem and how to draw its parameters.

    Attributes
    ----------
    problem : cvxpy.Problem
    parameters, variables : list
        In the order of the tensors of a call and of its answers.
    draw : callable
        ``generator -> values``, one array for each parameter.
    """

    problem: Any
    parameters: list[Any]
    variables: list[Any]
    draw: Callable[[np.random.Generator], list[np.ndarray]]

    def tensors(self, batch: int, draw: int) -> list[Tensor]:
        """Values of the parameters, each with a batch axis; float64."""
        rng = np.random.default_rng((batch, draw))
        values = [self.draw(rng) for _ in range(batch)]
        return [torch.from_numpy(np.stack(column)) for column in zip(*values, strict=True)]


def box_least_squares(n: int) -> Program:
    """minimise |Fx - g|^2 subject to 0 <= x <= 1, F (n x n) and g parameters: a QP after compilation."""
    x, F, g = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(F @ x - g)), [x >= 0, x <= 1])

    def draw(rng: np.random.Generator) -> list[np.ndarray]:
        matrix = np.eye(n) + rng.standard_normal((n, n)) / (2 * np.sqrt(n))
        return [matrix, rng.standard_normal(n)]

    return Program(problem, [F, g], [x], draw)


def robust_portfolio(n: int = 20) -> Program:
    """maximise mu'x - |Sx|_2 subject to x >= 0, sum x = 1: a second-order cone program, mu a parameter."""
    root = np.random.default_rng(0).standard_normal((n, n)) / np.sqrt(n) + np.eye(n)
    x, mu = cp.Variable(n), cp.Parameter(n)
    budget: Any = cp.sum(x) == 1
    problem = cp.Problem(cp.Maximize(mu @ x - cp.norm(root @ x, 2)), [x >= 0, budget])
    return Program(problem, [mu], [x], lambda rng: [0.2 * rng.standard_normal(n)])


def capped_softmax(n: int = 20) -> Program:
    """maximise y'x + entropy(x) subject to sum x = 1, x <= 0.2: exponential cones, y a parameter."""
    x, y = cp.Variable(n), cp.Parameter(n)
    total: Any = cp.sum(x) == 1
    problem = cp.Problem(cp.Maximize(y @ x + cp.sum(cp.entr(x))), [total, x <= 0.2])
    return Program(problem, [y], [x], lambda rng: [rng.standard_normal(n)])


def nearest_correlation(n: int = 6) -> Program:
    """minimise |X - C|_F^2 subject to X positive semidefinite, diag X = 1, with C a parameter."""
    X, C = cp.Variable((n, n), symmetric=True), cp.Parameter((n, n))
    problem = cp.Problem(cp.Minimize(cp.sum_squares(X - C)), [X >> 0, cp.diag(X) == 1])

    def draw(rng: np.random.Generator) -> list[np.ndarray]:
        noise = rng.uniform(-1, 1, (n, n))
        return [(noise + noise.T) / 2]

    return Program(problem, [C], [X], draw)


def matrix_parameter(n: int = 100) -> Program:
    """The program whose construction is timed: a parameter of n x n in the objective."""
    return box_least_squares(n)


@dataclass(frozen=True)
class ConvexRow:
    """A program at a batch size; rows of one family grow, as in :class:`benchmarks.rows.Row`."""

    name: str
    make: Callable[[], Program]
    batch: int
    family: str = ""


def convex_rows() -> dict[str, ConvexRow]:
    """Every row by name."""
    rows = [
        ConvexRow(f"qp_{n}_batch_{batch}", partial(box_least_squares, n), batch, family=f"qp_{n}")
        for n in (10, 100)
        for batch in (1, 32, 128)
    ]
    rows += [
        ConvexRow("second_order", robust_portfolio, 32),
        ConvexRow("exponential", capped_softmax, 32),
        ConvexRow("semidefinite", nearest_correlation, 8),
    ]
    return {row.name: row for row in rows}
