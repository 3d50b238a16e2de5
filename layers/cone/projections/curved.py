"""What the projections on the exponential and the power cone have in common.

Both cones have three rows. A point projects on itself, on the tip, on a flat part of the boundary, or on the curved
part, where one increasing function has its root; there the derivative is 1, 0 and θ in an orthonormal frame. What is
found on the curved part is overlaid by the cases that need no root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from layers.cone.projections.frames import Dense, Split

#: s, y, δ, 1 − δ, each ``(B, g, 3)``, and the frame V, ``(B, g, 3, 3)``
Found = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
#: where it holds, ``(B, g)``, and s, y, δ, 1 − δ there, in the axes
Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
ITERATIONS = 100


def normalised(v: Tensor) -> tuple[Tensor, Tensor]:
    """The largest entry of every block, 1 where all are zero, and the blocks in units of it."""
    scale = v.abs().amax(-1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, v / scale


def increasing_root(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], tau: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Root by Newton's method from ``tau``, kept inside a bracket that bisection shrinks.

    Parameters
    ----------
    function : callable
        ``τ -> (value, slope)``, elementwise; the value increases through its root.
    low, high : Tensor
        The bracket.
    """
    for _ in range(ITERATIONS):
        value, slope = function(tau)
        high, low = torch.where(value >= 0, tau, high), torch.where(value < 0, tau, low)
        step = tau - value / slope
        new = torch.where((step >= low) & (step <= high), step, 0.5 * (low + high))
        # Newton's error is squared by every step: after a step of 1e-8 it is below rounding
        settled = ((new - tau).abs() <= 1e-8 * (1 + tau.abs())).all()
        tau = new
        if settled:
            break
    return tau


def in_frame(p: Tensor, n: Tensor, keep: Tensor, lose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """δ, 1 − δ and V for a derivative of 1 along p, 0 along n and θ along p × n, with θ : 1 − θ = keep : lose.

    p and n are orthonormal.
    """
    V = torch.stack([p, n, torch.linalg.cross(p, n, dim=-1)], -1)
    one, zero = torch.ones_like(keep), torch.zeros_like(keep)
    inside = torch.stack([one, zero, keep / (keep + lose)], -1)
    outside = torch.stack([zero, one, lose / (keep + lose)], -1)
    return inside, outside, V


def overlaid(scale: Tensor, found: Found, curved: Tensor, cases: Sequence[Case]) -> Split:
    """What was found where ``curved``, in the caller's units, and the cases elsewhere; a later case wins."""
    *parts, V = found
    for case, *values in cases:
        where = case.unsqueeze(-1)
        parts = [torch.where(where, new, old) for new, old in zip(values, parts, strict=True)]
    if cases:
        eye = torch.eye(3, dtype=scale.dtype, device=scale.device)
        V = torch.where(curved[..., None, None], V, eye)
    s, y, inside, outside = parts
    return Split(scale * s, scale * y, inside, outside, Dense(V))
