"""The SPO+ loss (Elmachtoub & Grigas 2022, "Smart predict, then optimize", Management Science 68, arXiv 1710.08005)."""

from __future__ import annotations

from torch import Tensor

from layers.decision.oracle import Solver, check_costs, decide
from layers.linalg.products import dot


def spo_plus(solver: Solver, predicted: Tensor, true: Tensor) -> Tensor:
    """ℓ(ĉ, c) = max_w {cᵀw − 2ĉᵀw} + 2ĉᵀw*(c) − cᵀw*(c): convex in ĉ, and never below the regret cᵀw*(ĉ) − cᵀw*(c).

    Parameters
    ----------
    solver : callable
        Costs -> decisions that minimise them, both ``(..., n)``, over one set; costs may be negative.
    predicted, true : Tensor, shape ``(..., n)``
        ĉ and c.

    Returns
    -------
    Tensor, shape ``(...,)``
        Zero where ĉ = c. Its derivative is 2(w*(c) − w*(2ĉ − c)), a subgradient in ĉ, and in c that of the same
        vertices.

    Raises
    ------
    ProblemError
        If a tensor cannot be costs, or the shapes differ.
    LayerError
        If ``solver`` does not return decisions of the shape of its costs.

    Notes
    -----
    Definition 3 and Proposition 3 of the paper. Two calls of the solver. Between the costs at which a decision changes
    it is linear, so its second derivative is zero where it exists.
    """
    check_costs(predicted=predicted, true=true)
    best, worst = decide(solver, true), decide(solver, 2 * predicted - true)
    return dot(2 * predicted - true, best - worst)
