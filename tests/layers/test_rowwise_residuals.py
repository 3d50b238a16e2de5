"""OPTIMAL holds row by row: no large number elsewhere in a program excuses what a row is violated by."""

from fractions import Fraction

import pytest
import torch
from torch import Tensor

from layers import Status, solve_qp
from layers.problem import QP
from layers.qp.kkt import NOISE, residuals
from layers.solution import Residuals
from tests.layers.instances import Data, as_data, random_qp

ENGINES = ["native", "interior_point"]


def chain(length: int, curvature: float) -> Data:
    """Maximise z_N − curvature ‖z‖²/2 under z₀ ≤ 1, 0 ≤ z_k ≤ 10 z_{k−1}: all upper rows bind, z_k = 10ᵏ."""
    eye = torch.eye(length + 1)
    G = torch.cat([eye - torch.diag(torch.full((length,), 10.0), -1), -eye])
    h, q = torch.zeros(2 * length + 2), torch.zeros(length + 1)
    h[0], q[-1] = 1, -1
    return as_data(curvature * eye, q, G, h, torch.zeros(0, length + 1), [])


def exact(M: Tensor) -> list[list[Fraction]]:
    return [[Fraction(v) for v in row] for row in M.tolist()]


def row_errors(data: Data, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[float, float]:
    """Largest violation of a row and of a column, each relative to its own terms, in rational arithmetic."""
    Q, G, A = (exact(M) for M in (data[0], data[2], data[4]))
    q, h, b, x, y, w = (exact(v.unsqueeze(0))[0] for v in (data[1], data[3], data[5], z, lam, nu))

    def sums(row: list[Fraction], at: list[Fraction], constant: Fraction) -> tuple[Fraction, Fraction]:
        terms = [a * v for a, v in zip(row, at, strict=True)]
        return sum(terms) + constant, sum(map(abs, terms)) + abs(constant)

    primal = [Fraction(0)]
    for rows, right, signed in ((G, h, True), (A, b, False)):
        for row, r in zip(rows, right, strict=True):
            value, size = sums(row, x, -r)
            primal.append((max(value, 0) if signed else abs(value)) / size if size else Fraction(0))
    dual = [Fraction(0)]
    for j in range(len(x)):
        column = [*Q[j], *(row[j] for row in G), *(row[j] for row in A)]
        value, size = sums(column, [*x, *y, *w], q[j])
        dual.append(abs(value) / size if size else Fraction(0))
    return float(max(primal)), float(max(dual))


@pytest.mark.parametrize("limit", [1, 4, 100])
def test_residuals_are_the_backward_errors_of_each_row_in_rational_arithmetic(rng, limit: int) -> None:
    data = random_qp(rng, 5, 9, 2)
    stopped = solve_qp(*data, max_iterations=limit, on_failure="ignore", solver="interior_point")
    flat = QP(*data).flatten()
    z, lam, nu = stopped.z, stopped.lam, stopped.nu
    found = residuals(flat, z.unsqueeze(0), lam.unsqueeze(0), nu.unsqueeze(0)).rowwise[0]
    for value, expected in zip(found.tolist(), row_errors(data, z, lam, nu), strict=False):
        assert abs(value - expected) <= 1e-9 * expected + 3e-16


def test_every_part_of_a_program_is_measured_by_itself() -> None:
    """Beside a block of size 10⁶, a block of size one that is wrong by a tenth is no solution."""
    Q, q = torch.diag(torch.tensor([1.0, 1.0])), [-1e6, -1]
    data = as_data(Q, q, [[1.0, 0], [0, 1.0]], [1e6, 0.5], torch.zeros(0, 2), [])
    flat = QP(*data).flatten()

    def measured(z: list[float], lam: list[float]) -> Residuals:
        point = (torch.tensor([v], dtype=torch.float64) for v in (z, lam, []))
        return residuals(flat, *point)

    right = measured([1e6, 0.5], [0, 0.5])
    assert right.largest.item() <= 1e-15
    for wrong, place in (
        (measured([1e6, 0.6], [0, 0.4]), 0),  # violates z₂ ≤ ½ by 0.1 of 1.1
        (measured([1e6, 0.5], [0, 0.4]), 1),  # pushes by 0.4 where 0.5 is asked for: 0.1 of 1.9
        (measured([1e6, 0.4], [0, 0.6]), 2),  # pushes by 0.6 of 2 against a bound that is 0.1 of 0.9 away
    ):
        assert wrong.relative.amax().item() <= 1.1e-7
        expected = [0.1 / 1.1, 0.1 / 1.9, 0.1 / 0.9 * 0.6 / 2][place]
        assert abs(wrong.rowwise[0, place].item() - expected) < 1e-9


def test_rounding_in_a_row_whose_terms_vanish_is_no_violation() -> None:
    data = as_data(torch.eye(2), [-1, 0], [[0, -1]], [0], torch.zeros(0, 2), [])
    flat = QP(*data).flatten()
    for noise, accepted in ((1e-14, True), (1e-12, False)):
        z = torch.tensor([[1, -noise]], dtype=torch.float64)
        found = residuals(flat, z, torch.zeros(1, 1).double(), torch.zeros(1, 0).double())
        assert found.rowwise[0, 0].item() == pytest.approx(noise / NOISE)
        assert (found.largest.item() <= 1e-8) == accepted


@pytest.mark.parametrize("solver", ENGINES)
@pytest.mark.parametrize("curvature", [1e-3, 1e-9, 1e-13, 1e-15])
def test_a_chain_that_grows_is_solved_in_every_row(solver: str, curvature: float) -> None:
    length = 12 if curvature < 1e-12 else 8 if curvature < 1e-8 else 2
    data = chain(length, curvature)
    solution = solve_qp(*data, solver=solver)
    assert solution.status == Status.OPTIMAL
    expected = 10.0 ** torch.arange(length + 1).double()
    assert (solution.z / expected - 1).abs().max() <= 1e-9
    assert max(row_errors(data, solution.z, solution.lam, solution.nu)) <= 1e-9


@pytest.mark.parametrize("solver", ENGINES)
def test_blocks_of_sizes_that_have_nothing_in_common_are_each_solved(rng, solver: str) -> None:
    """Independent programs of units from 10⁻⁶ to 10⁶ as one: each block as if it were alone."""
    blocks = [random_qp(rng, 3, 4, 1) for _ in range(3)]
    units = [1e-6, 1.0, 1e6]
    whole = [torch.block_diag(*(b[k] for b in blocks)) for k in (0, 2, 4)]
    q, h, b = (torch.cat([u * d[k] for u, d in zip(units, blocks, strict=True)]) for k in (1, 3, 5))
    solution = solve_qp(whole[0], q, whole[1], h, whole[2], b, solver=solver)
    assert solution.residuals.rowwise.max() <= 1e-8
    for k, (unit, data) in enumerate(zip(units, blocks, strict=True)):
        alone = solve_qp(*data).z
        assert (solution.z[3 * k : 3 * k + 3] / unit - alone).abs().max() <= 1e-9 * alone.abs().max()


def test_far_out_what_is_left_of_stationarity_is_a_gap() -> None:
    """½(z₀ − z₂)² + 9.5 (z₀ − z₂) + 12 z₁ − 7.5e-9 z₀ falls for ever along (1, 0, 1): no point is a solution.

    One was called so at 10²², where stationarity was off by 4e12 and by 1e-10 of its terms.
    """
    q = torch.tensor([9.49999999254942, 12.0, -9.5])
    data = as_data(
        torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]]), q,
        torch.tensor([[-1.0, 0.0, 1.0], [-3.0, 0.0, 3.0]]), torch.tensor([1.5, 4.5]),
        torch.tensor([[-2.0, -6.0, 2.0]]), torch.tensor([6.0]),
    )  # fmt: skip
    problem = QP(*(t.double().unsqueeze(0) for t in data))
    far = torch.tensor(
        [[2.711329584800108e22, -7196138.630311505, 2.7113295848001065e22]], dtype=torch.float64
    )
    lam = torch.tensor([[13519756.805798387, 2721594.0902981795]], dtype=torch.float64)
    nu = torch.tensor([[2.0020597504119917]], dtype=torch.float64)
    found = residuals(problem, far, lam, nu)
    assert found.relative.max() < 1e-8
    assert found.largest.item() > 1
    near = torch.tensor([[50.0, -0.5, 51.5]], dtype=torch.float64)
    assert (
        residuals(problem, near, torch.tensor([[2.75, 0.41666666666666]]).double(), 2 + 0 * nu).largest < 1e-8
    )
