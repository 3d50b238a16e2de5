"""Problems whose answer and derivative can be written down without a solver."""

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import solve_qp
from tests.layers.instances import assert_close, random_qp, weigh


def jacobian(function, x: Tensor) -> Tensor:
    return torch.func.jacrev(function)(x)


def test_without_constraints_the_answer_and_its_derivative_are_those_of_the_inverse(rng) -> None:
    Q, q, *_ = random_qp(rng, 6, 0, 0)
    inverse = torch.linalg.inv(Q)
    assert_close(solve_qp(Q, q).z, -inverse @ q, 1e-12)
    assert_close(jacobian(lambda q: solve_qp(Q, q).z, q), -inverse, 1e-12)


def test_equality_constrained_answer_is_one_linear_solve(rng) -> None:
    Q, q, _, _, A, b = random_qp(rng, 6, 0, 3)
    K = torch.zeros(9, 9, dtype=torch.float64)
    K[:6, :6], K[:6, 6:], K[6:, :6] = Q, A.mT, A
    expected = torch.linalg.solve(K, torch.cat([-q, b]))
    solution = solve_qp(Q, q, A=A, b=b)
    assert_close(torch.cat([solution.z, solution.nu]), expected, 1e-11)
    inverse = torch.linalg.inv(K)

    def answer(q: Tensor, b: Tensor) -> Tensor:
        solution = solve_qp(Q, q, A=A, b=b)
        return torch.cat([solution.z, solution.nu])

    with_q, with_b = torch.func.jacrev(answer, argnums=(0, 1))(q, b)
    assert_close(with_q, -inverse[:, :6], 1e-10)
    assert_close(with_b, inverse[:, 6:], 1e-10)


def test_gradients_of_matrices_are_those_of_autograd_through_the_linear_solve(rng) -> None:
    Q, q, _, _, A, b = random_qp(rng, 5, 0, 2)

    def by_hand(Q: Tensor, A: Tensor) -> Tensor:
        K = torch.cat([torch.cat([0.5 * (Q + Q.mT), A.mT], 1), torch.cat([A, Q.new_zeros(2, 2)], 1)])
        return weigh(torch.linalg.solve(K, torch.cat([-q, b])))

    def by_layer(Q: Tensor, A: Tensor) -> Tensor:
        solution = solve_qp(Q, q, A=A, b=b)
        return weigh(torch.cat([solution.z, solution.nu]))

    found, expected = (torch.func.grad(f, argnums=(0, 1))(Q, A) for f in (by_layer, by_hand))
    for name, x, y in zip("QA", found, expected, strict=True):
        assert_close(x, y, 1e-10, name)


def test_ridge_regression_and_its_derivative_with_respect_to_the_weight(rng) -> None:
    X, y = torch.tensor(rng.normal(size=(20, 4))), torch.tensor(rng.normal(size=20))
    weight = torch.tensor(0.3, dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)

    def ridge(weight: Tensor) -> Tensor:
        return solve_qp(X.mT @ X + weight * eye, -X.mT @ y).z

    inverse = torch.linalg.inv(X.mT @ X + weight * eye)
    expected = inverse @ X.mT @ y
    assert_close(ridge(weight), expected, 1e-12)
    assert_close(jacobian(ridge, weight), -inverse @ expected, 1e-11)


def sorted_simplex_projection(v: Tensor) -> tuple[Tensor, Tensor]:
    """Projection of v on {z ≥ 0, Σz = 1} by sorting, and its Jacobian I_S − 11ᵀ/|S| on the support S."""
    values = np.sort(v.numpy())[::-1]
    shifts = (np.cumsum(values) - 1) / np.arange(1, v.numel() + 1)
    count = int(np.nonzero(values > shifts)[0][-1]) + 1
    z = (v - shifts[count - 1]).clamp(min=0)
    support = (z > 0).to(v.dtype)
    return z, torch.diag(support) - torch.outer(support, support) / count


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_projection_on_the_simplex(rng, n: int) -> None:
    v = torch.tensor(rng.normal(size=n))
    eye, one = torch.eye(n, dtype=torch.float64), torch.ones(1, dtype=torch.float64)

    def project(v: Tensor) -> Tensor:
        return solve_qp(eye, -v, -eye, 0 * v.detach(), one.expand(1, n), one).z

    z, derivative = sorted_simplex_projection(v)
    assert_close(project(v), z, 1e-11)
    assert_close(jacobian(project, v), derivative, 1e-11)


def test_projection_on_the_simplex_keeps_bounds_that_an_engine_may_drop() -> None:
    # An engine that drops "z >= 0" answers (5/3, 2/3, -4/3).
    eye, one = torch.eye(3, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    v = torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64)
    z = solve_qp(eye, -v, -eye, 0 * v, one.expand(1, 3), one).z
    assert_close(z, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), 1e-8)


def test_projection_on_a_box_and_its_derivative_in_point_and_bounds(rng) -> None:
    v = torch.tensor(2 * rng.normal(size=8))
    low, high = -torch.tensor(rng.uniform(0.5, 1, 8)), torch.tensor(rng.uniform(0.5, 1, 8))
    eye = torch.eye(8, dtype=torch.float64)
    G = torch.cat([eye, -eye])

    def project(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return solve_qp(eye, -v, G, torch.cat([high, -low])).z

    assert_close(project(v, low, high), v.clamp(low, high), 1e-12)
    kinds = ((v > low) & (v < high), v <= low, v >= high)
    assert all(kind.any() for kind in kinds)
    found = torch.func.jacrev(project, argnums=(0, 1, 2))(v, low, high)
    for name, x, kind in zip(("v", "low", "high"), found, kinds, strict=True):
        assert_close(x, torch.diag(kind.double()), 1e-12, name)


def test_one_dimensional_multiplier_and_its_derivatives() -> None:
    # min ½Qz² + qz, gz ≤ h, with the constraint active: z = h/g, λ = −(Qh/g + q)/g.
    Q, q, g, h = (torch.tensor(x, dtype=torch.float64) for x in (2.0, -7.0, 0.5, 1.0))

    def answer(Q: Tensor, q: Tensor, g: Tensor, h: Tensor) -> Tensor:
        solution = solve_qp(Q.reshape(1, 1), q.reshape(1), g.reshape(1, 1), h.reshape(1))
        return torch.cat([solution.z, solution.lam, solution.s])

    assert_close(answer(Q, q, g, h), torch.tensor([2.0, 6.0, 0.0], dtype=torch.float64), 1e-12)
    dQ, dq, dg, dh = torch.func.jacrev(answer, argnums=(0, 1, 2, 3))(Q, q, g, h)
    # dλ/dQ = −h/g², dλ/dq = −1/g, dλ/dg = (2Qh/g + q)/g², dλ/dh = −Q/g², dz/dg = −h/g², dz/dh = 1/g
    assert_close(dQ, torch.tensor([0.0, -4.0, 0.0], dtype=torch.float64), 1e-12)
    assert_close(dq, torch.tensor([0.0, -2.0, 0.0], dtype=torch.float64), 1e-12)
    assert_close(dg, torch.tensor([-4.0, 4.0, 0.0], dtype=torch.float64), 1e-12)
    assert_close(dh, torch.tensor([2.0, -8.0, 0.0], dtype=torch.float64), 1e-12)
