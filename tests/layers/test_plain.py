"""The plain way, one call of the core there and one back, gives what the transformable way gives, to every order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from layers import ProblemError, QPLayer, SolverError, solve_qp
from layers.native import qp as native
from tests.layers.instances import NAMES, assert_close, leaves, random_qp, weigh

FIELDS = ("z", "lam", "nu", "objective", "s")
PLAIN, TRANSFORMABLE = "PlainBackward", "SolutionMapBackward"


def plain_way_exists() -> bool:
    return native.plain((torch.zeros(1),))


def name_of(z: Tensor) -> str:
    node = z.grad_fn
    while node is not None and node.name().split("Backward")[0] in (
        "Reshape",
        "View",
        "ReshapeAlias",
        "ToCopy",
    ):
        node = node.next_functions[0][0]
    assert node is not None
    return node.name()


def agree(data: tuple[Tensor, ...], way: str) -> None:
    """QPLayer and solve_qp against the transformable way, in value and all gradients; both go `way`."""
    asked = [t for t in data if t.requires_grad]
    z, both = QPLayer(tol=1e-10)(*data), solve_qp(*data, tol=1e-10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "plain", lambda tensors: False)
        expected = solve_qp(*data, tol=1e-10)
    if plain_way_exists():
        assert way in name_of(z)
        assert way in name_of(both.lam)
    assert TRANSFORMABLE in name_of(expected.z)
    for found, right in ((z, expected.z), *((getattr(both, f), getattr(expected, f)) for f in FIELDS)):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-13)
        grads = torch.autograd.grad(weigh(found), asked, retain_graph=True, allow_unused=True)
        rights = torch.autograd.grad(weigh(right), asked, retain_graph=True, allow_unused=True)
        for x, y in zip(grads, rights, strict=True):
            zero = [torch.zeros(()) if g is None else g for g in (x, y)]
            assert x is None or y is None or x.shape == y.shape
            assert_close(*zero, 1e-12)


@pytest.mark.parametrize("batch", [(), (1,), (7,)])
@pytest.mark.parametrize(("m", "p"), [(5, 2), (5, 0), (0, 2), (0, 0)])
def test_it_gives_the_same_values_and_gradients(rng, batch: tuple[int, ...], m: int, p: int) -> None:
    agree(leaves(random_qp(rng, 6, m, p, batch=batch)), PLAIN)


@pytest.mark.parametrize("alone", range(6))
def test_one_gradient_may_be_asked_for(rng, alone: int) -> None:
    data = [t.detach() for t in random_qp(rng, 6, 5, 2, batch=(3,))]
    data[alone].requires_grad_()
    agree(tuple(data), PLAIN)


def test_constants_may_be_shared_over_the_batch(rng) -> None:
    data = [t.detach() for t in random_qp(rng, 6, 5, 2, batch=(3,))]
    shared = [t[0] if i in (0, 2, 4) else t for i, t in enumerate(data)]
    # b and h are those of other matrices now: any will do that can be met
    shared[3] = shared[3].abs() + 20.0
    for i in (1, 3, 5):
        shared[i].requires_grad_()
    agree(tuple(shared), PLAIN)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_batch_of_one_may_share_what_it_learns(rng, lead: tuple[int, ...]) -> None:
    Q, q, G, h, A, b = random_qp(rng, 6, 5, 2)
    data = (Q, q.reshape(1, -1), G.reshape(*lead, 5, 6), h, A, b.reshape(*lead, -1))
    agree(tuple(t.clone().requires_grad_() for t in data), PLAIN)


@pytest.mark.parametrize("name", NAMES)
def test_a_shared_argument_receives_the_sum(rng, name: str) -> None:
    data = [t.detach().expand(3, *t.shape).clone() for t in random_qp(rng, 6, 5, 2)]
    place = NAMES.index(name)
    data[place] = data[place][0].clone().requires_grad_()
    agree(tuple(data), PLAIN)


@pytest.mark.parametrize("batch", [(2, 3), (3, 1)])
def test_several_batch_axes_are_put_together_for_the_core(rng, batch: tuple[int, ...]) -> None:
    agree(leaves(random_qp(rng, 4, 3, 1, batch=batch)), PLAIN)


def test_single_precision_goes_the_plain_way_in_double(rng) -> None:
    data = tuple(t.float().requires_grad_() for t in random_qp(rng, 4, 3, 1))
    z = QPLayer()(*data)
    assert z.dtype == torch.float32
    assert torch.equal(z, solve_qp(*data).z)
    assert (PLAIN if plain_way_exists() else TRANSFORMABLE) in name_of(z)


def test_a_weakly_active_constraint_goes_the_transformable_way() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    q = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    z = QPLayer()(eye, q, -eye, torch.zeros(2, dtype=torch.float64))
    expected = solve_qp(eye, q, -eye, torch.zeros(2, dtype=torch.float64)).z
    assert_close(*(torch.autograd.grad(v.sum(), q)[0] for v in (z, expected)), 1e-14)


def test_an_element_without_a_solution_is_told(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 3, 2, 0, batch=(4,))
    G, h = torch.cat((G, -G), 1), torch.cat((h, -h), 1)
    h[2] -= 1.0
    with pytest.raises(SolverError, match=r"element \(2,\): INFEASIBLE"):
        QPLayer()(Q, q, G, h, A, b)
    z = QPLayer(on_failure="nan")(Q, q, G, h, A, b)
    assert z.isnan().any(-1).tolist() == [False, False, True, False]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_data_that_are_no_numbers_are_told(rng, value: float) -> None:
    Q, q, *rest = random_qp(rng, 3, 2, 1)
    q[1] = value
    with pytest.raises(ProblemError, match="q must be finite"):
        QPLayer()(Q, q, *rest)


def test_a_change_of_z_in_place_leaves_the_gradient_alone(rng) -> None:
    if not plain_way_exists():
        pytest.skip("torch forbids such a change of what the transformable way gives")
    data = leaves(random_qp(rng, 4, 3, 1))
    touched, untouched = QPLayer()(*data), QPLayer()(*data)
    touched.mul_(2.0)
    found = torch.autograd.grad(weigh(touched), data)
    for x, y in zip(found, torch.autograd.grad(2.0 * weigh(untouched), data), strict=True):
        assert_close(x, y, 1e-14)


def test_a_change_of_the_data_before_the_backward_pass_is_told(rng) -> None:
    Q, *rest = random_qp(rng, 4, 3, 1)
    rest[0].requires_grad_()
    z = QPLayer()(Q, *rest)
    Q.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_gradients_of_both_orders_are_those_of_differences(rng) -> None:
    data = leaves(random_qp(rng, 3, 2, 1, batch=(2,)))

    def z(*data: Tensor) -> Tensor:
        Q, *rest = data
        return QPLayer(tol=1e-12)(0.5 * (Q + Q.mT), *rest)

    torch.autograd.gradcheck(z, data, atol=1e-6)
    torch.autograd.gradgradcheck(z, data, atol=1e-5)


def test_an_argument_that_is_made_of_another_is_counted_once(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 4, 3, 1)

    def z(q: Tensor) -> Tensor:
        return QPLayer(tol=1e-12)(Q, q, G, h + q[:3] ** 2, A, b + q[:1])

    q.requires_grad_()
    torch.autograd.gradcheck(z, (q,), atol=1e-6)
    torch.autograd.gradgradcheck(z, (q,), atol=1e-5)
    plain, with_graph = (
        torch.autograd.grad(weigh(z(q)), q, create_graph=again)[0] for again in (False, True)
    )
    assert_close(with_graph, plain, 1e-10)


def test_a_second_backward_pass_gives_the_same(rng) -> None:
    data = leaves(random_qp(rng, 4, 3, 1))
    z = QPLayer()(*data)
    first = torch.autograd.grad(weigh(z), data, retain_graph=True)
    for x, y in zip(first, torch.autograd.grad(weigh(z), data), strict=True):
        assert torch.equal(x, y)


def test_transforms_and_forward_derivatives_go_the_transformable_way(rng) -> None:
    Q, q, *rest = random_qp(rng, 4, 3, 1)
    layer, step = QPLayer(tol=1e-11), torch.from_numpy(rng.standard_normal(4))
    jacobian = torch.func.jacrev(lambda q: layer(Q, q, *rest))(q)
    leaf = q.clone().requires_grad_()
    rows = torch.stack(
        [torch.autograd.grad(entry, leaf, retain_graph=True)[0] for entry in layer(Q, leaf, *rest)]
    )
    assert_close(jacobian, rows, 1e-10)
    with forward_ad.dual_level():
        moved = forward_ad.unpack_dual(layer(Q, forward_ad.make_dual(q, step), *rest)).tangent
    assert_close(moved, rows @ step, 1e-10)
    many = torch.func.vmap(lambda q: layer(Q, q, *rest))(torch.stack((q, q + 1.0)))
    assert_close(many[1], layer(Q, q + 1.0, *rest), 1e-12)


def test_nothing_is_kept_where_nothing_is_differentiated(rng) -> None:
    data = leaves(random_qp(rng, 4, 3, 1))
    with torch.no_grad():
        z = QPLayer()(*data)
    assert not z.requires_grad
    np.testing.assert_allclose(z, solve_qp(*data).z.detach(), atol=1e-14)
