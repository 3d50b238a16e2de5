"""Degenerate solutions inside the core: activity by the full rule, K⁺ and K⁺ᵀ, and proposals that it polishes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import solve_qp
from layers.native import qp as native
from layers.problem import QP
from layers.qp import dispatch, proposal, vertex
from layers.qp.activity import ACTIVE, INACTIVE, WEAK, activity
from layers.solution import ROWS_SHARP
from tests.layers.instances import Data
from tests.layers.test_degenerate_gradients import CASES, degenerate, kkt_matrix
from tests.layers.test_doubt import ill_conditioned
from tests.layers.test_vertex import transport

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))


@pytest.fixture(autouse=True)
def _engine() -> None:
    """The core alone: each test runs once."""


def solved(data: Data) -> native.Arrays:
    """What the core says of one problem, as a batch of one."""
    return native.Arrays.of(native.solve(QP(*(v[None] for v in data)), 1, 1e-8, 1e-9, 100))


@pytest.mark.parametrize("scale", [1.0, 1e5])
@pytest.mark.parametrize("case", CASES)
def test_the_core_tells_the_activity_that_torch_tells(case: str, scale: float) -> None:
    data, strong, weak, _ = degenerate(case, np.random.default_rng(0))
    Q, q, G, h, A, b = data
    rows = torch.where(torch.arange(len(h)) % 2 == 0, scale, 1.0).double()
    data = Q, q, rows[:, None] * G, rows * h, A, b
    found = solved(data)
    assert found.status.tolist() == [0]
    flat = QP(*(v[None] for v in data))
    assert torch.equal(found.kind, activity(flat, found.z, found.lam, found.nu))
    expected = torch.full_like(found.kind[0], INACTIVE)
    expected[strong], expected[weak] = ACTIVE, WEAK
    if case not in (
        "linear program",
        "dependent equalities",
    ):  # whose active rows stand elsewhere in the data
        assert torch.equal(found.kind[0], expected)


@pytest.mark.parametrize("seed", range(6))
def test_the_core_tells_planted_weak_rows(seed: int) -> None:
    """Random programs with strongly active rows, one of them twice, and weakly active ones."""
    rng = np.random.default_rng(seed)
    n, strong, weak = 8, int(rng.integers(2, 4)), seed % 3
    root, G, z = rng.normal(size=(n, n)), rng.normal(size=(12, n)), rng.normal(size=n)
    G[strong - 1] = 2 * G[0]
    lam = np.where(np.arange(12) < strong, 1.0, 0.0)
    s = np.where(np.arange(12) < strong + weak, 0.0, 1.0)
    Q = root @ root.T + np.eye(n)
    parts = Q, -(Q @ z) - G.T @ lam, G, G @ z + s, np.zeros((0, n)), np.zeros(0)
    data = tuple(torch.tensor(v) for v in parts)
    found = solved(data)  # pyright: ignore[reportArgumentType]
    assert found.status.tolist() == [0]
    told = activity(QP(*(v[None] for v in data)), found.z, found.lam, found.nu)
    assert (told == WEAK).sum() == weak
    assert torch.equal(found.kind, told)


@pytest.mark.parametrize("power", [8, 9])
def test_the_core_refines_what_working_precision_leaves_in_doubt(power: int) -> None:
    """κ = 2^2·power leaves 3e-6 of z, and with it slacks of rows that hold with equality; refined, z is exact."""
    (Q, q, G, h), z, _ = ill_conditioned(power)
    found = solved((Q, q, G, h, Q[:0], q[:0]))
    assert found.kind.tolist() == [[WEAK, WEAK, WEAK, INACTIVE]]
    assert (found.z[0] - z).abs().max() < 1e-15


@pytest.mark.parametrize("seed", range(8))
def test_the_core_tells_which_weak_rows_pin_each_other(seed: int) -> None:
    """A point that is its own minimiser without rows: cycles of them pin, open ones do not, held rows hide some."""
    rng = np.random.default_rng(seed)
    n = 7
    cycle = rng.normal(size=(3, n))
    cycle = np.vstack([cycle, -(rng.uniform(1, 2, 3) @ cycle)])
    held = rng.normal(size=(1, n))
    # the last row is one of the others, reversed, but for what the equality says
    weak = np.vstack([cycle, rng.normal(size=(2, n)), -cycle[:1] + 2 * held])[: 4 + seed % 4]
    if seed >= 4:
        weak = weak[1:]
    z = rng.normal(size=n)
    data = tuple(map(torch.tensor, (np.eye(n), -z, weak, weak @ z, held, held @ z)))
    found = solved(data)  # pyright: ignore[reportArgumentType]
    expected = activity(QP(*(v[None] for v in data)), found.z, found.lam, found.nu)
    assert found.status.tolist() == [0]
    assert torch.equal(found.kind, expected)
    assert ((expected == ACTIVE).sum() >= 4) == (seed < 4)


@pytest.mark.parametrize("seed", range(4))
def test_the_core_solves_a_part_in_small_units_by_itself(seed: int) -> None:
    """Nothing pulls in a box of size 1e-9, which has a segment without curvature; beside it units of 1e5."""
    rng = np.random.default_rng(seed)
    n = 8
    root = rng.normal(size=(n - 2, n)) * (rng.random((n - 2, n)) < 0.8)
    end = np.where(np.arange(n) % 2 == 0, 1e-9, -2e-9)
    root = np.vstack([root, rng.normal(size=n)])
    root -= np.outer(root @ end, end) / (end @ end)
    Q = torch.block_diag(torch.tensor(root.T @ root), torch.tensor([[1e3]]))
    # one row says that it begins here, another that it ends
    G = np.vstack([np.diag(np.sign(end)), -np.eye(n)[:1] * np.sign(end)])
    h = np.append(np.where(np.arange(n) == 1, 1, 2) * abs(end), -abs(end[0]))
    data = (
        Q,
        torch.tensor([0.0] * n + [-1e8]).double(),
        torch.block_diag(torch.tensor(G), torch.tensor([[1.0]])),
        torch.tensor([*h, 2e4]).double(),
        torch.zeros(0, n + 1).double(),
        torch.zeros(0).double(),
    )
    found = solved(data)
    assert found.status.tolist() == [0]
    flat = QP(*(v[None] for v in data))
    assert torch.equal(found.kind, activity(flat, found.z, found.lam, found.nu))
    assert found.kind[0].tolist() == [INACTIVE, WEAK] + [INACTIVE] * (n - 2) + [WEAK, ACTIVE]
    assert (found.z[0, :n] - torch.tensor(end)).abs().max() < 1e-17
    assert found.z[0, n].item() == pytest.approx(2e4, rel=1e-12)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_core_gives_the_pseudo_inverse_both_ways(case: str, transpose: bool) -> None:
    rng = np.random.default_rng(1)
    data, strong, weak, _ = degenerate(case, rng)
    K, touched = kkt_matrix(data, strong, weak)
    n, m, p = data[1].numel(), data[3].numel(), data[5].numel()
    kind = torch.zeros(1, m, dtype=torch.int8)
    kind[0, strong], kind[0, weak] = ACTIVE, WEAK
    r = [torch.tensor(rng.normal(size=(1, size))) for size in (n, m, p)]
    flat = QP(data[0], r[0], data[2], r[1], data[4], r[2])
    x, error, _ = native.solve_linearised(flat, kind, torch.zeros(1, dtype=torch.int64), transpose=transpose)
    assert error.item() <= 1e-9
    read, given = (touched, strong) if transpose else (strong, touched)
    right = np.concatenate([r[0][0], r[1][0, read], r[2][0]])
    expected = np.linalg.pinv(K.T if transpose else K, rcond=1e-12) @ right
    found = np.concatenate([x[0][0], x[1][0, given], x[2][0]])
    assert abs(found - expected).max() < 1e-10 * max(1.0, abs(expected).max())
    off = [i for i in range(m) if i not in given]
    assert not x[1][0, off].any()


def crowded_vertex(seed: int) -> tuple[Tensor, Data]:
    """A sparse program with more active rows than variables, multipliers of sizes 10^±2, and z of sizes up to 100."""
    rng = np.random.default_rng(seed)
    n = 80
    z = rng.integers(0, 2, n) * rng.uniform(1.0, 100.0, n)

    def rows(count: int) -> np.ndarray:
        M = np.zeros((count, n))
        for row in M:
            row[rng.choice(n, 3, replace=False)] = rng.integers(1, 6, 3) * rng.choice([-1, 1], 3)
        return M

    A = rows(n // 4)
    A = np.vstack([A, A[:2] + A[2:4]])
    G = np.vstack([rows(n // 2 + 10), -np.eye(n)])
    binds = np.concatenate([np.ones(n // 2, bool), np.zeros(10, bool), z == 0])
    lam = np.where(binds, 10.0 ** rng.uniform(-2, 2, len(G)), 0.0)
    s = np.where(binds, 0.0, 10.0 ** rng.uniform(-1, 3, len(G)))
    s[-n:] = z
    Q = np.diag(np.where(np.arange(n) % 4 == 0, 1.0, 0.0))
    q = -(Q @ z) - G.T @ lam - A.T @ (100.0 * rng.normal(size=len(A)))
    data = tuple(torch.tensor(v) for v in (Q, q, G, G @ z + s, A, A @ z))
    return torch.tensor(z), data  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("seed", range(8))
def test_the_iteration_itself_comes_to_a_vertex_with_large_multipliers_on_dependent_rows(seed: int) -> None:
    """It has no second try, and its answer is that of the torch rule, the objective that of the planted point."""
    z, data = crowded_vertex(seed)
    Q, q = data[0], data[1]
    found = solved(data)
    assert found.status.tolist() == [0]
    assert found.residuals[0, :3].max() < 1e-13
    value = 0.5 * z @ Q @ z + q @ z
    assert abs(found.objective[0] - value) < 1e-11 * abs(value)
    told = activity(QP(*(v[None] for v in data)), found.z, found.lam, found.nu)
    assert torch.equal(found.kind, told)


def test_parts_that_nothing_connects_do_not_weigh_on_each_other() -> None:
    """Two rows that repeat each other beside the same with a curvature and a bound of another size by ten decades."""
    one = np.array([[1.0, 0.3], [0.3, 2.0]])
    Q = np.zeros((4, 4))
    Q[:2, :2], Q[2:, 2:] = one, 1e-10 * one
    G = np.zeros((4, 4))
    G[:2, :2], G[2:, 2:] = [[1.0, 1.0], [2.0, 2.0]], [[1e5, 1e5], [2e5, 2e5]]
    r = np.array([1.0, -2.0, 1.0, -2.0])
    flat = QP(
        *(torch.tensor(v) for v in (Q, r[None], G, np.zeros((1, 4)), np.zeros((0, 4)), np.zeros((1, 0))))
    )
    kind, status = torch.ones(1, 4, dtype=torch.int8), torch.zeros(1, dtype=torch.int64)
    x, error, _ = native.solve_linearised(flat, kind, status, transpose=True)
    assert error.item() <= 1e-9
    for own in (slice(0, 2), slice(2, 4)):
        z = x[0][0, own].numpy()
        assert abs(z @ [1.0, 1.0]) < 1e-9 * abs(z).max()
        direction = np.array([1.0, -1.0])
        curvature = direction @ Q[own, own] @ direction
        assert abs(z - direction * (direction @ r[own]) / curvature).max() < 1e-9 * abs(z).max()


def test_what_the_iteration_leaves_is_polished_by_the_core_from_a_proposal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An assignment with dependent equalities, which the core by itself is not content with: nobody else is asked."""
    data = transport(9, 0)
    right, whole = solve_qp(*data), dispatch.solve_in_core
    monkeypatch.setattr(dispatch, "solve_in_core", lambda p, r: whole(p, r._replace(tol=1e-300)))

    def refuse(*given: object, **options: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(vertex, "solve", refuse)
    solution = solve_qp(*data)
    assert solution.residuals.largest < 1e-12
    assert (solution.z - right.z).abs().max() < 1e-12
    assert solution.iterations > 1
    monkeypatch.setattr(proposal, "FEW", 0)
    with pytest.raises(AssertionError, match="asked"):
        solve_qp(*data)


@pytest.mark.parametrize("seed", [0, 1])
def test_rounding_of_long_sums_in_rows_that_vanish_is_no_doubt(seed: int) -> None:
    # 729 numbers, of which 433 are zero at the solution, and more active rows than numbers: 9x9 Sudoku is of this kind
    rng, n, p, zeros = np.random.default_rng(seed), 729, 310, 433
    z, lam = rng.uniform(0.1, 1.0, n), rng.uniform(0.1, 1.5, n)
    bound = np.isin(np.arange(n), rng.permutation(n)[:zeros])
    z[bound], lam[~bound] = 0, 0
    A = rng.normal(size=(p, n)) / np.sqrt(n)
    q = -1e-3 * z + lam - A.T @ rng.normal(size=p)
    given = (1e-3 * np.eye(n), q, -np.eye(n), np.zeros(n), A, A @ z)
    found = solved(tuple(map(torch.from_numpy, given)))  # pyright: ignore[reportArgumentType]
    assert found.status.tolist() == [0]
    assert found.residuals[0, 3:].max() > ROWS_SHARP  # rounding alone leaves more than is called sharp
    assert torch.equal(found.kind[0], torch.from_numpy(np.where(bound, ACTIVE, INACTIVE).astype(np.int8)))
    assert abs(found.z[0].numpy() - z).max() < 1e-13
