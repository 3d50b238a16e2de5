"""The short way through programs with linear constraints gives what the long way gives, and to every order."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.autograd import forward_ad

from layers import ConvexLayer
from layers.native import qp as native
from tests.layers.programs import PROGRAMS, QUADRATIC

pytestmark = pytest.mark.filterwarnings("ignore:Reading from a sparse CVXPY expression:RuntimeWarning")


def needs_the_core() -> None:
    if not native.plain((torch.zeros(1),)):
        pytest.skip("the short way is that of the compiled core, which is not in use here")


def with_everything() -> ConvexLayer:
    """Parameters in a least-squares term and its weights, in Q, q, G, h, A and b; two variables, one of them dual."""
    x, y = cp.Variable(4), cp.Variable(2)
    F, g, w = cp.Parameter((5, 4)), cp.Parameter(5), cp.Parameter(5, nonneg=True)
    S, c = cp.Parameter((2, 2), PSD=True), cp.Parameter(2)
    G, h, a = cp.Parameter((3, 4)), cp.Parameter(3), cp.Parameter(4)
    residual = cp.Variable(5)
    objective = cp.sum(cp.multiply(w, cp.square(residual))) + cp.quad_form(y, S) + c @ y
    rows = [residual == F @ x - g, G @ x <= h, a @ x + cp.sum(y) == 1, y >= -3]
    return ConvexLayer(
        cp.Problem(cp.Minimize(objective), rows), [F, g, w, S, c, G, h, a], [x, rows[1].dual_variables[0], y]
    )


def values(batch: tuple[int, ...], seed: int = 0) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((*batch, 2, 2))
    given = [
        rng.standard_normal((*batch, 5, 4)),
        rng.standard_normal((*batch, 5)),
        rng.uniform(0.5, 2.0, (*batch, 5)),
        root @ np.swapaxes(root, -1, -2) + np.eye(2),
        rng.standard_normal((*batch, 2)),
        rng.standard_normal((*batch, 3, 4)),
        rng.uniform(-0.2, 0.1, (*batch, 3)),
        rng.standard_normal((*batch, 4)),
    ]
    return [torch.from_numpy(value).requires_grad_() for value in given]


def weighted(outputs: tuple[Tensor, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return sum(
        ((torch.randn(v.shape, generator=generator, dtype=v.dtype) * v).sum() for v in outputs),
        torch.zeros(()),
    )


def agree(layer: ConvexLayer, tensors: list[Tensor]) -> None:
    short, long = layer(*tensors), layer.solve(*tensors).variables
    torch.testing.assert_close(short, long, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad(weighted(short), tensors)
    expected = torch.autograd.grad(weighted(long), tensors)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


def test_the_short_way_is_taken():
    needs_the_core()
    x, _, _ = with_everything()(*values((3,)))
    assert "Plain" in x.grad_fn.name()


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3)])
def test_it_gives_the_same_values_and_gradients(batch: tuple[int, ...]):
    agree(with_everything(), values(batch))


@pytest.mark.parametrize("shared", range(8))
def test_a_shared_parameter_gets_the_sum_of_its_gradients(shared: int):
    tensors = values((4,))
    tensors[shared] = tensors[shared].detach()[0].requires_grad_()
    agree(with_everything(), tensors)


@pytest.mark.parametrize("batched", range(8))
def test_all_parameters_but_one_may_be_shared(batched: int):
    tensors = [t if i == batched else t.detach()[:1].requires_grad_() for i, t in enumerate(values((4,)))]
    agree(with_everything(), tensors)


@pytest.mark.parametrize("name", QUADRATIC)
def test_it_gives_the_same_for_every_program(name: str):
    program = PROGRAMS[name]()
    layer = ConvexLayer(program.problem, program.parameters, program.variables, gp=program.gp)
    agree(layer, [t.requires_grad_() for t in program.tensors(seed=0, batch=(3,))])


@pytest.mark.parametrize("batch", [(), (3,)])
def test_many_terms_that_are_taken_out(batch: tuple[int, ...]):
    """More rows than the core weighs at a time, with weights and without."""
    x, r, F, g = cp.Variable(9), cp.Variable(150), cp.Parameter((150, 9)), cp.Parameter(150)
    w, rng = cp.Parameter(150, nonneg=True), np.random.default_rng(1)
    given = [
        rng.standard_normal((*batch, 150, 9)),
        rng.standard_normal((*batch, 150)),
        rng.uniform(0.5, 2.0, (*batch, 150)),
    ]
    rows = [r == F @ x - g, x >= 0.05]
    for objective, count in ((cp.sum_squares(r), 2), (cp.sum(cp.multiply(w, cp.square(r))), 3)):
        layer = ConvexLayer(cp.Problem(cp.Minimize(objective), rows), [F, g, w][:count], [x])
        assert layer._form.blocks["M"].shape[0] == 150
        agree(layer, [torch.from_numpy(value).requires_grad_() for value in given[:count]])


def test_values_of_any_layout_and_with_many_batch_axes():
    layer, tensors = with_everything(), values((2, 1, 2, 1))
    agree(layer, tensors)
    turned = tensors[0].detach().transpose(0, 2).contiguous().transpose(0, 2).requires_grad_()
    assert not turned.is_contiguous()
    agree(layer, [turned, *tensors[1:]])


def test_some_batch_axes_may_be_of_length_one():
    tensors = values((2, 3))
    tensors[0] = tensors[0].detach()[:1].requires_grad_()
    tensors[6] = tensors[6].detach()[:, :1].requires_grad_()
    agree(with_everything(), tensors)


def test_an_answer_that_nobody_holds_is_freed():
    layer, tensors = with_everything(), values((2,))
    layer(*tensors)
    gone = [weakref.ref(variable) for variable in layer(*tensors)]
    gc.disable()
    try:
        assert [reference() for reference in gone] == [None] * 3
    finally:
        gc.enable()


def test_copies_of_a_layer_in_use_answer_as_it_does():
    layer, tensors = with_everything(), values((2,))
    expected = layer(*tensors)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(copied(*tensors), expected, rtol=0, atol=0)


def test_gradients_are_those_of_differences():
    layer, tensors = with_everything(), values((2,))
    torch.autograd.gradcheck(
        lambda F, g, G: layer(F, g, *tensors[2:5], G, *tensors[6:]), (tensors[0], tensors[1], tensors[5])
    )


def test_second_derivatives_are_those_of_differences():
    layer, tensors = with_everything(), values(())
    torch.autograd.gradgradcheck(lambda F, g: layer(F, g, *tensors[2:])[0], tensors[:2])


def test_a_parameter_that_is_made_of_another_is_counted_once():
    layer, tensors = with_everything(), [t.detach() for t in values(())]

    def x(g: Tensor) -> Tensor:
        return layer(tensors[0] + torch.outer(g, g[:4]), g, *tensors[2:])[0]

    given = tensors[1].clone().requires_grad_()
    torch.autograd.gradcheck(x, given)
    torch.autograd.gradgradcheck(x, given)
    plain, again = (torch.autograd.grad(x(given)[0], given, create_graph=graph)[0] for graph in (False, True))
    torch.testing.assert_close(again, plain, rtol=1e-9, atol=1e-10)


def test_only_the_gradients_asked_for_are_computed():
    layer, tensors = with_everything(), values((2,))
    (alone,) = torch.autograd.grad(weighted(layer(*tensors)), tensors[1])
    everything = torch.autograd.grad(weighted(layer(*tensors)), tensors)
    torch.testing.assert_close(alone, everything[1])


def test_a_change_of_the_answer_in_place_leaves_the_gradient_alone():
    needs_the_core()
    x, y = cp.Variable(3), cp.Parameter(3)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [x >= 0, cp.sum(x) == 1]), [y], [x])
    given = torch.tensor([0.5, 0.2, -1.0], dtype=torch.float64, requires_grad=True)
    (touched,), (untouched,) = layer(given), layer(given)
    touched.mul_(2.0)
    (found,) = torch.autograd.grad(touched[0], given)
    (expected,) = torch.autograd.grad(2.0 * untouched[0], given)
    torch.testing.assert_close(found, expected)


def test_forward_derivatives_take_the_long_way():
    layer, tensors = with_everything(), [t.detach() for t in values((2,))]
    step = torch.ones_like(tensors[1])
    with forward_ad.dual_level():
        dual = layer(tensors[0], forward_ad.make_dual(tensors[1], step), *tensors[2:])
        found = forward_ad.unpack_dual(dual[0]).tangent
    moved = [layer(tensors[0], tensors[1] + k * 1e-5 * step, *tensors[2:])[0] for k in (1, -1)]
    torch.testing.assert_close(found, (moved[0] - moved[1]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_transforms_take_the_long_way():
    layer, tensors = with_everything(), [t.detach() for t in values((2,))]
    found = torch.func.jacrev(lambda g: layer(tensors[0], g, *tensors[2:])[0])(tensors[1])
    leaf = tensors[1].clone().requires_grad_()
    rows = torch.autograd.functional.jacobian(lambda g: layer(tensors[0], g, *tensors[2:])[0], leaf)
    torch.testing.assert_close(found, rows, rtol=1e-9, atol=1e-10)


def test_an_unsolved_element_is_told_by_the_long_way():
    x, a = cp.Variable(2), cp.Parameter(2)
    layer = ConvexLayer(
        cp.Problem(cp.Minimize(cp.sum_squares(x)), [x >= a, cp.sum(x) <= 1]), [a], [x], on_failure="nan"
    )
    given = torch.tensor([[0.1, 0.2], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    (found,) = layer(given)
    assert found[1].isnan().all()
    (gradient,) = torch.autograd.grad(found[0].sum(), given)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))


def test_canonical_data_are_those_of_the_program_that_is_solved():
    layer, tensors = with_everything(), [t.detach() for t in values((3,))]
    data, found = layer.canonical_data(*tensors), layer.solve(*tensors)
    s = data.structure
    for i in range(3):
        P_values, A_values = ((v if v.dim() == 1 else v[i]).numpy() for v in (data.P, data.A))
        P = sp.csc_matrix((P_values, (s.P_rows, s.P_cols)), shape=(s.n, s.n))
        A = sp.csc_matrix((A_values, (s.A_rows, s.A_cols)), shape=(s.m, s.n))
        x, y, slack = (v[i].numpy() for v in (found.x, found.y, found.s))
        np.testing.assert_allclose(P @ x + data.q[i].numpy() + A.T @ y, 0.0, atol=1e-9)
        np.testing.assert_allclose(A @ x + slack, data.b[i].numpy(), atol=1e-9)
        value = 0.5 * x @ (P @ x) + data.q[i].numpy() @ x
        assert value == pytest.approx(found.objective[i].item(), abs=1e-9)


def test_canonical_data_are_affine_in_the_parameters():
    layer, tensors = with_everything(), [t.detach() for t in values((2,))]
    others = [t.detach() for t in values((2,), seed=1)]
    middle = layer.canonical_data(*(0.5 * (a + b) for a, b in zip(tensors, others, strict=True)))
    ends = [layer.canonical_data(*given) for given in (tensors, others)]
    for name in ("P", "q", "A", "b"):
        first, second = (getattr(end, name) for end in ends)
        torch.testing.assert_close(getattr(middle, name), 0.5 * (first + second), rtol=1e-13, atol=1e-13)
