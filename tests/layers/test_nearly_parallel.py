"""Rows that are nearly parallel: the derivative is large and exact, and refused where rounding could make them one."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import torch

from layers import Status, solve_qp
from layers.linalg.regular_saddle import RegularSaddle
from tests.layers.instances import as_data


@pytest.fixture(autouse=True)
def _engine() -> None:
    """Each test names its engines."""


@pytest.mark.parametrize("solver", ["native", "interior_point"])
@pytest.mark.parametrize("power", [4, 12, 17, 22])
@pytest.mark.parametrize("unit", [1.0, 2.0**-20])
def test_derivative_at_nearly_parallel_rows_is_that_of_fifty_digits(
    solver: str, power: int, unit: float
) -> None:
    """Both of two rows that differ by 2^-power in one entry are active; K has a pivot of the square of that."""
    rng = np.random.default_rng(power)
    n = 4
    root = rng.integers(-3, 4, (n, n)).astype(float)
    Q, g = root.T @ root + np.eye(n), np.array([1.0, -3.0, 2.0, 2.0])
    G = np.stack([g, unit * (g + 2.0**-power * np.eye(n)[2])])
    z, lam = np.array([1.0, 0.5, -1.0, 2.0]), np.array([3.5, 0.5 / unit])
    data = [t.requires_grad_() for t in as_data(Q, -(Q @ z + G.T @ lam), G, G @ z, np.zeros((0, n)), [])]
    solution = solve_qp(*data, solver=solver)
    assert (solution.z - torch.from_numpy(z)).abs().max() < 1e-6
    weights = torch.arange(1.0, n + 1).double()
    found = torch.autograd.grad((weights * solution.z).sum(), [data[1], data[3]])
    with mp.workdps(50):
        K = mp.matrix(np.block([[Q, G.T], [G, np.zeros((2, 2))]]).tolist())
        d = mp.lu_solve(K, mp.matrix([*(-weights).tolist(), 0, 0]))
    for ours, right, sign in ((found[0], d[:n], 1), (found[1], d[n:], -1)):
        exact = torch.tensor([sign * float(v) for v in right], dtype=torch.float64)
        assert (ours - exact).abs().max() <= 1e-11 * 2.0 ** max(power - 10, 0) * exact.abs().max()


def test_what_may_be_singular_by_rounding_is_not_told_to_be_regular() -> None:
    Q, g = np.eye(3), np.array([1.0, -3.0, 2.0])

    def regular(rows: list[np.ndarray], H: np.ndarray) -> bool:
        C = np.stack(rows)
        K = np.block([[H, C.T], [C, np.zeros((len(C), len(C)))]])
        return RegularSaddle.of(K, 3) is not None

    assert regular([g, g + 1e-9 * np.eye(3)[1]], Q)
    assert not regular([g, g + 1e-14 * np.eye(3)[1]], Q)
    assert not regular([g, 2 * g], Q)
    assert regular([g], np.diag([1.0, 1e-6, 0.0]) + np.outer(g, g))
    assert not regular([g], np.zeros((3, 3)))
    assert not regular([g, g, g, g], Q)


@pytest.mark.parametrize("solver", ["native", "interior_point"])
def test_a_weakly_active_row_of_large_entries_is_told_at_a_polished_point(solver: str) -> None:
    """-Q⁻¹q lies on a row of entries of 1e6: the core came to it up to 1e-5, and called the row inactive."""
    Q = np.array([
        [0.5, -0.03125, -0.03125, -0.03125, -0.4375, -0.4375], [-0.03125, 1.25, 0.09375, 0, 0.15625, -0.03125],
        [-0.03125, 0.09375, 0.03125, 0.03125, 0, 0.03125], [-0.03125, 0, 0.03125, 0.65625, 0.40625, 0.28125],
        [-0.4375, 0.15625, 0, 0.40625, 1.09375, 0.8125], [-0.4375, -0.03125, 0.03125, 0.28125, 0.8125, 0.71875],
    ])  # fmt: skip
    z, g = np.array([-1.5, 0.5, 0, -1, 1, -0.5]), 2097152 * np.array([-1.0, 0, 3, -1, 2, 3])
    data = as_data(Q, -Q @ z, g[None], [g @ z], np.zeros((0, 6)), [])
    q = data[1].clone().requires_grad_()
    solution = solve_qp(data[0], q, *data[2:], solver=solver)
    assert solution.status.item() == Status.OPTIMAL
    assert (solution.z - torch.from_numpy(z)).abs().max() < 1e-10
    # in reverse the row is a part of the right-hand side, zero here: d is the shortest with [Q; g] d = (−w, 0)
    w = torch.arange(1.0, 7.0).double()
    (found,) = torch.autograd.grad((w * solution.z).sum(), q)
    right, *_ = np.linalg.lstsq(np.vstack([Q, g[None]]), np.r_[-w.numpy(), 0.0], rcond=1e-14)
    assert np.allclose(found.numpy(), right, rtol=1e-6)
