"""Sparse programs with linear rows: which room takes them, and answers beside closed forms and other algorithms."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from layers import ConvexLayer, Status, adjoint, cone_program
from layers.cone import kkt
from layers.cone.polish import polish
from layers.convex.canonical import ConicForm, QuadraticForm


@pytest.fixture(autouse=True)
def _engine() -> None:
    """The programs go to one engine: each test runs once."""


@pytest.fixture
def sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program with linear rows counts as sparse."""
    monkeypatch.setattr(cone_program, "LARGE", 0.0)
    monkeypatch.setattr(cone_program, "SPARSE_COST", 0.0)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def trend(points: int, **options: object) -> ConvexLayer:
    x, y = cp.Variable(points), cp.Parameter(points)
    cost = cp.norm1(cp.diff(x, k=2)) + cp.sum_squares(x - y)
    return ConvexLayer(cp.Problem(cp.Minimize(cost)), [y], [x], **options)  # pyright: ignore[reportArgumentType]


def test_large_sparse_programs_alone_leave_the_dense_room():
    rng = np.random.default_rng(0)
    x, c = cp.Variable(700), cp.Parameter(700)
    full = cp.Problem(cp.Minimize(cp.sum_squares(x) + c @ x), [rng.standard_normal((700, 700)) @ x <= 1])
    assert isinstance(ConvexLayer(full, [c], [x])._form, QuadraticForm)
    assert isinstance(trend(50)._form, QuadraticForm)
    assert isinstance(trend(1200)._form, ConicForm)
    assert isinstance(trend(1200, adjoint=adjoint("lpgd"))._form, ConicForm)


@pytest.mark.parametrize(
    "options", [{"solver": "native"}, {"solver": "interior_point"}, {"adjoint": "smoothed"}]
)
def test_what_only_the_dense_room_has_is_done_there(options: dict[str, str], sparse: None):
    assert isinstance(trend(50, **options)._form, QuadraticForm)


def test_isotonic_regression_is_that_of_the_pool_of_adjacent_violators():
    """2,000 ordered points: x is the mean of each pool, and its derivative the mean too."""
    size = 2000
    x, y = cp.Variable(size), cp.Parameter(size)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.diff(x) >= 0]), [y], [x])
    assert isinstance(layer._form, ConicForm)
    data = (0.01 * torch.arange(size) + normal(size)).requires_grad_()
    (found,) = layer(data)
    right = scipy.optimize.isotonic_regression(data.detach().numpy())
    assert abs(found.detach().numpy() - right.x).max() < 1e-11
    weight = normal(size, seed=1)
    (gradient,) = torch.autograd.grad(found @ weight, data)
    pools = np.split(weight.numpy(), right.blocks[1:-1])
    assert abs(gradient.numpy() - np.concatenate([np.full(p.size, p.mean()) for p in pools])).max() < 1e-11


def test_assignments_are_those_of_the_hungarian_method():
    """A linear program whose vertex has 1,680 active rows for 1,600 variables: 81 of them follow from the others."""
    size = 40
    X, C = cp.Variable((size, size)), cp.Parameter((size, size))
    rules = [X >= 0, cp.sum(X, 0) == 1, cp.sum(X, 1) == 1]
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum(cp.multiply(C, X))), rules), [C], [X])
    assert isinstance(layer._form, ConicForm)
    cost = normal(size, size).requires_grad_()
    solution = layer.solve(cost)
    rows, columns = scipy.optimize.linear_sum_assignment(cost.detach().numpy())
    right = torch.zeros(size, size, dtype=torch.float64)
    right[rows, columns] = 1.0
    assert (solution.variables[0] - right).abs().max() < 1e-12
    (gradient,) = torch.autograd.grad(
        (solution.variables[0] * normal(size, size, seed=1)).sum(), cost, retain_graph=True
    )
    assert gradient.abs().max() < 1e-10
    (gradient,) = torch.autograd.grad(solution.objective, cost)
    assert (gradient - right).abs().max() < 1e-12


def polyhedron(**options: object) -> ConvexLayer:
    x, c, b, D = cp.Variable(6), cp.Parameter(6), cp.Parameter(4), cp.Parameter((4, 6))
    rules = [D @ x <= b, x >= -1, cp.sum(x) == 0.5]
    return ConvexLayer(
        cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) + c @ x), rules), [c, b, D], [x], **options
    )  # pyright: ignore[reportArgumentType]


def values() -> tuple[Tensor, ...]:
    data = normal(6), 0.3 * normal(4, seed=1).abs(), normal(4, 6, seed=2)
    return tuple(v.requires_grad_() for v in data)


