"""Matrices that have to be symmetric positive semidefinite, up to the rounding of who formed them."""

from __future__ import annotations

import torch
from torch import Tensor

from layers.errors import ProblemError
from layers.linalg.products import max_abs

#: Q may differ from Qᵀ, and its smallest eigenvalue may fall below zero, by this much relative to the largest entry,
#: or by this multiple of n times the rounding of the caller's dtype
CURVATURE, ROUNDINGS = 1e-9, 10


def curvature_rounding(n: int, precision: float) -> float:
    """Asymmetry and negative curvature of Q that count as rounding, relative to its largest entry."""
    return max(CURVATURE, ROUNDINGS * n * precision)


def check_curvature(Q: Tensor, precision: float, name: str = "Q") -> None:
    """Refuse Q, shape ``(…, n, n)``, that is not symmetric positive semidefinite. Cost: n³/3 per element.

    Raises
    ------
    ProblemError
        With the name of the matrix and the first offending batch element.
    """
    scale = max_abs(Q.flatten(-2))
    rounding = curvature_rounding(Q.shape[-1], precision)
    skew = max_abs((Q - Q.mT).flatten(-2))
    asymmetric = skew > rounding * scale
    if asymmetric.any():
        raise ProblemError(
            f"{name} must be symmetric; found |{name} - {name}ᵀ| up to {skew.max().item():.3g}{first_of(asymmetric)}; "
            f"pass 0.5 * ({name} + {name}.mT)"
        )
    symmetric = 0.5 * (Q + Q.mT)
    shift = rounding * scale + torch.finfo(Q.dtype).tiny
    shifted = symmetric + torch.diag_embed(shift.unsqueeze(-1).expand(Q.shape[:-1]))
    indefinite = torch.linalg.cholesky_ex(shifted).info > 0
    if indefinite.any():
        # Cholesky can stumble over rounding: only an eigenvalue decides.
        smallest = torch.linalg.eigvalsh(symmetric)[..., 0]
        indefinite = smallest < -rounding * scale
    if indefinite.any():
        value = torch.linalg.eigvalsh(symmetric)[..., 0].min().item()
        raise ProblemError(
            f"{name} must be positive semidefinite; its smallest eigenvalue is {value:.3g}{first_of(indefinite)}: "
            f"the problem is not convex. Pass {name} + {-1.01 * value:.3g} * torch.eye({Q.shape[-1]}).to({name}), "
            "or L @ L.mT"
        )


def first_of(bad: Tensor) -> str:
    """`` in batch element (i, j)`` for the first offending element; empty without batch axes."""
    if bad.dim() == 0:
        return ""
    return f" in batch element {tuple(bad.nonzero()[0].tolist())}"
