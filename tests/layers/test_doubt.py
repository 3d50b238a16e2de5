"""Where working precision cannot tell whether a row binds, the point is refined until it can."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import Status, solve_qp
from layers.linalg.twice import residual
from layers.problem import QP
from layers.qp.activity import ACTIVE, INACTIVE, ROUNDING, WEAK, activity
from layers.qp.doubt import told
from layers.solution import Point, Residuals
from tests.layers.exact import pseudo_inverse_times

DOUBLE = torch.float64


def double(values: object) -> Tensor:
    """A float64 tensor."""
    return torch.tensor(values, dtype=DOUBLE)


@pytest.mark.parametrize("shared", [False, True])
def test_a_residual_of_terms_that_cancel_is_right_to_its_last_digit(
    shared: bool, rng: np.random.Generator
) -> None:
    """b − Mx − Ny beside the rational number: b is the sum as a float, so that all of what is left is rounding."""
    M, x = rng.normal(size=(2, 5, 40)) * 10.0 ** rng.uniform(-9, 9, (2, 5, 40)), rng.normal(size=(2, 40))
    N, y = rng.normal(size=(2, 5, 7)), 1e8 * rng.normal(size=(2, 7))
    M[1], N[1] = M[0], N[0]
    b = np.einsum("bij,bj->bi", M, x) + np.einsum("bij,bj->bi", N, y)
    own_M, own_N = (torch.from_numpy(v[0] if shared else v) for v in (M, N))
    vectors = [torch.from_numpy(v) for v in (b, x, y)]
    found = residual(vectors[0], [(own_M, vectors[1]), (own_N, vectors[2])])
    for e, i in np.ndindex(2, 5):
        sums = [
            Fraction(u) * Fraction(v) for A, z in ((M, x), (N, y)) for u, v in zip(A[e, i], z[e], strict=True)
        ]
        right, size = float(Fraction(b[e, i]) - sum(sums)), float(sum(map(abs, sums)))
        assert abs(found[e, i].item() - right) <= 2.0**-53 * abs(right) + (48 * 2.0**-53) ** 2 * size
    plain = b - np.einsum("bij,bj->bi", M, x) - np.einsum("bij,bj->bi", N, y)
    assert (abs(plain - found.numpy()) > 0.5 * abs(found.numpy())).any()  # working precision does not do


def ill_conditioned(power: int) -> tuple[tuple[Tensor, ...], Tensor, np.ndarray]:
    """Q = FᵀF of determinant 2^−2·power, three rows that hold with equality at z and do not push, one that does not.

    Data, z, and K of the derivative: it has the columns of the three rows and none of their equations.
    """
    F = np.array([[8.0, 1, 3, 2], [1, 8, 2, -1], [0, 2, 8, 3], [9.0, 11, 13, 4]])
    F[3, 3] += 2.0**-power  # the rest of the last row is the sum of the others
    Q = F.T @ F
    z = np.array([0.0, -24.0, 1.0, 0.5])
    G = np.array([[-24.0, 0.125, -0.5, -6], [0, 0.125, -1, -6], [16, -0.125, 1.5, -4], [-8, 0, -1.5, 4]])
    q, h = -Q @ z, G @ z + np.array([0.0, 0, 0, 0.5])
    return tuple(double(v) for v in (Q, q, G, h)), double(z), np.hstack([Q, G[:3].T])


@pytest.mark.parametrize("power", [4, 6, 8])
def test_weakly_active_rows_are_told_at_an_ill_conditioned_minimiser(power: int) -> None:
    """z is known to κ = 2^2·power times rounding, and with it the slacks: +1.8e7 in the place of −9e4."""
    data, z, K = ill_conditioned(power)
    Q, q, G, h = (t.requires_grad_() for t in data)
    found = solve_qp(Q, q, G, h)
    assert (found.z - z).abs().max() < 1e-8
    w = np.array([1.0, 2.0, 0.5, 1.5])
    (dq,) = torch.autograd.grad((double(w) * found.z).sum(), q)
    right = -pseudo_inverse_times(K.T, np.concatenate([w, np.zeros(3)]))
    assert dq.numpy() == pytest.approx(right, rel=1e-6)


def test_a_row_in_doubt_is_told_at_the_refined_point() -> None:
    """A slack of 1e-7 beside a multiplier of zero is inactive as it stands; the solution to rounding has none."""
    (Q, q, G, h), z, _ = ill_conditioned(8)
    flat = QP(Q, q, G, h, torch.zeros(0, 4, dtype=DOUBLE), torch.zeros(0, dtype=DOUBLE)).flatten()
    off = z - 1e-7 * torch.linalg.eigh(Q)[1][:, 0]
    zero = torch.zeros(1, 4, dtype=DOUBLE), torch.zeros(1, 0, dtype=DOUBLE)
    status = torch.zeros(1, dtype=torch.int64)
    point = Point.without_certificate(
        off[None], *zero, status, Residuals(torch.full((1, 6), 1e-9, dtype=DOUBLE)), status
    )
    assert activity(flat, off[None], *zero)[0, :3].tolist().count(WEAK) < 3
    fresh, kind = told(flat, point)
    assert kind.tolist() == [[WEAK, WEAK, WEAK, INACTIVE]]
    assert (fresh.z[0] - z).abs().max() < 1e-15


@pytest.mark.parametrize(("push", "expected"), [(1.0, ACTIVE), (1e-18, INACTIVE)])
def test_a_row_that_pushes_beside_all_others_binds_whatever_is_left_of_it(push: float, expected: int) -> None:
    """−z₀ ≤ 3·10⁻²⁰ beside z₁ = 1, at z₀ = 10⁻¹⁹: all of its row, and its multiplier all of its column."""
    Q, G = double([[[0.0, 0.0], [0.0, 1.0]]]), double([[[-1.0, 0.0], [1.0, 1.0]]])
    q, h, none = double([[push, -1.0]]), double([[3e-20, 5.0]]), torch.zeros(1, 0, dtype=DOUBLE)
    problem = QP(Q, q, G, h, torch.zeros(1, 0, 2, dtype=DOUBLE), none)
    kind = activity(problem, double([[1e-19, 1.0]]), double([[push, 0.0]]), none, ROUNDING)
    assert kind.tolist() == [[expected, INACTIVE]]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("power", [-60, -20, 20, 60])
def test_a_weak_row_is_told_beside_a_part_of_other_units(power: int, batch: int) -> None:
    """z₀ and z₁ with a weakly active row, beside z₂, whose curvature leaves rounding that is all of theirs."""
    unit = 2.0**power
    Q = torch.block_diag(2.0**-15 * double([[1.25, -1.0], [-1.0, 1.25]]), double([[3 * unit]]))
    z = double([1.5, -1.0, 0.5])
    G, h = double([[-3.0, 2.0, 0.0], [0.0, 0.0, 1.0]]), double([-6.5, 0.5])
    q = -(Q @ z) - double([0.0, 0.0, unit])
    data = [v.expand(batch, *v.shape).clone().requires_grad_() for v in (Q, q, G, h)]
    found = solve_qp(*data)
    assert (found.z - z).abs().max() < 1e-9
    (dq,) = torch.autograd.grad((double([1.0, 2.0, 3.0]) * found.z).sum(), data[1])
    top = Q[:2, :2].numpy()
    K = np.vstack([top, G[:1, :2].numpy()])  # Kᵀ: the multiplier may move, the row is not enforced
    right = -pseudo_inverse_times(K, np.array([1.0, 2.0, 0.0]))
    assert (dq[:, :2] / double(right) - 1).abs().max() < 1e-6
    assert dq[:, 2].abs().max() < 1e-6


@pytest.mark.parametrize("power", range(-36, 0, 9))
def test_a_hair_of_curvature_beside_rows_that_do_not_bind_keeps_its_equation(power: int) -> None:
    """2^power z₀ = 2^power / 2: rows hold both variables, none is active, and their scale is no excuse for z₀."""
    curvature = 2.0**power
    Q = torch.diag(double([curvature, 22.0, 35.0]))
    q = double([-0.5 * curvature, -33.0, -52.5]).requires_grad_()
    G, h = double([[3.0, -1.0, -1.0], [2.0, 2.0, 1.0], [-1.0, -3.0, 2.0]]), double([2.0, 8.0, 1.5])
    found = solve_qp(Q, q, G, h)
    assert found.z.tolist() == pytest.approx([0.5, 1.5, 1.5], rel=1e-7)
    (dq,) = torch.autograd.grad(found.z.sum(), q)
    assert dq.tolist() == pytest.approx([-1 / curvature, -1 / 22, -1 / 35], rel=1e-9)


@pytest.mark.parametrize("batch", [1, 2, 8, 64])
def test_nearly_parallel_rows_of_far_apart_units_are_told_in_every_batch(batch: int) -> None:
    """Rows (0, −2²⁵) and (2⁻³⁶, −2⁻¹⁶) pin z = 0; λ = (2⁻²⁴, 7·2¹⁶). In a batch the core stops elsewhere."""
    Q = double([[13.0, -15.0], [-15.0, 18.0]])
    G = double([[0.0, -(2.0**25)], [2.0**-36, -(2.0**-16)]])
    lam = double([2.0**-24, 7 * 2.0**16])
    others = torch.arange(batch, dtype=DOUBLE)
    q = (-(G.T @ lam)).expand(batch, 2) + others[:, None] * double([0.0, 1.0])
    lam = lam + torch.stack([others * 2.0**-25, 0 * others], -1)
    data = [v.expand(batch, *v.shape).clone() for v in (Q, G)]
    q, h = q.clone().requires_grad_(), torch.zeros(batch, 2, dtype=DOUBLE)
    found = solve_qp(data[0], q, data[1], h)
    assert (found.lam / lam - 1).abs().max() < 1e-3
    assert found.z.abs().max() < 1e-9
    (dq,) = torch.autograd.grad(found.lam[:, 1].sum(), q)
    # Gᵀλ = −q: λ₁ = −q₀ / G₁₀
    assert (dq / double([-(2.0**36), 1.0]) - double([1.0, 0.0])).abs().max() < 1e-6


@pytest.mark.parametrize("length", [4, 6, 7])
def test_what_a_chain_that_grows_holds_does_not_move(length: int) -> None:
    """z₀ ≤ 1 and z_k = 8 z_{k−1} beside a curvature of 2^−38: nothing of z moves with q, whose noise came to 6,000."""
    curvature = 2.0**-38
    z = 8.0 ** torch.arange(length, dtype=DOUBLE)
    A = torch.eye(length, dtype=DOUBLE)[1:] - 8 * torch.eye(length, dtype=DOUBLE)[:-1]
    G, h = torch.eye(length, dtype=DOUBLE)[:1], double([1.0])
    q = (-curvature * z - G[0] - A.T @ torch.arange(1.0, length, dtype=DOUBLE)).requires_grad_()
    Q, b = curvature * torch.eye(length, dtype=DOUBLE), torch.zeros(length - 1, dtype=DOUBLE)
    found = solve_qp(Q, q, G, h, A, b)
    assert torch.equal(found.z.round(), z)
    (dq,) = torch.autograd.grad(found.z.sum(), q)
    assert (dq.abs() * z.flip(0)).max() < 1e-1
    assert dq.abs().max() < 0.1


@pytest.mark.parametrize("hair", [2.0**-30, 2.0**-40])
def test_a_linear_program_with_multipliers_of_a_hair_has_its_vertex(hair: float) -> None:
    """Prices along which the objective falls by a hair, that rows push back by as much: not given up, and no ray."""
    left = [[-1.0, 2, 0], [0, -2, 2], [1, 2, -1], [0, -1, 3], [2, -3, -2], [2, 0, 0], [3, -1, 3], [2, 1, 1]]
    right = [
        [1.0, 0, -1],
        [-1, -3, 3],
        [3, -2, 1],
        [-3, 0, -2],
        [-1, -3, -3],
        [-1, -1, -3],
        [3, -2, -3],
        [3, -2, -2],
    ]
    G = torch.cat([double(left), double(right)], -1)
    z = double([-1.5, 1, 1, -0.5, 1, 1])
    lam = double([1.0, hair, 0, 0, 0, 0, 0, 0])
    slack = double([0.0, 0, 1, 2, 3, 1, 0.5, 2])
    found = solve_qp(torch.zeros(6, 6, dtype=DOUBLE), -(G.T @ lam), G, G @ z + slack, on_failure="ignore")
    assert found.status.item() == Status.OPTIMAL
    assert found.lam.tolist() == pytest.approx(lam.tolist(), rel=1e-9)
