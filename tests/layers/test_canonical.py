"""The affine maps of a compiled program against CVXPY's own numbers: nothing is dropped, added or moved."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from layers import ConvexLayer, Status
from layers.convex.canonical import Assembly, compile_problem, conic_form, quadratic_form
from layers.convex.canonical.cone_form import CONE_FORM
from tests.layers.programs import PROGRAMS, Program

pytestmark = pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")

Data = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]


def our_data(program: Program, tensors: list[torch.Tensor]) -> Data:
    """P, q, A, b and offset of the canonical program at these values."""
    canonical, _ = compile_problem(program.problem, program.parameters, gp=program.gp)
    values = [tensors[s.parameter].log() if s.logarithm else tensors[s.parameter] for s in canonical.sources]
    theta = [v.reshape(-1) for v in values]
    blocks = Assembly(canonical.blocks, [v.numel() for v in theta])(theta, ())
    s, v = canonical.structure, {name: block.numpy() for name, block in blocks.items()}
    P = sp.coo_array((v["P"], (s.P_rows, s.P_cols)), shape=(s.n, s.n)).toarray()
    A = sp.coo_array((v["A"], (s.A_rows, s.A_cols)), shape=(s.m, s.n)).toarray()
    return P, v["q"], A, v["b"], float(v["offset"])


def cvxpy_data(program: Program, tensors: list[torch.Tensor]) -> Data:
    """The same, as CVXPY computes them for these values."""
    program.set_values(tensors)
    data, chain, _ = program.problem.get_problem_data(solver=CONE_FORM, gp=program.gp)
    for reduction in chain.reductions:
        reduction.update_parameters(program.problem)
    compiled = data["param_prob"]
    *P, q, d, A, b = compiled.apply_parameters(quad_obj=compiled.P is not None)
    full = P[0].toarray() if P else np.zeros((q.size, q.size))
    return 0.5 * (full + full.T), q, -A.toarray(), b, float(d)


@pytest.mark.parametrize("name", PROGRAMS)
def test_data_are_those_that_cvxpy_computes_for_these_values(name: str):
    program = PROGRAMS[name]()
    tensors = program.tensors(seed=0)
    for mine, theirs in zip(our_data(program, tensors), cvxpy_data(program, tensors), strict=True):
        assert np.abs(np.subtract(mine, theirs)).max(initial=0.0) <= 1e-14


@pytest.mark.parametrize("name", PROGRAMS)
def test_solutions_satisfy_the_conditions_of_the_program_that_cvxpy_compiled(name: str):
    """Of that program, with all of its variables and rows, not of the smaller one that was solved."""
    program = PROGRAMS[name]()
    tensors = program.tensors(seed=1)
    P, q, A, b, offset = cvxpy_data(program, tensors)
    layer = ConvexLayer(program.problem, program.parameters, program.variables, gp=program.gp, tol=1e-10)
    solution = layer.solve(*tensors)
    assert solution.status == Status.OPTIMAL
    x, y, s = (v.numpy() for v in (solution.x, solution.y, solution.s))
    size = 1 + max(np.abs(v).max(initial=0) for v in (x, y, s, q, b))
    assert np.abs(P @ x + q + A.T @ y).max() <= 1e-8 * size
    assert np.abs(A @ x + s - b).max(initial=0) <= 1e-8 * size
    assert abs(s @ y) <= 1e-8 * size**2
    value = 0.5 * x @ P @ x + q @ x + offset
    value = -value if isinstance(program.problem.objective, cp.Maximize) else value
    assert solution.objective.item() == pytest.approx(
        np.exp(value) if program.gp else value, rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize(
    ("name", "quadratic", "conic"),
    [
        # Where the matrix of the definitions is a parameter, a conic engine keeps them.
        ("least_squares", 4, 0),
        ("ridge", 4, 0),
        ("parametric_quad_form", 0, 0),
        ("linear_program", 0, 0),
        ("semidefinite", None, 9),
        ("second_order", None, 0),
        ("mixture", None, 0),
    ],
)  # fmt: skip
def test_defined_variables_are_taken_out(name: str, quadratic: int | None, conic: int):
    program = PROGRAMS[name]()
    canonical, _ = compile_problem(program.problem, program.parameters)
    if quadratic is not None:
        assert quadratic_form(canonical).w.size == quadratic
    assert conic_form(canonical).w.size == conic


def test_variables_stay_where_their_elimination_would_fill_the_matrix():
    n = 60
    x, g = cp.Variable(n), cp.Parameter()
    dense_row = cp.Problem(cp.Minimize(cp.square(cp.sum(x) - g) + cp.norm(x - 1)))
    canonical, _ = compile_problem(dense_row, [g])
    assert conic_form(canonical).w.size == 0
    layer, value = ConvexLayer(dense_row, [g], [x]), torch.tensor(3.0).double()
    # x = 1 + t 1 by symmetry, and t = (g − n)/n unless the norm's pull √n exceeds it.
    assert layer(value)[0].std() <= 1e-6


def test_the_same_solution_with_and_without_elimination():
    x, g = cp.Variable(5), cp.Parameter(5)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - g) + cp.norm(x)), [cp.sum(x) == 1])
    value = torch.linspace(-1, 2, 5).double().requires_grad_()
    (found,) = ConvexLayer(problem, [g], [x], tol=1e-10)(value)
    # Written with w in a second equality, nothing is a definition any more.
    w = cp.Variable(5)
    rows = [cp.sum(x) == 1, w == x - g, cp.sum(w) == 1 - cp.sum(g)]
    longer = cp.Problem(cp.Minimize(cp.sum_squares(w) + cp.norm(x)), rows)
    kept = ConvexLayer(longer, [g], [x], tol=1e-10)
    assert (kept._form.w.size, ConvexLayer(problem, [g], [x])._form.w.size) == (0, 5)
    torch.testing.assert_close(found, kept(value)[0], rtol=1e-7, atol=1e-8)


def test_values_that_an_earlier_solve_has_left_change_nothing():
    """CVXPY starts the largest entries of a matrix from its value, by indices that are out of range there."""
    X, Y = cp.Variable((2, 5)), cp.Parameter((2, 5), value=np.arange(10.0).reshape(2, 5))
    thin = cp.Variable((2, 2), sparsity=([0], [1]))
    largest = cp.sum_squares(X - Y) + cp.sum_largest(X, 1) + cp.sum_squares(thin)
    problem = cp.Problem(cp.Minimize(largest), [thin[0, 1] >= 1])
    before = ConvexLayer(problem, [Y], [X, thin])
    X.value, thin.value_sparse = np.ones((2, 5)), sp.coo_array(([3.0], ([0], [1])), shape=(2, 2))
    held = X.value
    after = ConvexLayer(problem, [Y], [X, thin])
    assert X.value is held
    assert thin.value_sparse.toarray()[0, 1] == 3
    values = torch.arange(10.0, dtype=torch.float64).reshape(2, 5)
    for found, expected in zip(after(values), before(values), strict=True):
        assert torch.equal(found, expected)
    assert (after(values)[0] - values).abs().sum().item() == pytest.approx(0.5, abs=1e-9)
