"""Exponential cones whose entries are of sizes from 1e-4 to 1e8, in one program and in one batch: closed forms."""

from __future__ import annotations

import cvxpy as cp
import pytest
import torch

from layers import ConvexLayer

SIZES = (1e-4, 0.03, 1.0, 37.0, 1e5, 6.6e7, 1e8)


@pytest.fixture(scope="module")
def logarithm() -> ConvexLayer:
    """maximise Σx subject to exp(x) ≤ a."""
    x, a = cp.Variable(2), cp.Parameter(2, pos=True)
    return ConvexLayer(cp.Problem(cp.Maximize(cp.sum(x)), [cp.exp(x) <= a]), [a], [x])


@pytest.mark.parametrize("other", SIZES)
def test_logarithms_are_exact_whatever_stands_beside_them(logarithm: ConvexLayer, other: float) -> None:
    """x = log a, dx/da = 1/a: a bound of 1e8 was taken for inactive beside one of 0.03, its derivative for zero."""
    a = torch.tensor([[size, other] for size in SIZES], dtype=torch.float64, requires_grad=True)
    (x,) = logarithm(a)
    assert (x - a.log()).abs().max() < 1e-12
    (found,) = torch.autograd.grad((x * torch.tensor([1.0, 1.5])).sum(), a)
    assert torch.allclose(found, torch.tensor([1.0, 1.5]) / a.detach(), rtol=1e-9, atol=0)


def test_a_tangent_far_from_the_origin_is_exact() -> None:
    """minimise exp(x) − bx: x = log b, dx/db = 1/b; the bound of the epigraph is as large as b."""
    x, b = cp.Variable(), cp.Parameter(pos=True)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cp.exp(x) - b * x)), [b], [x])
    sizes = torch.tensor([1e-3, 1.0, 1e3, 1e6], dtype=torch.float64, requires_grad=True)
    (found,) = layer(sizes)
    assert (found - sizes.log()).abs().max() < 1e-12
    (slope,) = torch.autograd.grad(found.sum(), sizes)
    assert torch.allclose(slope, 1 / sizes.detach(), rtol=1e-9, atol=0)
