"""Sparse saddle points: the factor, null spaces and shortest answers beside dense decompositions of numpy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from threadpoolctl import threadpool_info

from layers.linalg import shortest as dense
from layers.linalg.sparse_saddle import SparseSaddle, multiplications
from layers.linalg.sparse_shortest import shortest_sparsely
from layers.linalg.threads import one_blas_thread


@pytest.fixture(autouse=True)
def _engine() -> None:
    """No engine takes part: each test runs once."""


def matrices(seed: int, weak: int, *, dependent: bool, flat: bool) -> tuple[np.ndarray, ...]:
    """H, A and the columns C = (gᵀ, 0) of weak rows g; dependent ones of A, and then the first g, repeat others."""
    rng = np.random.default_rng(seed)
    n, k = 24, 11
    A = rng.standard_normal((k, n)) * (rng.random((k, n)) < 0.4)
    if dependent:
        A[3], A[5] = 2 * A[2], A[6] + A[7]
    root = rng.standard_normal((n, 7 if flat else n))
    g = rng.standard_normal((weak, n))
    if weak and dependent:
        g[0] = A[0]
    return root @ root.T, A, np.vstack([g.T, np.zeros((k, weak))])


def whole(H: np.ndarray, A: np.ndarray, C: np.ndarray) -> np.ndarray:
    k = len(A)
    return np.hstack([np.block([[H, A.T], [A, np.zeros((k, k))]]), C])


def test_a_null_space_of_few_entries_is_projected_on_without_the_rest() -> None:
    """Two pairs of variables without curvature that only their differences' rows hold, among eighty others."""
    rng = np.random.default_rng(5)
    n = 84
    H = np.diag(np.where(np.arange(n) < 80, rng.uniform(1, 2, n), 0.0))
    A = np.zeros((12, n))
    for row in A[:10]:
        row[rng.choice(80, 5, replace=False)] = rng.standard_normal(5)
    A[10, [80, 81]], A[11, [82, 83]] = [1.0, -1.0], [3.0, -1.0]
    A[0, 80:82], A[1, 82:] = [1.0, -1.0], [6.0, -2.0]
    saddle = SparseSaddle(sp.csc_array(H), sp.csc_array(A))
    assert saddle.singular
    assert saddle.null_space_told
    K = whole(H, A, np.zeros((n + 12, 0)))
    r = rng.standard_normal(n + 12)
    null = scipy.linalg.null_space(K)
    assert abs(saddle.null_part(r) - null @ (null.T @ r)).max() < 1e-13
    right = np.linalg.pinv(K, rcond=1e-11) @ r
    for given in (saddle, None):
        found, error = shortest_sparsely(
            sp.csc_array(H), A, np.zeros((n + 12, 0)), r, transpose=False, saddle=given
        )
        assert error < 1e-11
        assert abs(found - right).max() < 1e-11


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("weak", [0, 1, 4])
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("dependent", [False, True])
def test_the_shortest_answer_is_that_of_the_pseudo_inverse(
    dependent: bool, flat: bool, weak: int, transpose: bool
):
    for seed in range(3):
        parts = matrices(seed, weak, dependent=dependent, flat=flat)
        K = whole(*parts)
        M = K.T if transpose else K
        r = np.random.default_rng(seed).standard_normal(M.shape[0])
        right = np.linalg.pinv(M, rcond=1e-11) @ r
        found, error = shortest_sparsely(*parts, r, transpose=transpose)
        assert error < 1e-11
        assert abs(found - right).max() < 1e-10 * abs(right).max()
        if weak and not transpose:  # a solution without the columns of weak rows is another one
            assert abs(np.linalg.pinv(K[:, :-weak], rcond=1e-11) @ r - right[:-weak]).max() > 1e-3


def test_a_regular_system_is_solved_to_rounding_in_any_units():
    H, A, _ = matrices(0, 0, dependent=False, flat=False)
    units = np.exp2(np.random.default_rng(1).integers(-12, 13, len(H)))
    H, A = units[:, None] * H * units, A * units
    saddle = SparseSaddle(sp.csc_array(H), sp.csc_array(A))
    r = np.random.default_rng(2).standard_normal(35)
    assert not saddle.singular
    assert saddle.error(saddle.solve(r), r) < 1e-13
    assert saddle.error(1.001 * saddle.solve(r), r) > 1e-5


