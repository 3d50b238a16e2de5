"""What `degeneracy` tells: dependent rows, and the dimension of the set of minimisers, known from geometry."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, solve_qp

DOUBLE = torch.float64
EYE, ONE = np.eye(3), np.ones(3)

#: name: Q, q, G, h, dimension of the set of minimisers, active rows less their rank
QUADRATIC = {
    "one vertex": (0 * EYE, -ONE, np.vstack([EYE, -EYE]), np.r_[ONE, ONE], 0, 0),
    "an edge": (0 * EYE, -ONE * [1, 1, 0], np.vstack([EYE, -EYE]), np.r_[ONE, ONE], 1, 0),
    "the whole cube": (0 * EYE, 0 * ONE, np.vstack([EYE, -EYE]), np.r_[ONE, ONE], 3, 0),
    "a simplex": (0 * EYE, ONE, np.vstack([-EYE, -ONE]), np.r_[0 * ONE, -1.0], 2, 0),
    "a simplex that is a point": (0 * EYE, ONE, np.vstack([-EYE, -ONE]), 0 * np.ones(4), 0, 1),
    "a variable without curvature": (
        np.diag([1.0, 0, 0]),
        -EYE[0],
        np.vstack([EYE, -EYE]),
        2 * np.ones(6),
        2,
        0,
    ),
    # z1 = 1 is weakly active and bounds nothing that is free
    "a weak row across": (
        np.diag([1.0, 0, 0]),
        -EYE[0],
        np.vstack([EYE, -EYE]),
        np.r_[1.0, 2, 2, 2, 2, 2],
        2,
        0,
    ),
    # z3 <= 1 and -z3 <= -1 hold z3, whatever their multipliers, which may be zero
    "a plane between two rows": (
        0 * EYE,
        0 * ONE,
        np.vstack([EYE, -EYE]),
        np.r_[ONE, ONE * [1, 1, -1]],
        2,
        1,
    ),
    "doubled rows": (EYE, -5 * ONE, np.vstack([ONE, 2 * ONE]), np.r_[1.0, 2.0], 0, 1),
    "regular": (EYE, -5 * ONE, ONE[None], np.ones(1), 0, 0),
}


@pytest.mark.parametrize("units", [1.0, 1e-7, 1e7])
@pytest.mark.parametrize("name", QUADRATIC)
def test_dimension_and_dependence_in_any_units(name: str, units: float) -> None:
    Q, q, G, h, dimension, dependent = QUADRATIC[name]
    row = np.where(np.arange(len(G)) % 2, units, 1.0)
    data = (Q / units**2, q / units, row[:, None] * G / units, row * h)
    found = solve_qp(*(torch.tensor(v, dtype=DOUBLE) for v in data), tol=1e-10).degeneracy
    assert int(found.solution_dimension) == dimension
    assert int(found.dependent_rows) == dependent
    assert int(found.rank_deficiency) == dimension + dependent


def test_elements_of_a_batch_are_told_apart(rng: np.random.Generator) -> None:
    names = [name for name in QUADRATIC if len(QUADRATIC[name][2]) == 6]
    parts = [torch.tensor(np.stack([QUADRATIC[name][k] for name in names]), dtype=DOUBLE) for k in range(4)]
    found = solve_qp(*parts, tol=1e-10).degeneracy
    assert found.solution_dimension.tolist() == [QUADRATIC[name][4] for name in names]
    assert found.dependent_rows.tolist() == [QUADRATIC[name][5] for name in names]


def convex_programs() -> dict[str, tuple[cp.Problem, cp.Variable, cp.Parameter, int, int]]:
    """Problem, variable, parameter (with the value (1, 0)), dimension of the set of minimisers, dependent rows."""
    x, X, p = cp.Variable(2), cp.Variable((2, 2), PSD=True), cp.Parameter(2)
    least = cp.Minimize
    return {
        "a point of a ball": (cp.Problem(least((p + 1) @ x), [cp.norm(x) <= 1]), x, p, 0, 0),
        "the ball twice": (
            cp.Problem(least((p + 1) @ x), [cp.norm(x) <= 1, cp.norm(3 * x) <= 3]),
            x,
            p,
            0,
            1,
        ),
        # the bounds of the norms are variables of the compiled program, with a choice that x does not show
        "a ball far away": (
            cp.Problem(least(cp.sum_squares(x - p)), [cp.norm(x) <= 9, cp.norm1(x) <= 9]),
            x,
            p,
            0,
            0,
        ),
        "a chord of a ball": (cp.Problem(least(p @ x), [x[0] >= -0.5, cp.norm(x) <= 1]), x, p, 1, 0),
        "a segment": (cp.Problem(least(cp.norm1(x)), [cp.sum(x) == p[0]]), x, p, 1, 0),
        "the largest of two": (cp.Problem(least(cp.max(x)), [x >= p]), x, p, 1, 0),
        "a line": (
            cp.Problem(least(cp.log_sum_exp(x) - cp.sum(x) / 2 + p[1]), [cp.norm(x) <= 5]),
            x,
            p,
            1,
            0,
        ),
        "exponentials": (cp.Problem(least(cp.sum(cp.exp(x)) - (p + 1) @ x), []), x, p, 0, 0),
        "a matrix": (cp.Problem(least(cp.trace(X) + p[1]), [X[0, 0] == p[0]]), X, p, 0, 0),
        "matrices of one trace": (cp.Problem(least(cp.trace(X) + p[1]), [cp.trace(X) == p[0]]), X, p, 2, 0),
    }


@pytest.mark.parametrize("name", convex_programs())
def test_minimisers_of_convex_programs_are_counted_in_the_variables_asked_for(name: str) -> None:
    problem, variable, parameter, dimension, dependent = convex_programs()[name]
    value = torch.tensor([[1.0, 0.0]] * 2, dtype=DOUBLE)
    found = ConvexLayer(problem, [parameter], [variable]).solve(value).degeneracy
    assert found.solution_dimension.tolist() == [dimension] * 2
    assert found.dependent_rows.tolist() == [dependent] * 2
    assert (found.margin > 1e-3).all()


@pytest.mark.parametrize("kind", ["ball", "matrix", "half-line"])
def test_margin_of_a_cone_is_zero_where_its_constraint_binds_by_chance(kind: str) -> None:
    x, p, X = cp.Variable(2), cp.Parameter(2), cp.Variable((2, 2), symmetric=True)
    target = cp.diag(p)
    problem, variable = {
        "ball": (cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [cp.norm(x) <= 1]), x),
        "matrix": (cp.Problem(cp.Minimize(cp.sum_squares(X - target)), [X >> 0]), X),
        "half-line": (cp.Problem(cp.Minimize(cp.sum_squares(x - p)), [x[1] >= 0, cp.norm(x) <= 3]), x),
    }[kind]

    def margin(value: Tensor) -> float:
        return float(ConvexLayer(problem, [p], [variable]).solve(value).degeneracy.margin)

    assert margin(torch.tensor([1.0, 0.0], dtype=DOUBLE)) <= 1e-7
    assert margin(torch.tensor([0.5, 0.3], dtype=DOUBLE)) > 1e-2
