"""Certificates that a cone program has no solution, and what they are worth.

    infeasible    y ∈ K*,  Aᵀy = 0,  bᵀy < 0
    unbounded     Px = 0,  −Ax ∈ K,  qᵀx < 0

An engine's certificate holds up to its tolerance. Relative to the largest entry that shows only that feasible points,
or values of the objective, are far out, and in programs whose variables grow along a chain some are. So every equation
is measured by itself, against the terms that it adds up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.products import A_of, A_places, AT_of, P_of
from layers.cone.projections import project, project_dual
from layers.cone_program import ConeProgram
from layers.linalg.products import dot, max_abs, one_where_zero

#: relative error of a certificate that is accepted
TOLERANCE = 1e-7
#: in an equation by itself, terms below this multiple of what they could be count as that much: an engine's rounding
SMALL = 1e-4
#: the sum that a certificate makes negative is more than this multiple of its terms: below is their rounding
ROUNDING = 1e-13


def infeasibility(program: ConeProgram, y: Tensor) -> tuple[Tensor, Tensor]:
    """A certificate that no point is feasible, y ∈ K* with Aᵀy = 0 and bᵀy = −1, and its relative error, ``(B,)``.

    bᵀy = (Ax + s)ᵀy ≥ 0 for every feasible x, so y with bᵀy < 0 beyond rounding leaves none. The error of Aᵀy is
    relative to the terms of each column, where every row of A has size one: a large row that y hardly uses excuses
    nothing.
    """
    value = dot(program.b, y)
    y = project_dual(
        program.structure.cones, y / torch.where(value < 0, -value, torch.ones_like(value)).unsqueeze(-1)
    )
    row, column = _own_rows(program)
    size = _between(AT_of(_magnitudes(program), y.abs()), column * max_abs(row * y).unsqueeze(-1))
    error = max_abs(AT_of(program, y) / size)
    claim = dot(program.b, y)
    known = claim < -ROUNDING * dot(program.b.abs(), y.abs())
    return y / -torch.where(claim < 0, claim, -torch.ones_like(claim)).unsqueeze(-1), _if(known, error)


def unboundedness(program: ConeProgram, x: Tensor) -> tuple[Tensor, Tensor]:
    """A ray along which the objective falls for ever, Px = 0, −Ax ∈ K, qᵀx = −1, and its relative error, ``(B,)``.

    How far −Ax is from K is relative to the terms of each row: a large row excuses nothing in others of its block.
    """
    value = dot(program.q, x)
    x = x / torch.where(value < 0, -value, torch.ones_like(value)).unsqueeze(-1)
    size, s = max_abs(x).unsqueeze(-1), -A_of(program, x)
    row, _ = _own_rows(program)
    terms = _magnitudes(program)
    leaves = project(program.structure.cones, s) - s
    error = max_abs(leaves / _between(A_of(terms, x.abs()), row * size))
    bends = P_of(program, x) / _between(P_of(terms, x.abs()), kkt.Norms.of(program).P_row * size)
    known = dot(program.q, x) < -ROUNDING * dot(program.q.abs(), x.abs())
    return x, _if(known, error.maximum(max_abs(bends)))


def _magnitudes(program: ConeProgram) -> ConeProgram:
    return ConeProgram(program.structure, *(v.abs() for v in program.data))


def _between(terms: Tensor, largest: Tensor) -> Tensor:
    """The terms of an equation, but between ``SMALL`` of what they could be and all of it."""
    return one_where_zero(terms.minimum(largest).maximum(SMALL * largest))


def _own_rows(program: ConeProgram) -> tuple[Tensor, Tensor]:
    """The largest entry of each row of A, ``(B or 1, m)``, and of each column of A with its rows divided by theirs."""
    s, A = program.structure, program.A.abs()
    A = A.unsqueeze(0) if A.dim() == 1 else A
    rows, columns = A_places(s, A)
    row = kkt.largest(A, rows, s.m)
    return row, kkt.largest(A / one_where_zero(row)[:, rows], columns, s.n)


def _if(claimed: Tensor, error: Tensor) -> Tensor:
    return torch.where(claimed, kkt.finite(error), torch.full_like(error, torch.inf))
