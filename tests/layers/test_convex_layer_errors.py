"""Every refusal of ConvexLayer says what was given, what is expected, and what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
import torch

from layers import ConvexLayer, LayerError, ProblemError, SolverError, Status
from layers.backends import BACKENDS
from layers.convex.canonical.cone_form import CONE_FORM
from layers.problem import QP

x, z = cp.Variable(3, name="x"), cp.Variable(pos=True, name="z")
p, q, a = cp.Parameter(name="p"), cp.Parameter(nonneg=True, name="q"), cp.Parameter(pos=True, name="a")
F, H = cp.Parameter((3, 3), name="F"), cp.Parameter((3, 3), name="H")
P, N = cp.Parameter((3, 3), PSD=True, name="P"), cp.Parameter((3, 3), symmetric=True, name="N")
bowl = cp.sum_squares(x)

#: objective, constraints, parameters, gp, and what the message has to say
UNDISCIPLINED = {
    "product of parameters": (bowl + p * q * x[0], [], [p, q], False, r"`p \* q`.*r = cvxpy.Parameter\(\(\)\)"),
    "product of matrices": (cp.sum_squares(F @ H @ x), [], [F, H], False, r"`F @ H`.*cvxpy.Parameter\(\(3, 3\)\)"),
    "parameter times affine": (cp.sum(q * (F @ x)) + bowl, [], [q, F], False, r"constraint w == F @ x"),
    "parameter times convex": (q * cp.norm(F @ x), [], [q, F], False, r"constraint w >= PnormApprox\(F @ x, 2\)"),
    "division": (cp.norm(x / q), [], [q], False, r"\(x\) \* r .*r = cvxpy.Parameter\(\(\), nonneg=True\).*1 / \(q\)"),
    "function of a parameter": (bowl, [x * cp.exp(p) <= 1], [p], False, r"`exp\(p\)` depends on parameters alone"),
    "square on the wrong side": (bowl, [x <= cp.square(p)], [p], False, r"PowerApprox\(p, 2.0\)` depends on"),
    "matrix in a constraint": (bowl, [cp.quad_form(x, P) <= 1], [P], False, r"sum_squares\(R @ x\).*P = RᵀR"),
    "vector with parameters": (cp.quad_form(x - F[0], P), [], [F, P], False, r"cvxpy.quad_form\(w, P\)"),
    "matrix without a sign": (cp.quad_form(x, N), [], [N], False, r"cvxpy.Parameter\(\(3, 3\), PSD=True\)"),
    "not convex": (p - bowl, [], [p], False, r"not a disciplined convex program .*minimize"),
    "a geometric program": (z * z + a / z, [], [a], False, r"pass gp=True"),
    "base and exponent": ((a * z) ** a + 1 / z, [], [a], True, r"cvxpy.Variable\(\(\), pos=True\).*w == a \* z"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNDISCIPLINED)
def test_an_undisciplined_problem_is_explained(case: str):
    objective, constraints, parameters, gp, message = UNDISCIPLINED[case]
    problem = cp.Problem(cp.Minimize(objective), constraints)
    with pytest.raises(ProblemError, match=message):
        ConvexLayer(problem, parameters, problem.variables(), gp=gp)


def rewritten_division() -> tuple[cp.Problem, list[cp.Parameter]]:
    r = cp.Parameter((), nonneg=True)
    return cp.Problem(cp.Minimize(cp.norm(x * r) + bowl)), [r]


def rewritten_product() -> tuple[cp.Problem, list[cp.Parameter]]:
    w = cp.Variable((3,))
    return cp.Problem(cp.Minimize(cp.sum(cp.multiply(q, w)) + bowl), [w == F @ x]), [q, F]


def rewritten_norm() -> tuple[cp.Problem, list[cp.Parameter]]:
    w = cp.Variable(())
    return cp.Problem(cp.Minimize(q * w + bowl), [w >= cp.norm(F @ x)]), [q, F]


def rewritten_quad_form() -> tuple[cp.Problem, list[cp.Parameter]]:
    R = cp.Parameter((3, 3))
    return cp.Problem(cp.Minimize(bowl), [cp.sum_squares(R @ x) <= 1]), [R]


@pytest.mark.parametrize("form", [rewritten_division, rewritten_product, rewritten_norm, rewritten_quad_form])
def test_the_forms_that_the_messages_propose_are_accepted(
    form: Callable[[], tuple[cp.Problem, list[cp.Parameter]]],
):
    problem, parameters = form()
    layer = ConvexLayer(problem, parameters, [x])
    values = [torch.ones(parameter.shape) for parameter in parameters]
    assert (layer.solve(*values).status == Status.OPTIMAL).all()


easy = cp.Problem(cp.Minimize(bowl + p))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((cp.Problem(cp.Minimize(bowl)), [], [x]), "no parameters.*problem.solve"),
        ((easy, [], [x]), "missing: p"),
        ((easy, [p, q], [x]), "not parameters of this problem: q; it has p"),
        ((easy, [p, p], [x]), "more than once: p"),
        ((easy, [p], [z]), "neither variables .*: z; its variables are x"),
        ((easy, p, [x]), "parameters must be a list or tuple; found Parameter"),
        ((easy, [p], [p]), r"variables\[0\] must be a cvxpy.Variable; found Parameter"),
        ((bowl, [p], [x]), "problem must be a cvxpy.Problem; found quad_over_lin"),
        ((cp.Problem(cp.Minimize(cp.sum(p))), [p], []), "no variables"),
        ((cp.Problem(cp.Minimize(p + cp.Variable(integer=True, name="k"))), [p], []), "integer variables .*: k"),
    ],
)  # fmt: skip
def test_lists_that_do_not_fit_the_problem_are_named(arguments: tuple, message: str):
    with pytest.raises(ProblemError, match=message):
        ConvexLayer(*arguments)


def test_complex_variables_are_refused():
    c = cp.Variable(2, complex=True, name="c")
    with pytest.raises(ProblemError, match=r"complex.*: c"):
        ConvexLayer(cp.Problem(cp.Minimize(cp.norm(c - p))), [p], [c])


def test_a_dual_variable_of_a_constraint_without_rows_is_refused():
    power = cp.PowConeND(x, z, np.array([0.2, 0.3, 0.5]))
    problem = cp.Problem(cp.Minimize(cp.sum(x) + p * z), [power, z >= 1])
    with pytest.raises(ProblemError, match=r"dual variable.*cvxpy\.SOC"):
        ConvexLayer(problem, [p], [power.dual_variables[0]])


def test_options_are_checked_at_construction():
    for options, message in (
        ({"tol": 0.0}, "tol"),
        ({"on_failure": "skip"}, "on_failure"),
        ({"adjoint": "x"}, "adj"),
    ):
        with pytest.raises(LayerError, match=message):
            ConvexLayer(easy, [p], [x], **options)


F2, g2 = cp.Parameter((2, 3), name="F2"), cp.Parameter(2, name="g2")
regression = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(F2 @ x - g2))), [F2, g2], [x])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ((torch.zeros(2, 3),), r"expected 2 \(F2 \(2, 3\), g2 \(2,\)\), found 1"),
        ((torch.zeros(2), torch.zeros(2, 3)), r"0 \(F2\) must have shape batch \+ \(2, 3\), found \(2,\).*order"),
        ((torch.zeros(2, 3), torch.zeros(3)), r"parameter 1 \(g2\) must have shape batch \+ \(2,\), found \(3,\)"),
        ((np.zeros((2, 3)), torch.zeros(2)), r"parameter 0 \(F2\) must be a torch.Tensor, found ndarray"),
        ((torch.zeros(2, 3), torch.zeros(2).long()), r"\(g2\) must have a real floating dtype.*int64; call g2.double"),
        ((torch.zeros(2, 3), torch.zeros(2).cfloat()), r"\(g2\) must have a real .*complex64; pass g2.real and"),
        ((torch.zeros(4, 2, 3), torch.zeros(5, 2)), r"leading batch axes .* F2: \(4,\), g2: \(5,\)"),
        ((torch.full((4, 2, 3), torch.nan), torch.zeros(2)), r"F2 must be finite.*batch element \(0,\)"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_the_parameters_are_named(tensors: tuple, message: str):
    with pytest.raises(ProblemError, match=message):
        regression(*tensors)


def parameter_layer(**attributes) -> ConvexLayer:
    shape = (2, 2) if {"symmetric", "PSD", "NSD", "diag", "sparsity"} & attributes.keys() else (2,)
    parameter, variable = cp.Parameter(shape, name="theta", **attributes), cp.Variable(shape)
    return ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(variable - parameter))), [parameter], [variable])


ATTRIBUTES = {
    "nonneg": ({"nonneg": True}, [0.0, 1.0], [0.0, -1.0], "nonneg"),
    "nonpos": ({"nonpos": True}, [0.0, -1.0], [0.0, 1.0], "nonpos"),
    "pos": ({"pos": True}, [1.0, 2.0], [0.0, 1.0], "pos"),
    "neg": ({"neg": True}, [-1.0, -2.0], [0.0, -1.0], "neg"),
    "bounds": ({"bounds": [-1, 1]}, [-1.0, 1.0], [0.0, 1.1], "within its upper bounds"),
    "lower": ({"bounds": [-1, 1]}, [0.0, 0.0], [-1.1, 0.0], "within its lower bounds"),
    "symmetric": ({"symmetric": True}, [[1.0, 2.0], [2.0, 1.0]], [[1.0, 2.0], [2.1, 1.0]], "symmetric"),
    "PSD": ({"PSD": True}, [[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.1], [1.1, 1.0]], r"PSD \(positive semidefinite\)"),
    "NSD": ({"NSD": True}, [[-1.0, 1.0], [1.0, -1.0]], [[-1.0, 1.1], [1.1, -1.0]], r"NSD \(negative"),
    "diag": ({"diag": True}, [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.1], [0.0, 1.0]], "diagonal"),
    "sparsity": ({"sparsity": ([0], [1])}, [[0.0, 2.0], [0.0, 0.0]], [[0.1, 2.0], [0.0, 0.0]], "zero outside its"),
}  # fmt: skip


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_that_breaks_its_declaration_is_named_with_its_batch_element(
    attribute: str, dtype: torch.dtype
):
    attributes, good, bad, message = ATTRIBUTES[attribute]
    layer = parameter_layer(**attributes)
    good, bad = torch.tensor(good, dtype=dtype), torch.tensor(bad, dtype=dtype)
    torch.testing.assert_close(layer(good)[0], good, rtol=1e-6, atol=1e-6)
    with pytest.raises(ProblemError, match=rf"parameter theta must be {message}.*batch element \(1,\)"):
        layer(torch.stack([good, bad, good]))
    with pytest.raises(ProblemError, match=rf"parameter theta must be {message}"):
        torch.func.vmap(layer)(torch.stack([good, bad, good]))


def bounded_arguments() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """minimise y₀ + y₁, low ≤ y₁, y ≤ 1, cap y₀ ≥ −1: infeasible if low > 1, unbounded if cap = 0."""
    y, low, cap = cp.Variable(2), cp.Parameter(name="low"), cp.Parameter(nonneg=True, name="cap")
    problem = cp.Problem(cp.Minimize(y[0] + y[1]), [y[1] >= low, y <= 1, cap * y[0] >= -1])
    return problem, [low, cap], [y]


def crossing() -> list[torch.Tensor]:
    """Three elements: solvable, infeasible, unbounded."""
    return [torch.tensor([0.5, 2.0, -0.5]).double(), torch.tensor([1.0, 1.0, 0.0]).double()]


def test_infeasible_and_unbounded_elements_are_named():
    with pytest.raises(SolverError, match=r"(?s)2 of 3.*\(1,\).*INFEASIBLE.*\(2,\).*UNBOUNDED"):
        ConvexLayer(*bounded_arguments())(*crossing())


def test_equalities_that_only_rounding_contradicts_are_explained():
    plan, row, column = cp.Variable((3, 3), nonneg=True), cp.Parameter(3), cp.Parameter(3)
    margins = [cp.sum(plan, axis=1) == row, cp.sum(plan, axis=0) == column]
    transport = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(plan)), margins), [row, column], [plan])
    rows, columns = (
        torch.tensor([0.2, 0.3, 0.5]),
        torch.tensor([0.1, 0.1, 0.8]) * (1 + 4 * torch.finfo(torch.float32).eps),
    )
    with pytest.raises(SolverError, match="compute their values in float64"):
        transport(rows, columns)
    exact = [v.double() / v.double().sum() for v in (rows, columns)]
    torch.testing.assert_close(transport(*exact)[0].sum(-1), exact[0], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("on_failure", ["nan", "ignore"])
def test_elements_that_fail_leave_the_others_exact(on_failure: str):
    tensors = [t.requires_grad_() for t in crossing()]
    problem, parameters, variables = bounded_arguments()
    solution = ConvexLayer(problem, parameters, variables, on_failure=on_failure).solve(*tensors)
    assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE, Status.UNBOUNDED]
    alone = [t[0].detach().requires_grad_() for t in tensors]
    (expected,) = ConvexLayer(problem, parameters, variables)(*alone)
    torch.testing.assert_close(solution.variables[0][0], expected, rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad(solution.variables[0][0].sum(), tensors)
    of_alone = torch.autograd.grad(expected.sum(), alone)
    for found, one in zip(gradients, of_alone, strict=True):
        torch.testing.assert_close(found[0], one, rtol=1e-8, atol=1e-9)
        assert (found[1:] == 0).all()
    assert torch.isnan(solution.variables[0][1:]).all() == (on_failure == "nan")


def test_a_failed_element_does_not_spoil_a_shared_matrix_of_a_defined_variable():
    y, W, top = cp.Variable(2), cp.Parameter((2, 2)), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.sum_squares(W @ y - 1)), [y >= 0, cp.sum(y) <= top])
    layer = ConvexLayer(problem, [W, top], [y], on_failure="nan")
    assert layer._form.w.size == 2
    shared = torch.eye(2, dtype=torch.float64, requires_grad=True)
    solution = layer.solve(shared, torch.tensor([1.0, -1.0], dtype=torch.float64))
    (found,) = torch.autograd.grad(solution.variables[0][0].sum(), shared)
    (expected,) = torch.autograd.grad(layer(shared, torch.tensor(1.0, dtype=torch.float64))[0].sum(), shared)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def cone_arguments() -> tuple[cp.Problem, list[cp.Parameter], list[cp.Variable]]:
    """The nearest point to g in a ball of radius r, weighted, with a defined variable for a conic engine to lose."""
    y, g, r = cp.Variable(2), cp.Parameter(2, name="g"), cp.Parameter(name="r")
    objective = cp.sum_squares(np.array([[1.0, 0.5], [0.0, 2.0], [1.0, 1.0]]) @ y - cp.hstack([g, 1]))
    return cp.Problem(cp.Minimize(objective), [cp.norm(y) <= r]), [g, r], [y]


@pytest.mark.parametrize("on_failure", ["nan", "ignore"])
def test_an_infeasible_cone_program_leaves_the_others_exact(on_failure: str):
    problem, parameters, variables = cone_arguments()
    layer = ConvexLayer(problem, parameters, variables, on_failure=on_failure)
    assert layer._form.w.size == 3
    g, r = torch.tensor([2.0, 1.0]).double().requires_grad_(), torch.tensor([0.5, -1.0, 2.0]).double()
    solution = layer.solve(g, r)
    assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE, Status.OPTIMAL]
    good = torch.tensor([0, 2])
    expected = ConvexLayer(problem, parameters, variables).solve(g, r[good])
    for name in ("x", "y", "s", "objective"):
        torch.testing.assert_close(
            getattr(solution, name)[good], getattr(expected, name), rtol=1e-8, atol=1e-8
        )
    (found,) = torch.autograd.grad(solution.x[good].sum(), g)
    torch.testing.assert_close(found, *torch.autograd.grad(expected.x.sum(), g), rtol=1e-7, atol=1e-8)
    assert torch.isnan(solution.x[1]).all() == (on_failure == "nan")
    with pytest.raises(SolverError, match=r"\(1,\).*INFEASIBLE"):
        ConvexLayer(problem, parameters, variables)(g, r)


def test_certificates_of_the_compiled_program_are_certificates():
    solution = ConvexLayer(*bounded_arguments(), on_failure="ignore").solve(*crossing())
    # The same program for a conic engine has its matrices, which the certificates are about.
    program = ConvexLayer(*bounded_arguments(), solver="clarabel")
    blocks, s = program._assembly([t.reshape(3, 1) for t in crossing()], (3,)), program._form.structure
    A = torch.zeros(3, s.m, s.n, dtype=torch.float64)
    A[:, torch.as_tensor(s.A_rows), torch.as_tensor(s.A_cols)] = blocks["A"]
    y, ray = solution.y[1], solution.x[2]
    assert (A[1].mT @ y).abs().max() <= 1e-8 * y.abs().max()
    assert y[s.cones.zero :].min() >= 0
    assert blocks["b"][1] @ y < 0
    direction = A[2] @ ray
    assert direction[: s.cones.zero].norm() <= 1e-8 * ray.abs().max()
    assert direction[s.cones.zero :].max() <= 1e-8 * ray.abs().max()
    assert blocks["q"].expand(3, -1)[2] @ ray < 0


def test_an_engine_that_drops_a_constraint_is_caught_and_named(monkeypatch: pytest.MonkeyPatch):
    """A mutilated engine answers for the problem without its last inequality."""
    whole = BACKENDS["qpth"]

    def mutilated(tol: float, max_iterations: int):
        def attempt(data: QP):
            short = replace(data, G=data.G[..., :-1, :], h=data.h[..., :-1])
            point, lam, nu = whole.attempts(tol, max_iterations)[0](short)
            return point, torch.cat([lam, torch.zeros_like(lam[..., :1])], -1), nu

        return [attempt]

    target, y = cp.Parameter(3), cp.Variable(3)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - target)), [y >= 0, y <= 1])
    value = torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64)
    exact = ConvexLayer(problem, [target], [y], solver="qpth")
    assert exact(value)[0].tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-7)
    monkeypatch.setitem(BACKENDS, "qpth", replace(whole, attempts=mutilated))
    with pytest.raises(SolverError, match="qpth"):
        exact(value)


def test_a_compiled_program_that_hides_rows_is_refused(monkeypatch: pytest.MonkeyPatch):
    """CVXPY versions differ in what they return beside the rows: what is not understood is refused, not dropped."""
    y, target = cp.Variable(3), cp.Parameter(3)
    compile_rows = type(CONE_FORM).apply

    def short(self, problem):
        data, inverse = compile_rows(self, problem)
        data["param_prob"].cone_dims.nonneg -= 1
        return data, inverse

    def bounds(self, problem):
        data, inverse = compile_rows(self, problem)
        data["param_prob"].lower_bounds = np.zeros(3)
        return data, inverse

    for mutilated, message in ((short, "understands 5 of them"), (bounds, "bounds of variables")):
        monkeypatch.setattr(type(CONE_FORM), "apply", mutilated)
        problem = cp.Problem(cp.Minimize(cp.sum_squares(y - target)), [y >= 0])
        with pytest.raises(ProblemError, match=message):
            ConvexLayer(problem, [target], [y])


@pytest.mark.parametrize("size", [1e13, 1e50, 1e150])
def test_a_bounded_program_of_large_data_is_never_called_unbounded(size: float):
    """Exponentials and a norm are at least zero; what cannot be solved at such a scale is a numerical failure."""
    y, M = cp.Variable(3), cp.Parameter((3, 3))
    problem = cp.Problem(cp.Minimize(cp.sum(cp.exp(M @ y)) + cp.norm(y)), [y <= 1, y >= -1])
    layer = ConvexLayer(problem, [M], [y], on_failure="ignore")
    root = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    status = layer.solve(size * (root @ root.mT + torch.eye(3).double())).status.item()
    assert status not in (Status.UNBOUNDED, Status.INFEASIBLE)
