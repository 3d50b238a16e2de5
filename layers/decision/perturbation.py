"""Perturbed decisions and their Fenchel-Young loss (Berthet et al. 2020, NeurIPS, arXiv 2002.08676).

With Z standard normal, F(c) = E min_w ⟨c + σZ, w⟩ is concave and smooth, and ∇F(c) = E w*(c + σZ) (their sections 2
and 3, for maximisation: θ = −c). By Gaussian integration by parts its second derivative needs no derivative of w*:
∇²F(c) = E w*(c + σZ) Zᵀ / σ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layers.decision.oracle import Solver, check_costs, decide, refuse_second
from layers.linalg.products import dot
from layers.policy import tolerance, whole_number


def perturbed(
    solver: Solver,
    costs: Tensor,
    sigma: float = 1.0,
    samples: int = 10,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The mean of w*(c + σZ) over ``samples`` draws of Z, an unbiased estimate of ∇F(c).

    Parameters and errors are those of :func:`fenchel_young`.
    Its derivative, mean of Z ⟨w*(c + σZ), w̄⟩ / σ over the same draws, is an unbiased estimate of ∇²F(c) w̄, once.
    """
    _check(costs, None, sigma, samples)
    result: Any = _Perturbed.apply(costs, solver, float(sigma), _draws(costs, samples, generator))
    return result


def fenchel_young(
    solver: Solver,
    costs: Tensor,
    decisions: Tensor,
    sigma: float = 1.0,
    samples: int = 10,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """ℓ(c; w) = ⟨c, w⟩ − F(c), up to the constant in c that makes its least value zero; convex, ∇ℓ = w − E w*(c + σZ).

    Parameters
    ----------
    solver : callable
        Costs -> decisions that minimise them, both ``(..., n)``; called once with ``(samples, ..., n)``.
    costs, decisions : Tensor, shape ``(..., n)``
        c, and the decisions w that it should lead to, as the best ones for the true costs; a constant.
    sigma : float
        σ, the size of the perturbation.
    samples : int
        Draws that estimate the expectations; 1 is enough for training.
    generator : torch.Generator, optional
        Source of Z; the global one of torch unless given.

    Returns
    -------
    Tensor, shape ``(...,)``

    Raises
    ------
    ProblemError
        If a tensor cannot be costs, or the shapes differ.
    LayerError
        If ``sigma`` is not positive, ``samples`` below 1, or ``solver`` does not return decisions of the shape of its
        costs.
    DifferentiationError
        If a third derivative is asked for.

    Notes
    -----
    ``samples`` problems forward, and as many for a second derivative. All estimates are unbiased, their variance is
    O(1/samples).
    """
    _check(costs, decisions, sigma, samples)
    Z = _draws(costs, samples, generator)
    value: Any = _Smoothed.apply(costs, solver, float(sigma), Z)
    return dot(costs, decisions.detach()) - value


class _Smoothed(torch.autograd.Function):
    """F(c), whose derivative is the perturbed decision."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, solver: Solver, sigma: float, Z: Tensor) -> Tensor:
        """The mean of min ⟨c + σZ, w⟩."""
        moved = costs + sigma * Z
        found = decide(solver, moved)
        ctx.save_for_backward(costs, found.mean(0))
        ctx.given = (solver, sigma, Z)
        return dot(moved, found).mean(0)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor, None, None, None]:
        """E w*(c + σZ); a function of c again where a second derivative is asked for."""
        costs, mean = ctx.saved_tensors
        if torch.is_grad_enabled():
            found: Any = _Perturbed.apply(costs, *ctx.given)
            mean = found
        return bars[0].unsqueeze(-1) * mean, None, None, None


class _Perturbed(torch.autograd.Function):
    """E w*(c + σZ) and its derivative by Gaussian integration by parts."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, solver: Solver, sigma: float, Z: Tensor) -> Tensor:
        """The mean over the draws, shape ``(..., n)``."""
        found = decide(solver, costs + sigma * Z)
        ctx.save_for_backward(found, Z)
        ctx.sigma = sigma
        return found.mean(0)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor, None, None, None]:
        """The mean of Z ⟨w*, w̄⟩ / σ."""
        refuse_second("perturbed, the derivative of fenchel_young,")
        found, Z = ctx.saved_tensors
        return (Z * dot(found, bars[0]).unsqueeze(-1)).mean(0) / ctx.sigma, None, None, None


def _draws(costs: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    """Z, shape ``(samples, ..., n)``."""
    return torch.randn((samples, *costs.shape), dtype=costs.dtype, device=costs.device, generator=generator)


def _check(costs: Tensor, decisions: Tensor | None, sigma: float, samples: int) -> None:
    check_costs(costs=costs, **({} if decisions is None else {"decisions": decisions}))
    tolerance("sigma", sigma)
    whole_number("samples", samples)
