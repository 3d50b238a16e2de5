"""From an engine's point to rounding: Newton's method, first in the units of the program, then in those of the point.

Interior-point engines stop at residuals of about 1e-8, where the solution itself may be off by 1e-5. A few Newton
steps on the residual map R(x, v) of :mod:`layers.cone.linearised.system` (Busseti, Moursi & Boyd 2019, with the
variable τ fixed to one) bring both to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.linearised.sparse import linear
from layers.cone.newton import Iterate, refine
from layers.cone.polish import polish
from layers.cone.projections import block_max
from layers.cone.scaling import NOTHING, ScaledProgram
from layers.cone.turns import rotated, stretch_at
from layers.cone_program import ConeProgram
from layers.solution import Residuals

#: residual of a polished point that needs no Newton's method, and of one that needs no second attempt
POLISHED = 1e-11
#: what is less than this of the terms it is made of, and a rotated cone with √(w/u) of more than 2 to this power
SMALL, STRETCHED = 1e-4, 10.0
#: a row with a number on its right is met if no more than this of its terms is left
MET = 1e-6
#: a slack or multiplier below this of its scale is the root of rounding: of long and thin cones such are no sign
ROOT = 1e-7


def refined(
    program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, wanted: Tensor, most: float = torch.inf
) -> tuple[Iterate, Residuals, Tensor]:
    """By the active set where all rows are linear and sparse; else Newton's method with parts of v of one size.

    The last of the three says where the answer is blunt. What a polish has left beyond ``most`` stays as it is.
    """
    if linear(program) and wanted.all():
        norms = kkt.Norms.of(program)
        (near_x, near_y, near_s), error = polish(program, x, y, s, norms)
        blunt = error.largest > POLISHED
        if (~blunt | (error.largest > most)).all():
            return Iterate(near_x, near_s - near_y, near_y, near_s), error, blunt
    point, error = _by_newton(program, ScaledProgram.plain(program), (x, y, s), wanted)
    at = point.x, point.y, point.s
    blunt = wanted & ((error.largest > POLISHED) | unmet(program, *at) | small(program, *at))
    index = blunt.nonzero().squeeze(-1)
    if not index.numel():
        return point, error, blunt
    few, start, before = program.take(index), point.take(index), error.take(index)
    units = ScaledProgram.near(few, start.x, start.y, start.s)
    other, its_error = _by_newton(few, units, (start.x, start.y, start.s), wanted[index])
    # what is large in those units may hide what is left in these
    scale = kkt.scales(few, other.x, other.y)
    here = kkt.residuals_in_cones(few, other.x, other.y, other.s, scale)
    its_error = Residuals(its_error.values.maximum(here.values))
    polished = its_error.largest <= POLISHED
    better = (polished | (its_error.largest < before.largest)).nonzero().squeeze(-1)
    blunt = blunt.index_copy(0, index, ~polished | unmet(few, other.x, other.y, other.s))
    return (
        point.put(index[better], other.take(better)),
        error.put(index[better], its_error.take(better)),
        blunt,
    )


def _by_newton(
    program: ConeProgram, units: ScaledProgram, start: tuple[Tensor, Tensor, Tensor], wanted: Tensor
) -> tuple[Iterate, Residuals]:
    """Newton's method in other units where s and y are of one size, and the residuals in these."""
    x, y, s = units.point(*start)
    scaled = ScaledProgram.balanced(units.program, y, s)
    x, y, s = scaled.point(x, y, s)
    point, error = refine(scaled.program, Iterate(x, s - y, y, s), kkt.Norms.of(scaled.program), wanted)
    x, y, s = units.back(*scaled.back(point.x, point.y, point.s))
    return Iterate(x, s - y, y, s), error


def small(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    """Whether a curved block that pushes is there, but small beside its terms, or a rotated cone long and thin."""
    cones, scale = program.structure.cones, kkt.scales(program, x, y)
    first = cones.zero + cones.nonneg
    if first == cones.rows:
        return torch.zeros_like(x[:, 0], dtype=torch.bool)
    size, push = block_max(cones, s.abs()), block_max(cones, y.abs())
    terms, _ = kkt.own_terms(program, x, y)
    little = (push > 0) & (size > NOTHING * terms) & (size < SMALL * terms)
    there = (size > ROOT * scale.row) & (push > ROOT * scale.y.unsqueeze(-1))
    thin = there[:, rotated(program.structure).first.to(s.device)] & (
        stretch_at(program.structure, y, s).log2().abs() > STRETCHED
    )
    return little[:, first:].any(-1) | thin.any(-1)


def unmet(program: ConeProgram, x: Tensor, y: Tensor, s: Tensor) -> Tensor:
    """Whether a block of rows or a column is not met to MET of its own terms: such may be lost in rounding."""
    scale, left = kkt.scales(program, x, y), kkt.Left.of(program, x, y, s)
    row, column = kkt.own_terms(program, x, y)
    missed = (left.primal.abs() > MET * row) & (row > NOTHING * scale.row)
    unheld = (left.dual.abs() > MET * column) & (column > NOTHING * scale.column)
    return missed.any(-1) | unheld.any(-1)
