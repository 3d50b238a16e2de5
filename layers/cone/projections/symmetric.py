"""The self-dual cones: nonnegative rows, second-order and semidefinite cones, and the zero cone beside them.

All three split along a spectral decomposition v = Σ ωᵢ cᵢ into Π(v) = Σ max(ωᵢ, 0) cᵢ, and in its frame the derivative
multiplies the direction between the idempotents i and j by the divided difference

    δᵢⱼ = (ωᵢ⁺ + ωⱼ⁺) / (|ωᵢ| + |ωⱼ|),   1 − δᵢⱼ = (ωᵢ⁻ + ωⱼ⁻) / (|ωᵢ| + |ωⱼ|),

which is 1, 0 or ωᵢ/(ωᵢ − ωⱼ) (Sun & Sun 2002). At a kink, ωᵢ = 0, the limit from ωᵢ > 0 is taken: an element of
Clarke's generalised Jacobian.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone.projections.frames import Axes, Congruence, Reflection, Split, smat, svec


def _divided(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """δ and 1 − δ of a pair of eigenvalues."""
    total = first.abs() + second.abs()
    zero = total == 0
    total = total.masked_fill(zero, 1.0)
    inside = (first.clamp(min=0) + second.clamp(min=0)) / total
    return inside.masked_fill(zero, 1.0), -(first.clamp(max=0) + second.clamp(max=0)) / total


def zero(v: Tensor) -> Split:
    """{0}: s = 0 and y = −v."""
    nothing = torch.zeros_like(v)
    return Split(nothing, -v, nothing, torch.ones_like(v), Axes())


def nonneg(v: Tensor) -> Split:
    """R₊."""
    inside = (v >= 0).to(v.dtype)
    return Split(v.clamp(min=0), -v.clamp(max=0), inside, 1 - inside, Axes())


def second_order(v: Tensor) -> Split:
    """{(t, u) : ‖u‖ ≤ t}: eigenvalues t ± ‖u‖ on (1, ±û)/√2 (up to a factor), and û's tangents between the two."""
    t, u = v[..., 0], v[..., 1:]
    r = torch.linalg.vector_norm(u, dim=-1)
    first = torch.zeros_like(u)
    first[..., 0] = 1
    unit = torch.where(
        (r > 0).unsqueeze(-1), u / torch.where(r > 0, r, torch.ones_like(r)).unsqueeze(-1), first
    )
    # I − 2wwᵀ with w along û ± e₁ sends e₁ to ∓û; the sign that adds avoids cancellation
    sign = torch.where(unit[..., 0] >= 0, 1.0, -1.0).to(v.dtype)
    w = unit + sign.unsqueeze(-1) * first
    w = w / torch.linalg.vector_norm(w, dim=-1, keepdim=True)
    high, low = t + r, t - r
    between, rest = _divided(high, low)
    own = (torch.stack([high, low], -1) >= 0).to(v.dtype)
    tangents = (*between.shape, v.shape[-1] - 2)
    inside = torch.cat([own, between.unsqueeze(-1).expand(tangents)], -1)
    outside = torch.cat([1 - own, rest.unsqueeze(-1).expand(tangents)], -1)
    parts: list[Tensor] = []
    for a, b in ((high.clamp(min=0), low.clamp(min=0)), (-high.clamp(max=0), -low.clamp(max=0))):
        parts.append(torch.cat([0.5 * (a + b).unsqueeze(-1), 0.5 * (a - b).unsqueeze(-1) * unit], -1))
    return Split(parts[0], parts[1], inside, outside, Reflection(w, -sign))


def semidefinite(v: Tensor) -> Split:
    """svec of {X ⪰ 0}. Cost: one symmetric eigendecomposition per block."""
    omega, U = torch.linalg.eigh(smat(v))
    inside, outside = (svec_plain(d) for d in _divided(omega.unsqueeze(-1), omega.unsqueeze(-2)))
    s, y = (svec((U * w.unsqueeze(-2)) @ U.mT) for w in (omega.clamp(min=0), -omega.clamp(max=0)))
    return Split(s, y, inside, outside, Congruence(U))


def svec_plain(X: Tensor) -> Tensor:
    """The upper triangle by columns without weights: one number per entry of svec."""
    j, i = torch.tril_indices(X.shape[-1], X.shape[-1], device=X.device)
    return X[..., i, j]
