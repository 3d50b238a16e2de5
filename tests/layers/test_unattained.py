"""Programs with curved cones that fall for ever along the boundary of one, or whose infimum no point attains.

No ray certifies the first, and at a point far enough out all that is left of an equation is rounding. References are
formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import pytest
import torch

from layers import ConvexLayer, DifferentiationError, SolverError, Status

Made = tuple[cp.Variable, Any, list[Any]]


def _mean(n: int) -> Callable[[cp.Parameter], Made]:
    def made(a: cp.Parameter) -> Made:
        x = cp.Variable(n)
        return x, -cp.geo_mean(x), [x[0] <= a]

    return made


def _mean_with_a_cost(a: cp.Parameter) -> Made:
    x = cp.Variable(2)
    return x, 0.3 * x[0] - cp.geo_mean(x), [x[0] <= a]


def _root(a: cp.Parameter) -> Made:
    x = cp.Variable(2)
    return x, -cp.sqrt(x[0]) - x[1], [x[1] <= a]


def _logarithm(a: cp.Parameter) -> Made:
    x = cp.Variable(2)
    return x, x[1] - cp.log(x[0]), [x[1] >= a]


def _entropy(a: cp.Parameter) -> Made:
    x = cp.Variable(2)
    return x, cp.rel_entr(x[0], x[1]), [x[0] == a]


BOTTOMLESS = {
    "mean of two": _mean(2), "mean of three": _mean(3), "with a cost": _mean_with_a_cost,
    "root": _root, "logarithm": _logarithm, "entropy": _entropy,
}  # fmt: skip


def _layer(made: Callable[[cp.Parameter], Made], **options: Any) -> ConvexLayer:
    a = cp.Parameter()
    x, cost, rules = made(a)
    return ConvexLayer(cp.Problem(cp.Minimize(cost), rules), [a], [x], **options)


@pytest.mark.parametrize("made", BOTTOMLESS.values(), ids=BOTTOMLESS)
def test_what_falls_for_ever_along_a_boundary_is_never_optimal(
    made: Callable[[cp.Parameter], Made],
) -> None:
    a = torch.tensor([1e-3, 1.0, 30.0], dtype=torch.float64, requires_grad=True)
    solution = _layer(made, on_failure="ignore").solve(a)
    assert not (solution.status == Status.OPTIMAL).any()
    assert not (solution.status == Status.INFEASIBLE).any()
    (solution.variables[0].sum() + solution.objective.sum()).backward()
    assert a.grad is not None
    assert not a.grad.any()


def test_asking_for_it_raises() -> None:
    with pytest.raises(SolverError, match=r"UNBOUNDED|NUMERICAL_FAILURE"):
        _layer(_mean(2))(torch.tensor(1.0, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("c", [1.0, 1e-2, 1e-3])
def test_what_a_small_cost_holds_far_out_is_found(c: float) -> None:
    """The least c x₁ − √(x₀x₁) with x₀ ≤ a is at x₁ = a/4c²."""

    def made(a: cp.Parameter) -> Made:
        x = cp.Variable(2)
        return x, c * x[1] - cp.geo_mean(x), [x[0] <= a]

    a = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    (x,) = _layer(made)(a)
    torch.testing.assert_close(x[:, 1], a / (4 * c * c), rtol=1e-7, atol=0)
    (grad,) = torch.autograd.grad(x[:, 1].sum(), a)
    torch.testing.assert_close(grad, torch.full_like(a, 1 / (4 * c * c)), rtol=1e-6, atol=0)


def _softplus(a: cp.Parameter) -> Made:
    x = cp.Variable(1)
    return x, cp.sum(cp.logistic(x)), [x <= a]


def _softmax(a: cp.Parameter) -> Made:
    x = cp.Variable(2)
    return x, cp.log_sum_exp(x) - x[0], [x[1] >= a]


@pytest.mark.parametrize("made", [_softplus, _softmax])
def test_an_infimum_at_infinity_has_a_value_and_no_derivative_of_the_point(
    made: Callable[[cp.Parameter], Made],
) -> None:
    a = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    solution = _layer(made).solve(a)
    assert (solution.objective.abs() < 1e-6).all()
    assert (solution.degeneracy.solution_dimension >= 1).all()
    (grad,) = torch.autograd.grad(solution.objective.sum(), a, retain_graph=True)
    assert (grad.abs() < 1e-6).all()
    with pytest.raises(
        DifferentiationError, match=r"element\(s\) \(0, 1\) does not determine its derivative"
    ):
        solution.variables[0].sum().backward()


@pytest.mark.parametrize("curvature", [1e-6, 1e-9, 1e-12])
def test_what_stands_beside_a_much_larger_part_is_right_or_given_up(curvature: float) -> None:
    """The least exp(x₀) − a x₀ + ½c x₁² − x₁ is at x₀ = log a; one row, which does not bind, ties it to x₁ = 1/c."""
    x, a, h = cp.Variable(2), cp.Parameter(pos=True), cp.Parameter()
    cost = cp.exp(x[0]) - a * x[0] + 0.5 * curvature * cp.square(x[1]) - x[1]
    problem = cp.Problem(cp.Minimize(cost), [cp.sum(x) <= h])
    layer = ConvexLayer(problem, [a, h], [x], on_failure="ignore")
    given = torch.tensor([0.01, 0.5, 1.0, 7.0], dtype=torch.float64, requires_grad=True)
    solution = layer.solve(given, torch.full_like(given, 3 / curvature))
    solved = solution.status == Status.OPTIMAL
    assert solved.all() or (curvature < 1e-9 and not (solution.status == Status.UNBOUNDED).any())
    found = solution.variables[0][solved, 0]
    torch.testing.assert_close(found, given.detach().log()[solved], rtol=1e-6, atol=1e-6)
    (grad,) = torch.autograd.grad(found.sum(), given)
    torch.testing.assert_close(grad[solved], 1 / given.detach()[solved], rtol=1e-6, atol=0)
