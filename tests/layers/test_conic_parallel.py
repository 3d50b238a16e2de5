"""Curved programs with equations that are nearly parallel: answer and derivative have the digits of their condition.

The references are of numpy: the one point that the equations leave, or the minimiser on their null space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch

from layers import ConvexLayer
from layers.linalg.regular_saddle import RegularSaddle
from tests.layers.test_condition import nearly_parallel

COSTS: dict[str, Callable[[cp.Variable, np.ndarray], Any]] = {
    "norm": lambda x, c: cp.norm(x - c),  # pyright: ignore[reportUnknownLambdaType]
    "exp": lambda x, c: cp.sum(cp.exp(0.3 * x)),
    "squares": lambda x, c: cp.sum_squares(x - c),
}


def minimiser(cost: str, A: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    z = np.linalg.lstsq(A, b, rcond=None)[0]
    null = np.linalg.svd(A)[2][len(A) :].T
    if cost != "exp":
        return z + null @ (null.T @ (c - z))
    for _ in range(50):
        e = np.exp(0.3 * z)
        z = z - null @ np.linalg.solve(0.09 * null.T @ (e[:, None] * null), 0.3 * null.T @ e)
    return z


@pytest.mark.parametrize("least", [1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize(("p", "n"), [(5, 5), (8, 12), (40, 40)])
@pytest.mark.parametrize("cost", COSTS)
def test_equations_of_large_condition_are_met_and_differentiated(
    cost: str, p: int, n: int, least: float
) -> None:
    rng = np.random.default_rng(n)
    A, c = nearly_parallel(rng, p, n, least), rng.standard_normal(n)
    right = A @ rng.standard_normal(n)
    x, b = cp.Variable(n), cp.Parameter(p)
    layer = ConvexLayer(cp.Problem(cp.Minimize(COSTS[cost](x, c)), [A @ x == b]), [b], [x])
    given = torch.tensor(right, requires_grad=True)
    (z,) = layer(given)
    expected = minimiser(cost, A, right, c)
    assert abs(z.detach().numpy() - expected).max() < 1e-13 / least * abs(expected).max()
    (found,) = torch.autograd.grad(z.sum(), given)
    if p == n:
        exact = np.linalg.solve(A.T, np.ones(n))
        assert abs(found.numpy() - exact).max() < 1e-6 * abs(exact).max()
        return
    # dz/db in a direction in which z moves by no more than b
    direction = A @ np.cos(np.arange(n))
    ends = (minimiser(cost, A, right + step * direction, c) for step in (1e-3, -1e-3))
    change = np.subtract(*ends).sum() / 2e-3
    assert abs(found.numpy() @ direction - change) < 1e-5


def test_a_quasidefinite_matrix_is_regular_where_its_constraints_are_and_not_where_two_are_one() -> None:
    rng = np.random.default_rng(0)
    n, soft = 6, 3
    root, B = rng.standard_normal((n, 2)), rng.standard_normal((soft, n))
    for least, told in ((1e-7, True), (1e-16, False)):
        C = np.vstack([B[:1], nearly_parallel(rng, 4, n, least), B[1:]])
        E = np.diag([2.0, 0.0, 0.0, 0.0, 0.0, 1e-6, 30.0])
        K = np.block([[root @ root.T, C.T], [C, -E]])
        found = RegularSaddle.of(K, n)
        assert (found is not None) == told
        if found is not None:
            r = rng.standard_normal(len(K))
            x = found.apply(r)
            x = x + found.apply(r - K @ x)
            assert abs(K @ x - r).max() < 1e-15 * abs(K).max() * abs(x).max()
