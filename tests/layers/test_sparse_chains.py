"""Sparse programs along a chain: smoothing, integrators, a circle of differences. Well posed, and far from well
conditioned: the conditions have eigenvalues far below any regularisation. The references are dense and of numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from layers import Status, solve_qp
from layers.cone_program import Cones, ConeStructure
from layers.linalg import kept
from layers.linalg.sparse_saddle import SparseSaddle


@pytest.fixture(autouse=True)
def _engine() -> None:
    """By the way that the library counts cheapest: each test runs once."""


def sparse(M: sp.sparray) -> Tensor:
    M = M.tocoo()
    return torch.sparse_coo_tensor(np.stack(M.coords), M.data, M.shape).coalesce().double()


def differences(length: int, order: int) -> sp.sparray:
    D = sp.eye_array(length, format="csr")
    for _ in range(order):
        D = D[1:] - D[:-1]
    return D


def test_what_is_read_from_dense_matrices_counts_where_bounds_are_taken_out() -> None:
    few, many = (bounded(n) for n in (500, 5000))
    assert not few.sparse_pays(few.core_work())
    assert many.sparse_pays(many.core_work())


def bounded(n: int) -> ConeStructure:
    """A diagonal objective, n bounds and one equality."""
    each = np.arange(n)
    rows, columns = np.stack([0 * each, 1 + each], 1).ravel(), np.repeat(each, 2)
    return ConeStructure(n, n + 1, Cones(zero=1, nonneg=n), each, each, rows, columns)


def test_a_regular_system_with_eigenvalues_far_below_the_shift_is_solved_and_not_called_singular() -> None:
    D = differences(1500, 2)
    saddle = SparseSaddle(sp.eye_array(1500), D)
    K = saddle.K.toarray()
    assert abs(np.linalg.eigvalsh(K)).min() < 1e-10
    r = np.cos(np.arange(len(K)))
    x = saddle.solve(r)
    assert not saddle.singular
    assert saddle.error(x, r) < 1e-12
    # of y only so much is known as its condition leaves; x is a projection
    straight = np.stack([np.ones(1500), np.arange(1500.0) - 749.5], 1)
    straight /= np.linalg.norm(straight, axis=0)
    given = np.concatenate([r[:1500], np.zeros(1498)])
    np.testing.assert_allclose(
        saddle.solve(given)[:1500], straight @ (straight.T @ r[:1500]), rtol=0, atol=1e-9
    )


def test_a_system_with_a_dependent_row_stays_singular() -> None:
    D = differences(300, 2).tolil()
    D[7] = D[8] + D[9]
    assert SparseSaddle(sp.eye_array(300), D.tocsr()).singular


@pytest.mark.parametrize("order", [2, 3])
def test_a_curve_smoothed_by_differences_has_the_derivative_of_the_projection_on_its_face(order: int) -> None:
    n = 1500
    D, t = differences(n, order), np.linspace(-1.0, 1.0, n)
    G, h = sparse(-D), torch.zeros(n - order, dtype=torch.float64)
    c = torch.tensor(np.sin(3 * t) + 0.05 * np.sin(np.arange(n)), requires_grad=True)
    solution = solve_qp(sparse(sp.eye_array(n)), -c, G, h)
    assert solution.status == Status.OPTIMAL
    assert solution.degeneracy.dependent_rows == solution.degeneracy.solution_dimension == 0
    weights = torch.linspace(1, 2, n, dtype=torch.float64).sin()
    (found,) = torch.autograd.grad(solution.z @ weights, c)
    lam = solution.lam.detach().numpy()
    active = D.toarray()[lam > 1e-9 * lam.max()]
    rows = np.linalg.qr(active.T)[0]
    expected = weights.numpy() - rows @ (rows.T @ weights.numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-7)


def test_a_factor_serves_the_elements_on_one_face_and_their_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    class Counted(SparseSaddle):
        def __init__(self, H: Any, C: Any, E: Any = None) -> None:
            made.append(C.shape[0])
            super().__init__(H, C, E)

    monkeypatch.setattr(kept, "SparseSaddle", Counted)
    n = 1500
    c = torch.linspace(-1, 1, 3 * n, dtype=torch.float64).sin().reshape(3, n).requires_grad_()
    z = solve_qp(sparse(sp.eye_array(n)), -c, sparse(differences(n, 1)), torch.ones(n - 1).double()).z
    assert made == [0]  # no difference of neighbours reaches one: all three on one face
    z.sum().backward()
    assert made == [0]
    assert (c.grad - 1).abs().max() < 1e-12


def test_a_chain_of_integrators_is_differentiated_to_rounding() -> None:
    """minimise ∑ u² while a mass is brought from rest at ``start`` to rest at zero, in steps of ``h``."""
    steps, h = 400, 2.0
    size = steps + 1
    first, last = sp.eye_array(steps, size, k=1), sp.eye_array(steps, size)
    change, mean, none = (first - last) / h, 0.5 * (first + last), sp.csr_array((steps, size))
    ends = sp.csr_array((np.ones(4), (np.arange(4), [0, steps, size, size + steps])), shape=(4, 3 * size))
    A = sp.vstack([sp.hstack([change, -mean, none]), sp.hstack([none, change, -mean]), ends], format="csr")
    Q = sp.diags_array(np.concatenate([np.zeros(2 * size), np.full(size, h)]))
    start = torch.tensor(1e3, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(A.shape[0], dtype=torch.float64).index_put((torch.tensor([2 * steps]),), start)
    solution = solve_qp(sparse(Q), torch.zeros(3 * size, dtype=torch.float64), A=sparse(A), b=b)
    (found,) = torch.autograd.grad(solution.objective, start, retain_graph=True)
    assert found.item() == pytest.approx(2 * solution.objective.item() / start.item(), rel=1e-9)
    pushed = solution.z[2 * size : 2 * size + 200].sum()
    (moved,) = torch.autograd.grad(pushed, start)
    # everything is linear in the start
    assert moved.item() == pytest.approx(pushed.item() / start.item(), rel=1e-7)
