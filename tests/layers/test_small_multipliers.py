"""A multiplier that is small beside the terms of its program is no reason to miss its row."""

import pytest
import torch

from layers import Status, solve_qp

F = torch.float64
Q = torch.tensor(
    [
        [68.0, -32, 8, -24, -28, 32],
        [-32, 108, 12, -72, -64, -96],
        [8, 12, 44, -24, 24, -16],
        [-24, -72, -24, 160, 72, 128],
        [-28, -64, 24, 72, 116, 48],
        [32, -96, -16, 128, 48, 144],
    ],
    dtype=F,
)
G = torch.tensor([[2.0, 0, 1, 2, 2, 1], [0, 2, 2, -1, 2, 1], [2, 1, 0, -3, -1, 0]], dtype=F)
Z = torch.tensor([1.5, -1, 0, -1.5, -0.5, -1], dtype=F)


@pytest.mark.parametrize("exponent", range(2, 21, 2))
def test_its_row_is_active_and_the_point_exact(exponent: int) -> None:
    """Planted: Q z + q + λ g = 0 in numbers that are exact in floating point, two other rows far from active."""
    multiplier = 2.0**-exponent
    q = (-(Q @ Z) - multiplier * G[0]).requires_grad_()
    h = G @ Z + torch.tensor([0.0, 1.5, 0.5], dtype=F)
    found = solve_qp(Q, q, G, h)
    assert found.status.item() == Status.OPTIMAL
    assert (found.z - Z).abs().max() <= 1e-10
    assert found.lam.tolist() == pytest.approx([multiplier, 0, 0], abs=1e-10)
    # With its row active dz = −P dq, for the P of the equality-constrained program; Q alone is singular.
    system = torch.zeros(7, 7, dtype=F)
    system[:6, :6], system[:6, 6], system[6, :6] = Q, G[0], G[0]
    wanted = -torch.linalg.inv(system)[:6, :6].sum(0)
    assert torch.allclose(torch.autograd.grad(found.z.sum(), q)[0], wanted, rtol=1e-6, atol=1e-8)
