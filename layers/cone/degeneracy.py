"""How degenerate the solution of a cone program is: :class:`layers.solution.Degeneracy` from its linearised conditions.

In the frame of :mod:`layers.cone.linearised.system` a row with δ = 0 holds ds = 0, one with 0 < δ < 1 ties dy to ds,
and one with δ = 1 holds dy = 0. So a direction of minimisers has P dx = 0 and ds = −A dx zero in the rows with δ < 1,
and multipliers can be exchanged where the rows of VᵀA with δ = 0 are dependent. That is the whole set of minimisers
where strict complementarity holds; of linear rows that are weakly active Aᵢdx ≤ 0 counts, as for quadratic programs.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layers.cone.kkt import scales
from layers.cone.linearised.sparse import element, linear
from layers.cone.products import A_places, P_places
from layers.cone.projections import Decomposition, decompose, groups
from layers.cone.projections.frames import smat
from layers.cone.scaling import ScaledProgram
from layers.cone_program import ConeProgram, Indices
from layers.linalg.faces import face_dimension
from layers.linalg.kept import factorised
from layers.linalg.shortest import rank
from layers.solution import Degeneracy

#: δ and 1 − δ below this are zero
NONE = 1e-9
#: sᵢ and yᵢ of a linear row both below this, relative to scale: it is weakly active
WEAK = 1e-6


def degeneracy(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, shown: Indices) -> Degeneracy:
    """Of the solutions of a flat program. Of several minimisers those count that differ in the variables ``shown``.

    ``margin`` is the smallest of sᵢ + yᵢ over linear rows, of the absolute eigenvalues of s − y over second-order and
    semidefinite cones, and of the largest entry of (s, y) over exponential and power cones, each relative to scale.

    Cost: of large sparse programs two factorisations of each element, which tell that it is not degenerate; else an
    orthogonal decomposition of (P, A).
    """
    scale = scales(program, x, y)
    margin, weak = _margin(program, y / scale.y.unsqueeze(-1), s / scale.row)
    scaled = ScaledProgram.balanced(program, y, s)
    _, turned_y, turned_s = scaled.point(x, y, s)
    at = decompose(program.structure.cones, turned_s - turned_y, turned_s)
    found = [_of_one(scaled.program, at, weak, shown, i) for i in range(program.batch)]
    counts = torch.tensor(found, dtype=torch.int64, device=x.device).reshape(-1, 2)
    return Degeneracy(margin, counts[:, 0], counts[:, 1])


def _margin(program: ConeProgram, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """The margin, ``(B,)``, and which linear rows are weakly active, ``(B, m)``."""
    margin = s.new_full((len(s),), torch.inf)
    weak = torch.zeros_like(s, dtype=torch.bool)
    for group in groups(program.structure.cones):
        v, size = ((u[:, group.index]).unflatten(1, group.shape) for u in (s - y, s.abs() + y.abs()))
        if group.kind == "zero":
            continue
        if group.kind == "nonneg":
            found = size.flatten(1)
            weak[:, group.index] = found <= WEAK
        elif group.kind == "soc":
            tail = v[..., 1:].norm(dim=-1)
            found = torch.minimum((v[..., 0] - tail).abs(), (v[..., 0] + tail).abs())
        elif group.kind == "psd":
            found = torch.linalg.eigvalsh(smat(v)).abs().flatten(1)
        else:
            found = size.amax(-1)
        margin = margin.minimum(found.amin(-1))
    return margin, weak


def _of_one(program: ConeProgram, at: Decomposition, weak: Tensor, shown: Indices, i: int) -> tuple[int, int]:
    """Dependent rows and the dimension of the set of minimisers of one element."""
    if linear(program) and _regular(program, at, weak[i].cpu().numpy(), i):
        return 0, 0
    one, s = torch.tensor([i], device=weak.device), program.structure
    P, A = (v if v.dim() == 1 else v[i] for v in (program.P, program.A))
    whole_P, whole_A = A.new_zeros(s.n, s.n), A.new_zeros(s.m, s.n)
    whole_P[P_places(s, P)], whole_A[A_places(s, A)] = P, A
    own = at.take(one)
    C = own.into(whole_A.unsqueeze(0))[0].cpu().numpy()
    inside, outside, loose = (v.cpu().numpy() for v in (own.inside[0], own.outside[0], weak[i]))
    pinned, held = (inside <= NONE) | loose, (outside > NONE) & ~loose
    return int(pinned.sum()) - rank(C[pinned]), face_dimension(
        np.vstack([whole_P.cpu().numpy(), C[held]]), C[loose], shown
    )


def _regular(program: ConeProgram, at: Decomposition, weak: NDArray[np.bool_], i: int) -> bool:
    """Whether the conditions of a sparse element determine its solution, with its weakly active rows and without."""
    P, A = element(program, i)
    C, active = A.tocsr(), at.inside[i].cpu().numpy() <= NONE
    with_weak, without = np.flatnonzero(active | weak), np.flatnonzero(active & ~weak)
    if factorised(P, C[with_weak]).singular:
        return False
    return with_weak.size == without.size or not factorised(P, C[without]).singular
