"""Random DPP programs: compiled, solved and differentiated as CVXPY and differences say."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layers import ConvexLayer, Status

#: pieces of an objective: convex expressions in x and a parameter vector
PIECES = {
    "squares": lambda x, p: cp.sum_squares(x - p),
    "weighted squares": lambda x, p: cp.sum_squares(cp.multiply(p, x) - 1),
    "absolute values": lambda x, p: cp.norm1(x - p),
    "largest entry": lambda x, p: cp.max(x + p),
    "positive part": lambda x, p: cp.sum(cp.pos(x - p)),
    "huber": lambda x, p: cp.sum(cp.huber(x - p, 0.5)),
    "differences": lambda x, p: cp.sum_squares(cp.diff(x) - p[1:]),
    "linear": lambda x, p: p @ x,
    "norm": lambda x, p: cp.norm(x - p),
    "log-sum-exp": lambda x, p: cp.log_sum_exp(x + p),
    "logistic": lambda x, p: cp.sum(cp.logistic(cp.multiply(p, x))),
    "power": lambda x, p: cp.sum(cp.power(cp.pos(x - p), 1.5)),
}
LIMITS = {
    "box": lambda x, p: [x >= p - 1, x <= p + 1],
    "sum": lambda x, p: [cp.sum(x) == cp.sum(p)],
    "halfspace": lambda x, p: [p @ x <= 1],
    "ball": lambda x, p: [cp.norm(x - p) <= 1.5],
    "cross-polytope": lambda x, p: [cp.norm1(x - p) <= 2],
}


@st.composite
def programs(draw: st.DrawFn) -> tuple[cp.Problem, list[cp.Parameter], cp.Variable, list[torch.Tensor]]:
    n = draw(st.integers(2, 4))
    x = cp.Variable(n)
    chosen = draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3, unique=True))
    limits = draw(st.lists(st.sampled_from(sorted(LIMITS)), max_size=1))
    parameters = [cp.Parameter(n) for _ in (*chosen, *limits)]
    weight = cp.Parameter(nonneg=True)
    terms = [PIECES[name](x, p) for name, p in zip(chosen, parameters, strict=False)]
    constraints = [
        c for name, p in zip(limits, parameters[len(chosen) :], strict=True) for c in LIMITS[name](x, p)
    ]
    # The last term makes the solution unique and smooth almost everywhere.
    problem = cp.Problem(cp.Minimize(sum(terms) + weight * cp.sum_squares(x)), constraints)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    values = [torch.as_tensor(rng.normal(size=(2, n))) for _ in parameters]
    return (
        problem,
        [*parameters, weight],
        x,
        [*values, torch.tensor(rng.uniform(0.5, 1.5), dtype=torch.float64)],
    )


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_a_random_program_is_solved_as_cvxpy_solves_it(program):
    problem, parameters, x, tensors = program
    solution = ConvexLayer(problem, parameters, [x], tol=1e-9).solve(*tensors)
    assert (solution.status == Status.OPTIMAL).all()
    for i in range(2):
        for parameter, tensor in zip(parameters, tensors, strict=True):
            parameter.value = (tensor[i] if tensor.dim() else tensor).numpy()
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        assert solution.objective[i].item() == pytest.approx(problem.value, rel=1e-7, abs=1e-7)
        np.testing.assert_allclose(solution.variables[0][i], x.value, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_the_gradient_of_the_optimal_value_is_its_slope(program):
    # The optimal value is differentiable wherever the solution and its multipliers are unique; kinks are no trouble.
    problem, parameters, x, tensors = program
    layer = ConvexLayer(problem, parameters, [x], tol=1e-9)
    leaves = [t.clone().requires_grad_() for t in tensors]
    gradients = torch.autograd.grad(layer.solve(*leaves).objective.sum(), leaves)
    direction = [torch.full_like(t, 0.5) for t in tensors]
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    step = 1e-4
    ahead, behind = (
        layer.solve(*(t + h * d for t, d in zip(tensors, direction, strict=True))).objective.sum()
        for h in (step, -step)
    )
    assert slope.item() == pytest.approx(((ahead - behind) / (2 * step)).item(), rel=1e-7, abs=1e-7)
