"""Rows that are nearly parallel: the solution has the digits that their condition leaves, not those of a residual.

A residual of 1e-9 beside rows of a condition of 1e7 leaves 1e-2 in the solution. The references are constructed, or of
numpy: the point of least norm that meets the equations, and from there the minimiser on their null space.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layers import Status, solve_qp


def nearly_parallel(rng: np.random.Generator, rows: int, n: int, least: float) -> np.ndarray:
    """A matrix whose singular values are from 1 to 3, but for two of ``least``."""
    left, values, right = np.linalg.svd(rng.standard_normal((rows, n)), full_matrices=False)
    values[:] = np.linspace(1.0, 3.0, rows)
    values[:2] = least
    return (left * values) @ right


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(v) for v in arrays]


@pytest.mark.parametrize("least", [1e-7, 1e-6, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("n", [5, 30, 100])
@pytest.mark.parametrize("room", [False, True])
def test_equations_that_leave_one_point_have_it(room: bool, n: int, least: float) -> None:
    """With ``room`` there are inequalities too, which are not active."""
    rng = np.random.default_rng(n)
    A, z = nearly_parallel(rng, n, n, least), rng.standard_normal(n)
    G = rng.standard_normal((n if room else 0, n))
    h, q = G @ z + rng.uniform(1.0, 2.0, len(G)), rng.standard_normal(n)
    b = torch.tensor(A @ z, requires_grad=True)
    solution = solve_qp(*tensors(np.eye(n), q, G, h, A), b)
    right = np.linalg.solve(A, A @ z)
    assert solution.status == Status.OPTIMAL
    assert abs(solution.z.detach().numpy() - right).max() < 1e-14 / least * abs(right).max()
    (found,) = torch.autograd.grad(solution.z.sum(), b)
    expected = np.linalg.solve(A.T, np.ones(n))
    # a derivative is solved for to a residual, which the condition multiplies
    assert abs(found.numpy() - expected).max() < 1e-7 * abs(expected).max()


@pytest.mark.parametrize("seed", range(12))
def test_equations_that_leave_a_face_have_its_minimiser(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 120))
    p, least = int(rng.integers(2, n)), 10 ** rng.uniform(-5.0, -3.0)
    A, root, q = nearly_parallel(rng, p, n, least), rng.standard_normal((n, n)), rng.standard_normal(n)
    Q, b = root @ root.T / n + 0.1 * np.eye(n), A @ rng.standard_normal(n)
    found = solve_qp(*tensors(Q, q), None, None, *tensors(A, b)).z.numpy()
    z = np.linalg.lstsq(A, b, rcond=None)[0]
    null = np.linalg.svd(A)[2][p:].T
    z = z - null @ np.linalg.solve(null.T @ Q @ null, null.T @ (q + Q @ z))
    assert abs(found - z).max() < 1e-13 / least * abs(z).max()


@pytest.mark.parametrize("seed", [5, 8, 49, 157, 264])
def test_active_rows_that_nearly_repeat_each_other_have_their_corner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 25))
    k, near = int(rng.integers(2, n)), 10 ** rng.uniform(-6.0, -4.0)
    G = rng.standard_normal((k + n, n))
    G[0] = G[1] * rng.uniform(0.5, 2.0) + near * rng.standard_normal(n)
    root, z = rng.standard_normal((n, n)), rng.standard_normal(n)
    lam = np.r_[rng.uniform(0.5, 2.0, k), np.zeros(n)]
    Q, h = root @ root.T / n + 0.1 * np.eye(n), G @ z
    h[k:] += rng.uniform(0.5, 2.0, n)
    solution = solve_qp(*tensors(Q, -(Q @ z + G.T @ lam), G, h))
    values = np.linalg.svd(G[:k], compute_uv=False)
    # what the rounding of h leaves in z, and z in the multipliers
    left = 2e-14 * values[0] / values[-1] * np.linalg.cond(Q)
    assert abs(solution.z.numpy() - z).max() < left * abs(z).max()
    assert abs(solution.lam.numpy() - lam).max() < left * values[0] / values[-1]


def test_a_batch_that_the_first_word_of_a_proposal_is_too_dear_for_is_as_exact() -> None:
    rng, n = np.random.default_rng(3), 8
    A = nearly_parallel(rng, n, n, 1e-6)
    z = rng.standard_normal((24, n))
    right = np.linalg.solve(A, A @ z[..., None])[..., 0]
    found = solve_qp(
        *tensors(np.eye(n), rng.standard_normal((24, n))), None, None, *tensors(A, z @ A.T)
    ).z.numpy()
    assert abs(found - right).max() < 1e-7 * abs(right).max()
