"""What nothing connects excuses nothing, spoils nothing, and is solved as if it were alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from layers import Status, solve_qp
from layers.linalg.parts import parts_of_variables
from layers.problem import QP
from layers.qp.kkt import NOISE, residuals
from tests.layers.instances import Data, as_data

ENGINES = ["native", "interior_point", "admm"]


@pytest.fixture(autouse=True)
def _engine() -> None:
    """Each test names its engines."""


def joined(*programs: Data) -> Data:
    """Programs that know nothing of each other as one."""
    columns = zip(*programs, strict=True)
    Q, q, G, h, A, b = (
        torch.block_diag(*parts) if parts[0].dim() == 2 else torch.cat(parts) for parts in columns
    )
    return Q, q, G, h, A, b


def clipped(target: list[float], upper: float, weight: float) -> tuple[Data, Tensor]:
    """minimise weight ‖z − target‖²/2 over 0 ≤ z ≤ upper with Σz free, tied together by a row that never binds."""
    t, n = torch.tensor(target, dtype=torch.float64), len(target)
    eye = torch.eye(n, dtype=torch.float64)
    G = torch.cat([-eye, eye, torch.ones(1, n, dtype=torch.float64)])
    h = [*[0.0] * n, *[upper] * n, 4 * n * upper]
    return as_data(weight * eye, -weight * t, G, h, torch.zeros(0, n), []), t.clamp(0, upper)


@pytest.mark.parametrize("seed", range(6))
def test_parts_are_the_components_of_the_graph(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, batch = 40, 3
    G = rng.standard_normal((batch, 12, n)) * (rng.random((batch, 12, n)) < 0.04)
    chain = np.eye(n - 10)[:-1] + np.eye(n - 10, k=1)[:-1] * (np.arange(n - 11)[:, None] != 17)
    A = np.hstack([np.zeros((len(chain), 10)), chain[:, rng.permutation(n - 10)]])
    found = parts_of_variables([torch.from_numpy(G), torch.from_numpy(A)])
    for own, label in zip(G, found, strict=True):
        M = sp.csr_array(np.vstack([own, A]))
        _, group = connected_components(M.T @ M)
        first = np.array([np.flatnonzero(group == g)[0] for g in group])
        assert np.array_equal(label.numpy(), first)


@pytest.mark.parametrize("solver", ENGINES)
@pytest.mark.parametrize("power", [-8, -3, 5, 8])
def test_parts_of_far_apart_units_have_the_answers_of_closed_forms(solver: str, power: int) -> None:
    """Clipped targets, one program in units of 10^power, beside one of another weight, in one batch with others."""
    unit = 10.0**power
    small, right_small = clipped([0.5 * unit, -2 * unit, 3 * unit], unit, 1 / unit)
    large, right_large = clipped([0.25, 7.0, -1.0, 0.5], 1.0, unit)
    one, two = joined(small, large), joined(clipped([1.0, 2.0, -1.0], 1.5, 1.0)[0], large)
    data = tuple(torch.stack(pair).requires_grad_() for pair in zip(one, two, strict=True))
    solution = solve_qp(*data, solver=solver)
    off = (solution.z[0] - torch.cat([right_small, right_large])).abs()
    assert off[:3].max() < 1e-8 * unit
    assert off[3:].max() < 1e-8
    # z moves with −q / weight where nothing binds, and not at all elsewhere
    (moved,) = torch.autograd.grad(solution.z[0].sum(), data[1])
    inside = torch.cat([(r > 0) & (r < u) for r, u in ((right_small, unit), (right_large, 1.0))])
    weight = torch.tensor([1 / unit] * 3 + [unit] * 4, dtype=torch.float64)
    assert (moved[0] * weight + inside.double()).abs().max() < 1e-9
    assert not moved[1].any()


@pytest.mark.parametrize("solver", ["native", "interior_point"])
def test_a_part_without_curvature_beside_a_steep_one_keeps_its_bound(solver: str) -> None:
    """z₀ ≤ 0 with a curvature of 1e-24, beside a price of 1e11: z₀ came out at −1e11, and z₁ ≥ 0 violated by that."""
    rows = [[1.0, 0.0], [0.0, -1.0], [0.0, 262144.0]]
    data = as_data(
        torch.diag(torch.tensor([1e-24, 0.0])), [0.0, 1e11], rows, [0.0, 0.0, 3.5], torch.zeros(0, 2), []
    )
    solution = solve_qp(*data, solver=solver)
    assert solution.z.abs().max() < 1e-12
    assert solution.lam[1].item() == pytest.approx(1e11)


def test_a_row_is_measured_beside_the_noise_of_its_own_part() -> None:
    """A bound of 0 that is missed by 1e-4, beside a variable of size 1e12: noise of all is 1e5, of its part 1e-7."""
    eye = torch.eye(2, dtype=torch.float64)
    apart = as_data(eye, [0.0, -1e12], [[1.0, 0.0], [0.0, 1.0]], [0.0, 2e12], torch.zeros(0, 2), [])
    tied = as_data(eye, [0.0, -1e12], [[1.0, 0.0], [1e-9, 1.0]], [0.0, 2e12], torch.zeros(0, 2), [])
    for data, seen in ((apart, True), (tied, False)):
        point = (torch.tensor([v], dtype=torch.float64) for v in ([1e-4, 1e12], [0.0, 0.0], []))
        found = residuals(QP(*data).flatten(), *point).rowwise[0, 0].item()
        assert (found > 0.5) is seen
        assert found == pytest.approx(1.0 if seen else 1e-4 / (NOISE * 1e12), rel=1e-6)


def test_the_core_measures_as_torch_does(rng: np.random.Generator) -> None:
    """Vertices whose bounds of zero have no terms, in parts of sizes from 1e-8 to 1e8."""
    programs = []
    for _ in range(24):
        parts = []
        for _ in range(3):
            unit = 10.0 ** rng.integers(-8, 9)
            parts.append(
                clipped((unit * rng.integers(-2, 3, 3)).tolist(), unit, 10.0 ** rng.integers(-8, 9))[0]
            )
        programs.append(joined(*parts))
    data = tuple(torch.stack(v) for v in zip(*programs, strict=True))
    solution = solve_qp(*data, solver="native")
    again = residuals(QP(*data).flatten(), solution.z, solution.lam, solution.nu)
    assert (solution.residuals.rowwise - again.rowwise).abs().max() < 1e-12
    assert solution.residuals.largest.max() < 1e-8


@pytest.mark.parametrize("solver", ["native", "interior_point"])
def test_a_certificate_of_one_part_is_one_of_the_whole(solver: str) -> None:
    """Infeasible by a hair in units of 1e-8, and unbounded, each beside a program of units 1e8 that has a solution."""
    fine, right = clipped([2e8, 0.5e8, -1e8], 1e8, 1e-8)
    empty = as_data(torch.eye(1), [0.0], [[1.0], [-1.0]], [0.0, -1e-8], torch.zeros(0, 1), [])
    steep = as_data(torch.zeros(1, 1), [-1e-8], [[-1.0], [-2.0]], [0.0, 1.0], torch.zeros(0, 1), [])
    free = as_data(torch.eye(1), [1e-8], [[-1.0], [1.0]], [1.0, 1.0], torch.zeros(0, 1), [])
    data = tuple(
        torch.stack(v) for v in zip(*(joined(fine, part) for part in (empty, steep, free)), strict=True)
    )
    solution = solve_qp(*data, solver=solver, on_failure="ignore")
    assert solution.status.tolist() == [Status.INFEASIBLE, Status.UNBOUNDED, Status.OPTIMAL]
    Q, q, G, h, _, _ = data
    assert (G[0].T @ solution.lam[0]).abs().max() <= 1e-15 * solution.lam[0].abs().max()
    assert (h[0] @ solution.lam[0]).item() == pytest.approx(-1)
    ray = solution.z[1]
    assert (Q[1] @ ray).abs().max() == 0
    assert (G[1] @ ray).max() <= 0
    assert (q[1] @ ray).item() == pytest.approx(-1)
    assert torch.allclose(solution.z[2, :3], right, rtol=1e-9)


@pytest.mark.parametrize("solver", ["native", "interior_point"])
def test_rounding_of_cancelling_terms_is_no_gap(solver: str) -> None:
    """z_k = 10 z_{k−1}, z₀ ≥ 1, prices up to 33: terms of 3e12 whose sum is 1, which is the multiplier, exactly."""
    q = [-29, -7, 21, -22, 32, -13, 1, 0, 30, -33, -17, 2]
    n = len(q)
    chain = torch.eye(n)[1:] - 10 * torch.eye(n)[:-1]
    data = as_data(
        torch.zeros(n, n), [float(v) for v in q], -torch.eye(n)[:1], [-1.0], chain, [0.0] * (n - 1)
    )
    solution = solve_qp(*data, solver=solver)
    assert torch.equal(solution.z.round(), 10.0 ** torch.arange(n, dtype=torch.float64))
    assert sum(Fraction(v) * 10**k for k, v in enumerate(q)) == 1  # λ₀
    assert solution.lam.item() == pytest.approx(1, abs=1e-3)  # of terms of 3e12
