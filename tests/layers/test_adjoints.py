"""The adjoints beside each other: equal where both are exact, refused by name where one is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from layers import DifferentiationError, LayerError, QPLayer, adjoints, solve_qp
from layers.qp.adjoints import ADJOINTS
from tests.layers.catalogue import SOLVABLE
from tests.layers.instances import NAMES, assert_close, leaves, random_qp, weigh

#: problems of the catalogue without a derivative in the sense of the paper
OUTSIDE = {"singular_unconstrained", "redundant_rows", "zero_rows", "bounds_that_meet", "degenerate_vertex",
    "degenerate_linear"}  # fmt: skip


@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3)])
def test_optnet_is_implicit_where_both_are_exact(rng, batch: tuple[int, ...]) -> None:
    data = random_qp(rng, 6, 8, 2, batch=batch)
    grads = []
    for adjoint in ("implicit", "optnet"):
        given = leaves(data)
        found = solve_qp(*given, tol=1e-12, adjoint=adjoint)
        value = sum(weigh(getattr(found, name)) for name in ("z", "lam", "nu", "s", "objective"))
        grads.append(torch.autograd.grad(value, given))
    for name, x, y in zip(NAMES, *grads, strict=True):
        assert x.shape == y.shape
        assert_close(x, y, 1e-9, name)


def test_optnet_refuses_a_weakly_active_constraint_and_names_who_can() -> None:
    eye, zero = torch.eye(2).double(), torch.zeros(2).double()
    q = zero.clone().requires_grad_()
    z = QPLayer(adjoint="optnet")(eye, q, -eye, zero)
    with pytest.raises(DifferentiationError, match='adjoint="implicit"'):
        z.sum().backward()


def test_one_failed_element_leaves_the_gradient_of_the_others(rng) -> None:
    data = random_qp(rng, 4, 3, 1, batch=(3,))
    broken = [t.clone() for t in data]
    broken[2][1], broken[3][1] = 0.0, -1.0  # 0 z <= -1
    grads = []
    for adjoint in ("implicit", "optnet"):
        given = [t.clone().requires_grad_() for t in broken]
        z = QPLayer(adjoint=adjoint, on_failure="nan")(*given)
        grads.append(torch.autograd.grad(weigh(z[[0, 2]]), given))
    for x, y in zip(*grads, strict=True):
        assert_close(x, y, 1e-9)
        assert not x[1].any()


@pytest.mark.parametrize("transform", ["jvp", "hessian", "dual", "create_graph"])
def test_an_adjoint_of_first_order_is_refused_where_more_is_asked(rng, transform: str) -> None:
    Q, q, *rest = random_qp(rng, 4, 3, 1)
    layer = QPLayer(adjoint="optnet")

    def f(q: Tensor) -> Tensor:
        return weigh(layer(Q, q, *rest) ** 2)

    def dual() -> None:
        with forward_ad.dual_level():
            f(forward_ad.make_dual(q, q))

    def twice() -> None:
        leaf = q.clone().requires_grad_()
        (g,) = torch.autograd.grad(f(leaf), leaf, create_graph=True)
        g.sum().backward()

    asked = {
        "jvp": lambda: torch.func.jvp(f, (q,), (q,)),
        "hessian": lambda: torch.func.jacrev(torch.func.jacrev(f))(q),
        "dual": dual,
        "create_graph": twice,
    }
    with pytest.raises(DifferentiationError, match="choose adjoint='implicit'"):
        asked[transform]()


def test_optnet_works_under_vmap_and_jacrev(rng) -> None:
    Q, q, *rest = random_qp(rng, 4, 3, 1)
    layers = [QPLayer(adjoint=adjoint, tol=1e-12) for adjoint in ("implicit", "optnet")]
    x, y = (torch.func.jacrev(lambda q, layer=layer: layer(Q, q, *rest))(q) for layer in layers)
    assert_close(x, y, 1e-9)
    many = torch.stack((q, q + 0.1))
    x, y = (
        torch.func.vmap(torch.func.grad(lambda q, layer=layer: weigh(layer(Q, q, *rest))))(many)
        for layer in layers
    )
    assert_close(x, y, 1e-9)


@pytest.mark.parametrize("name", SOLVABLE)
def test_optnet_gives_what_implicit_gives_or_refuses(name: str) -> None:
    data = SOLVABLE[name](np.random.default_rng(3))
    given = leaves(data)
    expected = torch.autograd.grad(weigh(solve_qp(*given, tol=1e-11).z), given)
    z = solve_qp(*given, tol=1e-11, adjoint="optnet").z
    try:
        found = torch.autograd.grad(weigh(z), given)
    except DifferentiationError as error:
        assert "singular" in str(error)  # noqa: PT017
        assert name in OUTSIDE
        return
    assert name not in OUTSIDE
    for label, x, y in zip(NAMES, found, expected, strict=True):
        assert_close(x, y, 1e-6, label)


def test_names_that_do_not_exist_are_refused_with_those_that_do() -> None:
    names = ["auto", *ADJOINTS]
    with pytest.raises(LayerError, match=f"one of {', '.join(map(repr, names))}; found 'magic'"):
        QPLayer(adjoint="magic")
    assert list(adjoints()) == names
    with pytest.raises(LayerError, match='brings its own derivative: adjoint must be "auto"'):
        QPLayer("qpth", adjoint="optnet")
