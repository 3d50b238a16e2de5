"""Second derivatives, however they are composed, against a closed form.

Projection with a weight that depends on q: Q = (1 + |q|²) I, z ≥ 0 gives z = max(0, −q / (1 + |q|²)), so that the data
carry part of the tangent, beside that of the solution.
"""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from layers import ConvexLayer, DifferentiationError, QPLayer, solve_qp
from tests.layers.instances import assert_close

Loss = Callable[[Tensor], Tensor]
EYE, ZERO = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
Q0 = torch.tensor([-1.0, 2.0, -0.5], dtype=torch.float64)
STEP = torch.tensor([0.3, 0.1, -0.2], dtype=torch.float64)


def weighted(q: Tensor) -> Tensor:
    return (1 + (q * q).sum(-1))[..., None, None] * EYE


def closed(q: Tensor) -> Tensor:
    return (torch.clamp(-q / (1 + (q * q).sum(-1, keepdim=True)), min=0) ** 3).sum()


def program() -> ConvexLayer:
    z, root, q = cp.Variable(3), cp.Parameter(nonneg=True), cp.Parameter(3)
    objective = 0.5 * cp.sum_squares(root * z) + q @ z
    return ConvexLayer(cp.Problem(cp.Minimize(objective), [z >= 0]), [root, q], [z], tol=1e-11)


LINEAR = program()
LOSSES: dict[str, Loss] = {
    "QPLayer": lambda q: (QPLayer(tol=1e-11)(weighted(q), q, -EYE, ZERO) ** 3).sum(),
    "solve_qp": lambda q: (solve_qp(weighted(q), q, -EYE, ZERO, tol=1e-11).z ** 3).sum(),
    "interior_point": lambda q: (QPLayer("interior_point", tol=1e-11)(weighted(q), q, -EYE, ZERO) ** 3).sum(),
    "shared matrices": lambda q: (
        (QPLayer(tol=1e-11)(weighted(q), torch.stack([q, q]), -EYE, ZERO) ** 3).sum() / 2
    ),
    "batched": lambda q: (QPLayer(tol=1e-11)(weighted(q)[None], q[None], -EYE, ZERO) ** 3).sum(),
    "ConvexLayer": lambda q: (LINEAR((1 + (q * q).sum(-1)).sqrt(), q)[0] ** 3).sum(),
}


def forward_over_reverse(loss: Loss, q: Tensor, step: Tensor) -> Tensor:
    """Dual numbers around a gradient that records no graph."""
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(q.clone().requires_grad_(), step)
        (g,) = torch.autograd.grad(loss(dual), dual)
        return forward_ad.unpack_dual(g).tangent


def reverse_over_forward(loss: Loss, q: Tensor, step: Tensor) -> Tensor:
    leaf = q.clone().requires_grad_()
    with forward_ad.dual_level():
        slope = forward_ad.unpack_dual(loss(forward_ad.make_dual(leaf, step))).tangent
    return torch.autograd.grad(slope, leaf)[0]


def reverse_over_reverse(loss: Loss, q: Tensor, step: Tensor) -> Tensor:
    leaf = q.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    return torch.autograd.grad(g @ step, leaf)[0]


COMPOSITIONS: dict[str, Callable[[Loss, Tensor, Tensor], Tensor]] = {
    "forward over reverse": forward_over_reverse,
    "reverse over forward": reverse_over_forward,
    "reverse over reverse": reverse_over_reverse,
    "jvp of grad": lambda f, q, step: jvp(grad(f), (q,), (step,))[1],
    "grad of jvp": lambda f, q, step: grad(lambda q: jvp(f, (q,), (step,))[1])(q),
    "hessian": lambda f, q, step: hessian(f)(q) @ step,
    "jacfwd of jacfwd": lambda f, q, step: jacfwd(jacfwd(f))(q) @ step,
    "jacrev of jacrev": lambda f, q, step: jacrev(jacrev(f))(q) @ step,
    "jacrev of jacfwd": lambda f, q, step: jacrev(jacfwd(f))(q) @ step,
    "jvp inside vmap": lambda f, q, step: vmap(lambda s: jvp(grad(f), (q,), (s,))[1])(
        torch.stack([step, step])
    )[1],
    "functional.hessian": lambda f, q, step: torch.autograd.functional.hessian(f, q) @ step,
    "functional.hessian, vectorized": lambda f, q, step: (
        torch.autograd.functional.hessian(f, q, vectorize=True) @ step
    ),
    "functional.hessian, forward outside": lambda f, q, step: (
        torch.autograd.functional.hessian(f, q, vectorize=True, outer_jacobian_strategy="forward-mode") @ step
    ),
}


@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_every_composition_is_the_closed_form(name: str, composition: str) -> None:
    right = torch.autograd.functional.hessian(closed, Q0) @ STEP
    assert_close(COMPOSITIONS[composition](LOSSES[name], Q0, STEP), right, 1e-8)


def test_dual_numbers_inside_vmap() -> None:
    """The forward derivative of a vmapped loss whose gradient is taken inside."""
    many, steps = torch.stack([Q0, Q0 + 0.1]), torch.stack([STEP, -STEP])
    right = torch.stack(
        [torch.autograd.functional.hessian(closed, q) @ s for q, s in zip(many, steps, strict=True)]
    )
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(many, steps)
        found = forward_ad.unpack_dual(vmap(grad(LOSSES["QPLayer"]))(dual)).tangent
    assert_close(found, right, 1e-8)


def test_a_gradient_inside_dual_numbers_of_a_solve_outside_is_moved_by_its_cotangent_alone() -> None:
    """Solved before the level began: only the cotangent has a tangent there."""
    leaf = Q0.clone().requires_grad_()
    z = QPLayer(tol=1e-11)(weighted(leaf), leaf, -EYE, ZERO)
    expected = torch.autograd.grad(z, leaf, STEP, retain_graph=True)[0]
    with forward_ad.dual_level():
        (g,) = torch.autograd.grad(z, leaf, forward_ad.make_dual(torch.ones_like(z), STEP))
        assert_close(forward_ad.unpack_dual(g).tangent, expected, 1e-12)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_a_curved_cone_refuses_in_every_composition(composition: str) -> None:
    z, q = cp.Variable(3), cp.Parameter(3)
    ball = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(z + q)), [cp.norm(z) <= 0.5]), [q], [z])
    with pytest.raises(DifferentiationError, match="curved cones"):
        COMPOSITIONS[composition](lambda q: (ball(q)[0] ** 3).sum(), Q0, STEP)


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_the_objective_of_a_curved_cone_has_its_second_derivative_or_refuses(composition: str) -> None:
    """min |z + q|² over |z| ≤ ½ is (|q| − ½)² outside of the ball."""
    z, q = cp.Variable(3), cp.Parameter(3)
    program = cp.Problem(cp.Minimize(cp.sum_squares(z + q)), [cp.norm(z) <= 0.5])
    ball = ConvexLayer(program, [q], [z], tol=1e-11)

    def found() -> Tensor:
        return COMPOSITIONS[composition](lambda q: ball.solve(q).objective, Q0, STEP)

    if composition == "jacfwd of jacfwd":  # in forward mode z moves along, and its derivative has none
        with pytest.raises(DifferentiationError, match="curved cones"):
            found()
        return
    right = torch.autograd.functional.hessian(lambda q: (q.norm() - 0.5) ** 2, Q0) @ STEP
    assert_close(found(), right, 1e-7)
