"""A covariance of fewer samples than assets, formed in float32: its eigenvalues of zero are negative by rounding."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, ProblemError, solve_qp

N = 20
w, S, mu = cp.Variable(N), cp.Parameter((N, N), PSD=True), cp.Parameter(N)
simplex = [w >= 0, cp.sum(w) == 1]
whole = cp.Problem(cp.Minimize(cp.quad_form(w, S) - mu @ w), simplex)


def returns(seed: int) -> Tensor:
    return torch.randn(12, N, generator=torch.Generator().manual_seed(seed))


def exact(data: Tensor) -> Tensor:
    data = data.double()
    return ConvexLayer(whole, [S, mu], [w])(torch.cov(data.T), data.mean(0))[0]


def by_layer(C: Tensor, m: Tensor) -> Tensor:
    return ConvexLayer(whole, [S, mu], [w])(C, m)[0]


def by_cone_layer(C: Tensor, m: Tensor) -> Tensor:
    capped = cp.Problem(whole.objective, [*simplex, cp.norm(w) <= 2])
    return ConvexLayer(capped, [S, mu], [w])(C, m)[0]


def by_long_way(C: Tensor, m: Tensor) -> Tensor:
    return ConvexLayer(whole, [S, mu], [w]).solve(C, m).variables[0]


def by_constant(C: Tensor, m: Tensor) -> Tensor:
    term = cp.quad_form(w, cp.psd_wrap(C.numpy()))
    return ConvexLayer(cp.Problem(cp.Minimize(term - mu @ w), simplex), [mu], [w])(m.double())[0]


def by_sparse_constant(C: Tensor, m: Tensor) -> Tensor:
    from scipy.sparse import csr_array

    term = cp.quad_form(w, cp.psd_wrap(csr_array(C.numpy())))
    return ConvexLayer(cp.Problem(cp.Minimize(2 * term - 2 * mu @ w), simplex), [mu], [w])(m)[0]


def by_qp(C: Tensor, m: Tensor) -> Tensor:
    return solve_qp(2 * C, -m, -torch.eye(N), torch.zeros(N), torch.ones(1, N), torch.ones(1)).z


def by_mixed(C: Tensor, m: Tensor) -> Tensor:
    return by_layer(C, m.double())


@pytest.mark.parametrize(
    "solve", [by_layer, by_long_way, by_cone_layer, by_constant, by_sparse_constant, by_qp, by_mixed]
)
def test_weights_of_a_float32_covariance_are_those_of_float64(
    solve: Callable[[Tensor, Tensor], Tensor],
) -> None:
    for seed in range(5):
        data = returns(seed)
        C = torch.cov(data.T)
        assert torch.linalg.eigvalsh(C.double())[0] < -1e-8
        torch.testing.assert_close(solve(C, data.mean(0)).double(), exact(data), rtol=0, atol=1e-4)


def test_its_derivative_is_that_of_float64() -> None:
    data = returns(0).requires_grad_()
    (found,) = torch.autograd.grad(by_layer(torch.cov(data.T), data.mean(0)).square().sum(), data)
    wide = data.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(exact(wide).square().sum(), wide)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3 * expected.abs().max().item())


def test_the_tolerance_is_that_of_the_matrix_and_of_no_other_tensor() -> None:
    """A float64 matrix that is indefinite by more than its own rounding is refused, whatever the other dtypes."""
    C = torch.cov(returns(0).T)
    wide = C.double()
    m = returns(0).mean(0)
    layer = ConvexLayer(whole, [S, mu], [w])
    with pytest.raises(ProblemError, match="PSD"):
        layer(wide, m)
    layer(C, m.double())
    with pytest.raises(ProblemError, match="PSD"):
        layer(wide, m)


def test_constants_with_few_digits_are_exact() -> None:
    """[[1000, 999], [999, 998]] has the eigenvalue −5e-4, as small as a rounding of float32, and is exact."""
    x, c = cp.Variable(2), cp.Parameter(2)
    matrix = np.array([[1000.0, 999.0], [999.0, 998.0]], dtype=np.float32)
    layer = ConvexLayer(
        cp.Problem(cp.Minimize(cp.quad_form(x, cp.psd_wrap(matrix)) + c @ x), [x <= 1]), [c], [x]
    )
    with pytest.raises(ProblemError, match="positive semidefinite"):
        layer(torch.ones(2).double())


def test_a_matrix_formed_in_single_precision_is_judged_as_such_beside_doubles() -> None:
    """Promotion makes the call one of doubles; the rounding of Q stays that of its own dtype."""
    rows = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    covariance = rows.T @ rows / 5
    ones = torch.ones(1, 40, dtype=torch.float64)
    z = solve_qp(covariance, ones[0], -torch.eye(40).double(), torch.zeros(40).double(), ones, ones[0, :1]).z
    assert z.dtype == torch.float64
    torch.testing.assert_close(z.sum().item(), 1.0)
