"""Solutions a hair from a kink of a cone, and powers at theirs: derivatives by eigenvectors and by bisection."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from layers import ConvexLayer

F = torch.float64
Vector = NDArray[np.float64]


@pytest.mark.parametrize(
    "sizes", [(1e4, 1e-4, -1.0), (1e4, 1e-4, -1e-4), (1e6, 1e-3, -1.0), (1e4, -1e-4, -1.0), (1, 1e-8, -1)]
)
def test_the_derivative_of_a_projection_whose_eigenvalues_differ_by_many_digits(
    sizes: tuple[float, ...],
) -> None:
    """D = V (δ ∘ VᵀHV) Vᵀ with δᵢⱼ = (λᵢ⁺ + λⱼ⁺) / (|λᵢ| + |λⱼ|): small ones have a side too."""
    g = torch.Generator().manual_seed(1)
    V = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=F))[0]
    eigen = torch.tensor(sizes, dtype=F)
    X, C = cp.Variable((3, 3), PSD=True), cp.Parameter((3, 3))
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum_squares(X - C))), [C], [X])
    given = ((V * eigen) @ V.mT).requires_grad_()
    (found,) = layer(given)
    H = torch.randn(3, 3, generator=g, dtype=F)
    H = H + H.mT
    (slope,) = torch.autograd.grad((H * found).sum(), given)
    up, size = eigen.clamp(min=0), eigen.abs()
    share = (up[:, None] + up) / (size[:, None] + size)
    right = V @ (share * (V.mT @ H @ V)) @ V.mT
    # eigenvalues are known to rounding of the largest
    assert (0.5 * (slope + slope.mT) - right).abs().max() < 1e-6 * right.abs().max()
    assert (found - (V * up) @ V.mT).abs().max() < 1e-14 * size.max()


def least(p: Vector, a: Vector, w: float) -> tuple[Vector, float]:
    """x and λ of: minimise Σ (xᵢ − pᵢ)₊^1.5 + w‖x‖² subject to aᵀx ≤ 1, by bisection of λ and of every xᵢ."""

    def x_at(multiplier: float) -> Vector:
        low, high = np.full_like(p, -1e3), np.full_like(p, 1e3)
        for _ in range(100):
            x = 0.5 * (low + high)
            rises = 1.5 * np.sqrt(np.maximum(x - p, 0)) + 2 * w * x + multiplier * a > 0
            low, high = np.where(rises, low, x), np.where(rises, x, high)
        return 0.5 * (low + high)

    if a @ x_at(0.0) <= 1:
        return x_at(0.0), 0.0
    low, high = 0.0, 1e3
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if a @ x_at(middle) > 1 else (low, middle)
    return x_at(low), low


@pytest.mark.parametrize("seed", [1, 2, 7, 9, 11])
def test_the_slope_where_the_argument_of_a_power_vanishes(seed: int) -> None:
    """By the envelope theorem −1.5 (x − p)₊^½, λx and ‖x‖²: its cones are at their tips."""
    n, rng = 2 + seed % 3, np.random.default_rng(seed)
    x, p, a, w = cp.Variable(n), cp.Parameter(n), cp.Parameter(n), cp.Parameter(nonneg=True)
    cost = cp.sum(cp.power(cp.pos(x - p), 1.5)) + w * cp.sum_squares(x)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost), [a @ x <= 1]), [p, a, w], [x], tol=1e-9)
    at_p, at_a, at_w = rng.normal(size=(2, n)), rng.normal(size=(2, n)), rng.uniform(0.5, 1.5)
    given = [torch.as_tensor(v, dtype=F).requires_grad_() for v in (at_p, at_a, at_w)]
    found = torch.autograd.grad(layer.solve(*given).objective.sum(), given)
    points = [least(at_p[k], at_a[k], at_w) for k in range(2)]
    right = (
        np.stack([-1.5 * np.sqrt(np.maximum(z - at_p[k], 0)) for k, (z, _) in enumerate(points)]),
        np.stack([multiplier * z for z, multiplier in points]),
        np.asarray(sum(z @ z for z, _ in points)),
    )
    for slope, expected in zip(found, right, strict=True):
        np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-7)
