"""Degenerate programs that the core leaves, beside HiGHS, and without the sparse first stage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from layers import Status, solve_qp
from layers.qp import vertex


@pytest.fixture(autouse=True)
def _engine() -> None:
    """The core and what follows it: each test runs once."""


def transport(size: int, seed: int) -> tuple[Tensor, ...]:
    """An assignment: linear, with dependent equalities and 2·size − 1 positive variables at most."""
    rng = np.random.default_rng(seed)
    n = size * size
    sums = np.vstack([np.kron(np.eye(size), np.ones(size)), np.kron(np.ones(size), np.eye(size))])
    Q, G, h, b = np.zeros((n, n)), -np.eye(n), np.zeros(n), np.ones(2 * size)
    return tuple(torch.tensor(v) for v in (Q, rng.random(n), G, h, sums, b))


@pytest.mark.parametrize("seed", range(3))
def test_vertices_are_those_of_the_simplex_method(seed: int):
    Q, q, G, h, A, b = transport(9, seed)
    solution = solve_qp(Q, q, G, h, A, b)
    right = scipy.optimize.linprog(q.numpy(), A_eq=A.numpy(), b_eq=b.numpy(), method="highs")
    assert solution.residuals.largest < 1e-12
    assert abs(solution.z.numpy() - right.x).max() < 1e-12
    assert solution.degeneracy.dependent_rows > 0


def test_the_stage_changes_no_answer_and_no_gradient(monkeypatch: pytest.MonkeyPatch):
    """Twice each row, and a bound that is weakly active: with and without the stage."""
    rng = np.random.default_rng(0)
    n = 12
    root = rng.standard_normal((n, n))
    Q, q = torch.tensor(root @ root.T + np.eye(n)), torch.tensor(rng.standard_normal(n), requires_grad=True)
    G = torch.tensor(rng.standard_normal((4, n)))
    G = torch.cat([G, 3 * G, torch.eye(n, dtype=torch.float64)[:1]])
    h = torch.cat([torch.full((4,), -0.5), torch.full((4,), -1.5), torch.zeros(1)]).double()
    first = solve_qp(Q, q, G[:-1], h[:-1])
    h[-1] = first.z[0].detach()
    found = []
    for most in (vertex.FEW, 0):
        monkeypatch.setattr(vertex, "FEW", most)
        solution = solve_qp(Q, q, G, h)
        found.append((solution.z, *torch.autograd.grad(solution.z.sum(), q)))
    for ours, other in zip(*found, strict=True):
        assert (ours - other).abs().max() < 1e-9


def test_an_element_without_a_solution_is_proved_to_have_none():
    Q, q, G, h, A, b = transport(4, 0)
    sides = torch.stack([b, torch.cat([b[:-1], torch.full((1,), 2.0).double()])])
    solution = solve_qp(Q, q, G, h, A, sides, on_failure="ignore")
    assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE]
    lam, nu = solution.lam[1], solution.nu[1]
    assert (lam @ G + nu @ A).abs().max() < 1e-6 * nu.abs().max()
    assert h @ lam + sides[1] @ nu < 0
