"""Equation 8 of OptNet, re-typed element by element, and every implementation held to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from layers import ConvexLayer, solve_qp
from layers.native import qp as native
from layers.problem import QP
from layers.qp.adjoints import ADJOINTS
from layers.qp.gradients import Triple, collect, equation_8
from tests.layers.instances import NAMES, Data, assert_close, leaves, random_qp

Array = NDArray[np.float64]
#: the others are held to their own laws by test_adjoint_laws.py
EXACT = [name for name, each in ADJOINTS.items() if not each.error]


def directions(data: Data, x: Triple, bars: Triple) -> list[Array]:
    """The paper's system (eq. 7), entry by entry in numpy."""
    Q, q, G, h, A, _ = (t.detach().numpy() for t in data)
    z, lam, nu = (t.detach().numpy() for t in x)
    n, m, p = len(q), len(h), len(nu)
    M = np.zeros((n + m + p, n + m + p))
    for i in range(n):
        for j in range(n):
            M[i, j] = Q[i, j]
        for k in range(m):
            M[i, n + k] = G[k, i] * lam[k]
            M[n + k, i] = G[k, i]
        for k in range(p):
            M[i, n + m + k] = M[n + m + k, i] = A[k, i]
    for k in range(m):
        M[n + k, n + k] = G[k] @ z - h[k]
    d = np.linalg.solve(M, -np.concatenate([t.detach().numpy() for t in bars]))
    return [d[:n], d[n : n + m], d[n + m :]]


def by_hand(data: Data, x: Triple, bars: Triple) -> list[Array]:
    """Its products (eq. 8, with D(λ) at d_λ alone), entry by entry."""
    d_z, d_lam, d_nu = directions(data, x, bars)
    z, lam, nu = (t.detach().numpy() for t in x)
    n, m, p = len(z), len(lam), len(nu)
    dQ = [[0.5 * (d_z[i] * z[j] + z[i] * d_z[j]) for j in range(n)] for i in range(n)]
    dG = [[lam[k] * d_lam[k] * z[j] + lam[k] * d_z[j] for j in range(n)] for k in range(m)]
    dA = [[d_nu[k] * z[j] + nu[k] * d_z[j] for j in range(n)] for k in range(p)]
    return list(map(np.array, (dQ, d_z, dG, [-v for v in lam * d_lam], dA, [-v for v in d_nu])))


@pytest.fixture
def problem(rng) -> tuple[Data, Triple, Triple]:
    data = random_qp(rng, 5, 6, 2)
    found = solve_qp(*data, tol=1e-12)
    bars = Triple(*(torch.from_numpy(rng.normal(size=size)) for size in (5, 6, 2)))
    return data, Triple(found.z, found.lam, found.nu), bars


def loss(outputs: Triple, bars: Triple) -> Tensor:
    return sum(((v * bar).sum() for v, bar in zip(outputs, bars, strict=True)), torch.zeros(()))


@pytest.mark.parametrize("adjoint", EXACT)
def test_every_adjoint_meets_the_equation(problem, adjoint: str) -> None:
    data, x, bars = problem
    flat = QP(*(t.unsqueeze(0) for t in data)).flatten()
    found = ADJOINTS[adjoint].gradients(flat, Triple(*(v[None] for v in x)), Triple(*(v[None] for v in bars)))
    for name, g, right in zip(NAMES, found, by_hand(data, x, bars), strict=True):
        assert_close(g[0], torch.from_numpy(right), 1e-10, name)


@pytest.mark.parametrize("adjoint", ["auto", *EXACT])
@pytest.mark.parametrize("again", [False, True], ids=["first order", "graph"])
def test_every_way_through_the_door_meets_the_equation(problem, adjoint: str, again: bool) -> None:
    data, x, bars = problem
    given = leaves(data)
    found = solve_qp(*given, tol=1e-12, adjoint=adjoint)
    value = loss(Triple(found.z, found.lam, found.nu), bars)
    grads = torch.autograd.grad(value, given, create_graph=again)
    for name, g, right in zip(NAMES, grads, by_hand(data, x, bars), strict=True):
        assert_close(g.detach(), torch.from_numpy(right), 1e-10, name)


def test_the_equation_as_printed_fails(problem) -> None:
    """∇_G = D(λ)(d_λ zᵀ + λ d_zᵀ) has one D(λ) too many: it is another number."""
    data, x, bars = problem
    d_z, d_lam, _ = directions(data, x, bars)
    z, lam, _ = (t.detach().numpy() for t in x)
    printed = np.diag(lam) @ (np.outer(d_lam, z) + np.outer(lam, d_z))
    found = solve_qp(*(given := leaves(data)), tol=1e-12)
    value = loss(Triple(found.z, found.lam, found.nu), bars)
    dG = torch.autograd.grad(value, given[2])[0].numpy()
    assert np.abs(dG - printed).max() > 1e-2 * np.abs(dG).max()


def test_a_shared_argument_gets_the_sum_and_none_is_computed_that_nobody_needs(rng) -> None:
    x, d = (Triple(*(torch.from_numpy(rng.normal(size=(3, k))) for k in (4, 5, 2))) for _ in range(2))
    shared = tuple(torch.zeros(*shape) for shape in ((4, 4), (4,), (5, 4), (5,), (2, 4), (2,)))
    own = tuple(torch.zeros(3, *t.shape) for t in shared)
    sums, each = (collect((True,) * 6, like, [equation_8(x, d)]) for like in (shared, own))
    for s, e in zip(sums, each, strict=True):
        assert s is not None
        assert e is not None
        assert_close(s, e.sum(0), 1e-13)
    assert collect((False,) * 6, own, [equation_8(x, d)]) == (None,) * 6


@pytest.mark.skipif(native.unavailable() is not None, reason="the core is not built")
def test_the_core_meets_the_equation_through_a_program(problem) -> None:
    """qp/program.cpp: a program in CVXPY whose parameters are the six arguments."""
    cp = pytest.importorskip("cvxpy")
    data, _, bars = problem
    root = torch.linalg.cholesky(data[0]).mT.contiguous()
    z = cp.Variable(5)
    parameters = [cp.Parameter(t.shape) for t in (root, *data[1:])]
    R, q, G, h, A, b = parameters
    rows, equalities = G @ z <= h, A @ z == b
    program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(R @ z) + q @ z), [rows, equalities])
    duals = [rows.dual_variables[0], equalities.dual_variables[0]]
    layer = ConvexLayer(program, parameters, [z, *duals], tol=1e-12)
    factor = root.clone().requires_grad_()
    given = [factor, *(t.clone().requires_grad_() for t in data[1:])]
    at = Triple(*(v.detach() for v in layer(*given)))
    grads = torch.autograd.grad(loss(Triple(*layer(*given)), bars), given)
    right = [torch.from_numpy(g) for g in by_hand(data, at, bars)]
    right[0] = root @ (right[0] + right[0].mT)  # of RᵀR in R
    for name, g, r in zip(NAMES, grads, right, strict=True):
        assert_close(g, r, 1e-9, name)
