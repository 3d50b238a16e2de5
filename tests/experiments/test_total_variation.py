"""The total-variation routine against an independent solver, optimality conditions and limits."""

import cvxpy as cp
import numpy as np
import pytest

from experiments.common.total_variation import total_variation, total_variation_path

WEIGHTS = np.array([0.0, 0.5, 3.0, 13.0, 40.0, 500.0])


@pytest.fixture
def noisy():
    rng = np.random.default_rng(3)
    return np.repeat(rng.integers(10, 100, (4, 3)), 8, axis=1) + 10 * rng.standard_normal((4, 24))


def oracle(signal, weight):
    z = cp.Variable(len(signal))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(z - signal) + weight * cp.tv(z)))
    problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    return z.value


def test_path_agrees_with_an_independent_solver_at_every_weight(noisy):
    for weight, estimate in zip(WEIGHTS, total_variation_path(noisy, WEIGHTS), strict=True):
        for signal, ours in zip(noisy, estimate, strict=True):
            np.testing.assert_allclose(ours, oracle(signal, weight), atol=1e-6)


def test_solution_meets_the_optimality_conditions(noisy):
    weight = 7.0
    z = total_variation(noisy, weight)
    # With D the differences, y - z = D'u for a u of size at most the weight, equal to it where z jumps.
    u = -np.cumsum(noisy - z, axis=1)
    jumps = np.diff(z, axis=1)
    assert np.abs(u[:, -1]).max() < 1e-10
    assert np.abs(u[:, :-1]).max() <= weight * (1 + 1e-12)
    moving = np.abs(jumps) > 1e-9
    np.testing.assert_allclose(u[:, :-1][moving], weight * np.sign(jumps[moving]), rtol=1e-10)


def test_weight_zero_keeps_the_signal_and_a_large_weight_leaves_the_mean(noisy):
    none, much = total_variation_path(noisy, np.array([0.0, 1e6]))
    np.testing.assert_array_equal(none, noisy)
    np.testing.assert_allclose(much, noisy.mean(axis=1, keepdims=True) * np.ones_like(noisy), rtol=1e-12)


def test_rows_do_not_influence_each_other(noisy):
    together = total_variation(noisy, 9.0)
    np.testing.assert_array_equal(together[1:2], total_variation(noisy[1:2], 9.0))


def test_equal_neighbours_and_single_samples_are_no_exception():
    np.testing.assert_array_equal(total_variation(np.array([[5.0, 5.0, 5.0]]), 2.0), [[5.0, 5.0, 5.0]])
    np.testing.assert_array_equal(total_variation(np.array([[4.0]]), 2.0), [[4.0]])
    np.testing.assert_allclose(total_variation(np.array([[0.0, 0.0, 9.0]]), 2.0), [[1.0, 1.0, 7.0]])


@pytest.mark.parametrize("weights", [[-1.0], [2.0, 1.0], [np.nan]])
def test_weights_that_cannot_be_followed_are_refused(noisy, weights):
    with pytest.raises(ValueError, match="never decrease"):
        next(total_variation_path(noisy, np.array(weights)))


def test_signals_that_are_not_finite_rows_are_refused():
    for bad in (np.zeros(3), np.array([[0.0, np.nan]])):
        with pytest.raises(ValueError, match="finite signals"):
            total_variation(bad, 1.0)
