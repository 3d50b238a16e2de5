"""Solutions of cone programs against closed forms, by every engine, alone and in batches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from layers import Status
from layers.cone.engines import ENGINES
from layers.cone.function import solve_cone_program
from layers.cone.kkt import residuals
from layers.cone.rows import without_single_rows
from layers.cone_program import ConeProgram, Cones, ConeSolution
from tests.layers.conic_instances import CONES, entropy, from_dense, random_program, sparse, svec

INSTALLED = [name for name, engine in ENGINES.items() if engine.unavailable() is None]


@pytest.fixture(autouse=True)
def _engine() -> None:
    """No engine for quadratic programs takes part: each test runs once."""


def eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def project_by_program(cones: Cones, v: Tensor) -> ConeSolution:
    """argmin ½‖x − v‖² over x ∈ K, as a cone program."""
    m = cones.rows
    return solve_cone_program(sparse(eye(m), -v, -eye(m), torch.zeros_like(v), cones))


@pytest.mark.parametrize("name", CONES)
@pytest.mark.parametrize("solver", INSTALLED)
def test_every_engine_recovers_a_known_solution(name: str, solver: str):
    cones, n = CONES[name]
    program, x, _, s = random_program(cones, n)
    if not ENGINES[solver].supports(without_single_rows(program.structure)[0]):
        pytest.skip(f"{solver} does not know all of these cones")
    solution = solve_cone_program(program, solver=solver)
    assert (solution.status == Status.OPTIMAL).all()
    assert solution.residuals.largest.max() < 1e-12
    assert (solution.x - x).abs().max() < 1e-11
    assert (solution.s - s).abs().max() < 1e-11
    value = 0.5 * (x * (program.P.unflatten(-1, (n, n)) @ x.unsqueeze(-1)).squeeze(-1)).sum(-1)
    assert (solution.objective - value - (program.q * x).sum(-1)).abs().max() < 1e-11


def test_dual_is_the_price_of_the_right_hand_side():
    """y = −∂p*/∂b, by differences of the value; the duals of these programs are unique."""
    cones = Cones(nonneg=1, soc=(3,), exp=1)
    program, _, y, _ = random_program(cones, 8)
    solution = solve_cone_program(program)
    assert (solution.y - y).abs().max() < 1e-10
    for i in range(cones.rows):
        moved = []
        for step in (1e-5, -1e-5):
            b = program.b.clone()
            b[:, i] += step
            other = ConeProgram(program.structure, program.P, program.q, program.A, b)
            moved.append(solve_cone_program(other).objective)
        assert ((moved[0] - moved[1]) / 2e-5 + solution.y[:, i]).abs().max() < 1e-7


def test_residuals_are_those_of_the_definition_typed_anew():
    """An interior engine's raw answer: distance to K, stationarity and gap from dense matrices."""
    cones, n = Cones(nonneg=2, soc=(3,)), 4
    program, x, y, s = random_program(cones, n, batch=1)
    moved = residuals(program, x + 1e-3, y, s)
    P, A = program.P.reshape(n, n).mT, program.A.reshape(n, cones.rows).mT
    z = x[0] + 1e-3
    assert moved.primal.item() > 0
    dual = (P @ z + program.q[0] + A.mT @ y[0]).abs()
    column = torch.maximum(
        program.q[0].abs(),
        torch.maximum(P.abs().amax(1) * z.abs().max(), A.abs().amax(0) * y.abs().max()),
    )
    assert moved.dual.item() == pytest.approx((dual / column).max().item(), rel=1e-12)
    outside = residuals(program, x, y, s - torch.tensor([[0.0, 0.0, 5.0, 0.0, 0.0]]).double())
    assert outside.primal.item() > 0.1
    assert residuals(program, x, -y, s).dual.item() > 0.1


def test_softmax_is_the_entropy_program():
    c = torch.randn(4, 7, dtype=torch.float64)
    solution = solve_cone_program(entropy(c))
    assert (solution.x[:, :7] - torch.softmax(c, -1)).abs().max() < 1e-13


@pytest.mark.parametrize("spread", [30.0, 200.0])
def test_softmax_of_extreme_arguments(spread: float):
    """Probabilities down to e^{−200}: where tₓ = x log x, the answer is right to rounding of the largest."""
    c = torch.linspace(0, spread, 6, dtype=torch.float64).unsqueeze(0)
    solution = solve_cone_program(entropy(c))
    assert (solution.x[:, :6] - torch.softmax(c, -1)).abs().max() < 1e-12


