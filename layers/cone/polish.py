"""From an engine's answer to rounding where all rows are linear and sparse, and from its certificate to a proof."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.linearised.sparse import element
from layers.cone.projections import block_max
from layers.cone_program import ConeProgram
from layers.linalg import complementarity
from layers.linalg.products import one_where_zero
from layers.linalg.sparse_saddle import Array, SparseSaddle
from layers.solution import Residuals

#: what is less than this part of the largest is an interior point's rounding
NOISE = 1e-4


def polish(
    program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, norms: kkt.Norms
) -> tuple[tuple[Tensor, Tensor, Tensor], Residuals]:
    """The best point that :mod:`layers.linalg.complementarity` came to, element by element, and its residuals in norm.

    Parameters
    ----------
    program : ConeProgram
        With zero and nonnegative rows only.
    x, y, s : Tensor, shapes ``(B, n)``, ``(B, m)``, ``(B, m)``
        Near a solution.

    Returns
    -------
    point : tuple of Tensor
        x, y and s; the last two exactly complementary and of the right signs.
    residuals : Residuals
    """
    found = [_of_one(program, norms, i, (x[i], y[i], s[i])) for i in range(program.batch)]
    x, y, s = (torch.stack([torch.from_numpy(one[k]) for one in found]).to(x) for k in range(3))
    scale = kkt.scales(program, x, y, norms)
    return (x, y, s), kkt.residuals_in_cones(program, x, y, s, scale)


def _of_one(
    program: ConeProgram, norms: kkt.Norms, i: int, start: tuple[Tensor, Tensor, Tensor]
) -> tuple[Array, Array, Array]:
    where = torch.tensor([i], device=program.q.device)
    one, own = program.take(where), norms.take(where)
    P, A = element(program, i)
    q, b = one.q[0].cpu().numpy(), one.b[0].cpu().numpy()
    x, y, s = (v.cpu().numpy() for v in start)

    def judge(point: tuple[Array, Array, Array]) -> float:
        x, y, s = (torch.from_numpy(v).to(one.q).unsqueeze(0) for v in point)
        return float(kkt.residuals_in_cones(one, x, y, s, kkt.scales(one, x, y, own)).largest)

    return complementarity.polish((P, q, A, b), program.structure.cones.zero, (x, y, s), judge)[0]


def polish_certificates(program: ConeProgram, x: Tensor, y: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """A ray x and a proof y of each element that is wanted, brought nearer to what they claim.

    What an interior point leaves on rows that have no part in a certificate is its tolerance. Without it the rest is
    moved by as little as makes Aᵀy = 0, or Px = 0 and aᵀx = 0 on the linear rows that the ray runs along. Of a curved
    cone all rows have a part, or none.
    """
    cones = program.structure.cones
    rays, proofs = x.clone(), y.clone()
    sizes = block_max(cones, one_where_zero(kkt.Norms.of(program).A_row) * y.abs())
    linear = cones.zero + cones.nonneg
    for i in wanted.nonzero().squeeze(-1).tolist():
        P, A = element(program, i)
        row = abs(A).max(axis=1).toarray().ravel() if A.shape[0] else np.zeros(0)
        row = np.where(row > 0, row, 1.0)  # a row without an entry, as the 1 of exp(x) ≤ z, has a part in bᵀy
        unit = sp.diags_array(1.0 / row) @ A
        v, size = row * y[i].cpu().numpy(), sizes[i].cpu().numpy()
        places = np.arange(v.size)
        part = (places < cones.zero) | (size > NOISE * size.max(initial=0.0))
        own = np.zeros_like(v)
        own[part] = _nearest(unit.tocsr()[np.flatnonzero(part)].T, v[part])
        proofs[i] = torch.from_numpy(own / row)
        ray = x[i].cpu().numpy()
        along = (places < cones.zero) | (abs(unit @ ray) <= NOISE * abs(ray).max(initial=0.0)) & (
            places < linear
        )
        rays[i] = torch.from_numpy(_nearest(sp.vstack([P, unit.tocsr()[np.flatnonzero(along)]]), ray))
    return rays, proofs


def _nearest(C: Any, v: Array) -> Array:
    """The nearest vector with C v = 0."""
    if not v.size:
        return v
    C = sp.csc_array(C)  # the product of one row by coordinates has no axis
    step = SparseSaddle(sp.eye_array(v.size), C).solve(np.concatenate([0 * v, -(C @ v)]))
    return v + step[: v.size]
