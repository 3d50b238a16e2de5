"""The variables that were taken out of a program, and the multipliers of the rows that define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from layers.solution import Status


def defined_variables(
    scale: Any, pivots: Any, D: Tensor | None, minus: Callable[[Tensor], Tensor], f: Tensor, u: Tensor,
    status: Tensor, on_failure: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """w and ν, from S w = f − Mu and Eν = −S²w, or −Dw.

    Parameters
    ----------
    scale, pivots : array, shape ``(w,)``
        The diagonals of S and E.
    D : Tensor, shape ``(..., w)``, optional
        Weights of w in the objective, if they are not S².
    minus : callable
        u ↦ −Mu.
    f, u, status : Tensor
        Of the solution in u, with the policy ``on_failure`` applied.
    """
    size, ratio = (torch.as_tensor(v, device=u.device) for v in (scale, scale / pivots))

    def pair(scaled: Tensor) -> tuple[Tensor, Tensor]:
        return scaled / size, -ratio * (scaled if D is None else D * scaled)

    if on_failure == "raise":
        return pair(f + minus(u))
    # An element that failed has no gradient, and 0 · NaN in a backward pass would spoil arguments shared with others.
    status = status.unsqueeze(-1)
    solved = status == Status.OPTIMAL
    w, nu = pair(f + minus(torch.where(solved, u, torch.zeros_like(u))))
    if on_failure == "nan":
        failed = torch.full_like(w, torch.nan)
        return torch.where(solved, w, failed), torch.where(solved, nu, failed)
    # A ray has no constant part, and a certificate of infeasibility no multiplier where nothing balances it.
    with torch.no_grad():
        last, balance = pair(torch.where(status == Status.UNBOUNDED, 0.0, f) + minus(u))
        balance = torch.where((status == Status.INFEASIBLE) | (status == Status.UNBOUNDED), 0.0, balance)
    return torch.where(solved, w, last), torch.where(solved, nu, balance)
