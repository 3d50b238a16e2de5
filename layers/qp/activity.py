"""Which constraints hold with equality at a solution, and which of those would do so alone: told from s and λ."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from layers.linalg.faces import pinned_rows
from layers.native.constants import ACTIVE, INACTIVE, WEAK, WEAK_RATIO, WEAK_TOLERANCE
from layers.problem import QP
from layers.qp.kkt import NOISE, relative_residual, scales, slack
from layers.qp.parts import divided, split
from layers.qp.scaling import scale_problem
from layers.qp.shares import shares

#: what sᵢ or λᵢ is of the terms of its own row, from which on it is clear
OWN = 1e-6
#: what is next to nothing of all rows
LITTLE = 2e-6
#: the part of the terms around it that a number may be by rounding, at a point whose numbers are right to rounding
ROUNDING = 1e-15
#: what is more than this multiple of the noise, of all rows, is a number
NUMBER = 1e3


def activity(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, noise: Tensor | float = NOISE) -> Tensor:
    """Class of every constraint, INACTIVE, ACTIVE or WEAK: int8, shape ``(B, m)``.

    sᵢ and λᵢ are compared on the equilibrated problem, each relative to its scale there, so the class does not
    change when a row of (G, h) or the objective is multiplied by a number. The scales are those of all rows together:
    beside a multiplier, a bound or a curvature of another size they make what is clear in its own row look like
    nothing. So what sᵢ is of the terms of its row, and λᵢ of the terms that it holds up, counts where it is more than
    ``OWN``; below, it may be the rounding of terms that have cancelled. Rows that are weakly active and pin each other,
    as z ≤ 0 and −z ≤ 0, have multipliers as large as one likes, and are active. Parts that nothing connects are told
    each by itself: a curvature of one is no curvature beside one of 1e15, and what it lets z be no rounding.
    At a point whose numbers are right to rounding ``noise``, ``(B, 1)``, is less than elsewhere.
    """
    return tell(problem, z, lam, nu, noise)[0]


def tell(
    problem: QP, z: Tensor, lam: Tensor, nu: Tensor, noise: Tensor | float = NOISE
) -> tuple[Tensor, Tensor]:
    """:func:`activity`, and whether an element has a row in doubt, ``(B,)``.

    In doubt is a row of which s and λ are next to nothing of all rows and yet not zero, or are both clear.
    """
    noise = torch.as_tensor(noise, dtype=z.dtype, device=z.device).expand(len(z), 1)
    kind, doubt = _of_whole(problem, z, lam, nu, noise)
    several, label = divided(problem)
    if label is None:
        return kind, doubt
    doubt = doubt.index_fill(0, several, False)
    for part in split(problem.take(several), label):
        at = several[part.element]
        own, its = _of_whole(part.problem, *part.take(z[several], lam[several], nu[several]), noise[at])
        kind[at.unsqueeze(-1), part.lam] = own
        doubt = doubt.index_fill(0, at[its], True)
    return kind, doubt


def _of_whole(problem: QP, z: Tensor, lam: Tensor, nu: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`tell` with the scales of all of the problem."""
    weighted, point = _equilibrated(problem, z, lam, nu)
    own = shares(weighted, *point, noise)
    sizes = relative(problem, z, lam, nu)
    s_hat, lam_hat = (
        torch.where(share > OWN, share.maximum(size), size) for size, share in zip(sizes, own, strict=True)
    )
    larger, smaller = s_hat.maximum(lam_hat), s_hat.minimum(lam_hat)
    reach = 10 * relative_residual(problem, z, lam, nu).clamp(min=1e-18, max=1e-6).sqrt().unsqueeze(-1)
    weak = (larger <= WEAK_TOLERANCE) | ((larger <= reach) & (smaller >= WEAK_RATIO * larger))
    # one of the two is zero: where both are clear in their own rows, the one that is no number beside all of them
    moves, pushes = (size > NUMBER * noise for size in sizes)
    both = smaller > OWN
    kind = torch.where(torch.where(both & (moves != pushes), pushes, lam_hat > s_hat), ACTIVE, INACTIVE)
    doubt = ((~weak & (sizes[0].maximum(sizes[1]) <= LITTLE)) | both).any(-1)
    some = (weak.any(-1) & ~doubt).nonzero().squeeze(-1)
    if some.numel():  # what only noise around it makes nothing may be a number
        fine = shares(weighted.take(some), *(v[some] for v in point), noise=ROUNDING)
        doubt = doubt.index_copy(0, some, (weak[some] & (fine[0].maximum(fine[1]) > OWN)).any(-1))
    return _enforced(weighted, torch.where(weak, WEAK, kind).to(torch.int8)), doubt


def _enforced(problem: QP, kind: Tensor) -> Tensor:
    """Weakly active rows that pin each other are active: together they say an equality, whatever their multipliers."""
    several = ((kind == WEAK).sum(-1) > 1).nonzero().squeeze(-1)
    if not several.numel():
        return kind
    kind = kind.clone()
    for i in several.tolist():
        G, A = ((M if M.dim() == 2 else M[i]).detach().cpu().numpy() for M in (problem.G, problem.A))
        own = kind[i].cpu().numpy()
        pinned = np.zeros(len(own), dtype=bool)
        pinned[own == WEAK] = pinned_rows(np.vstack([G[own == ACTIVE], A]), G[own == WEAK])
        kind[i, torch.from_numpy(pinned).to(kind.device)] = ACTIVE
    return kind


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
