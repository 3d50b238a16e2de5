"""Derivatives of ConvexLayer: against differences of the solution, against diffcp, to second order, and shared."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from cvxpylayers.torch import CvxpyLayer
from torch import Tensor

from layers import ConvexLayer, DifferentiationError
from tests.layers.programs import CONIC, PROGRAMS, QUADRATIC, Program

pytestmark = pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")

STEP = 1e-5


def layer_of(program: Program, **options) -> ConvexLayer:
    return ConvexLayer(program.problem, program.parameters, program.variables, gp=program.gp, **options)


def weighed(layer: ConvexLayer, tensors: list[Tensor], seed: int = 1) -> Tensor:
    """One number out of all variables, dual variables and the objective."""
    solution = layer.solve(*tensors)
    generator = torch.Generator().manual_seed(seed)
    outputs = (*solution.variables, solution.objective)
    weights = [torch.randn(o.shape, generator=generator, dtype=o.dtype) for o in outputs]
    return torch.stack([(o * w).sum() for o, w in zip(outputs, weights, strict=True)]).sum()


def directions(program: Program, tensors: list[Tensor]) -> list[Tensor]:
    """Differences of two draws: directions that keep symmetry, pattern and, for small steps, sign."""
    batch = tuple(tensors[0].shape[: tensors[0].dim() - len(program.parameters[0].shape)])
    return [0.1 * (a - b) for a, b in zip(program.tensors(5, batch), program.tensors(6, batch), strict=True)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_reverse_derivative_is_the_slope_of_the_solution(name: str):
    program = PROGRAMS[name]()
    layer = layer_of(program, tol=1e-10)
    tensors = [t.requires_grad_() for t in program.tensors(seed=3, batch=(2,))]
    gradients = torch.autograd.grad(weighed(layer, tensors), tensors)
    direction = directions(program, tensors)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    with torch.no_grad():
        ahead, behind = (
            weighed(layer, [t + h * d for t, d in zip(tensors, direction, strict=True)])
            for h in (STEP, -STEP)
        )
    assert slope.item() == pytest.approx(((ahead - behind) / (2 * STEP)).item(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", PROGRAMS)
def test_forward_derivative_agrees_with_the_reverse_one(name: str):
    program = PROGRAMS[name]()
    layer = layer_of(program, tol=1e-10)
    tensors = program.tensors(seed=4, batch=(2,))
    direction = directions(program, tensors)
    _, slope = torch.func.jvp(lambda *t: weighed(layer, list(t)), tuple(tensors), tuple(direction))
    leaves = [t.requires_grad_() for t in tensors]
    gradients = torch.autograd.grad(weighed(layer, leaves), leaves)
    expected = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    assert slope.item() == pytest.approx(expected.item(), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["least_squares", "linear_program", "second_order", "exponential", "geometric"]
)
def test_values_and_gradients_are_those_of_cvxpylayers(name: str):
    program = PROGRAMS[name]()
    own = {v.id for v in program.problem.variables()}
    primal = [v for v in program.variables if v.id in own]
    peer = CvxpyLayer(
        program.problem,
        program.parameters,
        primal,
        gp=program.gp,
        solver_args={"solve_method": "Clarabel", "tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12,
                     "mode": "dense"},
    )  # fmt: skip
    ours = ConvexLayer(program.problem, program.parameters, primal, gp=program.gp, tol=1e-10)
    tensors = [t.requires_grad_() for t in program.tensors(seed=7, batch=(3,))]
    results: list[tuple[list[Tensor], tuple[Tensor, ...]]] = []
    for layer in (ours, peer):
        values = layer(*tensors)
        total = torch.stack(
            [(v * torch.linspace(-1, 2, v.numel()).reshape(v.shape)).sum() for v in values]
        ).sum()
        results.append((values, torch.autograd.grad(total, tensors)))
    for mine, theirs in zip((*results[0][0], *results[0][1]), (*results[1][0], *results[1][1]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("name", QUADRATIC)
def test_second_derivative_is_the_slope_of_the_first(name: str):
    program = QUADRATIC[name]()
    layer = layer_of(program, tol=1e-10)
    tensors = [t.requires_grad_() for t in program.tensors(seed=8)]
    direction = directions(program, tensors)

    def slope(at: list[Tensor]) -> Tensor:
        gradients = torch.autograd.grad(weighed(layer, at), at, create_graph=True)
        return torch.stack([(g * d).sum() for g, d in zip(gradients, direction, strict=True)]).sum()

    second = torch.autograd.grad(slope(tensors), tensors)
    found = sum((g * d).sum() for g, d in zip(second, direction, strict=True))
    ahead, behind = (
        slope([(t + h * d).detach().requires_grad_() for t, d in zip(tensors, direction, strict=True)])
        for h in (STEP, -STEP)
    )
    assert found.item() == pytest.approx(((ahead - behind) / (2 * STEP)).item(), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["second_order", "semidefinite", "exponential", "power"])
def test_second_derivative_of_curved_cones_is_refused(name: str):
    program = CONIC[name]()
    tensors = [t.requires_grad_() for t in program.tensors(seed=8)]
    gradient = torch.autograd.grad(weighed(layer_of(program), tensors), tensors, create_graph=True)
    with pytest.raises(DifferentiationError):
        torch.autograd.grad(gradient[0].sum(), tensors)


@pytest.mark.parametrize("name", ["least_squares", "shapes", "second_order", "geometric"])
def test_a_shared_parameter_gets_the_sum_of_the_gradients(name: str):
    program = PROGRAMS[name]()
    layer = layer_of(program, tol=1e-10)
    shared, *batched = program.tensors(seed=9, batch=(4,))
    shared = shared[0]
    alone = shared.clone().requires_grad_()
    repeated = shared.repeat(4, *([1] * shared.dim())).requires_grad_()
    (of_shared,) = torch.autograd.grad(weighed(layer, [alone, *batched]), alone)
    (of_repeated,) = torch.autograd.grad(weighed(layer, [repeated, *batched]), repeated)
    torch.testing.assert_close(of_shared, of_repeated.sum(0), rtol=1e-8, atol=1e-9)


def test_gradient_of_a_symmetric_parameter_is_symmetric_and_counts_both_triangles():
    # x = S applied to a vector: the derivative of wᵀSv in S is ½(wvᵀ + vwᵀ), not one triangle of wvᵀ.
    S, x = cp.Parameter((3, 3), symmetric=True), cp.Variable(3)
    v, w = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 0.5])
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - S @ v.numpy()))), [S], [x])
    value = torch.eye(3, dtype=torch.float64).requires_grad_()
    (w.double() @ layer(value)[0]).backward()
    expected = torch.outer(w, v).double()
    torch.testing.assert_close(value.grad, 0.5 * (expected + expected.mT), rtol=1e-10, atol=1e-12)


def test_a_parameter_that_cancels_has_gradient_zero():
    x, p, r = cp.Variable(2), cp.Parameter(2), cp.Parameter(2)
    objective = cp.sum_squares(x - r) + cp.sum(p) - cp.sum(p)
    layer = ConvexLayer(cp.Problem(cp.Minimize(objective)), [p, r], [x])
    value = torch.ones(2, dtype=torch.float64, requires_grad=True)
    layer(value, torch.ones(2))[0].sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [0.0, 0.0]


def test_gradients_of_second_order_cones_are_exact_at_the_default_tolerance():
    # Half of the solutions lie on the boundary of the ball; terms of the norms are zero up to the tolerance.
    n, batch = 20, 16
    rng = np.random.default_rng(0)
    x, y, A, weight = cp.Variable(n), cp.Parameter(n), cp.Parameter((n, n)), cp.Parameter(nonneg=True)
    objective = cp.Minimize(cp.norm(A @ x - y) + weight * cp.norm1(x))
    layer = ConvexLayer(cp.Problem(objective, [cp.norm(x) <= 1]), [A, y, weight], [x])
    data = [torch.as_tensor(rng.normal(size=size)) for size in ((n, n), (batch, n))]
    data = [t.requires_grad_() for t in (*data, torch.tensor(0.3, dtype=torch.float64))]
    c = torch.linspace(-1, 1, batch * n, dtype=torch.float64).reshape(batch, n)

    def value(*tensors: torch.Tensor) -> torch.Tensor:
        return (layer(*tensors)[0] * c).sum()

    gradients, step = torch.autograd.grad(value(*data), data), 1e-6
    for i, gradient in enumerate(gradients):
        direction = torch.as_tensor(rng.normal(size=tuple(gradient.shape)))
        with torch.no_grad():
            ends = [value(*data[:i], data[i] + h * direction, *data[i + 1 :]) for h in (step, -step)]
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-8)
