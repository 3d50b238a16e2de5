"""What must be solved is solved, alone and mixed in one batch; what cannot be is told, with its certificate."""

import numpy as np
import pytest
import torch

from layers import Solution, Status, solve_qp
from tests.layers.catalogue import INFEASIBLE, SOLVABLE, UNBOUNDED, Builder
from tests.layers.instances import (
    NAMES,
    Array,
    Data,
    assert_close,
    clarabel_solution,
    leaves,
    padded,
    random_qp,
    stack,
    weigh,
)

TOL = 1e-8
#: sizes at which every problem of the catalogue fits
SIZE = (6, 16, 2)
ALL = SOLVABLE | INFEASIBLE | UNBOUNDED


def build(builder: Builder) -> Data:
    return builder(np.random.default_rng(7))


def violations(data: Data, solution: Solution) -> tuple[float, float, float]:
    """Primal, dual and gap violation of the KKT conditions, relative by the customary measure, in numpy."""
    Q, q, G, h, A, b = (t.numpy() for t in data)
    z, lam, nu = (t.detach().numpy() for t in (solution.z, solution.lam, solution.nu))
    z_size = max(1.0, np.abs(z).max())
    y_size = max(1.0, np.abs(lam).max(initial=0.0), np.abs(nu).max(initial=0.0))
    tiny = 1e-300

    def largest(M: Array, axis: int) -> Array:
        return np.abs(M).max(axis, initial=tiny)

    columns = [largest(Q, 0) * z_size, np.abs(q), largest(G, 0) * y_size, largest(A, 0) * y_size]
    terms = (z @ Q @ z, q @ z, h @ lam, b @ nu)
    stationarity = (Q @ z + q + G.T @ lam + A.T @ nu) / np.max(columns, axis=0)
    inequality = np.clip(G @ z - h, 0, None) / np.maximum(np.abs(h), largest(G, 1) * z_size)
    equality = np.abs(A @ z - b) / np.maximum(np.abs(b), largest(A, 1) * z_size)
    primal = max(inequality.max(initial=0.0), equality.max(initial=0.0))
    dual = max(np.abs(stationarity).max(), np.clip(-lam, 0, None).max(initial=0.0) / y_size)
    return primal, dual, abs(sum(terms)) / max(1.0, *np.abs(terms))


@pytest.fixture(scope="module")
def mixed() -> tuple[Data, Solution]:
    """The whole catalogue in one batch, the impossible among the possible."""
    data = stack([padded(build(builder), *SIZE) for builder in ALL.values()])
    return data, solve_qp(*data, on_failure="ignore")


@pytest.mark.parametrize("name", SOLVABLE)
def test_solved_alone(name: str) -> None:
    data = build(SOLVABLE[name])
    solution = solve_qp(*data)
    assert solution.status.item() == Status.OPTIMAL
    assert solution.residuals.largest.item() <= TOL
    assert max(violations(data, solution)) <= TOL
    z, _, _ = clarabel_solution(data, 1e-10)
    Q, q = data[0].numpy(), data[1].numpy()
    terms = (0.5 * z @ Q @ z, q @ z)
    assert abs(solution.objective.item() - sum(terms)) <= 1e-7 * max(1.0, *np.abs(terms))


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_residuals_are_those_of_the_conditions_written_out(rng, limit: int) -> None:
    data = random_qp(rng, 30, 60, 5)
    stopped = solve_qp(*data, max_iterations=limit, on_failure="ignore")
    assert stopped.z.abs().max() > 1
    assert stopped.lam.abs().max() > 1
    r = stopped.residuals
    for found, expected in zip((r.primal, r.dual, r.gap), violations(data, stopped), strict=True):
        assert abs(found.item() - expected) <= 1e-9 * expected + 1e-14
    assert (stopped.status.item() == Status.OPTIMAL) == (max(violations(data, stopped)) <= TOL)


def test_a_tolerance_out_of_reach_is_not_called_optimal(rng) -> None:
    solution = solve_qp(*random_qp(rng, 30, 60, 5, batch=(8,)), tol=1e-17, on_failure="ignore")
    reached = solution.residuals.largest <= 1e-17
    assert not reached.all()
    assert torch.equal(solution.status == Status.OPTIMAL, reached)


def test_statuses_in_a_mixed_batch(mixed) -> None:
    found = [Status(int(v)) for v in mixed[1].status]
    expected = [Status.OPTIMAL] * len(SOLVABLE) + [Status.INFEASIBLE] * len(INFEASIBLE)
    assert found == expected + [Status.UNBOUNDED] * len(UNBOUNDED)


