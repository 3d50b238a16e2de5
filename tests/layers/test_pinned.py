"""Rows that pin a point, and whose multipliers may vanish: together they are an equality, also for the derivative."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layers import solve_qp
from layers.linalg.faces import pinned_rows
from layers.problem import QP
from layers.qp.activity import ACTIVE, INACTIVE, WEAK, activity
from tests.layers.instances import as_data


def test_opposing_rows_pin_each_other_and_a_wedge_does_not() -> None:
    nothing = np.zeros((0, 2))
    rows = np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]])
    assert pinned_rows(nothing, rows).tolist() == [True, True, False]
    star = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    assert pinned_rows(nothing, star).all()
    assert not pinned_rows(nothing, star[:2]).any()
    # on the line z₀ = z₁ two of three rows are opposite, and z₀ − z₁ ≤ 0 sees nothing
    wedge = np.array([[1.0, 0.0], [0.0, -1.0], [1.0, -1.0]])
    assert pinned_rows(np.array([[1.0, -1.0]]), wedge).tolist() == [True, True, False]


@pytest.mark.parametrize("scale", [1.0, 2.0**-20])
def test_multipliers_that_may_vanish_do_not_make_pinning_rows_weak(scale: float) -> None:
    """The point of the least ½|z|² + qᵀz over z₀ ≤ 0 ≤ z₀ is its own minimiser without these rows: λ = 0 will do."""
    Q, G = np.diag([2.0, 1.0]), scale * np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 1.0]])
    data = as_data(Q, [0.0, -3.0], G, [0.0, 0.0, 5.0 * scale], np.zeros((0, 2)), [])
    z = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    for lam in ([0.0, 0.0, 0.0], [1e-12, 1e-12, 0.0], [3.0, 3.0, 0.0]):
        kind = activity(QP(*data).flatten(), z, torch.tensor([lam]).double(), z[:, :0])
        assert kind.tolist() == [[ACTIVE, ACTIVE, INACTIVE]]
    open_ = (data[0], data[1], data[2][[0, 2]], data[3][[0, 2]], *data[4:])
    assert activity(QP(*open_).flatten(), z, torch.zeros(1, 2).double(), z[:, :0]).tolist() == [
        [WEAK, INACTIVE]
    ]
    q = data[1].clone().requires_grad_()
    solution = solve_qp(data[0], q, *data[2:])
    (found,) = torch.autograd.grad(solution.z.sum(), q)
    assert torch.allclose(found, torch.tensor([0.0, -1.0]).double(), atol=1e-12)