def test_both_modes_and_second_derivatives_are_those_of_differences(sparse: None):
    layer = polyhedron()
    assert isinstance(layer._form, ConicForm)
    assert torch.autograd.gradcheck(lambda *d: layer(*d)[0], values(), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda *d: layer(*d)[0], values())


def test_both_rooms_have_one_hessian(sparse: None):
    c, b, D = values()
    hessians = [
        torch.func.hessian(lambda c, layer=layer: layer(c, b, D)[0].pow(3).sum())(c)
        for layer in (polyhedron(), polyhedron(solver="native"))
    ]
    assert hessians[0].abs().max() > 0.1
    assert (hessians[0] - hessians[1]).abs().max() < 1e-12


def test_a_batch_is_its_elements_and_what_it_shares_gets_the_sum(sparse: None):
    layer, (_, b, D) = polyhedron(), values()
    c = normal(3, 6).requires_grad_()
    (together,) = layer(c, b, D)
    alone = torch.stack([layer(one, b, D)[0] for one in c])
    assert (together - alone).abs().max() < 1e-13
    for ours, other in zip(
        *(torch.autograd.grad(v.pow(2).sum(), (c, b, D)) for v in (together, alone)), strict=True
    ):
        assert (ours - other).abs().max() < 1e-12


def degenerate() -> tuple[cp.Problem, cp.Parameter, cp.Variable]:
    """A weakly active row (x₀), an active row twice (x₁), and a line of minimisers (x₂ + x₃)."""
    x, c = cp.Variable(4), cp.Parameter(4)
    cost = cp.square(x[0]) + cp.square(x[1]) + cp.square(x[2] + x[3]) + c @ x
    return cp.Problem(cp.Minimize(cost), [x[0] >= 0, x[1] >= 0, 2 * x[1] >= 0, x[2] <= 1e3]), c, x


@pytest.mark.parametrize("solver", ["auto", "clarabel", "native"])
def test_degenerate_derivatives_are_the_least_norm_answer(solver: str, monkeypatch: pytest.MonkeyPatch):
    """By hand: x₀ is weakly active, K = [2 −1], and has 2/5 in K⁺ᵀ; x₁ stays; x₂ and x₃ share a change in halves."""
    if solver == "auto":
        monkeypatch.setattr(cone_program, "LARGE", 0.0)
        monkeypatch.setattr(cone_program, "SPARSE_COST", 0.0)
    problem, c, x = degenerate()
    data = torch.tensor([0.0, 3.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
    (z,) = ConvexLayer(problem, [c], [x], solver=solver)(data)
    found = torch.stack([torch.autograd.grad(one, data, retain_graph=True)[0] for one in z])
    right = torch.zeros(4, 4, dtype=torch.float64)
    right[0, 0], right[2:, 2:] = -0.4, -0.125
    assert (found - right).abs().max() < 1e-9


def test_programs_without_a_solution_are_told_with_their_proofs(sparse: None):
    x, b = cp.Variable(3), cp.Parameter(2)
    rules = [cp.sum(x) <= b[0], x >= b[1]]
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum(x)), rules), [b], [x], on_failure="ignore")
    bounds = torch.tensor([[5.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    solution = layer.solve(bounds)
    assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE]
    assert (solution.variables[0][0] - 1).abs().max() < 1e-12
    falls = ConvexLayer(cp.Problem(cp.Minimize(b @ x[:2]), [x >= 0]), [b], [x], on_failure="ignore")
    assert falls.solve(-torch.ones(2, dtype=torch.float64)).status == Status.UNBOUNDED


def test_an_earlier_solution_saves_the_engine(sparse: None):
    layer, (c, b, D) = polyhedron(), values()
    first = layer.solve(c, b, D)
    again = layer.solve(c + 1e-6, b, D, warm_start=first)
    assert again.iterations == 0
    assert first.iterations > 0
    assert (again.variables[0] - layer(c + 1e-6, b, D)[0]).abs().max() < 1e-12


def test_polish_brings_a_rough_point_to_rounding(sparse: None):
    """Ten rows of the guess are wrong at first: they leave or enter on the way."""
    size = 60
    x, y = cp.Variable(size), cp.Parameter(size)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.diff(x) >= 0]), [y], [x])
    data = 0.05 * torch.arange(size) + normal(size)
    solution, program = layer.solve(data), layer.canonical_data(data)
    noise = 3e-2 * normal(3, program.structure.m, seed=3)
    start = (solution.x.unsqueeze(0), solution.y + noise[:1], (solution.s + noise[1:2]).abs())
    start[1][:, program.structure.cones.zero :].abs_()
    (found, _, _), error = polish(program, *start, kkt.Norms.of(program))
    assert error.largest < 1e-13
    assert (found - solution.x).abs().max() < 1e-11
