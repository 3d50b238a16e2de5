"""The power cone K = {(x, y, z) : x^α y^(1−α) ≥ |z|, x, y ≥ 0}, 0 < α < 1.

Outside K and its polar, with z ≠ 0, the projection (X, Y, ±r) has 0 < r < |z| and, with μ = |z| − r (Hien 2015,
Proposition 2.2),

    X = ½(x + √(x² + 4αrμ)),   Y = ½(y + √(y² + 4(1 − α)rμ)),   α log X + (1 − α) log Y = log r.

The last equation has one root; it is found in τ = log(r/μ), where neither end of (0, |z|) loses digits. The
derivative is 1 along p = (X, Y, ±r), 0 along the normal n ∝ (αY, (1 − α)X, ∓X^(1−α) Y^α) and θ along p × n, with

    θ : 1 − θ = r‖n‖² : μ α(1 − α)‖p‖²,

from (I + μ∇²g)⁻¹ on the tangent plane, g = |z| − x^α y^(1−α).
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from layers.cone.projections.curved import Found, in_frame, increasing_root, normalised, overlaid
from layers.cone.projections.frames import Split

#: |log(r/μ)| beyond this is as good as infinite
LARGEST = 1400.0


def power(v: Tensor, exponent: Tensor) -> Split:
    """Moreau's decomposition with respect to power cones, and its derivative.

    Parameters
    ----------
    v : Tensor, shape ``(B, g, 3)``
    exponent : Tensor, shape ``(g,)``
        α of each block.

    Notes
    -----
    At z = 0, y < 0 < x the map is differentiable with θ = 0, x/(x + 2|y|) or 1 along z for α <, =, > ½, and mirrored at
    x < 0 < y. At a kink one of the neighbouring derivatives is taken.
    """
    scale, w = normalised(v)
    x, y, z = w.unbind(-1)
    a = exponent.expand_as(x)
    b = 1 - a
    size = z.abs().log()
    in_cone = (x >= 0) & (y >= 0) & (a * x.clamp(min=0).log() + b * y.clamp(min=0).log() >= size)
    polar_size = a * ((-x).clamp(min=0) / a).log() + b * ((-y).clamp(min=0) / b).log()
    in_polar = (x <= 0) & (y <= 0) & (polar_size >= size)
    flat = (z == 0) & ~in_cone & ~in_polar
    curved = ~(in_cone | in_polar | flat)
    # where nothing has to be found, a point whose root is found at once stands in
    off = ~curved
    found = _curved(x.masked_fill(off, 0.0), y.masked_fill(off, 0.0), z.masked_fill(off, 1.0), a)
    flat_inside, flat_outside = _on_edge(x, y, a)
    zero, one = torch.zeros_like(w), torch.ones_like(w)
    cases = (
        (in_cone, w, zero, one, zero),
        (in_polar & ~in_cone, zero, -w, zero, one),
        (flat, w.clamp(min=0), -w.clamp(max=0), flat_inside, flat_outside),
    )
    return overlaid(scale, found, curved, cases)


def _on_edge(x: Tensor, y: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """δ and 1 − δ in the axes where z = 0 and one of x, y is negative, the other positive."""
    towards_y = x < 0
    a = torch.where(towards_y, 1 - a, a)
    positive, negative = torch.maximum(x, y), -torch.minimum(x, y)
    tie = positive / (positive + 2 * negative)
    theta = torch.where(a > 0.5, torch.ones_like(a), torch.where(a < 0.5, torch.zeros_like(a), tie))
    inside = torch.stack([(~towards_y).to(a.dtype), towards_y.to(a.dtype), theta], -1)
    return inside, 1 - inside


def _log_part(x: Tensor, weight: Tensor, log_product: Tensor) -> tuple[Tensor, Tensor]:
    """log X for X = ½(x + √(x² + 4w rμ)), and its derivative by log(rμ), wrμ / (X √(x² + 4w rμ))."""
    log_term = (4 * weight).log() + log_product
    # for x < 0 the other form of the root, X = 2wrμ / (|x| + √·), cancels nothing
    log_root = 0.5 * torch.logaddexp(2 * x.abs().log(), log_term)
    log_sum = torch.logaddexp(x.abs().log(), log_root)  # |x| + √(x² + 4wrμ)
    log_X = torch.where(x >= 0, log_sum, log_term - log_sum) - log(2)
    return log_X, 0.25 * (log_term - log_X - log_root).exp()


def _function(tau: Tensor, x: Tensor, y: Tensor, log_z: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """log r − α log X − (1 − α) log Y, increasing through its root in τ, and its derivative."""
    log_r = log_z + torch.nn.functional.logsigmoid(tau)
    log_mu = log_z + torch.nn.functional.logsigmoid(-tau)
    log_X, X_slope = _log_part(x, a, log_r + log_mu)
    log_Y, Y_slope = _log_part(y, 1 - a, log_r + log_mu)
    up, down = torch.sigmoid(-tau), torch.sigmoid(tau)  # d log r / dτ and −d log μ / dτ
    slope = up - (a * X_slope + (1 - a) * Y_slope) * (up - down)
    return log_r - a * log_X - (1 - a) * log_Y, slope


def _curved(x: Tensor, y: Tensor, z: Tensor, a: Tensor) -> Found:
    """s, y, δ, 1 − δ and V at points that project on the curved boundary."""
    log_z, sign = z.abs().log(), torch.sign(z)
    tau = increasing_root(
        lambda tau: _function(tau, x, y, log_z, a),
        torch.zeros_like(x),
        torch.full_like(x, -LARGEST),
        torch.full_like(x, LARGEST),
    )
    r, mu = z.abs() * torch.sigmoid(tau), z.abs() * torch.sigmoid(-tau)
    log_product = 2 * log_z + torch.nn.functional.logsigmoid(tau) + torch.nn.functional.logsigmoid(-tau)
    log_X, log_Y = _log_part(x, a, log_product)[0], _log_part(y, 1 - a, log_product)[0]
    X, Y = log_X.exp(), log_Y.exp()
    s = torch.stack([X, Y, sign * r], -1)
    # X − x = αrμ/X: no cancellation
    dual = torch.stack(
        [a * (log_product - log_X).exp(), (1 - a) * (log_product - log_Y).exp(), -sign * mu], -1
    )
    n = torch.stack([a * Y, (1 - a) * X, -sign * ((1 - a) * log_X + a * log_Y).exp()], -1)
    n_size, p_size = (torch.linalg.vector_norm(u, dim=-1, keepdim=True) for u in (n, s))
    # r/μ = e^τ: both terms divided by the larger of r and μ
    keep = torch.exp(tau.clamp(max=0)) * n_size[..., 0] ** 2
    lose = torch.exp(-tau.clamp(min=0)) * a * (1 - a) * p_size[..., 0] ** 2
    return s, dual, *in_frame(s / p_size, n / n_size, keep, lose)
