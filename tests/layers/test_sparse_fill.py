"""Sparse systems whose factor is nearly full, and programs of equations alone, beside dense references of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor

from layers import Status, solve_qp
from layers.linalg.sparse_saddle import MOST_FILL, SHIFT, SparseSaddle


@pytest.fixture(autouse=True)
def _engine() -> None:
    """By the way that the library counts cheapest: each test runs once."""


def scattered(size: int, least: float, *, seed: int) -> Any:
    """A random square matrix of a few entries a row, four of whose singular values are about ``least``."""
    rng = np.random.default_rng(seed)
    A = sp.random_array((size, size), density=8 / size, rng=rng, data_sampler=rng.standard_normal).tolil()
    A.setdiag(4.0)
    for i in range(4):  # nearly the sum of two others
        A[i] = A[10 + i] + A[20 + i]
        A[i, i] += least
    return A.tocsc()


def tensor(M: Any) -> Tensor:
    M = M.tocoo()
    return torch.sparse_coo_tensor(
        torch.from_numpy(np.stack(M.coords)), torch.from_numpy(M.data), M.shape, check_invariants=True
    ).coalesce()


def test_where_a_pivoted_factor_is_dear_a_regular_system_far_below_the_shift_is_solved_to_rounding() -> None:
    A = scattered(400, 1e-4, seed=0)
    saddle = SparseSaddle(sp.eye_array(400), A)
    assert saddle.entries > MOST_FILL * saddle.K.nnz
    K = saddle.K.toarray()
    equilibrated = saddle.scale[:, None] * K * saddle.scale
    assert np.sort(abs(np.linalg.eigvalsh(equilibrated)))[3] < 0.1 * SHIFT
    r = np.cos(np.arange(len(K)))
    x = saddle.solve(r)
    assert not saddle.singular
    assert abs(K @ x - r).max() < 1e-13 * abs(x).max()
    # the first half is A⁻¹ of the second half of r, and known as well as A is conditioned
    right = np.linalg.solve(A.toarray(), r[400:])
    assert abs(x[:400] - right).max() < 1e-8 * abs(right).max()


def test_where_a_pivoted_factor_is_dear_a_dependent_row_stays_singular_and_its_null_space_is_told() -> None:
    A = scattered(400, 0.0, seed=1)
    saddle = SparseSaddle(sp.eye_array(400), A)
    assert saddle.entries > MOST_FILL * saddle.K.nnz
    assert saddle.singular
    assert saddle.null_space_told
    left = np.linalg.svd(A.toarray())[0][:, -4:]
    v = np.sin(np.arange(400.0))
    expected = np.concatenate([np.zeros(400), left @ (left.T @ v)])
    found = saddle.null_part(np.concatenate([v, v]))
    assert abs(found - expected).max() < 1e-10


def test_a_program_whose_equations_hold_it_has_the_derivative_of_their_inverse() -> None:
    n, rng = 400, np.random.default_rng(2)
    A, G = scattered(n, 1e-4, seed=2), scattered(n, 1.0, seed=3)
    z = rng.standard_normal(n)
    b = torch.tensor(A @ z, requires_grad=True)
    q, h = torch.from_numpy(rng.standard_normal(n)), torch.from_numpy(G @ z + rng.uniform(1, 2, n))
    solution = solve_qp(tensor(sp.eye_array(n)), q, tensor(G), h, tensor(A), b)
    assert solution.status == Status.OPTIMAL
    assert solution.degeneracy.dependent_rows == solution.degeneracy.solution_dimension == 0
    assert abs(solution.z.detach().numpy() - z).max() < 1e-8
    w = rng.standard_normal(n)
    (found,) = torch.autograd.grad(solution.z @ torch.from_numpy(w), b)
    expected = np.linalg.solve(A.toarray().T, w)
    assert abs(found.numpy() - expected).max() < 1e-8 * abs(expected).max()


def equations(seed: int) -> tuple[Any, np.ndarray, Any, np.ndarray]:
    """P of rank n − 300, and 700 rows on 2,000 variables."""
    rng, n = np.random.default_rng(seed), 2000
    A = sp.random_array((700, n), density=0.002, rng=rng, data_sampler=rng.standard_normal).tolil()
    A.setdiag(1.0)
    P = sp.diags_array(np.where(np.arange(n) < 300, 0.0, rng.uniform(1, 2, n)))
    return P.tocsc(), rng.standard_normal(n), A.tocsc(), rng.standard_normal(700)


def test_equations_alone_are_solved_to_rounding_without_an_engine() -> None:
    P, q, A, b = equations(0)
    c = torch.tensor(q, requires_grad=True)
    solution = solve_qp(tensor(P), c, None, None, tensor(A), torch.from_numpy(b))
    assert solution.status == Status.OPTIMAL
    assert solution.iterations == 0
    K = np.block([[P.toarray(), A.toarray().T], [A.toarray(), np.zeros((700, 700))]])
    right = np.linalg.solve(K, np.concatenate([-q, b]))
    assert abs(solution.z.detach().numpy() - right[:2000]).max() < 1e-9 * abs(right).max()
    assert abs(solution.nu.detach().numpy() - right[2000:]).max() < 1e-9 * abs(right).max()
    w = np.cos(np.arange(2000.0))
    (found,) = torch.autograd.grad(solution.z @ torch.from_numpy(w), c)
    expected = -np.linalg.solve(K, np.concatenate([w, np.zeros(700)]))[:2000]
    assert abs(found.numpy() - expected).max() < 1e-9 * abs(expected).max()


@pytest.mark.parametrize("off", [0.0, 1.0])
def test_equations_that_depend_have_a_solution_or_a_proof_that_there_is_none(off: float) -> None:
    P, q, A, b = equations(1)
    A, b = sp.vstack([A, A[:1] + A[1:2]]), np.append(b, b[0] + b[1] + off)
    solution = solve_qp(
        tensor(P), torch.from_numpy(q), None, None, tensor(A), torch.from_numpy(b), on_failure="nan"
    )
    assert solution.status == (Status.INFEASIBLE if off else Status.OPTIMAL)
    if not off:
        assert abs(A @ solution.z.numpy() - b).max() < 1e-11


def test_equations_that_hold_no_direction_of_descent_leave_it_unbounded() -> None:
    P, q, A, b = equations(2)
    A = A.tolil()
    A[:, :2] = 0.0
    solution = solve_qp(
        tensor(P), torch.from_numpy(q), None, None, tensor(A.tocsc()), torch.from_numpy(b), on_failure="nan"
    )
    assert solution.status == Status.UNBOUNDED
