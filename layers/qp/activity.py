"""Which constraints hold with equality at a solution, and which of those would do so alone: told from s and λ."""

from __future__ import annotations

import torch
from torch import Tensor

from layers.native.constants import ACTIVE, INACTIVE, WEAK, WEAK_RATIO, WEAK_TOLERANCE
from layers.problem import QP
from layers.qp.kkt import relative_residual, scales, shares, slack
from layers.qp.scaling import scale_problem

#: what sᵢ or λᵢ is of the terms of its own row, from which on it is clear
OWN = 1e-6


def activity(problem: QP, z: Tensor, lam: Tensor, nu: Tensor) -> Tensor:
    """Class of every constraint, INACTIVE, ACTIVE or WEAK: int8, shape ``(B, m)``.

    sᵢ and λᵢ are compared on the equilibrated problem, each relative to its scale there, so the class does not
    change when a row of (G, h) or the objective is multiplied by a number. The scales are those of all rows together:
    beside a multiplier, a bound or a curvature of another size they make what is clear in its own row look like
    nothing. So what sᵢ is of the terms of its row, and λᵢ of the terms that it holds up, counts where it is more than
    ``OWN``; below, it may be the rounding of terms that have cancelled.
    """
    weighted, point = _equilibrated(problem, z, lam, nu)
    own = shares(weighted, *point)
    s_hat, lam_hat = (
        torch.where(share > OWN, share.maximum(size), size)
        for size, share in zip(relative(problem, z, lam, nu), own, strict=True)
    )
    larger, smaller = s_hat.maximum(lam_hat), s_hat.minimum(lam_hat)
    reach = 10 * relative_residual(problem, z, lam, nu).clamp(min=1e-18, max=1e-6).sqrt().unsqueeze(-1)
    weak = (larger <= WEAK_TOLERANCE) | ((larger <= reach) & (smaller >= WEAK_RATIO * larger))
    kind = torch.where(lam_hat > s_hat, ACTIVE, INACTIVE)
    return torch.where(weak, WEAK, kind).to(torch.int8)


def relative(problem: QP, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor]:
    """sᵢ and λᵢ of the equilibrated problem relative to the scales of all rows together, ``(B, m)``."""
    weighted, point = _equilibrated(problem, z, lam, nu)
    scale = scales(weighted, *point)
    return slack(weighted, point[0]).clamp(min=0) / scale.g, point[1] / scale.y.unsqueeze(-1)


def _equilibrated(
    problem: QP, z: Tensor, lam: Tensor, nu: Tensor
) -> tuple[QP, tuple[Tensor, Tensor, Tensor]]:
    scaled = scale_problem(problem)
    return scaled.weighted(), scaled.scale(z, lam, nu)