def test_bounds_that_cones_imply_do_no_harm():
    """Softmax with x ≥ 0 besides: rows that are active to rounding, whose multipliers are anybody's guess."""
    c = 40 * torch.randn(50, 10, dtype=torch.float64)
    plain = entropy(c)
    A = torch.zeros(31, 20, dtype=torch.float64)
    A[plain.structure.A_rows, plain.structure.A_cols] = plain.A
    bounds = torch.cat([-eye(10), 0 * eye(10)], -1)
    b = torch.cat([plain.b[:, :1], 0 * c, plain.b[:, 1:]], -1)
    rows = torch.cat([A[:1], bounds, A[1:]])
    program = sparse(torch.zeros(20, 20).double(), plain.q, rows, b, Cones(zero=1, nonneg=10, exp=10))
    solution = solve_cone_program(program)
    assert (solution.x[:, :10] - torch.softmax(c, -1)).abs().max() < 1e-6


def test_exponentials_of_several_orders_in_one_program():
    """minimise Σ exp(xⱼ) − cᵀx for c from 1e-3 to 1e3: x = log c, though engines stop at errors of a half."""
    c = torch.tensor([[1e-3, 1.0, 1e3]], dtype=torch.float64)
    A = torch.zeros(9, 6, dtype=torch.float64)
    for j in range(3):
        A[3 * j, j] = A[3 * j + 2, 3 + j] = -1
    b = torch.tensor([[0.0, 1.0, 0.0] * 3], dtype=torch.float64)
    q = torch.cat([-c, torch.ones_like(c)], -1)
    program = sparse(torch.zeros(6, 6).double(), q, A, b, Cones(exp=3))
    assert (solve_cone_program(program).x[:, :3] - c.log()).abs().max() < 1e-9


def test_largest_determinant_under_a_trace_is_a_multiple_of_the_identity():
    """maximise log det X, tr(CX) = k: X = C⁻¹, as [X Z; Zᵀ diag Z] ⪰ 0, Z lower triangular, tⱼ ≤ log Zⱼⱼ."""
    k = 3
    root = torch.randn(2, k, k, dtype=torch.float64)
    C = root @ root.mT + eye(k)
    pairs = [(i, j) for j in range(k) for i in range(j + 1)]
    size = len(pairs)
    n = 2 * size + k  # X, Z on triangles, t
    cones = Cones(zero=1, psd=(2 * k,), exp=k)
    A = torch.zeros(2, cones.rows, n, dtype=torch.float64)
    for e, (i, j) in enumerate(pairs):
        A[:, 0, e] = C[:, i, j] * (1 if i == j else 2)
        for variable, entries in (
            (e, [(i, j)]),
            (size + e, [(j, k + i), (k + i, k + i)] if i == j else [(j, k + i)]),
        ):
            M = torch.zeros(2 * k, 2 * k, dtype=torch.float64)
            for r, c in entries:
                M[r, c] = M[c, r] = 1
            A[:, 1 : 1 + svec(M).numel(), variable] = -svec(M)
    start = 1 + k * (2 * k + 1)
    for j in range(k):
        A[:, start + 3 * j, 2 * size + j] = -1
        A[:, start + 3 * j + 2, size + pairs.index((j, j))] = -1
    b = torch.zeros(2, cones.rows, dtype=torch.float64)
    b[:, 0], b[:, start + 1 :: 3] = k, 1
    q = torch.zeros(2, n, dtype=torch.float64)
    q[:, 2 * size :] = -1
    solution = solve_cone_program(from_dense(torch.zeros(2, n, n, dtype=torch.float64), q, A, b, cones))
    X = torch.linalg.inv(C)
    expected = torch.stack([X[:, i, j] for i, j in pairs], -1)
    assert (solution.x[:, :size] - expected).abs().max() < 1e-10
    assert (-solution.objective - torch.logdet(X)).abs().max() < 1e-10


def test_projection_on_the_second_order_cone():
    v = torch.randn(20, 4, dtype=torch.float64)
    t, r = v[:, :1], v[:, 1:].norm(dim=-1, keepdim=True)
    boundary = 0.5 * (1 + t / r) * torch.cat([r, v[:, 1:]], -1)
    expected = torch.where(r <= t, v, torch.where(r <= -t, 0 * v, boundary))
    assert (project_by_program(Cones(soc=(4,)), v).x - expected).abs().max() < 1e-13


def test_projection_on_the_semidefinite_cone():
    X = torch.randn(5, 4, 4, dtype=torch.float64)
    X = X + X.mT
    values, U = torch.linalg.eigh(X)
    expected = svec((U * values.clamp(min=0).unsqueeze(-2)) @ U.mT)
    assert (project_by_program(Cones(psd=(4,)), svec(X)).x - expected).abs().max() < 1e-12


