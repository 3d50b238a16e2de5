"""The scaled program that engines and Newton's method see, and the way back.

Cones are invariant under ω > 0 on a block, so rows may be multiplied by ω, the objective by c, and variables by D:

    P′ = cDPD, q′ = cDq, A′ = ωAD, b′ = ωb   ⇒   x′ = x/D, s′ = ωs, y′ = (c/ω) y.

v = s − y adds up what has different units: only where both are of one size does neither lose its digits.

An exponential cone has one more invariance: with y exp(x/y) ≤ z also y exp((x + κy)/y) ≤ e^κ z. So where its row y
holds a number and no variable, κ times that may be added to the row x and the row z multiplied by e^κ, and y′ loses
κ times its entry x in its entry y. exp(x) ≤ 10⁸ becomes exp(x′) ≤ 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from torch import Tensor

from layers.cone.kkt import Norms, largest
from layers.cone.products import A_of, A_places, AT_of, P_of, P_places
from layers.cone.projections import block_max, block_sum
from layers.cone_program import ConeProgram, Cones, ConeStructure
from layers.linalg.batched import Batched
from layers.linalg.products import max_abs, one_where_zero, power_to_one

#: sizes of s and y in one block may differ by 4 to this power before it matters
UNBALANCED = 3.0
#: sᵀy below this multiple of ‖s‖∞‖y‖∞: both are there
ORTHOGONAL = 1e-2


@dataclass(frozen=True)
class ScaledProgram(Batched):
    """A program, its scaled form, ω and κ ``(B or 1, m)``, c ``(B or 1, 1)``, D ``(B or 1, n)``.

    ω, c, D and e^κ are powers of two. κ stands at the rows x of exponential cones, and ω has e^κ at their rows z.
    """

    ALIKE = frozenset({"rows", "shift", "objective", "columns"})

    program: ConeProgram
    rows: Tensor
    shift: Tensor
    objective: Tensor
    columns: Tensor

    @classmethod
    def of(cls, program: ConeProgram, norms: Norms) -> ScaledProgram:
        """Blocks of A get a largest entry of about one, and the objective one of about one over the batch."""
        size = max_abs(norms.P_row).unsqueeze(-1)
        shared = program.P.dim() == 1 and program.P.numel() > 0
        linear = max_abs(program.q).unsqueeze(-1)
        size = size.maximum(linear.amax(0, keepdim=True) if shared and program.batch else linear)
        sides = torch.where(_without_variables(program.structure).to(program.b.device), program.b, 0.0)
        exponents = _exponents(program.structure, sides)
        one = program.q.new_ones(1, 1)
        return cls.by(program, power_to_one(norms.A_row), exponents, power_to_one(size), one)

    @classmethod
    def plain(cls, program: ConeProgram) -> ScaledProgram:
        """The program as it is."""
        one = program.q.new_ones(1, program.structure.m)
        return cls(
            program, one, torch.zeros_like(one), program.q.new_ones(1, 1), torch.ones_like(program.q[:1])
        )

    @classmethod
    def balanced(cls, program: ConeProgram, y: Tensor, s: Tensor) -> ScaledProgram:
        """ω = √(‖y‖/‖s‖) on the blocks of a solution where neither is zero, if they are far from one size anywhere.

        The program itself otherwise: ω would be of its own in every element, and nothing shared any more.
        """
        cones, one = program.structure.cones, program.q.new_ones(1, 1)
        exponents = torch.where(_there(cones, y, s), _exponents(program.structure, s), 0.0)
        near = cls.by(program, one, exponents, one, one) if exponents.any() else cls.plain(program)
        _, near_y, near_s = near.point(program.q, y, s)
        rows = _balance(cones, near_y, near_s)
        return near if (rows.log2().abs() <= UNBALANCED).all() else cls.by(program, rows, exponents, one, one)

    @classmethod
    def reached(cls, program: ConeProgram, x: Tensor, y: Tensor, s: Tensor) -> ScaledProgram:
        """In units of a point: a variable is measured by how far it can go before it is all of a row.

        Linear rows get ω = √(ŷ/ŝ) of what y and s can be there, so that their parts of v compare. That is right where
        the terms of rows and columns are there, and wrong where they vanish: a second try.
        """
        near = cls.balanced(program, y, s)
        _, near_y, _ = near.point(x, y, s)
        columns, of_linear = _by_reach(near.program, x, near_y)
        exponents = near.shift / log(2)
        rows = torch.where(_linear(program.structure.cones, near.rows), near.rows * of_linear, near.rows)
        rows = rows / torch.exp2(exponents.roll(2, -1))
        return cls.by(program, rows, exponents, program.q.new_ones(1, 1), columns)

    @classmethod
    def by(
        cls, program: ConeProgram, rows: Tensor, exponents: Tensor, objective: Tensor, columns: Tensor
    ) -> ScaledProgram:
        """Multiply the data; what is shared stays shared where its factors are. e^κ is 2 to the exponents."""
        s = program.structure
        rows = rows * torch.exp2(exponents.roll(2, -1))
        columns = columns.expand(columns.shape[0], s.n)
        shift = log(2) * exponents
        i, j = A_places(s, program.A)
        A = _times(program.A, rows[:, i] * columns[:, j])
        i, j = P_places(s, program.A)
        P = _times(program.P, objective * columns[:, i] * columns[:, j]) if program.P.numel() else program.P
        b = rows * (program.b + shift * program.b.roll(-1, -1))
        scaled = ConeProgram(s, P, program.q * objective * columns, A, b)
        return cls(scaled, rows, shift, objective, columns)

    def point(self, x: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x′, y′ and s′."""
        moved = s + self.shift * s.roll(-1, -1)
        turned = y - (self.shift * y).roll(1, -1)
        return x / self.columns, turned * (self.objective / self.rows), moved * self.rows

    def back(self, x: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and s from x′, y′ and s′."""
        y, s = y * (self.rows / self.objective), s / self.rows
        return self.columns * x, y + (self.shift * y).roll(1, -1), s - self.shift * s.roll(-1, -1)


def _without_variables(structure: ConeStructure) -> Tensor:
    """Rows of A without an entry, shape ``(m,)``."""
    return torch.from_numpy(np.bincount(structure.A_rows, minlength=structure.m) == 0)


def _exponents(structure: ConeStructure, s: Tensor) -> Tensor:
    """log₂ of s_y / s_z at the rows x of exponential cones whose row y holds no variable, ``(B, m)``; 0 elsewhere."""
    out, cones = torch.zeros_like(s), structure.cones
    first = cones.rows - 3 * (cones.exp + len(cones.power))
    x = torch.arange(first, first + 3 * cones.exp, 3, device=s.device)
    x = x[_without_variables(structure).to(s.device)[x + 1]]
    height, size = s[:, x + 1], s[:, x + 2]
    known = (height > 0) & (size > 0)
    ratio = torch.where(known, height, 1.0).log2() - torch.where(known, size, 1.0).log2()
    out[:, x] = torch.where(ratio.abs() > UNBALANCED, ratio.round(), 0.0)
    return out


def _there(cones: Cones, y: Tensor, s: Tensor) -> Tensor:
    """Rows of blocks where y and s are both there: sᵀy is small beside ‖s‖‖y‖, or one is but what a barrier left."""
    product = block_max(cones, y.abs()) * block_max(cones, s.abs())
    return block_sum(cones, y * s).abs() < ORTHOGONAL * product


def _balance(cones: Cones, y: Tensor, s: Tensor) -> Tensor:
    """ω by blocks."""
    y_size, s_size = block_max(cones, y.abs()), block_max(cones, s.abs())
    active = _there(cones, y, s)
    ratio = torch.where(active, s_size / one_where_zero(y_size), 1.0)
    return torch.where(active, power_to_one(ratio.sqrt()), 1.0)


def _linear(cones: Cones, like: Tensor) -> Tensor:
    """The nonnegative rows, ``(m,)``."""
    places = torch.arange(cones.rows, device=like.device)
    return (places >= cones.zero) & (places < cones.zero + cones.nonneg)


def _times(values: Tensor, factors: Tensor) -> Tensor:
    """What the batch shares stays so where its factors are."""
    return values * (factors.squeeze(0) if values.dim() == 1 and factors.shape[0] == 1 else factors)


def _by_reach(program: ConeProgram, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """D, how far a variable can go before it is all of a row, and √(ŷ/ŝ) of every row: its terms, and the multiplier
    that would hold up a column by itself.
    """
    s = program.structure
    i, j = A_places(s, program.A)
    A = program.A.abs()
    sizes = ConeProgram(s, program.P.abs(), program.q.abs(), A, program.b.abs())
    room = one_where_zero(block_max(s.cones, sizes.b + A_of(sizes, x.abs())))
    force = one_where_zero(sizes.q + P_of(sizes, x.abs()) + AT_of(sizes, y.abs()))
    held = one_where_zero(largest((A / force[:, j]).expand(len(x), -1), i, s.m))
    columns = power_to_one(largest((A / room[:, i]).expand(len(x), -1), j, s.n))
    return columns, power_to_one((room * held).sqrt())