@pytest.mark.parametrize("name", SOLVABLE)
def test_solved_in_a_mixed_batch_as_alone(mixed, name: str) -> None:
    data, together = mixed
    i = list(ALL).index(name)
    Q, _, G, _, A, _ = element = tuple(t[i] for t in data)
    alone = solve_qp(*element)
    # multipliers of dependent rows, and z along a flat direction, are not unique: what they bring about is
    for what, found, expected in (
        ("objective", together.objective[i], alone.objective),
        ("Gz", G @ together.z[i], G @ alone.z),
        ("Qz", Q @ together.z[i], Q @ alone.z),
        ("forces", G.mT @ together.lam[i] + A.mT @ together.nu[i], G.mT @ alone.lam + A.mT @ alone.nu),
    ):
        assert_close(found, expected, 1e-11, what)
    if name != "singular_unconstrained":
        assert_close(together.z[i], alone.z, 1e-11, "z")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_statuses_do_not_depend_on_the_units_of_anything(seed: int) -> None:
    """The catalogue with rows, costs and variables in units from 10⁻⁸ to 10⁸, each drawn by itself."""
    rng = np.random.default_rng(seed)
    problems, expected = [], []
    for name in rng.choice(list(ALL), 200):
        Q, q, G, h, A, b = padded(ALL[name](rng), *SIZE)
        sizes = (1, 1, SIZE[1], SIZE[2])
        cost, unit, g, a = (torch.from_numpy(10 ** rng.uniform(-8, 8, size=k)) for k in sizes)
        rows = (g.unsqueeze(-1) * G, g * unit * h, a.unsqueeze(-1) * A, a * unit * b)
        problems.append((cost * Q, cost * unit * q, *rows))
        kind = [name in INFEASIBLE, name in UNBOUNDED, True].index(True)
        expected.append((Status.INFEASIBLE, Status.UNBOUNDED, Status.OPTIMAL)[kind])
    assert solve_qp(*stack(problems), on_failure="ignore").status.tolist() == expected


#: problems of the catalogue at which the derivative exists
REGULAR = (
    "strictly_convex",
    "no_inequalities",
    "no_equalities",
    "unconstrained",
    "two_sided_rows",
    "one_variable",
)


def test_gradients_in_a_mixed_batch_are_those_of_each_problem_alone(mixed) -> None:
    data = leaves(mixed[0])
    z = solve_qp(*data, on_failure="ignore").z
    found = torch.autograd.grad(sum(weigh(row) for row in z), data)
    assert all(x.isfinite().all() for x in found)
    for i, name in enumerate(ALL):
        if name not in SOLVABLE:
            assert all((x[i] == 0).all() for x in found), name
        elif name in REGULAR:
            alone = leaves(tuple(t[i] for t in mixed[0]))
            expected = torch.autograd.grad(weigh(solve_qp(*alone).z), alone)
            for argument, x, y in zip(NAMES, found, expected, strict=True):
                assert_close(x[i], y, 1e-10, f"{name}, d{argument}")


def test_a_shared_argument_sums_over_the_solved_elements_only(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 5, 4, 1)
    # a second equality 0 = c that only the middle element contradicts
    A, b = (
        torch.cat([A, 0 * A]),
        torch.stack([torch.stack([b[0] + c / 10, b[0] * 0 + c % 2]) for c in range(3)]),
    )
    shared = leaves((Q, q, G, h, A, b))
    solution = solve_qp(*shared, on_failure="nan")
    assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE, Status.OPTIMAL]
    assert torch.isnan(solution.z[1]).all()
    found = torch.autograd.grad(sum(weigh(solution.z[i]) for i in (0, 2)), shared)
    total = [torch.zeros_like(t) for t in shared]
    for i in (0, 2):
        alone = leaves((Q, q, G, h, A, b[i]))
        for k, g in enumerate(torch.autograd.grad(weigh(solve_qp(*alone).z), alone)):
            (total[k] if k < 5 else total[k][i]).add_(g)
    for name, x, y in zip(NAMES, found, total, strict=True):
        assert_close(x, y, 1e-10, name)


@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_random_sizes_are_solved(rng, n: int, share: float) -> None:
    data = random_qp(rng, n, 3 * n, int(share * (n // 3)), batch=(4,))
    solution = solve_qp(*data)
    for i in range(4):
        element = tuple(t[i] for t in data)
        assert_close(solution.z[i], torch.tensor(clarabel_solution(element)[0]), 1e-7)


@pytest.mark.parametrize(("n", "m"), [(200, 400), (500, 2000)])
def test_large_problems(n: int, m: int) -> None:
    data = random_qp(np.random.default_rng(3), n, m, n // 10)
    variables = leaves(data)
    solution = solve_qp(*variables)
    assert solution.status.item() == Status.OPTIMAL
    assert max(violations(data, solution)) <= TOL
    # the problem was made from its solution, and the envelope ties the derivative to it
    slope = torch.autograd.grad(solution.objective, variables[3], retain_graph=True)[0]
    assert_close(slope, -solution.lam.detach(), 1e-12)
    assert all(g.isfinite().all() for g in torch.autograd.grad(weigh(solution.z), variables))
