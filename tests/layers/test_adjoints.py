"""The adjoints beside each other: equal where they are exact, refused by name where one is not."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import layers
from layers import (
    Adjoint,
    Alternating,
    DifferentiationError,
    FirstOrder,
    LayerError,
    Lpgd,
    OneStep,
    Penalty,
    ProblemError,
    QPLayer,
    Smoothed,
    Truncated,
    Unrolled,
    adjoint,
    adjoints,
    solve_qp,
)
from layers.problem import QP
from layers.qp.adjoints import ADJOINTS
from layers.qp.gradients import Triple
from tests.layers import precise
from tests.layers.catalogue import SOLVABLE
from tests.layers.instances import NAMES, assert_close, leaves, random_qp, weigh

#: problems of the catalogue without a derivative in the sense of most papers
OUTSIDE = {"singular_unconstrained", "redundant_rows", "zero_rows", "bounds_that_meet", "degenerate_vertex",
    "degenerate_linear"}  # fmt: skip
EXACT = [name for name, each in ADJOINTS.items() if not each.error and name != "implicit"]
FIRST = [name for name, each in ADJOINTS.items() if each.order == 1]
#: settings at which an approximation has arrived, and what it misses then
ARRIVED: dict[str, tuple[dict[str, Any], float]] = {
    "unrolled": ({"k": 3000}, 1e-7),
    "alternating": ({"k": 3000}, 1e-7),
    "truncated": ({"k": 1500}, 1e-7),
    "smoothed": ({"kappa": 1e-11}, 1e-5),
    "lpgd": ({"tau": 1e-4}, 1e-6),
    "first_order": ({"tau": 1e-7}, 1e-4),
    "penalty": ({"beta": 1e-8}, 1e-5),
}
#: problems on which the approximations are always tried; on the others they wait for `make test-all`
SAMPLE = {"strictly_convex", "linear", "redundant_rows", "variables_of_many_sizes"}
#: every adjoint with settings at which it comes out, and what it misses then
EVERY = [*((name, {}, 1e-9) for name in EXACT), *((name, *rest) for name, rest in ARRIVED.items())]


def test_every_approximation_says_what_it_misses() -> None:
    assert {"optnet", "active_set", "qp_backward", "conic"} <= set(EXACT)
    assert {*ARRIVED, "one_step"} <= {name for name, each in ADJOINTS.items() if each.error}


@pytest.mark.parametrize(
    "name", [name for name, each in ADJOINTS.items() if each.error and name != "one_step"]
)
def test_an_approximation_is_near_at_its_defaults(rng, name: str) -> None:
    data = random_qp(rng, 6, 8, 2)
    grads = []
    for each in ("implicit", name):
        given = leaves(data)
        grads.append(torch.autograd.grad(weigh(solve_qp(*given, tol=1e-10, adjoint=each).z), given))
    for label, y, x in zip(NAMES, *grads, strict=True):
        assert_close(x, y, 0.1, label)


@pytest.mark.parametrize("batch", [(), (1,), pytest.param((7,), marks=pytest.mark.slow), (2, 3)])
@pytest.mark.parametrize(("name", "settings", "miss"), EVERY)
def test_what_is_exact_or_has_arrived_is_implicit(rng, name, settings, miss, batch: tuple[int, ...]) -> None:
    data = random_qp(rng, 6, 8, 2, batch=batch)
    grads = []
    for each in ("implicit", adjoint(name, **settings)):
        given = leaves(data)
        found = solve_qp(*given, tol=1e-10, adjoint=each)
        value = sum(weigh(getattr(found, part)) for part in ("z", "lam", "nu", "s", "objective"))
        grads.append(torch.autograd.grad(value, given))
    for label, y, x in zip(NAMES, *grads, strict=True):
        assert x.shape == y.shape
        assert_close(x, y, miss, label)


@pytest.mark.parametrize(
    "kind", ["strictly_convex", "variables_of_many_sizes", "rows_of_many_sizes", "linear"]
)
@pytest.mark.parametrize("name", ["implicit", *EXACT])
def test_what_is_exact_agrees_with_50_digits(kind: str, name: str) -> None:
    data = SOLVABLE[kind](np.random.default_rng(3))
    found = solve_qp(*data, tol=1e-12)
    rng = np.random.default_rng(1)
    bars = tuple(rng.normal(size=v.shape) for v in (found.z, found.lam, found.nu))
    right = precise.gradients(data, (found.lam > found.s).numpy(), bars)
    flat = QP(*(t.unsqueeze(0) for t in data)).flatten()
    x = Triple(found.z[None], found.lam[None], found.nu[None])
    got = ADJOINTS[name].gradients(flat, x, Triple(*(torch.from_numpy(v)[None] for v in bars)))
    for label, g, r in zip(NAMES, got, right, strict=True):
        assert_close(g[0], r, 1e-9, label)


@pytest.mark.parametrize(
    ("kind", "name", "settings", "miss"),
    [
        pytest.param(kind, *each, marks=() if kind in SAMPLE or each[0] in EXACT else pytest.mark.slow)
        for kind in SOLVABLE
        for each in EVERY
        if each[0] != "smoothed"  # which refuses and answers elsewhere: test_adjoint_laws.py
    ],
)
def test_an_adjoint_gives_what_implicit_gives_or_refuses(kind: str, name, settings, miss) -> None:
    data = SOLVABLE[kind](np.random.default_rng(3))
    given = leaves(data)
    expected = torch.autograd.grad(weigh(solve_qp(*given, tol=1e-11).z), given)
    own = adjoint(name, **settings)
    z = solve_qp(*given, tol=1e-10 if own.iteration and kind in OUTSIDE else 1e-11, adjoint=own).z
    try:
        found = torch.autograd.grad(weigh(z), given)
    except DifferentiationError as error:
        assert kind in OUTSIDE
        assert 'adjoint="implicit"' in str(error)  # noqa: PT017
        return
    assert all(g.isfinite().all() for g in found)
    if name in EXACT:
        assert kind not in OUTSIDE
    if kind not in OUTSIDE:
        for label, x, y in zip(NAMES, found, expected, strict=True):
            # an iterate of residual 1e-11 has a derivative that is further out than itself
            assert_close(x, y, max(miss, 1e-5 if own.iteration else 1e-6), label)


@pytest.mark.parametrize("name", ADJOINTS)
def test_one_failed_element_leaves_the_gradient_of_the_others(rng, name: str) -> None:
    data = random_qp(rng, 4, 3, 1, batch=(3,))
    broken = [t.clone() for t in data]
    broken[2][1], broken[3][1] = 0.0, -1.0  # 0 z <= -1
    layer = QPLayer(adjoint=name, on_failure="nan")
    alone = [t[[0, 2]].clone().requires_grad_() for t in data]
    right = torch.autograd.grad(weigh(layer(*alone)), alone)
    given = [t.clone().requires_grad_() for t in broken]
    found = torch.autograd.grad(weigh(layer(*given)[[0, 2]]), given)
    for x, y in zip(found, right, strict=True):
        assert_close(x[[0, 2]], y, 1e-9)
        assert not x[1].any()


@pytest.mark.parametrize("name", FIRST)
def test_a_batch_of_failures_has_gradients_of_zero(name: str) -> None:
    q = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    G, h = torch.zeros(1, 3, dtype=torch.float64), -torch.ones(1, dtype=torch.float64)
    z = QPLayer(adjoint=name, on_failure="ignore")(torch.eye(3).double(), q, G, h)
    (g,) = torch.autograd.grad(z.sum(), q)
    assert not g.any()


@pytest.mark.parametrize("size", [float("nan"), float("inf"), 1e12, 1e-12])
@pytest.mark.parametrize("name", ADJOINTS)
def test_a_loss_of_any_size_has_a_finite_gradient_and_one_that_is_none_is_refused(
    rng, name: str, size: float
) -> None:
    # the step of a difference is in units of the loss
    settings = {"tau": 1e-3 / size} if name in ("lpgd", "first_order") and np.isfinite(size) else {}
    given = leaves(random_qp(rng, 4, 3, 1))
    value = (size * QPLayer(adjoint=adjoint(name, **settings))(*given)).sum()
    if not np.isfinite(size):
        with pytest.raises(DifferentiationError):
            torch.autograd.grad(value, given)
        return
    found = torch.autograd.grad(value, given)
    assert all(g.isfinite().all() for g in found)
    assert found[1].abs().max() > 1e-3 * size


@pytest.mark.parametrize("transform", ["jvp", "hessian", "dual", "create_graph"])
@pytest.mark.parametrize("name", FIRST)
def test_an_adjoint_of_first_order_is_refused_where_more_is_asked(rng, name: str, transform: str) -> None:
    Q, q, *rest = random_qp(rng, 4, 3, 1)
    layer = QPLayer(adjoint=name)

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


@pytest.mark.parametrize("name", FIRST)
def test_a_first_derivative_works_under_vmap_and_jacrev(rng, name: str) -> None:
    Q, q, *rest = random_qp(rng, 4, 3, 1)
    layer = QPLayer(adjoint=name)
    unit = torch.eye(4).double()

    def row(weights: Tensor) -> Tensor:
        leaf = q.clone().requires_grad_()
        return torch.autograd.grad((layer(Q, leaf, *rest) * weights).sum(), leaf)[0]

    found = torch.func.jacrev(lambda q: layer(Q, q, *rest))(q)
    assert_close(found, torch.stack([row(weights) for weights in unit]), 1e-9)
    many = torch.stack((q, q + 0.1))
    found = torch.func.vmap(torch.func.grad(lambda q: weigh(layer(Q, q, *rest))))(many)
    for one, at in zip(found, many, strict=True):
        leaf = at.clone().requires_grad_()
        assert_close(one, torch.autograd.grad(weigh(layer(Q, leaf, *rest)), leaf)[0], 1e-9)


def test_names_that_do_not_exist_are_refused_with_those_that_do() -> None:
    names = ["auto", *ADJOINTS]
    with pytest.raises(LayerError, match=f"one of {', '.join(map(repr, names))}; found 'magic'"):
        QPLayer(adjoint="magic")
    with pytest.raises(LayerError, match="did you mean 'smoothed'"):
        adjoint("smooth")
    assert list(adjoints()) == names
    with pytest.raises(LayerError, match='brings its own derivative: adjoint must be "auto"'):
        QPLayer("qpth", adjoint="optnet")


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("smoothed", {"kappa": 0.0}, "kappa of adjoint='smoothed' must be positive and finite"),
        ("smoothed", {"kapa": 1.0}, "no setting kapa; its settings and defaults: kappa=0.0001"),
        ("smoothed", {"kappa": "1e-3"}, "which is text"),
        ("optnet", {"k": 3}, "no setting k; its settings and defaults: none"),
        ("truncated", {"k": 0}, "k of adjoint='truncated' must be a whole number, at least 1"),
        ("unrolled", {"k": 1.5}, "whole number"),
        ("alternating", {"rho": -1.0}, "rho of adjoint='alternating' must be positive"),
        ("lpgd", {"tau": 0}, "tau of adjoint='lpgd' must be positive"),
        ("lpgd", {"side": "left"}, "must be one of 'lower', 'upper', 'mean'; found 'left'"),
        ("penalty", {"weight": 1.0}, "larger than 1"),
        ("penalty", {"beta": float("inf")}, "beta of adjoint='penalty' must be positive and finite"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ProblemError, match=text):
        adjoint(name, **settings)


#: each that has settings, with others than its defaults
SET = (
    Unrolled(k=700, rho=0.5),
    Alternating(k=700, rho=0.5),
    OneStep(rho=2.0),
    Truncated(k=7),
    Smoothed(kappa=1e-3),
    Lpgd(tau=0.1, side="lower"),
    FirstOrder(tau=0.1),
    Penalty(beta=1e-3, weight=4.0),
)


def test_every_adjoint_with_settings_is_a_public_class() -> None:
    assert {each.name for each in SET} <= {name for name, each in ADJOINTS.items() if each.settings}
    assert all(getattr(layers, type(each).__name__) is type(each) for each in SET)


@pytest.mark.parametrize("given", SET, ids=repr)
def test_an_adjoint_with_settings_is_a_value(given: Adjoint) -> None:
    by_name = adjoint(given.name, **given.settings)
    assert by_name == given
    assert hash(by_name) == hash(given)
    assert pickle.loads(pickle.dumps(given)) == copy.deepcopy(given) == given
    assert given != type(given)()
    assert type(given)() == adjoint(given.name) == ADJOINTS[given.name]
    own = ", ".join(f"{key}={value!r}" for key, value in given.settings.items())
    assert repr(given) == f"{type(given).__name__}({own})"
    with pytest.raises(FrozenInstanceError):
        setattr(given, next(iter(given.settings)), 3)


@pytest.mark.parametrize("given", SET, ids=repr)
def test_a_layer_keeps_the_settings_of_its_adjoint_when_it_is_copied(rng, given: Adjoint) -> None:
    data = leaves(random_qp(rng, 4, 3, 1))
    layer = QPLayer(adjoint=given, tol=1e-6)
    right, default = (
        torch.autograd.grad(weigh(each(*data)), data)[0] for each in (layer, QPLayer(adjoint=given.name))
    )
    assert not torch.equal(right, default)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert f"adjoint={given!r}" in repr(copied)
        assert torch.equal(torch.autograd.grad(weigh(copied(*data)), data)[0], right)


def test_a_setting_is_checked_where_it_is_given() -> None:
    assert Smoothed(kappa=1) == Smoothed(1.0)
    assert Truncated(k=1e2) == Truncated()  # pyright: ignore[reportArgumentType]
    with pytest.raises(ProblemError, match="kappa of adjoint='smoothed' must be positive"):
        Smoothed(kappa=-1.0)
    with pytest.raises(LayerError, match=r"not a class; found Smoothed: write Smoothed\(\)"):
        QPLayer(adjoint=Smoothed)  # pyright: ignore[reportArgumentType]


def test_an_adjoint_is_printed_with_its_settings() -> None:
    one = Smoothed(kappa=1e-3)
    assert (
        repr(QPLayer(adjoint=one))
        == "QPLayer(solver='auto', adjoint=Smoothed(kappa=0.001), tol=1e-08, on_failure='raise')"
    )


def test_an_iteration_of_its_own_goes_with_no_other_solver() -> None:
    with pytest.raises(LayerError, match="iteration of its own: solver must be \"auto\", found 'native'"):
        QPLayer("native", adjoint="unrolled")
