"""The linearised conditions of programs with linear rows only, element by element, at degenerate solutions too.

    K = [P A_𝒜ᵀ; A_𝒜 0] on the active rows 𝒜, with a column more for every weakly active one, whose multiplier may move
    and whose row is not enforced:

the K of :mod:`layers.qp.adjoints.implicit`, and as there the answer is K⁺ r, in reverse K⁺ᵀ r.
"""

from __future__ import annotations

from threading import Event
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from layers.cone.linearised.sparse import ACCURATE, MOST_DENSE, element
from layers.cone_program import ConeProgram
from layers.linalg.kept import factorised
from layers.linalg.shortest import shortest
from layers.linalg.sparse_saddle import Array
from layers.linalg.sparse_shortest import shortest_sparsely
from layers.linalg.threads import shared_out


def solve_linear(
    program: ConeProgram, y: Tensor, s: Tensor, weak: Tensor, r1: Tensor, r2: Tensor, *, transpose: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dy and the backward error, infinite where a rank is in doubt.

    Parameters
    ----------
    y, s : Tensor, shape ``(B, m)``
        Complementary.
    weak : Tensor of bool, shape ``(B, m)``
        Weakly active rows: with ``transpose`` their r₂ is read, else their dy is not zero.

    Notes
    -----
    Cost: one sparse factorisation; at degenerate solutions three, and a solve for each vector of a null space.
    """
    zero = program.structure.cones.zero
    vectors = [v.cpu().numpy() for v in (y, s, weak, r1, r2)]
    elements = [element(program, i) for i in range(program.batch)]

    def answer(_: Event, i: int) -> tuple[Array, Array, float]:
        own_y, own_s, loose, top, low = (v[i] for v in vectors)
        active = (own_y > own_s) & ~loose
        active[:zero] = True
        return _of_one(*elements[i], active, loose, top, low, transpose)

    found = shared_out(answer, program.batch, torch.get_num_threads())
    dx, dy, error = torch.zeros_like(r1), torch.zeros_like(r2), r1.new_zeros(len(r1))
    for i, (x, multipliers, error[i]) in enumerate(found):
        dx[i], dy[i] = torch.from_numpy(x).to(dx), torch.from_numpy(multipliers).to(dy)
    return dx, dy, error


def _of_one(
    P: Any, A: Any, active: Any, loose: Any, r1: Array, r2: Array, transpose: bool
) -> tuple[Array, Array, float]:
    by_rows, n = A.tocsr(), r1.size
    C, free = by_rows[np.flatnonzero(active)], by_rows[np.flatnonzero(loose)].T
    r = np.concatenate([r1, r2[active], r2[loose] if transpose else r2[:0]])
    saddle = None if free.shape[1] else factorised(P, C)
    if saddle is not None and not saddle.singular:
        found = saddle.solve(r)
        error = saddle.error(found, r)
    else:
        columns: Any = sp.vstack([free, sp.csc_array((C.shape[0], free.shape[1]))], format="csc")
        found, error = shortest_sparsely(P, C, columns, r, transpose=transpose, saddle=saddle)
        if not error <= ACCURATE and sum(columns.shape) <= MOST_DENSE:
            K = sp.block_array([[P, C.T, columns[:n]], [C, None, columns[n:]]], format="csr")
            found, error = shortest(K.T if transpose else K, r)
    dy = np.zeros_like(r2)
    dy[active] = found[n : n + C.shape[0]]
    if not transpose:
        dy[loose] = found[n + C.shape[0] :]
    return found[:n], dy, error
