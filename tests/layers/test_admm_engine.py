"""ADMM as an engine: its answers have the digits of any other, and what it cannot solve it does not call solved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layers import ConvexLayer, LayerError, QPLayer, SolverError, Status, solve_qp
from layers.problem import QP
from layers.qp import admm
from tests.layers.catalogue import INFEASIBLE, SOLVABLE, UNBOUNDED
from tests.layers.instances import NAMES, assert_close, leaves, random_qp, stack, weigh
from tests.layers.test_certificates import CONTRADICTIONS, RAYS


@pytest.fixture(autouse=True)
def _engine() -> None:
    """Asked by name, ADMM is the same whatever "auto" means: once is enough."""


#: each choice of multipliers has derivatives of its own in the constraints
SEVERAL_MULTIPLIERS = {"redundant_rows", "zero_rows", "bounds_that_meet"}


@pytest.mark.parametrize("kind", SOLVABLE)
def test_it_finds_solution_and_gradients_to_the_last_digits(kind: str) -> None:
    data = SOLVABLE[kind](np.random.default_rng(3))
    given, also = leaves(data), leaves(data)
    found, right = solve_qp(*given, solver="admm"), solve_qp(*also, tol=1e-12)
    assert int(found.status) == Status.OPTIMAL
    assert float(found.residuals.largest) < 1e-13
    assert_close(found.objective, right.objective, 1e-12)
    if kind == "singular_unconstrained":  # any point of a line solves it
        return
    assert_close(found.z, right.z, 1e-12)
    pairs = (torch.autograd.grad(weigh(s.z), d) for s, d in ((found, given), (right, also)))
    for label, x, y in zip(NAMES, *pairs, strict=True):
        if label in "Qq" or kind not in SEVERAL_MULTIPLIERS:
            assert_close(x, y, 1e-9, label)


def test_the_digits_are_those_of_the_polish_and_not_of_the_steps(rng) -> None:
    data = random_qp(rng, 6, 8, 2)
    flat = QP(*(t.unsqueeze(0) for t in data)).flatten()
    found = solve_qp(*data, solver="admm", tol=1e-3)
    steps = admm.solve(flat, 1e-3, 1000, 1.0)
    assert float(steps.residuals.largest) > 1e-6
    assert float(found.residuals.largest) < 1e-13
    assert int(found.iterations) <= int(steps.iterations)


@pytest.mark.parametrize("limit", [10, 300])
@pytest.mark.parametrize("build", [*INFEASIBLE.values(), *UNBOUNDED.values(), *RAYS, *CONTRADICTIONS])
def test_what_has_no_solution_is_never_called_solved(build, limit: int) -> None:
    data = build(np.random.default_rng(3)) if build not in (*RAYS, *CONTRADICTIONS) else build()
    units = 2.0 ** torch.arange(-6, 7).double()
    Q, q = data[0] * units.reshape(-1, 1, 1), data[1] * units.unsqueeze(-1)
    found = solve_qp(Q, q, *data[2:], solver="admm", max_iterations=limit, on_failure="ignore")
    assert set(found.status.tolist()) == {Status.ITERATION_LIMIT}
    assert (found.residuals.largest > 1e-8).all()


def test_an_element_without_a_solution_is_told_and_leaves_the_others_alone(rng) -> None:
    problems = [random_qp(rng, 5, 6, 1) for _ in range(3)]
    data = [t.clone() for t in stack(problems)]
    data[2][1, 0], data[3][1, 0] = 0.0, -1.0  # 0 z <= -1
    with pytest.raises(
        SolverError, match=r'element \(1,\): ITERATION_LIMIT(.|\n)*no certificates: solver="auto"'
    ):
        solve_qp(*data, solver="admm")
    found = solve_qp(*data, solver="admm", on_failure="nan")
    assert found.z[1].isnan().all()
    for i in (0, 2):
        assert_close(found.z[i], solve_qp(*problems[i], solver="admm").z, 1e-13)


def test_a_limit_that_is_too_low_is_no_answer(rng) -> None:
    data = random_qp(rng, 20, 40, 1)
    found = solve_qp(*data, solver="admm", max_iterations=1, on_failure="ignore")
    assert int(found.status) == Status.ITERATION_LIMIT
    assert int(found.iterations) == 1
    assert float(found.residuals.largest) > 1e-3


def test_a_warm_start_takes_no_step(rng) -> None:
    data = random_qp(rng, 5, 6, 2, batch=(3,))
    first = solve_qp(*data, solver="admm")
    again = solve_qp(*data, solver="admm", warm_start=first)
    assert first.iterations.min() > 0
    assert not again.iterations.any()
    assert_close(again.z, first.z, 1e-13)


def test_its_solution_has_second_derivatives_like_any_other(rng) -> None:
    Q, q, *rest = random_qp(rng, 4, 3, 1)

    def hessian(solver: str) -> torch.Tensor:
        layer = QPLayer(solver)
        return torch.func.hessian(lambda q: weigh(layer(Q, q, *rest) ** 3))(q)

    assert_close(hessian("admm"), hessian("auto"), 1e-9)


def test_a_convex_layer_takes_it_for_linear_rows_and_no_others() -> None:
    cp = pytest.importorskip("cvxpy")
    x, y = cp.Variable(3), cp.Parameter(3)
    objective = cp.Minimize(cp.sum_squares(x - y))
    point = torch.tensor([1.0, 0.7, -1.0], dtype=torch.float64)
    (z,) = ConvexLayer(cp.Problem(objective, [x >= 0, cp.sum(x) == 1]), [y], [x], solver="admm")(point)
    assert_close(z, torch.tensor([0.65, 0.35, 0.0], dtype=torch.float64), 1e-12)
    with pytest.raises(LayerError, match="solver='admm' solves quadratic programs"):
        ConvexLayer(cp.Problem(objective, [cp.norm(x) <= 1]), [y], [x], solver="admm")
