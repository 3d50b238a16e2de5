"""The exponential cone K = cl{(x, y, z) : y > 0, y exp(x/y) ≤ z}.

Outside K, its polar and the quadrant x, y ≤ 0, v = α p(ρ) + β n(ρ) with α, β > 0 for one ρ, where p(ρ) = (ρ, 1, e^ρ)
runs over the boundary of K and n(ρ) = (e^ρ, (1 − ρ)e^ρ, −1) is normal to it (Friberg 2023). The first two rows give

    α = (y − (1 − ρ)x) / N,   βe^ρ = (x − ρy) / N,   N = ρ² − ρ + 1,

positive on one interval, bounded below by 1 − y/x if x > 0 and above by x/y if y > 0; on it the third row,
αe^ρ − β = z, has one root, and αe^ρ − β − z increases through it. It is solved in logarithms,
log(αe^ρ + z⁻) = log(β + z⁺), in the distance from the end of the interval that is nearer, so that neither overflow nor
cancellation occurs.

In the frame (p, n, p × n) the derivative is 1, 0 and θ with

    θ : 1 − θ = α(1 + (ρ² − 2ρ + 2)e^{2ρ}) : βe^ρ(1 + ρ² + e^{2ρ}).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone.projections.curved import Found, in_frame, increasing_root, normalised, overlaid
from layers.cone.projections.frames import Split

#: the logarithm of the smallest positive double, and the largest ρ that a root can need beyond the end of its interval
SMALLEST, LARGEST = -745.0, 2000.0
#: beyond this distance from zero an end of the interval is as good as infinite
FAR = 1e100


@dataclass(frozen=True)
class _Interval:
    """Where ρ is looked for: ρ = end ± δ, with δ = log(1 + e^τ).

    Nα = a₀ ± xδ and Nβe^ρ = b₀ ∓ yδ, one of a₀, b₀ being zero: that coefficient vanishes at the end.
    """

    x: Tensor
    y: Tensor
    end: Tensor
    sign: Tensor
    a0: Tensor
    b0: Tensor
    log_negative: Tensor
    log_positive: Tensor

    def coefficients(self, tau: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ρ, Nα, Nβe^ρ and N."""
        delta = self.sign * torch.nn.functional.softplus(tau, threshold=50.0)
        rho = self.end + delta
        return rho, self.a0 + self.x * delta, self.b0 - self.y * delta, rho * (rho - 1) + 1

    def function(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """log(αe^ρ + z⁻) − log(β + z⁺), signed so that it increases in τ, and its derivative."""
        rho, a, b, N = self.coefficients(tau)
        log_a, log_b = (a / N).log() + rho, (b / N).log() - rho
        left = torch.logaddexp(log_a, self.log_negative)
        right = torch.logaddexp(log_b, self.log_positive)
        bend = (2 * rho - 1) / N - 1
        slope = (log_a - left).exp() * (self.x / a - bend) + (log_b - right).exp() * (self.y / b + bend + 2)
        return self.sign * (left - right), slope * torch.sigmoid(tau)


def _interval(x: Tensor, y: Tensor, z: Tensor) -> tuple[_Interval, Tensor]:
    """The end that is nearer to the root, and the largest τ."""
    has_low, has_high = x > 0, y > 0
    safe_x, safe_y = x.masked_fill(~has_low, 1.0), y.masked_fill(~has_high, 1.0)
    low, high = (1 - y / safe_x).clamp(-FAR, FAR), (x / safe_y).clamp(-FAR, FAR)
    square = x * x - x * y + y * y
    logs = (-z).clamp(min=0).log(), z.clamp(min=0).log()
    both = has_low & has_high
    below, top = has_low, torch.full_like(x, LARGEST)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    if both.any():
        # x/y − 1 + y/x ≥ 1: half is at least one half, and the inverse of log(1 + e^τ) is safe
        half = (0.5 * (high - low)).masked_fill(~both, 1.0)
        top = torch.where(both, half + torch.log(-torch.expm1(-half)), top)
        from_below = _Interval(x, y, low, one, zero, square / safe_x, *logs)
        below = below & ((from_below.function(torch.where(both, top, one))[0] >= 0) | ~both)
    sign = torch.where(below, one, -one)
    end = torch.where(below, low, high)
    a0 = (square / safe_y).masked_fill(below, 0.0)
    b0 = torch.where(below, square / safe_x, zero)
    return _Interval(x, y, end, sign, a0, b0, *logs), top


def _root(where: _Interval, top: Tensor, near: Tensor) -> Tensor:
    """τ by Newton's method from ρ = near."""
    delta = where.sign * (near - where.end)
    start = delta + torch.log(-torch.expm1(-delta))  # the inverse of δ = log(1 + e^τ)
    tau = torch.minimum(torch.where(delta > 0, start, 0.0), top)
    return increasing_root(where.function, tau, torch.full_like(top, SMALLEST), top)


def exponential(v: Tensor, near: Tensor | None = None) -> Split:
    """Moreau's decomposition with respect to the exponential cone, and its derivative.

    At a kink one of the neighbouring derivatives is taken: that of the cone on its boundary, of the face on its own.
    A point ``near`` the projection saves iterations.
    """
    scale, w = normalised(v)
    x, y, z = w.unbind(-1)
    face = (x <= 0) & (y <= 0)
    ratio = x / torch.where(y > 0, y, torch.ones_like(y))
    in_cone = (y > 0) & (
        ratio <= (z / torch.where(y > 0, y, torch.ones_like(y))).log().nan_to_num(nan=-torch.inf)
    )
    slope = y / torch.where(x > 0, x, torch.ones_like(x)) - 1
    in_polar = (x > 0) & (
        slope <= (-z / torch.where(x > 0, x, torch.ones_like(x))).log().nan_to_num(nan=-torch.inf)
    )
    curved = ~(face | in_cone | in_polar)
    if curved.all():
        return overlaid(scale, _curved(x, y, z, near), curved, ())
    # where nothing has to be found, a point whose root is found at once stands in
    off = ~curved
    found = _curved(x.masked_fill(off, 1.0), y.masked_fill(off, -1.0), z.masked_fill(off, 0.0), near)
    zero, one = torch.zeros_like(w), torch.ones_like(w)
    up = (z >= 0).to(v.dtype)
    on_face = torch.stack([torch.ones_like(up), torch.zeros_like(up), up], -1)
    flat = torch.stack([x, torch.zeros_like(x), z.clamp(min=0)], -1)
    cases = (
        (in_polar, zero, -w, zero, one),
        (in_cone, w, zero, one, zero),
        (face, flat, flat - w, on_face, 1 - on_face),
    )
    return overlaid(scale, found, curved, cases)


def _curved(x: Tensor, y: Tensor, z: Tensor, near: Tensor | None) -> Found:
    """s, y, δ, 1 − δ and V at points that project on the curved boundary."""
    where, top = _interval(x, y, z)
    start = where.end if near is None else (near[..., 0] / near[..., 1]).nan_to_num()
    rho, a, b, N = where.coefficients(_root(where, top, start))
    alpha, B = a / N, b / N  # B = βe^ρ
    # αe^ρ and β differ by z: each is taken from its own exponential where that cannot overflow, else from the other
    rise, beta = (alpha.log() + rho).exp(), (B.log() - rho).exp()
    steep = rho >= 0
    beta = torch.where(steep, beta, torch.where(z <= 0, rise - z, torch.minimum(beta, rise)))
    rise = torch.where(steep, torch.where(z >= 0, z + beta, torch.minimum(rise, beta)), rise)
    s = torch.stack([alpha * rho, alpha, rise], -1)
    dual = torch.stack([-B, (rho - 1) * B, beta], -1)
    # p and n up to positive factors, the larger exponential scaled away
    up, down = torch.exp(rho.clamp(max=0)), torch.exp(-rho.clamp(min=0))
    p = torch.stack([rho * down, down, up], -1)
    n = torch.stack([up, (1 - rho) * up, -down], -1)
    p, n = (u / torch.linalg.vector_norm(u, dim=-1, keepdim=True) for u in (p, n))
    # both terms of θ : 1 − θ divided by max(1, e^{2ρ})
    keep = alpha * (down**2 + (rho * rho - 2 * rho + 2) * up**2)
    lose = B * ((1 + rho * rho) * down**2 + up**2)
    return s, dual, *in_frame(p, n, keep, lose)
