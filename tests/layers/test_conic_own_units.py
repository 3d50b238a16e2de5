"""Cones that are small, thin or far from the origin, beside rows that are not: closed forms, alone and in batches."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, Status
from layers.cone.scaling import ScaledProgram
from layers.cone_program import Cones
from layers.linalg.quasidefinite import ConicFactor
from tests.layers.conic_instances import sparse

F = torch.float64


def tensor(*values: object) -> Tensor:
    return torch.tensor(values, dtype=F)


@pytest.fixture(scope="module")
def ball() -> ConvexLayer:
    """The nearest point of ‖x‖ ≤ r."""
    x, y, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(nonneg=True)
    return ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.norm(x) <= r]), [y, r], [x])


@pytest.mark.parametrize("unit", [1e-8, 1e-4, 1.0, 1e4])
@pytest.mark.parametrize("ratio", [1e-12, 1e-8, 1e-4, 0.1])
def test_the_projection_on_a_ball_of_any_size(ball: ConvexLayer, ratio: float, unit: float) -> None:
    """x = ry/‖y‖, though the ball is 1e-12 of what is projected."""
    y = unit * tensor([0.58, -0.37, -0.46], [1.0, 2.0, -2.0])
    r = ratio * unit * tensor(1.0, 0.75)
    y, r = y.requires_grad_(), r.requires_grad_()
    (x,) = ball(y, r)
    length = y.detach().norm(dim=-1, keepdim=True)
    direction, weight = y.detach() / length, tensor(1.5, -1.0, 2.0)
    assert ((x - r[:, None] * direction).abs().amax(-1) < 1e-12 * r).all()
    dy, dr = torch.autograd.grad((x * weight).sum(), (y, r))
    assert torch.allclose(dr, direction @ weight, rtol=1e-9, atol=0)
    across = weight - (direction @ weight)[:, None] * direction
    assert torch.allclose(dy, r.detach()[:, None] / length * across, rtol=1e-8, atol=1e-9 * ratio)


@pytest.mark.parametrize("radius", [3e-12, 1e-10, 1e-8])
@pytest.mark.parametrize("size", [1e-8, 1.0, 1e4])
def test_a_ball_far_from_the_origin_has_a_derivative_however_small(radius: float, size: float) -> None:
    """The largest cᵀx over ‖x − a‖ ≤ r: the radius is what rounding of a leaves, and dx/dc is of its size."""
    x, c, a, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(3), cp.Parameter(nonneg=True)
    layer = ConvexLayer(cp.Problem(cp.Maximize(c @ x), [cp.norm(x - a) <= r]), [c, a, r], [x])
    given = [size * tensor(-1.25, -0.875, -0.125), tensor(-2.375, 1.0, -0.5), torch.tensor(radius, dtype=F)]
    (found,) = layer(*(v.requires_grad_() for v in given))
    weight = tensor(1.0, 2.0, 2.5)
    dc, da, dr = torch.autograd.grad((weight * found).sum(), given)
    c = given[0].detach()
    unit = c / c.norm()
    right = radius / c.norm() * (weight - (unit @ weight) * unit)
    assert (dc - right).abs().max() < 1e-5 * right.abs().max()
    assert dr.item() == pytest.approx((unit @ weight).item(), rel=1e-5)
    assert torch.allclose(da, weight, rtol=1e-9, atol=0)


@pytest.mark.parametrize("exponent", [1.5, 3.0])
def test_powers_of_numbers_of_many_sizes(exponent: float) -> None:
    """The least |x|ᵖ/p − yx is sign(y)|y|^(1/(p − 1)); x² = 1e-8 stands beside one in the cones of the power."""
    x, y = cp.Variable(3), cp.Parameter(3)
    cost = cp.sum(cp.power(cp.abs(x), exponent)) / exponent - y @ x
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost)), [y], [x])
    small, size = (1e-8, 1e4) if exponent > 2 else (1e-4, 30.0)
    given = torch.cat(
        [small * tensor([-1.2, -0.04, 0.35]), tensor([-0.9, 0.5, 1.6]), size * tensor([-0.77, 0.44, 1.3])]
    )
    given.requires_grad_()
    (found,) = layer(given)
    root = given.detach().abs() ** (1 / (exponent - 1))
    scale = root.amax(-1, keepdim=True)
    assert ((found - given.sign() * root).abs() <= 1e-8 * scale).all()
    (slope,) = torch.autograd.grad(found.sum(), given)
    right = root / given.detach().abs() / (exponent - 1)
    assert torch.allclose(slope, right, rtol=1e-6, atol=0)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e4])
@pytest.mark.parametrize("share", [1 + 1e-3, 1.5])
def test_a_ball_and_a_plane_that_miss_each_other_are_told_apart(share: float, unit: float) -> None:
    """‖x‖ ≤ r, x₀ ≥ share · r: infeasible whatever the size of the ball beside what is projected, in one batch too."""
    x, y, r, t = cp.Variable(3), cp.Parameter(3), cp.Parameter(nonneg=True), cp.Parameter()
    rules = [cp.norm(x) <= r, x[0] >= t]
    layer = ConvexLayer(
        cp.Problem(cp.Minimize(cp.sum_squares(x - y)), rules), [y, r, t], [x], on_failure="ignore"
    )
    ratios = tensor(1e-8, 1e-4, 0.1, 1.0, 10.0)
    r_value, many = unit * ratios, len(ratios)
    y_value = unit * tensor([0.78, 0.98, -0.73]).expand(many, -1)
    bounds = torch.cat([share * r_value, 0.9 * r_value])
    found = layer.solve(y_value.repeat(2, 1), r_value.repeat(2), bounds)
    names = [Status(int(v)).name for v in found.status]
    assert names == ["INFEASIBLE"] * many + ["OPTIMAL"] * many
    right = 0.9 * r_value
    reach = (r_value**2 - right**2).sqrt()
    across = y_value[:, 1:] * (reach / y_value[:, 1:].norm(dim=-1)).clamp(max=1.0)[:, None]
    assert ((found.variables[0][many:, 1:] - across).abs().amax(-1) < 1e-7 * r_value).all()


def test_elements_of_a_batch_have_objectives_of_their_own_size() -> None:
    """P is shared; the largest of all objectives was the unit of every element, and the smallest were lost in it."""
    x, y = cp.Variable(2), cp.Parameter(2)
    layer = ConvexLayer(
        cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.exp(x[0]) <= 1 + 1e-3 * x[1]]), [y], [x]
    )
    sizes = tensor(1e-8, 1.0, 1e6)
    (found,) = layer(-sizes[:, None] * tensor([1.0, 1e-3]))
    alone = torch.stack([layer(-size * tensor(1.0, 1e-3))[0] for size in sizes])
    assert ((found - alone).abs().amax(-1) < 1e-10 * sizes).all()


def test_units_of_a_point_map_the_program_there_and_back() -> None:
    """A rotated cone (u + w, u − w, 2v), u = v² = 1e-10 beside w = 1: all is one in units of a point, and s ∈ K."""
    u, v = 1e-10, 1e-5
    A = torch.tensor([[-1.0, 0], [-1, 0], [0, -2]], dtype=F)
    program = sparse(torch.zeros(2, 2, dtype=F), tensor([1.0, 0.0]), A, tensor([1.0, -1, 0]), Cones(soc=(3,)))
    x, s = tensor([u, v]), tensor([u + 1, u - 1, 2 * v])
    y = tensor([1 + u, 1 - u, -2 * v])
    near = ScaledProgram.near(program, x, y, s)
    _, near_y, near_s = near.point(x, y, s)
    assert 0.2 < near_s.abs().max() <= 2.0
    assert near_s[0, 0] ** 2 == pytest.approx((near_s[0, 1:] ** 2).sum().item(), rel=1e-5)
    assert (near_s[0, 0] - near_s[0, 1].abs()) > 0.1 * near_s[0, 0]
    assert torch.dot(near_y[0], near_s[0]).abs() < 1e-6 * near_y.norm() * near_s.norm()
    step = tensor([0.25, -0.5])
    there, y_back, s_back = near.back(step, near_y, near_s)
    assert torch.allclose(y_back, y, rtol=1e-12, atol=1e-16)
    assert torch.allclose(s_back, s, rtol=1e-12, atol=1e-16)
    # Ax + s = b holds in one exactly where it holds in the other
    matrix = torch.zeros(3, 2, dtype=F)
    matrix[program.structure.A_rows, program.structure.A_cols] = near.program.A.reshape(-1)
    slack = near.program.b[0] - matrix @ step[0]
    _, _, expected = near.point(x, y, program.b - (A @ there[0]).unsqueeze(0))
    assert torch.allclose(slack, expected[0], rtol=1e-9, atol=1e-9)


def test_a_system_that_its_shift_spoils_is_solved_by_elimination() -> None:
    """An eigenvalue of 1e-12 beside one: with the shift of 1e-13 each step of refinement takes off a tenth only."""
    g = torch.Generator().manual_seed(3)
    Q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=F))[0]
    size = torch.logspace(0, -9, 6, dtype=F)
    H = (Q * size) @ Q.mT
    H = 0.5 * (H + H.mT)
    C = 1e-3 * torch.randn(2, 6, generator=g, dtype=F)
    E = torch.tensor([1e-9, 1.0], dtype=F)
    right = torch.randn(8, generator=g, dtype=F)
    K = torch.cat([torch.cat([H, C.mT], -1), torch.cat([C, -torch.diag(E)], -1)])
    side = K @ right
    x, eta = ConicFactor.of(H[None], C[None], E[None]).solve(side[None, :6], side[None, 6:], 1)
    found = torch.cat([x, eta], -1)[0]
    condition = torch.linalg.cond(K).item()
    assert (found - right).norm() < 1e-14 * condition * right.norm()


@pytest.mark.parametrize("sizes", [(1e-8, 2.0), (1e-10, 1.0), (1e-8, 1.0, 1e4)])
def test_groups_whose_weights_differ_by_many_digits_have_derivatives_of_their_own(
    sizes: tuple[float, ...],
) -> None:
    """The least ½‖x − c‖² + w‖x‖ is (1 − w/‖c‖)₊ c, group by group, the smallest 1e-12 of the largest."""
    g, many = torch.Generator().manual_seed(5), len(sizes)
    x, c, w = cp.Variable((many, 3)), cp.Parameter((many, 3)), cp.Parameter(many, nonneg=True)
    cost = 0.5 * cp.sum_squares(x - c) + sum(w[i] * cp.norm(x[i]) for i in range(many))
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost)), [c, w], [x])
    unit = tensor(*sizes)
    centre = (1.5 * unit[:, None] * torch.randn(many, 3, generator=g, dtype=F)).requires_grad_()
    given = (centre, unit.clone().requires_grad_())
    weight = torch.randn(many, 3, generator=g, dtype=F)
    (found,) = layer(*given)
    slopes = torch.autograd.grad((weight * found).sum(), given)
    known = centre.detach(), unit.clone()
    length = known[0].norm(dim=-1, keepdim=True)
    kept = (length > unit[:, None]).to(F)
    share, along = unit[:, None] / length, (known[0] * weight).sum(-1, keepdim=True) / length
    assert kept.sum() > 0
    assert ((found - kept * (1 - share) * known[0]).abs().amax(-1) < 1e-12 * unit).all()
    right = kept * ((1 - share) * weight + share * along * known[0] / length)
    assert torch.allclose(slopes[0], right, rtol=1e-9, atol=1e-9)
    assert torch.allclose(slopes[1], -(kept * along).squeeze(-1), rtol=1e-9, atol=1e-9)
