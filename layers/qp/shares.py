"""What a slack is of the terms of its row, and a multiplier of those that it holds up, where these are no rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from layers.linalg.products import max_abs, mtv, mv, one_where_zero
from layers.problem import QP
from layers.qp.kkt import NOISE, scales, slack, sums

#: rows that share a variable with rows that share one with this
HOPS = 2
#: the part of the terms of a row that a number is, if these are no rounding
GIVEN = 0.1

#: one tensor for the rows of G, of A, and for the columns
_Rows = tuple[Tensor, Tensor, Tensor]


def shares(
    problem: QP, z: Tensor, lam: Tensor, nu: Tensor, noise: Tensor | float = NOISE
) -> tuple[Tensor, Tensor]:
    """How much sᵢ is of the terms of its row, and λᵢ of the terms of a column that it holds up; ``(B, m)`` each.

    Of an equilibrated problem, whose entries are about one: there the terms of rows that share variables compare, and
    those of rows that share them with these. Below ``noise``, ``(B, 1)``, of such a sum, or of the scale of all rows if
    that is less, a row has rounding of its neighbours; what is larger elsewhere has nothing to do with it. Where q, h
    and b are zero all around, these terms are rounding themselves, and the scale of all rows counts. A row of numbers
    that are there has no rounding but its own (:func:`_there`).
    """
    scale = scales(problem, z, lam, nu)
    magnitudes = QP(*(t.abs() for t in problem.tensors))
    g, a, c = sums(magnitudes, z.abs(), lam.abs(), nu.abs())
    near_g, near_c = _neighbours(magnitudes, z.abs(), (g, a, c))
    zero = torch.zeros_like(z)
    given_g, given_c = _neighbours(magnitudes, zero, (magnitudes.h, magnitudes.b, magnitudes.q))
    least = noise * torch.where(given_g > 0, scale.g.minimum(near_g), scale.g)
    g = torch.where(_there(magnitudes, z.abs(), (g, a, c)), g, g.maximum(least))
    c = c.maximum(noise * torch.where(given_c > 0, scale.dual.minimum(near_c), scale.dual))
    room = slack(problem, z).clamp(min=0)
    return room / one_where_zero(g), lam.abs() * max_abs(magnitudes.G / one_where_zero(c).unsqueeze(-2))


def _there(problem: QP, z: Tensor, sizes: _Rows) -> Tensor:
    """Rows of G whose terms are no rounding, ``(B, m)``; all of magnitudes.

    A right-hand side that is a part of its row is there, and so is a variable that is a part of such a row, and a row
    that such a variable is a part of: along a chain z_k = 10 z_{k−1} everything is there if z₀ is.
    """
    parts = [
        (M * z.unsqueeze(-2) >= GIVEN * size.unsqueeze(-1)) & (M > 0)
        for M, size in zip((problem.G, problem.A, problem.Q), sizes, strict=True)
    ]
    rows = [
        (v > 0) & (v >= GIVEN * size)
        for v, size in zip((problem.h, problem.b, problem.q), sizes, strict=True)
    ]
    known = torch.zeros_like(z, dtype=torch.bool)
    for _ in range(problem.n):
        found = known
        for part, row in zip(parts, rows, strict=True):
            found = found | (part & row.unsqueeze(-1)).any(-2)
        if torch.equal(found, known):
            break
        known = found
        rows = [row | (part & known.unsqueeze(-2)).any(-1) for part, row in zip(parts, rows, strict=True)]
    return rows[0]


def _neighbours(problem: QP, z: Tensor, terms: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """What the terms of rows and columns come to in the rows of G and the columns that they are connected with."""
    g, a, c = terms
    pull = mv(problem.Q, z) + problem.q
    for _ in range(HOPS):
        z = z + mtv(problem.G, g) + mtv(problem.A, a) + mv(problem.Q, pull)
        g, a, pull = mv(problem.G, z), mv(problem.A, z), mv(problem.Q, z)
        c = c + mtv(problem.G, mv(problem.G, c)) + mtv(problem.A, mv(problem.A, c))
    return g, c
