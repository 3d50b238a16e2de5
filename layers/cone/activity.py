"""Rows to be careful with: linear ones that are active without a multiplier, by the rule of :mod:`layers.qp.activity`,

and with curved cones those whose equations are lost in rounding beside others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone_program import ConeProgram
from layers.linalg.products import max_abs, one_where_zero
from layers.native.constants import WEAK_RATIO, WEAK_TOLERANCE

#: what sᵢ or yᵢ is of the terms of its own row, from which on it is clear
OWN = 1e-6


def weak_rows(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, residual: Tensor) -> Tensor:
    """Inequalities with sᵢ = yᵢ = 0, bool, shape ``(B, m)``; with curved cones :func:`layers.cone.kkt.lost_rows`.

    sᵢ is compared with the scale of its row, and yᵢ, in units where all rows have size one, with the largest of all;
    what they are of the terms of their own row counts where it is clearly more than rounding.

    Parameters
    ----------
    residual : Tensor, shape ``(B,)``
        Of the solution.
    """
    if not program.batch:
        return torch.zeros_like(y, dtype=torch.bool)
    if not program.structure.cones.linear:
        return kkt.lost_rows(program, x, y, s)
    norms = kkt.Norms.of(program)
    scale = kkt.scales(program, x, y, norms)
    force = y.abs() * norms.A_row
    sizes = s.abs() / scale.row, force / one_where_zero(max_abs(force)).unsqueeze(-1)
    own = kkt.shares(program, x, y, s, scale)
    s_hat, y_hat = (
        torch.where(share > OWN, share.maximum(size), size) for size, share in zip(sizes, own, strict=True)
    )
    larger, smaller = s_hat.maximum(y_hat), s_hat.minimum(y_hat)
    reach = 10 * residual.clamp(min=1e-18, max=1e-6).sqrt().unsqueeze(-1)
    weak = (larger <= WEAK_TOLERANCE) | ((larger <= reach) & (smaller >= WEAK_RATIO * larger))
    weak[:, : program.structure.cones.zero] = False
    return weak
