"""Any number of layers comes from one problem of CVXPY, in any order, and leaves it as it was."""

from __future__ import annotations

from itertools import permutations

import cvxpy as cp
import numpy as np
import pytest
import torch

from layers import ConvexLayer

Program = tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]


def geometric() -> Program:
    """minimise u/b + b/v + v subject to u ≥ k: u = k, v = √b, optimal value k/b + 2√b."""
    u, v, k, b = cp.Variable(pos=True), cp.Variable(pos=True), cp.Parameter(pos=True), cp.Parameter(pos=True)
    return cp.Problem(cp.Minimize(u / b + b / v + v), [u >= k]), [k, b], [u, v]


def linear() -> Program:
    """minimise |u − k|² + |v − b|²."""
    u, v, k, b = cp.Variable(), cp.Variable(), cp.Parameter(), cp.Parameter()
    return cp.Problem(cp.Minimize(cp.square(u - k) + cp.square(v - b)), [u + v <= 10]), [k, b], [u, v]


def curved() -> Program:
    """minimise |u − k| + |(v − b, 0)|, as a norm."""
    u, v, k, b = cp.Variable(), cp.Variable(), cp.Parameter(), cp.Parameter()
    return (
        cp.Problem(cp.Minimize(cp.norm(cp.hstack([u - k, v - b])) + u + v), [u >= k, v >= b]),
        [k, b],
        [u, v],
    )


K, B = 3.0, 4.0
SOLUTIONS = {geometric: (K, B**0.5), linear: (K, B), curved: (K, B)}


def check(program: Program, order: tuple[int, ...], expected: tuple[float, float], *, gp: bool) -> None:
    problem, parameters, variables = program
    layer = ConvexLayer(problem, [parameters[i] for i in order], variables, gp=gp)
    tensors = [torch.tensor((K, B)[i], dtype=torch.float64) for i in order]
    found = torch.stack(layer(*tensors)).tolist()
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("solved", ["never", "before", "between", "without values"])
@pytest.mark.parametrize("make", SOLUTIONS)
def test_layers_in_every_order_give_the_solution_and_leave_the_problem_alone(make, solved: str) -> None:
    program, gp = make(), make is geometric
    problem, parameters, variables = program
    values = dict(zip(parameters, (2.0, 5.0), strict=True))

    def solve() -> None:
        for parameter, value in values.items():
            parameter.value = value
        problem.solve(gp=gp, solver="CLARABEL")

    if solved in ("before", "without values"):
        solve()
    if solved == "without values":
        for parameter in parameters:
            parameter.value = None
    before = [parameter.value for parameter in parameters]
    for order in (*permutations(range(2)), (0, 1)):
        at = [variable.value for variable in variables]
        check(program, order, SOLUTIONS[make], gp=gp)
        assert [parameter.value for parameter in parameters] == before
        assert [variable.value for variable in variables] == at
        if solved == "between":
            solve()
            before = [parameter.value for parameter in parameters]
    # The problem still solves, and afterwards is the same for a layer.
    solve()
    fresh = make()
    for parameter, value in zip(fresh[1], values.values(), strict=True):
        parameter.value = value
    fresh[0].solve(gp=gp, solver="CLARABEL")
    assert problem.value == pytest.approx(fresh[0].value, rel=1e-6)
    assert np.allclose([v.value for v in variables], [v.value for v in fresh[2]], rtol=1e-5)
    check(program, (1, 0), SOLUTIONS[make], gp=gp)


def test_a_problem_is_a_geometric_and_another_layer_at_once() -> None:
    """minimise u subject to u ≥ k is both."""
    u, k = cp.Variable(pos=True), cp.Parameter(pos=True)
    problem = cp.Problem(cp.Minimize(u), [u >= k])
    for gp in (False, True, False, True):
        (found,) = ConvexLayer(problem, [k], [u], gp=gp)(torch.tensor(2.0, dtype=torch.float64))
        assert found.item() == pytest.approx(2.0, rel=1e-7)
    assert k.value is None
    assert problem.status is None