def test_the_null_space_is_that_of_singular_values():
    H, A, _ = matrices(3, 0, dependent=True, flat=True)
    saddle = SparseSaddle(sp.csc_array(H), sp.csc_array(A))
    V = scipy.linalg.null_space(whole(H, A, np.zeros((35, 0))), rcond=1e-11)
    assert V.shape[1] > 2
    assert saddle.null_space_told
    v = np.random.default_rng(0).standard_normal(35)
    assert abs(saddle.null_part(v) - V @ (V.T @ v)).max() < 1e-11


@pytest.mark.parametrize("gap", [1e-13, 1e-10])
def test_a_rank_in_doubt_is_no_answer(gap: float):
    A = np.array([[1.0, 1.0], [1.0, 1.0 + gap]])
    _, error = shortest_sparsely(np.eye(2), A, np.zeros((4, 0)), np.ones(4), transpose=False)
    assert error == np.inf


def test_parts_that_nothing_connects_are_answered_by_themselves():
    """Beside a part of another scale, a dependent row is told and answered as it is alone."""
    H, A = np.eye(2), np.array([[1.0, 1.0], [2.0, 2.0]])
    r = np.array([1.0, 2.0, 3.0, 4.0])
    alone, _ = shortest_sparsely(H, A, np.zeros((4, 0)), r, transpose=False)
    both, error = shortest_sparsely(
        scipy.linalg.block_diag(H, 1e12 * H), scipy.linalg.block_diag(A, 1e-9 * A[:1]), np.zeros((7, 0)),
        np.concatenate([r[:2], [1.0, 1.0], r[2:], [1.0]]), transpose=False,
    )  # fmt: skip
    assert error < 1e-12
    assert np.array_equal(both[[0, 1, 4, 5]], alone)


def test_multiplications_are_those_of_the_order_of_least_fill():
    """An arrow fills nothing if its shaft goes last: every other column has one entry, of (1·4)/2 multiplications."""
    n = 50
    arrow = sp.lil_array((n, n))
    arrow[0], arrow[:, 0] = 1.0, np.ones((n, 1))
    arrow.setdiag(1.0)
    assert multiplications(arrow.tocsc(), sp.csc_array((0, n))) == 2 * (n - 1)
    full = sp.csc_array(np.ones((n, n)))
    columns = np.arange(n)
    assert multiplications(full, sp.csc_array((0, n))) == (columns * (columns + 3) / 2).sum()


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_small_decompositions_have_one_thread_and_give_the_others_back(monkeypatch: pytest.MonkeyPatch):
    before, seen, qr = blas_threads(), list[set[int]](), scipy.linalg.qr

    def spy(*args: object, **kwargs: object) -> object:
        seen.append(blas_threads())
        return qr(*args, **kwargs)

    monkeypatch.setattr(scipy.linalg, "qr", spy)
    with one_blas_thread():
        dense.shortest(np.ones((3, 3)), np.ones(3))
        assert blas_threads() == {1}
    assert seen
    assert all(one == {1} for one in seen)
    assert blas_threads() == before


def test_a_weak_row_far_from_all_that_is_given_is_not_measured_by_rounding():
    """What is given at one end of a chain decays to 1e-45 at the weak row of the other."""
    n = 150
    H = sp.diags_array([-np.ones(n - 1), 2.5 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csc")
    row = sp.csc_array((np.ones(2), ([0, 0], [n - 2, n - 1])), shape=(1, n))
    A = sp.vstack([row, 2 * row, 3 * row], format="csc")
    C = sp.csc_array(([1.0, -1.0], ([n - 2, n - 1], [0, 0])), shape=(n + 3, 1))
    r = np.zeros(n + 4)
    r[2] = 1.0
    found, error = shortest_sparsely(H, A, C, r, transpose=True)
    assert (
        error < 5e-16
    )  # by its own terms the weak row is off by 3e-15 here, and by 5e-4 in a program of 12,160 variables
    K = np.hstack([sp.block_array([[H, A.T], [A, None]]).toarray(), C.toarray()])
    assert abs(found - np.linalg.pinv(K.T, rcond=1e-11) @ r).max() < 1e-12
