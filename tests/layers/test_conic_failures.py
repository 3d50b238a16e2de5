"""What cannot be solved is told, element by element; engines that err are caught and named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, LayerError, ProblemError, SolverError, Status, UnavailableError
from layers.cone import function as door
from layers.cone.certificates import infeasibility, unboundedness
from layers.cone.engines import ENGINES, Claim, Data, Engine, Limits, needs
from layers.cone.function import solve_cone_program
from layers.cone_program import ConeProgram, Cones, ConeStructure
from layers.native import qp as native
from tests.layers.conic_instances import CONES, pattern, random_program, sparse

INSTALLED = [name for name, engine in ENGINES.items() if engine.unavailable() is None]
CERTIFYING = [name for name in INSTALLED if name not in ("diffcp", "native")]


@pytest.fixture(autouse=True)
def _engine() -> None:
    """No engine for quadratic programs takes part: each test runs once."""


def ball(q: Tensor, radius: Tensor, low: Tensor) -> ConeProgram:
    """minimise qᵀx over ‖x‖ ≤ r, x₀ ≥ low: infeasible for low > r."""
    A = torch.zeros(4, 2, dtype=torch.float64)
    A[0, 0] = A[2, 0] = A[3, 1] = -1
    b = torch.stack([-low, radius, 0 * low, 0 * low], -1)
    return sparse(torch.zeros(2, 2).double(), q, A, b, Cones(nonneg=1, soc=(3,)))


def logarithm(c: Tensor) -> ConeProgram:
    """minimise c x − log x: without a lower bound for c ≤ 0."""
    A = torch.tensor([[0.0, -1.0], [0.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(c.shape[0], 3)
    q = torch.stack([c, -torch.ones_like(c)], -1)
    return sparse(torch.zeros(2, 2).double(), q, A, b, Cones(exp=1))


@pytest.mark.parametrize("solver", [*CERTIFYING, "auto"])
def test_an_infeasible_element_leaves_the_others_exact(solver: str):
    q = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 3.0]], dtype=torch.float64, requires_grad=True)
    radius = torch.tensor([1.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    low = torch.tensor([-9.0, 2.0, -9.0], dtype=torch.float64)
    program = ball(q, radius, low)
    solution = solve_cone_program(program, solver=solver, on_failure="nan")
    assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE, Status.OPTIMAL]
    assert (solution.x[[0, 2]] - torch.tensor([[-1.0, 0.0], [0.0, -2.0]])).abs().max() < 1e-12
    assert solution.x[1].isnan().all()
    solution.objective[[0, 2]].sum().backward(retain_graph=True)
    assert (radius.grad - torch.tensor([-1.0, 0.0, -3.0])).abs().max() < 1e-11
    q.grad = None
    solution.x[[0, 2]].sum().backward()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()
    assert q.grad[1].abs().max() == 0


@pytest.mark.parametrize("solver", CERTIFYING)
def test_certificate_of_infeasibility(solver: str):
    """y ∈ K*, Aᵀy = 0, bᵀy = −1, typed from the definition."""
    one = torch.ones(1, dtype=torch.float64)
    program = ball(torch.zeros(1, 2).double(), one, 3 * one)
    solution = solve_cone_program(program, solver=solver, on_failure="ignore")
    y = solution.y[0]
    assert (program.b[0] @ y).item() == pytest.approx(-1, abs=1e-12)
    assert abs(y[0] + y[2]) < 1e-6
    assert abs(y[3]) < 1e-6
    assert y[0] >= 0
    assert y[1] >= y[2:].norm() - 1e-12


@pytest.mark.parametrize("solver", CERTIFYING)
def test_an_unbounded_element_is_told_with_its_ray(solver: str):
    program = logarithm(torch.tensor([2.0, -1.0], dtype=torch.float64))
    solution = solve_cone_program(program, solver=solver, on_failure="ignore")
    assert solution.status.tolist() == [Status.OPTIMAL, Status.UNBOUNDED]
    assert solution.x[0, 0].item() == pytest.approx(0.5, abs=1e-12)
    ray = solution.x[1]
    assert (program.q[1] @ ray).item() == pytest.approx(-1, abs=1e-12)
    assert ray[0] > 0
    with pytest.raises(SolverError, match=r"element \(1,\): UNBOUNDED"):
        solve_cone_program(program, solver=solver)


def without_last_linear_row(data: Data, limits: Limits) -> Claim:
    """An engine that loses a constraint: Clarabel with the last nonnegative row out of reach."""
    b = data.b.copy()
    b[:, data.structure.cones.zero + data.structure.cones.nonneg - 1] = 1e6
    claim = ENGINES["clarabel"].solve(replace(data, b=b), limits)
    s = claim.s.copy()
    return replace(claim, s=s)


def install(monkeypatch: pytest.MonkeyPatch, solve: Any) -> None:
    """Put an engine in the registry, and before Clarabel in the automatic choice."""
    engine = Engine("mutilated", lambda: None, lambda structure: True, solve)
    monkeypatch.setitem(ENGINES, "mutilated", engine)
    monkeypatch.setattr(door, "_available", lambda names: (engine, ENGINES["clarabel"]))


def binding() -> ConeProgram:
    """x₀ ≥ ½ cuts the ball: dropped, the answer is another, and no small correction leads back."""
    half = torch.full((2,), 0.5, dtype=torch.float64)
    return ball(torch.tensor([[1.0, 0.2], [2.0, -0.3]], dtype=torch.float64), 2 * half, half)


def test_an_engine_that_drops_a_constraint_is_caught_and_named(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, without_last_linear_row)
    program = binding()
    true = solve_cone_program(program, solver="clarabel")
    solution = solve_cone_program(program, solver="mutilated", on_failure="ignore")
    wrong = (solution.x - true.x).abs().amax(-1) > 1e-6
    assert (solution.status[wrong] == Status.NUMERICAL_FAILURE).all()
    assert wrong.any() or (solution.status == Status.OPTIMAL).all()


def liar(data: Data, limits: Limits) -> Claim:
    """The middle of nowhere, called solved."""
    n, m, batch = data.structure.n, data.structure.m, data.q.shape[0]
    none = np.zeros(batch, dtype=np.int64)
    return Claim(np.full((batch, n), 1e3), np.full((batch, m), 1e3), np.full((batch, m), 1e3), none, none)


def test_an_engine_that_lies_is_caught_and_named(monkeypatch: pytest.MonkeyPatch):
    """Of an infeasible program no point can be made right: what is called solved is a failure."""
    install(monkeypatch, liar)
    one = torch.ones(1, dtype=torch.float64)
    program = ball(torch.ones(1, 2).double(), one, 3 * one)
    with pytest.raises(SolverError, match="mutilated reported a solution"):
        solve_cone_program(program, solver="mutilated")


def test_who_chose_no_engine_is_told_of_none(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, liar)
    monkeypatch.setattr(door, "_available", lambda names: (ENGINES["mutilated"], ENGINES["mutilated"]))
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(SolverError) as told:
        solve_cone_program(ball(torch.ones(1, 2).double(), one, 3 * one))
    assert "mutilated" not in str(told.value)


def test_the_next_engine_takes_what_the_first_got_wrong(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, liar)
    one = torch.ones(2, dtype=torch.float64)
    program = ball(torch.ones(2, 2).double(), one, torch.tensor([3.0, -3.0]).double())
    solution = solve_cone_program(program, on_failure="ignore")
    assert solution.status.tolist() == [Status.INFEASIBLE, Status.OPTIMAL]
    assert (solution.x[1] + 0.5**0.5).abs().max() < 1e-12


def false_alarm(data: Data, limits: Limits) -> Claim:
    """Claims infeasibility, with the dual of nothing in particular for a certificate."""
    claim = ENGINES["clarabel"].solve(data, limits)
    return replace(claim, status=np.full_like(claim.status, Status.INFEASIBLE))


def test_a_certificate_that_proves_nothing_is_refused(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, false_alarm)
    program = binding()
    alone = solve_cone_program(program, solver="mutilated", on_failure="ignore")
    assert (alone.status != Status.INFEASIBLE).all()
    true = solve_cone_program(program, solver="clarabel")
    assert (solve_cone_program(program).x - true.x).abs().max() < 1e-12


LARGE = 1e13


def test_a_large_row_does_not_prove_others_infeasible():
    """1 ≤ x and 1e13 x ≤ 1e14: a multiplier of the first alone, Aᵀy = −1, is no certificate; with x ≤ −1 it is one."""
    A = torch.tensor([[-1.0], [LARGE], [1.0]], dtype=torch.float64)
    b = torch.tensor([[-1.0, 10 * LARGE, 2.0], [-1.0, 10 * LARGE, -1.0]], dtype=torch.float64)
    program = sparse(torch.zeros(1, 1).double(), torch.zeros(2, 1).double(), A, b, Cones(nonneg=3))
    y = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    error = infeasibility(program, y)[1]
    assert error.tolist() == [1.0, 0.0]


def test_a_large_row_does_not_prove_a_cone_unbounded():
    """minimise t over t ≥ ‖1e13 u‖: t → −∞ leaves the cone. It does not where t is not in it."""
    A = torch.tensor([[-1.0, 0.0], [0.0, -LARGE], [0.0, 0.0]], dtype=torch.float64)
    q, ray = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[-1.0, 0.0]]).double()
    zero = torch.zeros(1, 3, dtype=torch.float64)
    errors: list[float] = []
    for bound in (True, False):
        program = sparse(torch.zeros(2, 2).double(), q, A if bound else A * (A < -1), zero, Cones(soc=(3,)))
        errors.append(unboundedness(program, ray)[1].item())
    assert errors == [1.0, 0.0]


def test_iteration_limit_is_told(monkeypatch: pytest.MonkeyPatch):
    cones, n = CONES["mixture"]
    program, *_ = random_program(cones, n)
    solution = solve_cone_program(program, solver="clarabel", max_iterations=1, on_failure="nan")
    assert set(solution.status.tolist()) <= {Status.ITERATION_LIMIT, Status.OPTIMAL}
    assert solution.x[solution.status == Status.ITERATION_LIMIT].isnan().all()


def test_options_reach_the_engine_under_its_own_names():
    cones, n = CONES["second-order"]
    program, *_ = random_program(cones, n)
    assert (solve_cone_program(program, solver="clarabel", equilibrate_enable=False).status == 0).all()
    with pytest.raises(LayerError, match="no option 'speed'"):
        solve_cone_program(program, solver="clarabel", speed=2)
    with pytest.raises(LayerError, match="need one engine"):
        solve_cone_program(program, equilibrate_enable=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "gurobi"}, "solver must be one of"),
        ({"adjoint": "magic"}, "adjoint must be one of"),
        ({"on_failure": "hope"}, "on_failure must be one of"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"max_iterations": 0}, "at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str):
    program, *_ = random_program(Cones(soc=(3,)), 2)
    with pytest.raises(LayerError, match=message):
        solve_cone_program(program, **options)


def test_an_engine_that_is_absent_or_does_not_know_the_cone(monkeypatch: pytest.MonkeyPatch):
    program, *_ = random_program(Cones(power=(0.5,)), 3)
    with pytest.raises(LayerError, match="does not take this program"):
        solve_cone_program(program, solver="diffcp")
    monkeypatch.setitem(
        ENGINES, "absent", Engine("absent", needs("no_such_module", "it"), lambda structure: True, liar)
    )
    with pytest.raises(UnavailableError, match="pip install 'it'"):
        solve_cone_program(program, solver="absent")


def test_data_that_are_not_finite():
    program, *_ = random_program(Cones(soc=(3,)), 2)
    q = program.q.clone()
    q[1, 0] = torch.nan
    with pytest.raises(ProblemError, match="q must be finite"):
        solve_cone_program(ConeProgram(program.structure, program.P, q, program.A, program.b))


def test_warm_start_of_other_sizes():
    program, *_ = random_program(Cones(soc=(3,)), 2)
    other, *_ = random_program(Cones(soc=(3,)), 4)
    with pytest.raises(ProblemError, match=r"warm_start\.x must have shape"):
        solve_cone_program(program, warm_start=solve_cone_program(other))


def test_structures_and_programs_that_do_not_fit_together():
    with pytest.raises(ProblemError, match=r"exponent in cones\.power"):
        Cones(power=(1.0,))
    with pytest.raises(ProblemError, match="cones have 3 rows, but m = 4"):
        ConeStructure(2, 4, Cones(soc=(3,)), *pattern(2, 2), *pattern(4, 2))
    rows, cols = pattern(3, 2)
    with pytest.raises(ProblemError, match="sorted by column"):
        ConeStructure(2, 3, Cones(soc=(3,)), *pattern(2, 2), rows[::-1], cols[::-1])
    upper = (np.array([0, 0, 1]), np.array([0, 1, 1]))
    with pytest.raises(ProblemError, match="symmetric: give both triangles"):
        ConeStructure(2, 3, Cones(soc=(3,)), *upper, rows, cols)
    program, *_ = random_program(Cones(soc=(3,)), 2)
    with pytest.raises(ProblemError, match=r"b must have shape \(B, 3\)"):
        ConeProgram(program.structure, program.P, program.q, program.A, program.b[:, :2])


@pytest.mark.parametrize("far", [1e3, 1e20, 1e30])
def test_a_bound_that_does_not_bind_changes_nothing_however_far_it_is(far: float) -> None:
    x, y, h = cp.Variable(2), cp.Parameter(2), cp.Parameter(2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [cp.norm(x) <= 1, x >= -h])
    point = torch.tensor([-3.0, 4.0], dtype=torch.float64)
    (found,) = ConvexLayer(problem, [y, h], [x])(point, torch.full((2,), far, dtype=torch.float64))
    assert (found - torch.tensor([-0.6, 0.8], dtype=torch.float64)).abs().max() < 1e-9


@pytest.mark.parametrize("tol", [1e-8, 1e-5])
@pytest.mark.parametrize("power", [2.5, 2.7])
def test_a_vertex_of_many_cones_is_settled_by_a_sharper_attempt(power: float, tol: float) -> None:
    """Minimise (v − a)² + v^p: zero for a ≤ 0, where all cones of the power are at their vertices."""
    v, a = cp.Variable(), cp.Parameter()
    problem = cp.Problem(cp.Minimize(cp.square(v - a) + cp.power(v, power)), [v <= 2])
    points = torch.linspace(-3, -0.1, 7, dtype=torch.float64)
    solution = ConvexLayer(problem, [a], [v], tol=tol, on_failure="ignore").solve(points)
    assert (solution.status == Status.OPTIMAL).all()
    assert solution.variables[0].abs().max() <= 10 * tol


def growth(length: int) -> ConeProgram:
    """Minimise Σz over z₀ ≥ 1, z_k ≥ 10 z_{k−1}, beside |x| ≤ 1 for one x more."""
    A = torch.zeros(length + 3, length + 2).double()
    A[:-2, :-1] = torch.diag(torch.full((length,), 10.0).double(), -1) - torch.eye(length + 1).double()
    A[-1, -1] = -1
    b = torch.zeros(1, length + 3).double()
    b[0, 0], b[0, -2] = -1, 1
    q = torch.ones(1, length + 2).double()
    return sparse(torch.zeros(length + 2, length + 2).double(), q, A, b, Cones(nonneg=length + 1, soc=(2,)))


@pytest.mark.parametrize("length", [2, 8, 10])
def test_a_ray_that_leaves_the_cone_in_a_small_row_is_no_ray(length: int) -> None:
    program = growth(length)
    x = torch.zeros(1, length + 2, dtype=torch.float64)
    x[0, :-1] = -(10.0 ** torch.arange(-length, 1).double())
    assert unboundedness(program, x)[1].item() > 1e-7
    status = solve_cone_program(program, on_failure="ignore").status
    assert (status != Status.UNBOUNDED).all()


def test_a_sum_that_is_negative_by_rounding_alone_proves_nothing(rng) -> None:
    # ten steps up of 0.1 and one down of 1 around a circle: what is left of their sum is rounding
    size, negative = 11, 0
    A = torch.eye(size).double() - torch.eye(size).double().roll(1, 0)
    for _ in range(20):
        b = torch.from_numpy(rng.permutation(np.array([0.1] * 10 + [-1.0])))[None]
        zero = torch.zeros(1, size, dtype=torch.float64)
        circle = sparse(torch.eye(size).double(), zero, A, b, Cones(nonneg=size))
        y = torch.ones(1, size, dtype=torch.float64)
        negative += sum(b[0].tolist()) < 0
        assert infeasibility(circle, y)[1].item() == torch.inf
        falls = sparse(torch.zeros(size, size).double(), b, A, zero, Cones(nonneg=size))
        assert unboundedness(falls, -y if b.sum() > 0 else y)[1].item() == torch.inf
    assert negative


def test_a_core_that_cannot_be_used_is_left_out_and_says_why(monkeypatch) -> None:
    """One built from other sources is there, and can be imported."""
    monkeypatch.setattr(native, "_core", None)
    monkeypatch.setattr(native, "_reason", "it was built from other sources")
    door._available.cache_clear()
    program = ball(*(torch.tensor(v).double() for v in ([[3.0, 4.0]], [1.0], [-2.0])))
    try:
        found = solve_cone_program(program)
        with pytest.raises(
            UnavailableError, match="'native' cannot be used: it was built from other sources"
        ):
            solve_cone_program(program, solver="native")
    finally:
        door._available.cache_clear()
    assert found.x[0].tolist() == pytest.approx([-0.6, -0.8], abs=1e-9)
