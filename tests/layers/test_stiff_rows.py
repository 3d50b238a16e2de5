"""What rows hold does not move, however little curvature there is: rounding is measured by the rows, not by w / Q."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from layers import solve_qp

DOUBLE = torch.float64
ENGINES = ["native", "interior_point"]
#: from a curvature beside which the rows are nothing special to one that is below rounding of everything
CURVATURES = [1.0, 1e-5, 1e-13, 1e-21, 2.0**-100]


@pytest.fixture(autouse=True)
def _engine() -> None:
    """Each test names its engines."""


def held(curvature: float, batch: int) -> tuple[Tensor, ...]:
    """½c‖z‖² + qᵀz over z₀ ≤ 1, z₁ ≤ 3 z₀ and z₂ free: z = (1, 3, −q₂/c), q = (−1, −2, c/2)."""
    Q = curvature * torch.eye(3, dtype=DOUBLE)
    q = torch.tensor([-9.0, -9.0, curvature / 2], dtype=DOUBLE)
    G = torch.tensor([[1.0, 0.0, 0.0], [-3.0, 1.0, 0.0]], dtype=DOUBLE)
    h = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    return tuple(t.expand(batch, *t.shape).clone().requires_grad_() for t in (Q, q, G, h))


@pytest.mark.parametrize("solver", ENGINES)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_a_vertex_moves_with_its_rows_alone(curvature: float, batch: int, solver: str) -> None:
    """dz₀ = dh₀, dz₁ = 3 dh₀ + dh₁, and no part of dq₀ or dq₁, which came out as −1.2e-5 at a curvature of 1e-13."""
    data = held(curvature, batch)
    z = solve_qp(*data, solver=solver).z
    assert (z[:, :2] - torch.tensor([1.0, 3.0])).abs().max() < 1e-14
    _, dq, _, dh = torch.autograd.grad((z * torch.tensor([1.0, 2.0, 0.0])).sum(), data)
    assert dq.abs().max() < 1e-10
    assert (dh - torch.tensor([7.0, 2.0])).abs().max() < 1e-12


@pytest.mark.parametrize("solver", ENGINES)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_what_no_row_holds_moves_by_its_curvature(curvature: float, solver: str) -> None:
    """dz₂ = −dq₂ / c beside a vertex: nothing of the correction of rows may reach it."""
    data = held(curvature, 1)
    z = solve_qp(*data, solver=solver).z
    _, dq, _, dh = torch.autograd.grad((z * torch.tensor([1.0, 2.0, 1.0])).sum(), data)
    assert dq[0, 2].item() == pytest.approx(-1 / curvature, rel=1e-12)
    assert dq[0, :2].abs().max() < 1e-10
    assert (dh - torch.tensor([7.0, 2.0])).abs().max() < 1e-12


@pytest.mark.parametrize("solver", ENGINES)
@pytest.mark.parametrize("curved", [1, 5])
@pytest.mark.parametrize("curvature", [2.0**-29, 2.0**-36])
def test_a_chain_moves_with_its_first_row_alone(curvature: float, curved: int, solver: str) -> None:
    """z₀ = 1 and z_k = 10 z_{k−1}: dz_k = 10^k dh₀, and no part of dq, of which dq₅ came out as −56 and −147278."""
    Q = torch.diag(torch.tensor([0.0] * (6 - curved) + [curvature] * curved, dtype=DOUBLE))
    powers = 10.0 ** torch.arange(6, dtype=DOUBLE)
    q = torch.zeros(6, dtype=DOUBLE)
    q[3] = -13.0
    G = torch.zeros(1, 6, dtype=DOUBLE)
    G[0, 0] = 1.0
    A = torch.zeros(5, 6, dtype=DOUBLE)
    A[range(5), range(5)], A[range(5), range(1, 6)] = -10.0, 1.0
    data = [Q, q - Q @ powers, G, torch.ones(1, dtype=DOUBLE), A, torch.zeros(5, dtype=DOUBLE)]
    data = [t.requires_grad_() for t in data]
    z = solve_qp(*data, solver=solver).z
    torch.testing.assert_close(z, powers, rtol=1e-13, atol=0)
    weights = torch.tensor([0.5, 1.5, 2.5, 2.0, 1.0, 1.0], dtype=DOUBLE)
    _, dq, _, dh, _, db = torch.autograd.grad(weights @ z, data)
    assert (dq.abs() / powers).max() < 1e-8
    torch.testing.assert_close(dh[0], weights @ powers, rtol=1e-13, atol=0)
    held = [(weights[k:] @ powers[: 6 - k]).item() for k in range(1, 6)]
    torch.testing.assert_close(db, torch.tensor(held, dtype=DOUBLE), rtol=1e-12, atol=0)


@pytest.mark.parametrize("solver", ENGINES)
def test_a_multiplier_of_a_part_of_small_forces_is_told_in_its_own_part(solver: str) -> None:
    """z₀ ≥ 0 at a price of 1e-8, λ₀ = (q₀ + 1e-9 z₀)/2 with z₀ = −h₀/2, beside a part with a curvature of 2.6e5.

    Noise of z₀ is 1e-16 of what its curvature would let it be, q₀/Q₀₀ = 10, which the other part's units made a slack.
    """
    Q = torch.diag(torch.tensor([1e-9, 262144.0], dtype=DOUBLE))
    q = torch.tensor([1e-8, 0.0], dtype=DOUBLE, requires_grad=True)
    G = torch.diag(torch.tensor([-2.0, 262144.0], dtype=DOUBLE))
    h = torch.tensor([0.0, -131072.0], dtype=DOUBLE, requires_grad=True)
    found = solve_qp(Q, q, G, h, solver=solver)
    value = 1.5 * found.z[0] + 2.5 * found.z[1] + found.lam[0] + 2.5 * found.lam[1]
    dq, dh = torch.autograd.grad(value, (q, h))
    # z₁ = h₁/262144 and λ₁ = −(q₁ + 262144 z₁)/262144
    right = torch.tensor([0.5, -2.5 / 262144], dtype=DOUBLE), torch.tensor([-0.75 - 2.5e-10, 0.0])
    assert (dq / right[0] - 1).abs().max() < 1e-9
    assert (dh - right[1]).abs().max() < 1e-9


@pytest.mark.parametrize("solver", ENGINES)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_vertex_beside_a_variable_that_moves_by_1e25_stands_still(batch: int, solver: str) -> None:
    """z₀, z₁ at a vertex; ½c z₂² and z₃ = z₂/10 + 1.5e8 have nothing to do with it: dq₀ came out as −2.9e-9."""
    Q = torch.diag(torch.tensor([0.0, 0.0, 1e-25, 0.0], dtype=DOUBLE))
    q = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=DOUBLE)
    G = torch.tensor([[-1.0, 0.0, 0.0, 0.0], [-262144.0, -786432.0, 0.0, 0.0]], dtype=DOUBLE)
    A = torch.tensor([[0.0, 0.0, -1e-9, 1e-8]], dtype=DOUBLE)
    b = torch.tensor([1.5], dtype=DOUBLE)
    data = [Q, q, G, torch.zeros(2, dtype=DOUBLE), A, b]
    data = [t.expand(batch, *t.shape).clone().requires_grad_() for t in data]
    z = solve_qp(*data, solver=solver).z
    _, dq, _, dh, _, _ = torch.autograd.grad((z * torch.tensor([1.0, 2.0, 2.5, 2.0])).sum(), data)
    assert dq[:, :2].abs().max() < 1e-14
    assert (dh[:, 0] + 1 / 3).abs().max() < 1e-9
    assert dq[0, 2].item() == pytest.approx(-2.7e25, rel=1e-9)
