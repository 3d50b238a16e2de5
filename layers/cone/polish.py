"""Active-set polish of sparse programs whose rows are all linear: from an engine's answer to rounding.

On a guess 𝒜 of the active rows the conditions are linear equations, with the matrix [P A_𝒜ᵀ; A_𝒜 0]. Each round solves
them for the change of (x, y), a short one where there are several (:mod:`layers.linalg.sparse_saddle`), and guesses
again: rows whose y came out negative leave, rows that are violated enter (primal-dual active set: Hintermüller, Ito &
Kunisch 2002). In contrast to Newton's method with its line search the residual may rise on the way; the best point is
kept, and it counts for no more than its residuals say.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.linearised.sparse import element
from layers.cone_program import ConeProgram
from layers.linalg.sparse_saddle import Array, SparseSaddle
from layers.solution import Residuals

#: rounds, and the residual that needs no further one
ROUNDS, SHARP = 6, 1e-13
#: a guess that more rows leave or enter than the last, and more than these, leads away
FEW = 5
#: multipliers below this part of the largest are rounding
ROUNDING = 1e-13

Point = tuple[Tensor, Tensor, Tensor]


def polish(
    program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, norms: kkt.Norms
) -> tuple[Point, Residuals]:
    """The best point that the rounds came to, element by element, and its residuals in norm.

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
        Infinite where there was no better point than none.

    Notes
    -----
    Cost: a sparse factorisation for each round, most often one or two.
    """
    found = [
        _of_one(program, norms, i, *(v[i].cpu().numpy() for v in (x, y, s))) for i in range(program.batch)
    ]
    device = program.q.device
    point = tuple(torch.stack([one[k] for one, _ in found]).to(device) for k in range(3))
    return (point[0], point[1], point[2]), Residuals(torch.cat([error for _, error in found]).to(device))


def _of_one(
    program: ConeProgram, norms: kkt.Norms, i: int, x: Array, y: Array, s: Array
) -> tuple[tuple[Tensor, ...], Tensor]:
    where = torch.tensor([i], device=program.q.device)
    one, own = program.take(where), norms.take(where)
    P, A = element(program, i)
    q, b, zero = one.q[0].cpu().numpy(), one.b[0].cpu().numpy(), program.structure.cones.zero
    by_rows = A.tocsr()
    best = (x, np.zeros_like(y), np.zeros_like(s))
    error = one.q.new_full((1, 6), torch.inf)
    active = _guess(own.A_row[0].cpu().numpy(), x, y, s, zero)
    changes = y.size
    for _ in range(ROUNDS):
        x, y = _on_face(P, by_rows, q, b, active, x, y)
        room = b - A @ x
        rounding = ROUNDING * abs(y).max(initial=0.0)
        free = np.arange(y.size) >= zero
        leaves, enters = active & free & (y < -rounding), ~active & (room < 0)
        y[free] = y[free].clip(min=0.0)
        point = (x, y, np.where(active, 0.0, room.clip(min=0.0)))
        tensors = [torch.from_numpy(v).to(one.q).unsqueeze(0) for v in point]
        scale = kkt.scales(one, tensors[0], tensors[1], own)
        after = kkt.residuals_in_cones(one, *tensors, scale).values
        if after.max() < error.max():
            best, error = point, after
        changes, before = int(leaves.sum() + enters.sum()), changes
        if not changes or error.max() <= SHARP or changes >= max(before, FEW):
            break
        active = (active & ~leaves) | enters
    return tuple(torch.from_numpy(v) for v in best), error


def _guess(row: Array, x: Array, y: Array, s: Array, zero: int) -> Any:
    """The rows that hold with equality: those whose y is more, of all y, than their s of all that is possible."""
    row = np.where(row > 0, row, 1.0)
    size_x, size_y = (max(abs(v).max(initial=0.0), np.finfo(float).tiny) for v in (x, y * row))
    active = y * row / size_y > s / (row * size_x)
    active[:zero] = True
    return active


def _on_face(P: Any, A: Any, q: Array, b: Array, active: Any, x: Array, y: Array) -> tuple[Array, Array]:
    """The nearest point that satisfies the equations of the active rows."""
    C, y = A[active], np.where(active, y, 0.0)
    saddle = SparseSaddle(P, C)
    step = saddle.solve(np.concatenate([-(P @ x + q + C.T @ y[active]), b[active] - C @ x]))
    y[active] += step[x.size :]
    return x + step[: x.size], y
