"""What the core proves of programs without a solution is true in rational arithmetic; of others it proves nothing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from layers import Status, solve_qp
from layers.native import qp as native
from layers.problem import QP
from tests.layers.instances import random_qp
from tests.layers.test_certificates import bounded_growth, reachable

if native.unavailable():
    pytest.skip(f"no core to test: {native.unavailable()}", allow_module_level=True)

Array = NDArray[np.float64]
Data = tuple[Array, ...]

#: what an equation of a certificate may miss, of the magnitudes of its terms
ROUNDING = Fraction(1, 10**15)


def whole(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-3, 4, shape).astype(float)


def contradictory(rng: np.random.Generator, n: int, m: int, p: int, depth: float) -> Data:
    """The last row contradicts a combination of the others by ``depth``; whole numbers but for that."""
    G, A, z, nu = whole(rng, m, n), whole(rng, p, n), whole(rng, n), whole(rng, p)
    lam = rng.integers(0, 4, m - 1).astype(float)
    G[-1] = -(G[:-1].T @ lam + A.T @ nu)
    h = G @ z + np.where(np.append(lam, 1) > 0, 0, rng.integers(1, 4, m))
    h[-1] -= depth
    root = whole(rng, n // 2, n)
    return root.T @ root, whole(rng, n), G, h, A, A @ z


def bottomless(rng: np.random.Generator, n: int, m: int, p: int, depth: float) -> Data:
    """The objective falls by ``depth`` along a ray that no row, no equality and no curvature stops."""
    ray = rng.integers(-1, 2, n).astype(float)
    ray[0] = 1
    across = np.eye(n) * (ray @ ray) - np.outer(ray, ray)
    G, A, root, z = whole(rng, m, n), whole(rng, p, n) @ across, whole(rng, n // 2, n) @ across, whole(rng, n)
    G *= np.where(G @ ray > 0, -1, 1)[:, None]
    q = across @ whole(rng, n)
    q[0] -= depth
    return root.T @ root, q, G, G @ z + rng.integers(0, 4, m), A, A @ z


def ask(programs: list[Data], max_iterations: int = 100) -> native.Arrays:
    """What the core says of a batch."""
    data = QP(*(torch.from_numpy(np.stack(part)) for part in zip(*programs, strict=True)))
    return native.Arrays.of(native.solve(data, len(programs), 1e-8, 1e-9, max_iterations))


def combined(M: Array, y: Array) -> list[tuple[Fraction, Fraction]]:
    """Σ Mᵢ yᵢ, and the magnitudes in it, of every column."""
    rows = [[Fraction(v) * Fraction(w) for v in row] for row, w in zip(M.tolist(), y.tolist(), strict=True)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * M.shape[1]
    return [(sum(c, Fraction()), sum(map(abs, c), Fraction())) for c in columns]


def assert_proves_infeasible(data: Data, lam: Array, nu: Array) -> None:
    _, _, G, h, A, b = data
    assert (lam >= 0).all()
    C, y = np.vstack([G, A]), np.concatenate([lam, nu])
    assert all(abs(total) <= ROUNDING * terms for total, terms in combined(C, y))
    ((depth, _),) = combined(np.concatenate([h, b])[:, None], y)
    assert abs(depth + 1) < 1e-3


def assert_proves_unbounded(data: Data, d: Array) -> None:
    Q, q, G, _, A, _ = data
    assert all(abs(total) <= ROUNDING * terms for M in (Q, A) for total, terms in combined(M.T, d))
    assert all(total <= ROUNDING * terms for total, terms in combined(G.T, d))
    ((slope, _),) = combined(q[:, None], d)
    assert abs(slope + 1) < 1e-3


SIZES = [(1, 2, 0), (2, 5, 0), (5, 9, 2), (8, 3, 4), (20, 30, 5)]


@pytest.mark.parametrize("depth", [0.5, 2.0**-10, 2.0**-14])
@pytest.mark.parametrize(("n", "m", "p"), SIZES)
def test_contradictions_are_proved_however_shallow(n: int, m: int, p: int, depth: float) -> None:
    rng = np.random.default_rng([n, m, p])
    programs = [contradictory(rng, n, m, p, depth) for _ in range(20)]
    found = ask(programs)
    for i, data in enumerate(programs):
        if found.status[i] == Status.INFEASIBLE:
            assert_proves_infeasible(data, found.lam[i].numpy(), found.nu[i].numpy())
    assert (found.status == Status.INFEASIBLE).all()


@pytest.mark.parametrize("depth", [1.0, 2.0**-10, 2.0**-14])
@pytest.mark.parametrize(("n", "m", "p"), [(2, 0, 0), (2, 5, 0), (5, 9, 2), (8, 3, 4), (20, 30, 5)])
def test_rays_of_descent_are_proved_however_flat(n: int, m: int, p: int, depth: float) -> None:
    rng = np.random.default_rng([n, m, p])
    programs = [bottomless(rng, n, m, p, depth) for _ in range(20)]
    found = ask(programs)
    for i, data in enumerate(programs):
        if found.status[i] == Status.UNBOUNDED:
            assert_proves_unbounded(data, found.z[i].numpy())
    assert (found.status == Status.UNBOUNDED).all()


def test_a_contradiction_by_less_than_rounding_is_none() -> None:
    rng = np.random.default_rng(0)
    found = ask([contradictory(rng, 5, 9, 2, 2.0**-45) for _ in range(20)], max_iterations=1)
    assert (found.status != Status.INFEASIBLE).all()


def test_nothing_is_proved_of_a_program_that_has_a_solution(rng) -> None:
    """With one iteration hardly any is solved: every other one is asked for a proof."""
    asked = 0
    for n, m, p in ((1, 1, 0), (3, 9, 1), (8, 8, 4), (20, 33, 3), (12, 40, 0)):
        problem = QP(*random_qp(rng, n, m, p, batch=(40,)))
        handle = native.solve(problem, 40, 1e-8, 1e-9, 1)
        status = torch.from_numpy(handle.status())
        assert (status <= Status.OPTIMAL).all()
        asked += int((status == native.LEFT).sum())
    assert asked > 20


@pytest.mark.parametrize("length", [2, 8, 12, 16, 20, 24])
@pytest.mark.parametrize("build", [bounded_growth, reachable])
def test_nothing_is_proved_of_a_program_whose_solution_is_far_out(build, length: int) -> None:
    data, _ = build(length)
    arrays = tuple(t.numpy() for t in data)
    assert ask([arrays], max_iterations=1).status <= Status.OPTIMAL


def test_curvature_that_is_rounding_stops_no_ray() -> None:
    """Q = RᵀR of random floats is singular but for rounding."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(20):
        root = rng.normal(size=(3, 6))
        data = (
            root.T @ root,
            rng.normal(size=6),
            np.zeros((0, 6)),
            np.zeros(0),
            np.zeros((0, 6)),
            np.zeros(0),
        )
        answer = ask([data])
        found += int(answer.status[0] == Status.UNBOUNDED)
        assert answer.status[0] in (Status.UNBOUNDED, native.LEFT)
    assert found > 10


def test_the_layer_takes_the_proof_of_the_core(rng, monkeypatch) -> None:
    """No other engine is asked, and the answer has the residuals of what is returned."""
    monkeypatch.setattr("layers.qp.engines._answer_flat", lambda *_: pytest.fail("torch was asked"))
    programs = [contradictory(np.random.default_rng(i), 5, 9, 2, 0.5) for i in range(3)]
    data = [torch.from_numpy(np.stack(part)) for part in zip(*programs, strict=True)]
    solution = solve_qp(*data, on_failure="ignore")
    assert (solution.status == Status.INFEASIBLE).all()
    assert (solution.residuals.largest > 1e-3).all()
    assert torch.equal(solution.s, data[3] - (data[2] @ solution.z.unsqueeze(-1)).squeeze(-1))
