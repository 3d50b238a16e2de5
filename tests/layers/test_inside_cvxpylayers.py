"""Our engines inside cvxpylayers' own layer: answers and derivatives of ConvexLayer and of diffcp, on every cone."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from cvxpylayers.torch import CvxpyLayer

from layers import ConvexLayer, CvxpylayersSolver, LayerError, ProblemError, SolverError, solve_qp

DIFFCP = {"solve_method": "Clarabel", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}


def least_squares_on_the_simplex():
    x, A, b = cp.Variable(5), cp.Parameter((7, 5)), cp.Parameter(7)
    rows = [x >= 0, cp.sum(x) == 1]
    duals = [row.dual_variables[0] for row in rows]
    return cp.Problem(cp.Minimize(cp.sum_squares(A @ x - b)), rows), [A, b], [x, *duals]


def linear_program():
    x, c, cap = cp.Variable(5), cp.Parameter(5), cp.Parameter(5)
    return cp.Problem(cp.Minimize(c @ x), [x >= -1, x <= cap]), [c, cap], [x]


def ball():
    x, c = cp.Variable(5), cp.Parameter(5)
    rows = [cp.norm(x) <= 1]
    return cp.Problem(cp.Minimize(c @ x + cp.norm1(x - 0.3)), rows), [c], [x, rows[0].dual_variables[0]]


def entropy():
    x, c = cp.Variable(5), cp.Parameter(5)
    return cp.Problem(cp.Minimize(c @ x - cp.sum(cp.entr(x))), [cp.sum(x) == 1]), [c], [x]


def semidefinite():
    X, C = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3))
    rows = [X >> 0, cp.trace(X) == 1]
    return cp.Problem(cp.Minimize(cp.sum_squares(X - C)), rows), [C], [X, rows[0].dual_variables[0]]


def two_matrices_and_a_power():
    X, Y, z, C = (
        cp.Variable((2, 2), PSD=True),
        cp.Variable((3, 3), PSD=True),
        cp.Variable(),
        cp.Parameter((2, 3)),
    )
    objective = cp.trace(X) + cp.trace(Y) - cp.sum(cp.multiply(C, X @ np.ones((2, 3)) + np.ones((2, 3)) @ Y))
    powers = [cp.constraints.PowCone3D(X[0, 0] + 1, Y[0, 0] + 1, z, 0.3)]
    return (
        cp.Problem(cp.Minimize(objective + cp.sum_squares(1 * X) + cp.sum_squares(1 * Y) - z), powers),
        [C],
        [X, Y, z],
    )


PROGRAMS = (
    least_squares_on_the_simplex,
    linear_program,
    ball,
    entropy,
    semidefinite,
    two_matrices_and_a_power,
)


def answers(layer, parameters, seed, batch, **options):
    """Outputs, and gradients of a weighted sum of all of them."""
    generator = torch.Generator().manual_seed(seed)
    values = [
        torch.rand(*batch, *p.shape, generator=generator, dtype=torch.float64).requires_grad_()
        for p in parameters
    ]
    outputs = layer(*values, **options)
    weights = [torch.linspace(1, 2, out.numel(), dtype=torch.float64).reshape(out.shape) for out in outputs]
    total = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
    return outputs, torch.autograd.grad(total, values)


@pytest.mark.parametrize("batch", [(), (3,)], ids=["single", "batch"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_answers_duals_and_gradients_are_those_of_our_own_layer(program, batch):
    problem, parameters, variables = program()
    inside = CvxpyLayer(problem, parameters, variables, solver=CvxpylayersSolver(tol=1e-10))
    own = ConvexLayer(problem, parameters, variables, tol=1e-10)
    found, wanted = (answers(layer, parameters, 1, batch) for layer in (inside, own))
    for mine, other in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
        assert mine.shape == other.shape
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("program", PROGRAMS[:5])
def test_answers_and_gradients_are_those_of_diffcp(program):
    problem, parameters, variables = program()
    inside = CvxpyLayer(problem, parameters, variables, solver=CvxpylayersSolver())
    diffcp = CvxpyLayer(problem, parameters, variables)
    found = answers(inside, parameters, 2, (2,))
    wanted = answers(diffcp, parameters, 2, (2,), solver_args={**DIFFCP, "mode": "dense"})
    for mine, other in zip((*found[0], *found[1]), (*wanted[0], *wanted[1]), strict=True):
        # diffcp has no quadratic term: its answer is good to the square root of its tolerance.
        torch.testing.assert_close(mine, other, rtol=2e-4, atol=2e-4)


def test_it_is_our_engine_that_solves_and_solver_args_reach_it(monkeypatch):
    calls = []

    def counted(*data, **options):
        calls.append(options)
        return solve_qp(*data, **options)

    monkeypatch.setattr("layers.convex.inside_cvxpylayers.solve_qp", counted)
    problem, parameters, variables = linear_program()
    layer = CvxpyLayer(problem, parameters, variables, solver=CvxpylayersSolver(tol=1e-7))
    answers(layer, parameters, 0, (2,), solver_args={"eps": 1e-9, "max_iters": 50})
    assert [(call["tol"], call["max_iterations"]) for call in calls] == [(1e-9, 50)]


def test_single_precision_is_understood():
    problem, parameters, variables = least_squares_on_the_simplex()
    layer = CvxpyLayer(problem, parameters, variables, solver=CvxpylayersSolver())
    values = [torch.ones(p.shape, requires_grad=True) for p in parameters]
    outputs = layer(*values)
    torch.testing.assert_close(outputs[0].float(), torch.full((5,), 0.2), rtol=0, atol=1e-6)
    outputs[0][0].backward()
    assert all(value.grad.dtype == torch.float32 and value.grad.isfinite().all() for value in values)


def test_an_infeasible_element_is_named():
    problem, parameters, variables = linear_program()
    layer = CvxpyLayer(problem, parameters, variables, solver=CvxpylayersSolver())
    cap = torch.tensor([[1.0], [-2.0], [1.0]], dtype=torch.float64).expand(3, 5)
    with pytest.raises(SolverError, match=r"element \(1,\): INFEASIBLE"):
        layer(torch.ones(5, dtype=torch.float64), cap)


def test_one_instance_belongs_to_one_layer():
    solver = CvxpylayersSolver()
    CvxpyLayer(*linear_program(), solver=solver)
    with pytest.raises(LayerError, match="make one for each layer"):
        CvxpyLayer(*ball(), solver=solver)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "simplex"}, "one of"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"solver": "qpth"}, "quadratic"),
    ],
)
def test_options_that_cannot_be_used_are_told_when_the_layer_is_made(options, message):
    with pytest.raises(LayerError, match=message):
        CvxpyLayer(*ball(), solver=CvxpylayersSolver(**options))


def test_a_row_that_the_cone_form_does_not_hold_is_not_dropped():
    layer = CvxpyLayer(*ball(), solver=CvxpylayersSolver())
    layer.ctx.cone_dims.nonneg -= 1
    with pytest.raises(ProblemError, match="rows, of which the cone form understands"):
        CvxpylayersSolver().setup(layer.ctx)


@pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")
@pytest.mark.parametrize(
    "attribute", [{"symmetric": True}, {"PSD": True}, {"diag": True}, {"sparsity": [(0, 1), (0, 1)]}], ids=str
)
def test_a_square_that_cvxpy_loses_is_refused_and_the_advice_helps(attribute):
    X, c = cp.Variable((2, 2), **attribute), cp.Parameter()
    lost = cp.Problem(cp.Minimize(cp.sum_squares(X) - c * cp.trace(X)), [cp.trace(X) <= 5])
    with pytest.raises(ProblemError, match=r"write 1 \* "):
        CvxpyLayer(lost, [c], [X], solver=CvxpylayersSolver())
    if {"diag", "sparsity"} & attribute.keys():
        return  # cvxpylayers itself cannot return such a variable
    kept = cp.Problem(cp.Minimize(cp.sum_squares(1 * X) - c * cp.trace(X)), [cp.trace(X) <= 5])
    (answer,) = CvxpyLayer(kept, [c], [X], solver=CvxpylayersSolver())(torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(answer, 0.5 * torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rows", [True, False])
def test_an_objective_that_its_parameters_make_concave_is_refused(rows: bool) -> None:
    """CVXPY trusts the declared sign; with the wrong one minimisers are at the ends, and none is in the middle."""
    x, weight, q = cp.Variable(3), cp.Parameter(nonneg=True), cp.Parameter(3)
    bounds = [x <= 1, x >= -1] if rows else [cp.norm(x) <= 1]
    problem = cp.Problem(cp.Minimize(weight * cp.sum_squares(x) + q @ x), bounds)
    layer = CvxpyLayer(problem, [weight, q], [x], solver=CvxpylayersSolver())
    q_value = torch.full((2, 3), 0.1, dtype=torch.float64)
    with pytest.raises(ProblemError, match=r"must be positive semidefinite.* -2 in batch element \(1,\)"):
        layer(torch.tensor([1.0, -1.0], dtype=torch.float64), q_value)
    (found,) = layer(torch.tensor([1.0, 0.0], dtype=torch.float64), q_value)
    expected = -torch.ones(3).double() * (1 if rows else 3**-0.5)
    assert (found[0] + 0.05).abs().max() < 1e-9
    assert (found[1] - expected).abs().max() < 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_full_quadratic_form_is_judged_by_its_eigenvalues(sign: float) -> None:
    # w (x₁ + x₂)² + 1.25 (x₁ − x₂)²: for w = −1 the diagonal is positive still
    x, weight, q = cp.Variable(2), cp.Parameter(nonneg=True), cp.Parameter(2)
    forms = [cp.quad_form(x, cp.psd_wrap(np.array([[1.0, c], [c, 1.0]]))) for c in (1.0, -1.0)]
    form = weight * forms[0] + 1.25 * forms[1]
    layer = CvxpyLayer(
        cp.Problem(cp.Minimize(form + q @ x), [cp.norm(x) <= 1]), [weight, q], [x], solver=CvxpylayersSolver()
    )
    arguments = torch.tensor(sign, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    if sign > 0:
        assert layer(*arguments)[0].abs().max() < 1e-7
    else:
        with pytest.raises(ProblemError, match="positive semidefinite"):
            layer(*arguments)
