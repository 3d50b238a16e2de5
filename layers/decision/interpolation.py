"""Blackbox differentiation of a solver (Vlastelica, Paulus, Musil, Martius & Rolínek 2020, ICLR, arXiv 1912.02175)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layers.decision.oracle import Solver, check_costs, decide, refuse_second
from layers.policy import tolerance


def blackbox(solver: Solver, costs: Tensor, weight: float = 10.0) -> Tensor:
    """w*(c), with the derivative −(w*(c) − w*(c + μ g))/μ in the direction g = ∂ℓ/∂w of what follows.

    That is the slope of a piecewise affine interpolation of the loss, linearised in w (the paper's f_λ, Algorithm 1).

    Parameters
    ----------
    solver : callable
        Costs -> decisions that minimise them, both ``(..., n)``.
    costs : Tensor, shape ``(..., n)``
    weight : float
        μ, the paper's λ: a small one is faithful to the loss and informative in few places, a large one the reverse.

    Returns
    -------
    Tensor, shape ``(..., n)``

    Raises
    ------
    ProblemError
        If ``costs`` cannot be costs.
    LayerError
        If ``weight`` is not positive, or ``solver`` does not return decisions of the shape of its costs.
    DifferentiationError
        If a second derivative is asked for.

    Notes
    -----
    One call of the solver forward, one back.
    """
    check_costs(costs=costs)
    tolerance("weight", weight)
    result: Any = _Interpolated.apply(costs, solver, float(weight))
    return result


class _Interpolated(torch.autograd.Function):
    """Algorithm 1."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor, solver: Solver, weight: float) -> Tensor:
        """w*(c), kept with c."""
        decisions = decide(solver, costs)
        ctx.save_for_backward(costs, decisions)
        ctx.solver, ctx.weight = solver, weight
        return decisions

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor, None, None]:
        """−(w*(c) − w*(c + μ g))/μ."""
        refuse_second("blackbox")
        costs, decisions = ctx.saved_tensors
        moved = decide(ctx.solver, costs + ctx.weight * bars[0])
        return (moved - decisions) / ctx.weight, None, None
