"""Lagrangian proximal gradients of programs with curved cones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, DifferentiationError, LayerError, Lpgd
from layers.qp.adjoints import ADJOINTS
from tests.layers.instances import assert_close

cp = pytest.importorskip("cvxpy")


def ball() -> Any:
    """min ‖Fx‖² + cᵀx + ‖x‖ over a ball and a plane; its parameters F, c and the radius."""
    x, F, c, r = cp.Variable(4), cp.Parameter((3, 4)), cp.Parameter(4), cp.Parameter(nonneg=True)
    cost = cp.sum_squares(F @ x) + c @ x + cp.norm(x, 2)
    return cp.Problem(cp.Minimize(cost), [cp.norm(x - 1, 2) <= r, cp.sum(x) == 1.0]), [F, c, r], [x]


@pytest.fixture
def values(rng) -> list[Tensor]:
    F, c = (torch.from_numpy(rng.normal(size=shape)) for shape in ((3, 4), (5, 4)))
    return [F, c, torch.full((5,), 2.0, dtype=torch.float64)]


def gradients(values: list[Tensor], **settings: Any) -> tuple[Tensor, ...]:
    program, parameters, variables = ball()
    given = [v.clone().requires_grad_() for v in values]
    (x,) = ConvexLayer(program, parameters, variables, **settings)(*given)
    return torch.autograd.grad((x * torch.linspace(-1, 2, x.numel()).to(x).reshape(x.shape)).sum(), given)


def misses(values: list[Tensor], **settings: Any) -> list[float]:
    right = gradients(values)
    found = gradients(values, adjoint=Lpgd(**settings))
    return [((x - y).abs().max() / y.abs().max()).item() for x, y in zip(found, right, strict=True)]


@pytest.mark.parametrize(("side", "factor"), [("lower", 10), ("upper", 10), ("mean", 100)])
def test_it_misses_tau_on_one_side_and_its_square_in_the_mean(values, side: str, factor: int) -> None:
    first, second = (misses(values, tau=tau, side=side) for tau in (1e-2, 1e-3))
    for x, y in zip(first, second, strict=True):
        assert 0.8 * factor < x / y < 1.2 * factor
        assert y < 1e-2


def test_multipliers_slacks_and_the_objective_have_their_derivative_too() -> None:
    """A projection on a ball: nothing in its canonical form has a choice, so that every part may be asked for."""
    x, y, r = cp.Variable(3), cp.Parameter(3), cp.Parameter(nonneg=True)
    inside = cp.SOC(r, x)
    program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(x) - y @ x), [inside])
    grads = []
    for each in ("implicit", Lpgd(tau=1e-4)):
        given = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([2.0, -1.0, 2.0], 1.5)]
        found = ConvexLayer(program, [y, r], [x], adjoint=each).solve(*given)
        parts = (found.variables[0], found.y, found.s)
        value = sum(((v * torch.linspace(1, 2, v.numel()).to(v)).sum() for v in parts), 3 * found.objective)
        grads.append(torch.autograd.grad(value, given))
    for right, found in zip(*grads, strict=True):
        assert right.abs().max() > 0.1
        assert_close(found, right, 1e-5)


def test_it_works_under_vmap_and_refuses_more_than_one_derivative(values) -> None:
    program, parameters, variables = ball()
    layer = ConvexLayer(program, parameters, variables, adjoint="lpgd")
    F, c, r = values

    def f(c: Tensor) -> Tensor:
        return (layer(F, c, r[0])[0] ** 2).sum()

    found = torch.func.vmap(torch.func.grad(f))(c)
    for one, at in zip(found, c, strict=True):
        assert_close(one, torch.func.grad(f)(at), 1e-9)
    with pytest.raises(DifferentiationError, match="choose adjoint='implicit'"):
        torch.func.jvp(f, (c[0],), (c[0],))
    with pytest.raises(DifferentiationError, match="choose adjoint='implicit'"):
        torch.func.jacrev(torch.func.grad(f))(c[0])


def test_an_element_that_failed_gets_no_gradient(values) -> None:
    program, parameters, variables = ball()
    layer = ConvexLayer(program, parameters, variables, adjoint="lpgd", on_failure="nan")
    F, c, _ = values
    radii = torch.tensor([2.0, 0.5, 2.0, 2.0, 2.0], dtype=torch.float64)  # 0.5 does not reach the plane
    given = c.clone().requires_grad_()
    (x,) = layer(F, given, radii)
    assert x[1].isnan().all()
    (g,) = torch.autograd.grad((x[[0, 2, 3, 4]] * torch.tensor([1.0, 2.0, 3.0, 5.0])).sum(), given)
    assert not g[1].any()
    assert g[0].abs().max() > 1e-3


def test_a_loss_without_a_minimum_is_refused() -> None:
    x, c = cp.Variable(2), cp.Parameter()
    program = cp.Problem(cp.Minimize(cp.norm(x, 2) + c * x[0]))
    point = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    (z,) = ConvexLayer(program, [c], [x], adjoint=Lpgd(tau=10.0, side="lower"))(point)
    with pytest.raises(DifferentiationError, match=r"UNBOUNDED(.|\n)*smaller tau"):
        z[0].backward()


@pytest.mark.parametrize("name", [name for name in ADJOINTS if name not in ("implicit", "lpgd")])
def test_other_adjoints_are_refused_at_construction_with_those_that_serve(name: str) -> None:
    program, parameters, variables = ball()
    with pytest.raises(LayerError, match=r"has others(.|\n)*'auto', 'implicit' or 'lpgd'"):
        ConvexLayer(program, parameters, variables, adjoint=name)
