"""From parameters to the data of a cone program: compiled anew by CVXPY, by its map, and by ours.

Table 1 of cvxpylayers (arXiv 1910.12430) has two programs, of its sections 6.1 and 6.2; the second, a control policy,
stands here.
"""

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import torch

from layers import ConvexLayer

#: With its parameters, the variables wanted, and values of the parameters.
Problem = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable], list[np.ndarray]]
STATES, CONTROLS = 2, 3


def stochastic_control(rng: np.random.Generator) -> Problem:
    """The policy of section 6.2: minimise 1/2 |Su|^2 + x'y + r'u subject to |u| <= 1, y = Mu, u and y the variables."""
    S, M = cp.Parameter((CONTROLS, CONTROLS)), cp.Parameter((STATES, CONTROLS))
    x, r, u, y = cp.Parameter(STATES), cp.Parameter(CONTROLS), cp.Variable(CONTROLS), cp.Variable(STATES)
    cost: Any = 0.5 * cp.sum_squares(S @ u) + x @ y + r @ u
    rules: list[Any] = [cp.norm(u) <= 1, y == M @ u]
    values = [np.eye(CONTROLS), *(rng.standard_normal(p.shape) for p in (M, x, r))]
    return cp.Problem(cp.Minimize(cost), rules), [S, M, x, r], [u], values


def ways(made: Problem) -> dict[str, Callable[[], object]]:
    """By method a call that ends with the data; CVXPY keeps its map after the first call, unless it compiles anew."""
    problem, parameters, variables, values = made
    ours = ConvexLayer(problem, parameters, variables)
    tensors = [torch.from_numpy(value) for value in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.value = value
    # What CVXPY keeps belongs to one problem and one way to compile it.
    copies: list[Any] = [cp.Problem(problem.objective, problem.constraints) for _ in range(2)]
    anew, mapped = copies
    return {
        "layer": lambda: ours.canonical_data(*tensors),
        "cvxpy_compiled": lambda: anew.get_problem_data(cp.CLARABEL, ignore_dpp=True),
        "cvxpy_map": lambda: mapped.get_problem_data(cp.CLARABEL),
    }


def disagreement(made: Problem) -> float:
    """How far our solution from these data is from CVXPY's from a compilation, relative to its largest entry."""
    problem, parameters, variables, values = made
    for parameter, value in zip(parameters, values, strict=True):
        parameter.value = value
    tight: dict[str, Any] = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-10)
    problem.solve(cp.CLARABEL, ignore_dpp=True, **tight)
    found = ConvexLayer(problem, parameters, variables)(*(torch.from_numpy(value) for value in values))
    ours = np.concatenate([value.numpy().ravel() for value in found])
    right = np.concatenate([np.asarray(variable.value).ravel() for variable in variables])
    return float(np.abs(ours - right).max() / np.abs(right).max())
