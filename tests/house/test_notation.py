"""The formulas of docs/notation.md, typed in again with numpy, are what the layer computes."""

import numpy as np
import pytest
import torch

from layers import solve_qp

NAMES = ("Q", "q", "G", "h", "A", "b")


def _problem(rng: np.random.Generator, n: int = 6, m: int = 5, p: int = 2) -> dict[str, np.ndarray]:
    root, z0 = rng.standard_normal((n, n)), rng.standard_normal(n)
    G, A = rng.standard_normal((m, n)), rng.standard_normal((p, n))
    # three rows pass through the feasible point z0, so that some constraints become active
    h = G @ z0 + np.r_[np.zeros(3), np.ones(m - 3)]
    Q, q = root @ root.T + np.eye(n), 5 * rng.standard_normal(n)
    return {"Q": Q, "q": q, "G": G, "h": h, "A": A, "b": A @ z0}


def _solve(problem: dict[str, np.ndarray], weights: list[np.ndarray]):
    """Return (z, lam, nu), the active rows, and the gradients of the weighted sum by the layer."""
    data = {name: torch.from_numpy(value).requires_grad_() for name, value in problem.items()}
    solution = solve_qp(**data, tol=1e-10)
    point = (solution.z, solution.lam, solution.nu)
    loss = sum((torch.from_numpy(w) * x).sum() for w, x in zip(weights, point, strict=True))
    gradients = torch.autograd.grad(loss, [data[name] for name in NAMES])
    z, lam, nu = (x.detach().numpy() for x in point)
    active = lam > 1e-6
    return (z, lam, nu), active, dict(zip(NAMES, (g.numpy() for g in gradients), strict=True))


def _read_off(z, lam, nu, d_z, d_lam, d_nu) -> dict[str, np.ndarray]:
    """Return the six gradients; d_lam is that of the symmetric form, D(lam) d_lam of OptNet's."""
    return {
        "Q": (np.outer(d_z, z) + np.outer(z, d_z)) / 2,
        "q": d_z,
        "G": np.outer(d_lam, z) + np.outer(lam, d_z),
        "h": -d_lam,
        "A": np.outer(d_nu, z) + np.outer(nu, d_z),
        "b": -d_nu,
    }


@pytest.fixture
def weights(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal(6), rng.standard_normal(5), rng.standard_normal(2)]


def test_symmetric_form_is_the_gradient_of_the_layer(rng, weights):
    problem = _problem(rng)
    (z, lam, nu), active, found = _solve(problem, weights)
    assert 0 < active.sum() < 5
    n, k = 6, active.sum()
    C = np.vstack([problem["G"][active], problem["A"]])
    K = np.block([[problem["Q"], C.T], [C, np.zeros((len(C), len(C)))]])
    d = np.linalg.solve(K, -np.concatenate([weights[0], weights[1][active], weights[2]]))
    d_lam = np.zeros(5)
    d_lam[active] = d[n : n + k]
    for name, expected in _read_off(z, lam, nu, d[:n], d_lam, d[n + k :]).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-7, atol=1e-8, err_msg=name)


def test_the_form_of_optnet_gives_the_same_gradients_and_the_misread_one_does_not(rng, weights):
    problem = _problem(rng)
    Q, G, h, A = (problem[name] for name in ("Q", "G", "h", "A"))
    (z, lam, nu), _, found = _solve(problem, weights)
    rows = [
        [Q, G.T * lam, A.T],
        [G, np.diag(G @ z - h), np.zeros((5, 2))],
        [A, np.zeros((2, 7))],
    ]
    d = np.linalg.solve(np.block(rows), -np.concatenate(weights))
    d_z, d_lam, d_nu = d[:6], d[6:11], d[11:]
    for name, expected in _read_off(z, lam, nu, d_z, lam * d_lam, d_nu).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-7, err_msg=name)
    misread = lam[:, None] * (np.outer(d_lam, z) + np.outer(lam, d_z))
    assert np.abs(found["G"] - misread).max() > 1e-2


def test_the_optimal_value_has_the_gradient_of_the_lagrangian(rng):
    problem = _problem(rng)
    data = {name: torch.from_numpy(value).requires_grad_() for name, value in problem.items()}
    solution = solve_qp(**data, tol=1e-10)
    found = torch.autograd.grad(solution.objective, [data[name] for name in NAMES])
    z, lam, nu = (x.detach().numpy() for x in (solution.z, solution.lam, solution.nu))
    expected = (np.outer(z, z) / 2, z, np.outer(lam, z), -lam, np.outer(nu, z), -nu)
    for name, left, right in zip(NAMES, found, expected, strict=True):
        np.testing.assert_allclose(left.numpy(), right, rtol=1e-8, atol=1e-9, err_msg=name)
