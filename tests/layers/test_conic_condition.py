"""Minimisers of nearly flat objectives beside cones, and of power cones that are nearly half-planes."""

from __future__ import annotations

from collections.abc import Callable

import cvxpy as cp
import mpmath as mp
import numpy as np
import pytest
import torch

from layers import ConvexLayer

F = torch.float64
#: a cone that the minimiser is far inside of
CONES: dict[str, Callable[[cp.Variable], cp.Constraint]] = {
    "ball": lambda x: cp.norm(x) <= 1e10,
    "exponential": lambda x: cp.exp(1e-9 * x[0]) <= 1e3,
    "semidefinite": lambda x: cp.bmat([[1e10, x[0]], [x[0], 1e10]]) >> 0,
}


@pytest.mark.parametrize("condition", [1e8, 1e10, 1e12, 1e13])
@pytest.mark.parametrize("cone", list(CONES))
def test_the_minimiser_has_the_digits_that_its_condition_leaves(cone: str, condition: float) -> None:
    """Hx = b at 40 digits. Residuals beside the largest numbers were 1e-11, and x wrong by all of it."""
    for seed in (0, 3, 4):
        n, g = 3 + seed % 4, torch.Generator().manual_seed(seed)
        Q = torch.linalg.qr(torch.randn(n, n, generator=g, dtype=F))[0]
        size = torch.logspace(0, -float(np.log10(condition)), n, dtype=F)
        H = (Q * size) @ Q.mT
        H = 0.5 * (H + H.mT)
        b = ((Q * size.sqrt()) @ torch.randn(n, generator=g, dtype=F)).requires_grad_()
        x, cost = cp.Variable(n), cp.Parameter(n)
        objective = 0.5 * cp.quad_form(x, cp.psd_wrap(H.numpy())) - cost @ x
        (found,) = ConvexLayer(cp.Problem(cp.Minimize(objective), [CONES[cone](x)]), [cost], [x])(b)
        with mp.workdps(40):
            exact = mp.matrix(H.tolist())
            right, slope = (mp.lu_solve(exact, mp.matrix(v)) for v in (b.tolist(), [1.0] * n))
            right, slope = (torch.tensor([float(v) for v in vector], dtype=F) for vector in (right, slope))
        assert (found - right).abs().max() < 1e-15 * condition * right.abs().max()
        # beyond, the derivative says that its system is not solved to its tolerance of 1e-9
        if condition <= 1e10:
            (own,) = torch.autograd.grad(found.sum(), b)
            assert (own - slope).abs().max() < 1e-13 * condition * slope.abs().max()


@pytest.mark.parametrize("exponent", [0.99, 0.995, 0.999, 0.9999, 1e-3])
@pytest.mark.parametrize("prices", [(1.0, 1.0), (1.3, 0.7), (1.0, 0.01)])
def test_power_cones_whose_exponent_is_nearly_one(prices: tuple[float, float], exponent: float) -> None:
    """The cheapest x, y with xᵅy¹⁻ᵅ ≥ t is t·((αv/(1 − α)u)¹⁻ᵅ, ((1 − α)u/αv)ᵅ)."""
    goods, bound = cp.Variable(2), cp.Variable()
    cost, least = cp.Parameter(2), cp.Parameter()
    rules = [cp.PowCone3D(goods[0], goods[1], bound, exponent), bound >= least]
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost @ goods), rules), [cost, least], [goods])
    given = torch.tensor(prices, dtype=F, requires_grad=True)
    (found,) = layer(given, torch.tensor(2.0, dtype=F))
    a, (u, v) = exponent, prices
    x, y = 2 * (a * v / ((1 - a) * u)) ** (1 - a), 2 * ((1 - a) * u / (a * v)) ** a
    assert found.tolist() == pytest.approx([x, y], rel=1e-9)
    for value, right in zip(
        found, ([-(1 - a) * x / u, (1 - a) * x / v], [a * y / u, -a * y / v]), strict=True
    ):
        (slope,) = torch.autograd.grad(value, given, retain_graph=True)
        assert slope.tolist() == pytest.approx(right, rel=1e-9)