def test_weighted_geometric_mean_is_the_power_cone():
    """maximise z, z ≤ x^α y^{1−α}, px + qy = 1: the budget shares are α and 1 − α."""
    alpha, p = 0.3, torch.tensor([[2.0, 5.0], [0.1, 0.7]], dtype=torch.float64)
    A = torch.cat([torch.cat([p, 0 * p[:, :1]], -1).unsqueeze(1), -eye(3).expand(2, 3, 3)], 1)
    b = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(2, 4)
    q = torch.tensor([0.0, 0, -1], dtype=torch.float64).expand(2, 3)
    program = from_dense(torch.zeros(2, 3, 3, dtype=torch.float64), q, A, b, Cones(zero=1, power=(alpha,)))
    x = solve_cone_program(program).x
    assert (x[:, :2] * p - torch.tensor([alpha, 1 - alpha], dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("solver", INSTALLED)
def test_cones_of_one_row_are_nonnegative_rows(solver: str):
    """Second-order and semidefinite cones of one row between others: x = max(v, 0) there."""
    v = torch.tensor([[-1.0, 2.0, 0.5, 3.0, -2.0, 1.0, -3.0]], dtype=torch.float64)
    cones = Cones(soc=(1, 1, 3), psd=(1, 1))
    program = sparse(eye(7), -v, -eye(7), torch.zeros_like(v), cones)
    x = solve_cone_program(program, solver=solver).x
    ones = [0, 1, 5, 6]
    assert (x[:, ones] - v[:, ones].clamp(min=0)).abs().max() < 1e-13


def test_batch_equals_one_by_one_and_shared_equals_repeated():
    cones, n = CONES["mixture"]
    program, *_ = random_program(cones, n, batch=4)
    together = solve_cone_program(program)
    for i in range(4):
        alone = solve_cone_program(program.take(torch.tensor([i])))
        assert (alone.x[0] - together.x[i]).abs().max() < 1e-12
    shared = ConeProgram(program.structure, program.P[0], program.q, program.A[0], program.b)
    repeated = ConeProgram(
        program.structure, program.P[:1].repeat(4, 1), program.q, program.A[:1].repeat(4, 1), program.b
    )
    answers = [solve_cone_program(p, on_failure="ignore") for p in (shared, repeated)]
    assert torch.equal(answers[0].status, answers[1].status)
    assert (answers[0].x - answers[1].x)[answers[0].status == Status.OPTIMAL].abs().max() < 1e-10


def test_scaled_rows_and_objective_leave_the_minimiser_alone():
    """Blocks of rows times 1e±4, objective times 1e5: the same x."""
    cones = Cones(zero=1, nonneg=2, soc=(3,), exp=1)
    program, x, *_ = random_program(cones, 9, batch=2)
    factor = torch.cat(
        [torch.tensor([1e4, 1e-4, 1e2]), torch.full((3,), 1e4), torch.full((3,), 1e-3)]
    ).double()
    A = program.A.unflatten(-1, (9, cones.rows)) * factor
    scaled = ConeProgram(
        program.structure, 1e5 * program.P, 1e5 * program.q, A.flatten(-2), program.b * factor
    )
    solution = solve_cone_program(scaled)
    assert (solution.x - x).abs().max() < 1e-9


def test_empty_batch_has_an_empty_answer():
    program, *_ = random_program(Cones(soc=(3,)), 2)
    solution = solve_cone_program(program.take(torch.zeros(0, dtype=torch.int64)))
    assert solution.x.shape == (0, 2)
    assert solution.status.shape == (0,)


def test_without_any_row():
    """No constraint at all: x = −P⁻¹q."""
    q = torch.randn(2, 3, dtype=torch.float64)
    program = sparse(2 * eye(3), q, torch.zeros(0, 3, dtype=torch.float64), q.new_zeros(2, 0), Cones())
    assert (solve_cone_program(program).x + q / 2).abs().max() < 1e-12


def test_warm_start_is_solved_without_an_engine():
    cones, n = CONES["mixture"]
    program, *_ = random_program(cones, n)
    cold = solve_cone_program(program)
    moved = ConeProgram(program.structure, program.P, program.q + 1e-4, program.A, program.b)
    warm = solve_cone_program(moved, warm_start=cold)
    assert (warm.iterations == 0).all()
    assert (warm.x - solve_cone_program(moved).x).abs().max() < 1e-11


def test_a_far_warm_start_does_no_harm():
    cones, n = CONES["mixture"]
    program, x, *_ = random_program(cones, n)
    other, *_ = random_program(cones, n, seed=5)
    warm = solve_cone_program(program, warm_start=solve_cone_program(other))
    assert (warm.x - x).abs().max() < 1e-11
