"""Exponential cones whose entries are of sizes from 1e-13 to 4e11, in one program and in one batch: closed forms."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch

from layers import ConvexLayer, Status

SIZES = (1e-13, 5e-8, 1e-4, 0.03, 1.0, 37.0, 1e5, 6.6e7, 4e11)


@pytest.fixture(scope="module")
def logarithm() -> ConvexLayer:
    """maximise Σx subject to exp(x) ≤ a."""
    x, a = cp.Variable(2), cp.Parameter(2, pos=True)
    return ConvexLayer(cp.Problem(cp.Maximize(cp.sum(x)), [cp.exp(x) <= a]), [a], [x])


@pytest.mark.parametrize("other", SIZES)
def test_logarithms_are_exact_whatever_stands_beside_them(logarithm: ConvexLayer, other: float) -> None:
    """x = log a, dx/da = 1/a: a bound of 4e11 was taken for inactive beside one of 5e-8, and x = 17.4 for its log."""
    a = torch.tensor([[size, other] for size in SIZES], dtype=torch.float64, requires_grad=True)
    (x,) = logarithm(a)
    assert (x - a.log()).abs().max() < 1e-12
    (found,) = torch.autograd.grad((x * torch.tensor([1.0, 1.5])).sum(), a)
    assert torch.allclose(found, torch.tensor([1.0, 1.5]) / a.detach(), rtol=1e-9, atol=0)


def test_a_tangent_far_from_the_origin_is_exact() -> None:
    """minimise exp(x) − bx: x = log b, dx/db = 1/b; the bound of the epigraph is as large as b."""
    x, b = cp.Variable(), cp.Parameter(pos=True)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.exp(x) - b * x)), [b], [x])
    sizes = torch.tensor([1e-3, 1.0, 1e3, 1e6], dtype=torch.float64, requires_grad=True)
    (found,) = layer(sizes)
    assert (found - sizes.log()).abs().max() < 1e-12
    (slope,) = torch.autograd.grad(found.sum(), sizes)
    assert torch.allclose(slope, 1 / sizes.detach(), rtol=1e-9, atol=0)


def test_parts_have_their_own_solutions_and_certificates() -> None:
    """maximise x over exp(x) ≤ a, x ≥ l, thrice: a part without a point makes the program infeasible."""
    x, a, low = cp.Variable(3), cp.Parameter(3, pos=True), cp.Parameter(3)
    problem = cp.Problem(cp.Maximize(cp.sum(x)), [cp.exp(x) <= a, x >= low])
    layer = ConvexLayer(problem, [a, low], [x], on_failure="ignore")
    bound = torch.tensor([[1.0, 1e-9, 1e9]], dtype=torch.float64).repeat(2, 1).requires_grad_()
    least = torch.tensor([[-30.0, -30.0, -30.0], [-30.0, -20.0, -30.0]], dtype=torch.float64)
    found = layer.solve(bound, least)
    assert [Status(int(v)).name for v in found.status] == ["OPTIMAL", "INFEASIBLE"]
    (value,) = found.variables
    assert (value[0] - bound[0].log()).abs().max() < 1e-12
    (gradient,) = torch.autograd.grad(value.sum(), bound)
    assert torch.allclose(gradient[0], 1 / bound[0].detach(), rtol=1e-9, atol=0)
    assert not gradient[1].any()


def test_parts_of_one_structure_are_one_batch_and_put_back_in_order() -> None:
    """Balls of two and of three variables, a row between two of them, and a variable that is in no row."""
    x, centre, radius = cp.Variable(9), cp.Parameter(9), cp.Parameter(4, pos=True)
    rules = [cp.norm(x[:2] - centre[:2]) <= radius[0], cp.norm(x[2:4] - centre[2:4]) <= radius[1]]
    rules += [cp.exp(x[4]) <= radius[2], cp.exp(x[5]) <= radius[3], x[5] + x[6] == 1]
    cost = x[0] + 2 * x[2] + 2 * x[3] - x[4] - x[5] + cp.sum_squares(x[7:])
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost), rules), [centre, radius], [x])
    c = torch.arange(18, dtype=torch.float64).reshape(2, 9) / 4
    r = torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 3e6, 2.0, 1e-6]], dtype=torch.float64)
    (found,) = layer(c, r)
    log, half = r[:, 2:].log(), r[:, 1:2] / 2**0.5
    right = [c[:, :1] - r[:, :1], c[:, 1:2], c[:, 2:4] - half, log, 1 - log[:, 1:], 0 * c[:, 7:]]
    assert ((found - torch.cat(right, 1)).abs() <= 1e-11 * (1 + half)).all()


@pytest.mark.parametrize("radius", [1e-8, 1e-6, 1e-4, 1.0])
def test_a_small_ball_far_from_the_origin_is_no_point(radius: float) -> None:
    """The largest cᵀx over ‖x − a‖ ≤ r is a + r c/‖c‖; to a tolerance of 1e-8 the ball is its centre, dx/dr zero."""
    x, c, a, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter(nonneg=True)
    layer = ConvexLayer(cp.Problem(cp.Maximize(c @ x), [cp.norm(x - a) <= r]), [c, a, r], [x])
    cost = torch.tensor([[3653.75, -555.25, 2312.5], [-0.75, 1.0, -0.625]], dtype=torch.float64)
    centre = torch.tensor([2.5, -0.5, -0.25], dtype=torch.float64)
    given = [cost, centre, torch.tensor(radius, dtype=torch.float64)]
    (found,) = layer(*(v.requires_grad_() for v in given))
    weight = torch.tensor([1.5, 1.5, 0.5], dtype=torch.float64)
    dc, da, dr = torch.autograd.grad((weight * found).sum(), given)
    length = cost.detach().norm(dim=-1, keepdim=True)
    unit = cost.detach() / length
    assert (found - centre - radius * unit).abs().max() < 1e-14
    # x − a bears 1e-16 of a, and so does its direction
    room = 1e-11 + 1e-15 / radius
    assert (dr - (unit @ weight).sum()).abs() < room
    assert (da - 2 * weight).abs().max() < 1e-12
    right = radius / length * (weight - (unit @ weight).unsqueeze(-1) * unit)
    assert (dc - right).abs().max() < 10 * room * right.abs().max()
