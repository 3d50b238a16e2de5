"""ConvexLayer against solutions that are known in closed form, and their derivatives by torch through the formula."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, solve_qp

Case = tuple[ConvexLayer, Callable[..., Tensor], list[Tensor]]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


def layer(objective, constraints, parameters, variable, **options) -> ConvexLayer:
    return ConvexLayer(cp.Problem(objective, constraints), parameters, [variable], tol=1e-10, **options)


def softmax() -> Case:
    x, y = cp.Variable(5), cp.Parameter(5)
    entropy = layer(cp.Maximize(y @ x + cp.sum(cp.entr(x))), [cp.sum(x) == 1], [y], x)
    return entropy, lambda v: v.softmax(-1), [draw(4, 5)]


def softmax_far_apart() -> Case:
    # Probabilities from 1e-6 to 1: exponential cones at far apart arguments.
    x, y = cp.Variable(3), cp.Parameter(3)
    entropy = layer(cp.Maximize(y @ x + cp.sum(cp.entr(x))), [cp.sum(x) == 1], [y], x)
    return entropy, lambda v: v.softmax(-1), [torch.tensor([[0.0, 7.0, 14.0], [-9.0, 0.0, 4.0]]).double()]


def sparsemax() -> Case:
    x, y = cp.Variable(5), cp.Parameter(5)
    projection = layer(cp.Minimize(cp.sum_squares(x - y)), [x >= 0, cp.sum(x) == 1], [y], x)

    def formula(v: Tensor) -> Tensor:
        ordered = v.sort(-1, descending=True).values
        counts = torch.arange(1, v.shape[-1] + 1)
        means = (ordered.cumsum(-1) - 1) / counts
        size = (ordered > means).sum(-1, keepdim=True)
        return (v - means.gather(-1, size - 1)).clamp(min=0)

    return projection, formula, [draw(6, 5)]


def sigmoid() -> Case:
    x, y = cp.Variable(4), cp.Parameter(4)
    entropies = cp.sum(cp.entr(x)) + cp.sum(cp.entr(1 - x))
    return layer(cp.Maximize(y @ x + entropies), [], [y], x), torch.sigmoid, [3 * draw(3, 4)]


def relu() -> Case:
    x, y = cp.Variable(4, nonneg=True), cp.Parameter(4)
    return layer(cp.Minimize(cp.sum_squares(x - y)), [], [y], x), torch.relu, [draw(3, 4)]


def ball() -> Case:
    x, y, r = cp.Variable(4), cp.Parameter(4), cp.Parameter(nonneg=True)
    projection = layer(cp.Minimize(cp.sum_squares(x - y)), [cp.norm(x) <= r], [y, r], x)

    def formula(v: Tensor, radius: Tensor) -> Tensor:
        size = v.norm(dim=-1, keepdim=True)
        return torch.where(size > radius[:, None], v * radius[:, None] / size, v)

    return projection, formula, [draw(4, 4), torch.tensor([0.5, 9.0, 1.0, 0.2]).double()]


def second_order_cone() -> Case:
    x, y = cp.Variable(4), cp.Parameter(4)
    projection = layer(cp.Minimize(cp.sum_squares(x - y)), [cp.SOC(x[0], x[1:])], [y], x)

    def formula(v: Tensor) -> Tensor:
        t, u = v[:, :1], v[:, 1:]
        size = u.norm(dim=-1, keepdim=True)
        between = 0.5 * (1 + t / size) * torch.cat([size, u], -1)
        return torch.where(size <= t, v, torch.where(size <= -t, torch.zeros_like(v), between))

    return projection, formula, [torch.tensor([[0.3, 1, 2, -1], [3, 1, 0, 1], [-4, 1, 1, 1]]).double()]


def semidefinite_cone() -> Case:
    X, Y = cp.Variable((3, 3), PSD=True), cp.Parameter((3, 3), symmetric=True)
    projection = layer(cp.Minimize(cp.sum_squares(X - Y)), [], [Y], X)

    def formula(M: Tensor) -> Tensor:
        values, vectors = torch.linalg.eigh(0.5 * (M + M.mT))
        return (vectors * values.clamp(min=0).unsqueeze(-2)) @ vectors.mT

    half = draw(4, 3, 3)
    return projection, formula, [half + half.mT]


def ridge() -> Case:
    x, F, g, weight = cp.Variable(3), cp.Parameter((5, 3)), cp.Parameter(5), cp.Parameter(pos=True)
    regression = layer(
        cp.Minimize(cp.sum_squares(F @ x - g) + weight * cp.sum_squares(x)), [], [F, g, weight], x
    )

    def formula(A: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return torch.linalg.solve(
            A.mT @ A + w[:, None, None] * torch.eye(3), (A.mT @ b.unsqueeze(-1)).squeeze(-1)
        )

    return regression, formula, [draw(2, 5, 3), draw(2, 5, seed=1), torch.tensor([0.1, 2.0]).double()]


def soft_threshold() -> Case:
    x, y, weight = cp.Variable(5), cp.Parameter(5), cp.Parameter(nonneg=True)
    lasso = layer(cp.Minimize(0.5 * cp.sum_squares(x - y) + weight * cp.norm1(x)), [], [y, weight], x)

    def formula(v: Tensor, w: Tensor) -> Tensor:
        return v.sign() * (v.abs() - w[:, None]).clamp(min=0)

    return lasso, formula, [draw(3, 5), torch.tensor([0.1, 0.5, 1.0]).double()]


def log_determinant() -> Case:
    X, S = cp.Variable((3, 3), symmetric=True), cp.Parameter((3, 3), PSD=True)
    maximum = layer(cp.Maximize(cp.log_det(X) - cp.trace(S @ X)), [], [S], X)
    root = draw(2, 3, 3)
    return maximum, lambda M: torch.linalg.inv(0.5 * (M + M.mT)), [root @ root.mT + torch.eye(3)]


def power_mean() -> Case:
    # minimise Σ |x|^p / p − yᵀx has x = sign(y) |y|^(1/(p − 1)); here p = 3
    x, y = cp.Variable(4), cp.Parameter(4)
    maximum = layer(cp.Minimize(cp.sum(cp.power(cp.abs(x), 3)) / 3 - y @ x), [], [y], x)
    return maximum, lambda v: v.sign() * v.abs().sqrt(), [draw(3, 4)]


def monomial() -> Case:
    # The least surface of a box of volume v whose floor costs twice: a geometric program, x = y, x³ = 2v/3.
    z, v = cp.Variable(3, pos=True), cp.Parameter(pos=True)
    surface = 3 * z[0] * z[1] + 2 * z[0] * z[2] + 2 * z[1] * z[2]
    box = ConvexLayer(
        cp.Problem(cp.Minimize(surface), [z[0] * z[1] * z[2] >= v]), [v], [z], gp=True, tol=1e-10
    )

    def formula(volume: Tensor) -> Tensor:
        side = (2 * volume / 3).pow(1 / 3)
        return torch.stack([side, side, volume / side**2], -1)

    return box, formula, [torch.tensor([1.0, 2.0, 5.0]).double()]


def regulator() -> Case:
    # The first control of a linear-quadratic regulator over four steps is linear in the state (Riccati).
    steps, A, B = 4, np.array([[1.0, 0.3], [0.0, 1.0]]), np.array([[0.0], [1.0]])
    x, u, start = cp.Variable((2, steps + 1)), cp.Variable((1, steps)), cp.Parameter(2)
    motion = [x[:, 0] == start] + [x[:, t + 1] == A @ x[:, t] + B @ u[:, t] for t in range(steps)]
    control = layer(cp.Minimize(cp.sum_squares(x) + 0.5 * cp.sum_squares(u)), motion, [start], u)

    def formula(state: Tensor) -> Tensor:
        a, b, value, gains = torch.as_tensor(A), torch.as_tensor(B), torch.eye(2).double(), []
        for _ in range(steps):
            gain = torch.linalg.solve(0.5 * torch.eye(1) + b.mT @ value @ b, b.mT @ value @ a)
            value = torch.eye(2) + a.mT @ value @ (a - b @ gain)
            gains.insert(0, gain)
        controls = []
        for gain in gains:
            controls.append(-state @ gain.mT)
            state = state @ a.mT + controls[-1] @ b.mT
        return torch.stack(controls, -1)

    return control, formula, [draw(3, 2)]


def transport() -> Case:
    # Entropic optimal transport: Sinkhorn's fixed point, run to rounding.
    plan, row, column, cost = cp.Variable((3, 3)), cp.Parameter(3), cp.Parameter(3), cp.Parameter((3, 3))
    objective = cp.Minimize(cp.sum(cp.multiply(cost, plan)) - cp.sum(cp.entr(plan)))
    margins = [cp.sum(plan, axis=1) == row, cp.sum(plan, axis=0) == column]
    transported = layer(objective, margins, [row, column, cost], plan)

    def formula(r: Tensor, c: Tensor, C: Tensor) -> Tensor:
        kernel, v = (-C).exp(), torch.ones_like(c)
        for _ in range(300):
            u = r / (kernel @ v.unsqueeze(-1)).squeeze(-1)
            v = c / (kernel.mT @ u.unsqueeze(-1)).squeeze(-1)
        return u.unsqueeze(-1) * kernel * v.unsqueeze(-2)

    rows, columns = draw(2, 3).softmax(-1), draw(2, 3, seed=1).softmax(-1)
    return transported, formula, [rows, columns, draw(2, 3, 3, seed=2).abs()]


CASES = {
    f.__name__: f
    for f in (
        softmax, softmax_far_apart, sparsemax, sigmoid, relu, ball, second_order_cone, semidefinite_cone, ridge,
        soft_threshold, log_determinant, power_mean, monomial, regulator, transport,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_closed_form(name: str):
    solve, formula, tensors = CASES[name]()
    torch.testing.assert_close(solve(*tensors)[0], formula(*tensors), rtol=1e-6, atol=1e-7)


#: sums of rows and of columns are equal for every θ that has a solution: their gradients differ by a multiple of one
UNDETERMINED = {"transport"}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_closed_form(name: str):
    solve, formula, tensors = CASES[name]()
    leaves = [t.requires_grad_() for t in tensors]
    weights = draw(*formula(*leaves).shape, seed=9)
    found = torch.autograd.grad((solve(*leaves)[0] * weights).sum(), leaves)
    expected = torch.autograd.grad((formula(*leaves) * weights).sum(), leaves)
    if name in UNDETERMINED:
        found, expected = (
            [g - g.mean(-1, keepdim=True) for g in side[:2]] + [side[2]] for side in (found, expected)
        )
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def semidefinite_part(C: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(0.5 * (C + C.mT))
    return vectors * values.clamp(min=0).unsqueeze(-2) @ vectors.mT


NEAREST: dict[str, tuple[object, Callable[[Tensor], Tensor]]] = {
    "symmetric": (True, lambda C: 0.5 * (C + C.mT)),
    "PSD": (True, semidefinite_part),
    "NSD": (True, lambda C: -semidefinite_part(-C)),
    "diag": (True, lambda C: C.diagonal(dim1=-2, dim2=-1).diag_embed()),
    "sparsity": ([(0, 1, 1), (0, 0, 2)], lambda C: C * torch.tensor([[1.0, 0, 0], [1, 0, 1], [0, 0, 0]])),
    "nonneg": (True, lambda C: C.clamp(min=0)),
}
SQUARES = {
    "sum_squares": cp.sum_squares,
    "square": lambda X: cp.sum(cp.square(X)),
    "quad_over_lin": lambda X: 2 * cp.quad_over_lin(X, 2),
    "by columns": lambda X: cp.sum(cp.quad_over_lin(X, 1, axis=0)),
}


@pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")
@pytest.mark.parametrize("square", SQUARES)
@pytest.mark.parametrize("attribute", NEAREST)
def test_squares_of_variables_with_attributes_are_kept(attribute: str, square: str):
    # CVXPY 1.9.2 compiles the square of X itself to nothing where it replaces X by its free entries.
    declared, nearest = NEAREST[attribute]
    X, C = cp.Variable((3, 3), **{attribute: declared}), cp.Parameter((3, 3))
    objective = cp.Minimize(SQUARES[square](X) - 2 * cp.sum(cp.multiply(C, X)))
    given = draw(4, 3, 3).requires_grad_()
    found, expected = layer(objective, [cp.trace(X) <= 100], [C], X)(given)[0], nearest(given)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    weights = draw(4, 3, 3, seed=1)
    slopes = [torch.autograd.grad((value * weights).sum(), given)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-6)


def test_the_projection_on_the_simplex_keeps_its_signs():
    # A layer that loses x ≥ 0 on the way to its engine answers (1.667, 0.667, −1.333).
    x, y = cp.Variable(3, nonneg=True), cp.Parameter(3)
    for constraints in ([cp.sum(x) == 1], [cp.sum(x) == 1, x >= 0]):
        simplex = layer(cp.Minimize(cp.sum_squares(x - y)), constraints, [y], x)
        found = simplex(torch.tensor([2.0, 1.0, -1.0]).double())[0]
        torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0]).double(), rtol=0, atol=1e-7)


def test_a_quadratic_program_in_cvxpy_is_the_one_of_solve_qp():
    n, m, p = 4, 3, 2
    x, R, q = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    G, h, A, b = cp.Parameter((m, n)), cp.Parameter(m), cp.Parameter((p, n)), cp.Parameter(p)
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(R @ x) + q @ x), [G @ x <= h, A @ x == b])
    duals = [problem.constraints[0].dual_variables[0], problem.constraints[1].dual_variables[0]]
    program = ConvexLayer(problem, [R, q, G, h, A, b], [x, *duals])
    data = [draw(2, n, n), draw(2, n), draw(2, m, n), draw(2, m).abs(), draw(2, p, n), 0.1 * draw(2, p)]
    whole = program.solve(*data)
    expected = solve_qp(data[0].mT @ data[0], *data[1:])
    for found, value in zip(whole.variables, (expected.z, expected.lam, expected.nu), strict=True):
        torch.testing.assert_close(found, value, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(whole.objective, expected.objective, rtol=1e-9, atol=1e-9)
