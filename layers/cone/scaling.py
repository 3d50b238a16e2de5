"""The scaled program that engines and Newton's method see, and the way back.

Cones are invariant under ω > 0 on a block and under the turns T of :mod:`layers.cone.turns`, so rows may be mapped by
ωT, the objective multiplied by c, and variables counted from x₀ on and multiplied by D:

    P′ = cDPD, q′ = cD(q + Px₀), A′ = ωTAD, b′ = ωT(b − Ax₀)   ⇒   x′ = (x − x₀)/D, s′ = ωTs, y′ = (c/ω) T⁻ᵀy.

v = s − y adds up what has different units: only where both are of one size does neither lose its digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone.kkt import Norms, absolute, largest, scales, size_of_variables
from layers.cone.products import A_of, A_places, P_of, P_places
from layers.cone.projections import block_max, block_sum
from layers.cone.turns import UNBALANCED, Turn, exponents_at, stretch_at, without_variables
from layers.cone_program import ConeProgram, Cones, ConeStructure
from layers.linalg.batched import Batched
from layers.linalg.products import max_abs, one_where_zero, power_to_one

#: sᵀy below this multiple of ‖s‖∞‖y‖∞: both are there
ORTHOGONAL = 1e-2
#: objectives of a batch that shares P are multiplied by one number while none is so many times larger than another
ALIKE = 100.0
#: a slack below this multiple of its terms is rounding
NOTHING = 1e-15
#: a unit of all variables that is left alone
SMALL = 1e-3
#: times that the size of variables is carried on by linear rows
CARRIED = 3


@dataclass(frozen=True)
class ScaledProgram(Batched):
    """A program, its scaled form, ω ``(B or 1, m)``, T, c ``(B or 1, 1)``, D and x₀ ``(B or 1, n)``.

    ω, c, D and what makes up T are powers of two, and x₀ is where the program was approximately solved.
    """

    ALIKE = frozenset({"rows", "objective", "columns", "origin"})

    program: ConeProgram
    rows: Tensor
    turn: Turn
    objective: Tensor
    columns: Tensor
    origin: Tensor

    @classmethod
    def of(cls, program: ConeProgram, norms: Norms) -> ScaledProgram:
        """Blocks of A get a largest entry of about one, and the objective one of about one over the batch.

        Where all that the data suggest for the size of x is SMALL, so is the unit of x: an engine that starts from
        one may else end where it began.
        """
        P_size, q_size = (max_abs(v).unsqueeze(-1) for v in (norms.P_row, program.q))
        unit = one_where_zero(size_of_variables(program, norms)).clamp(max=1.0).unsqueeze(-1)
        columns = torch.where(unit < SMALL, 1 / power_to_one(unit), 1.0)
        columns = columns if (columns != 1).any() else program.q.new_ones(1, 1)
        size = columns * (columns * P_size).maximum(q_size)
        if program.P.dim() == 1 and program.P.numel() and program.batch:
            most = size.amax(0, keepdim=True)
            # what is shared stays so, where no element pays for another
            size = most if (ALIKE * size >= most).all() else size
        sides = torch.where(without_variables(program.structure).to(program.b.device), program.b, 0.0)
        turn = Turn.by(program.structure, exponents_at(program.structure, sides))
        return cls.by(program, power_to_one(norms.A_row) / columns, turn, power_to_one(size), columns)

    @classmethod
    def plain(cls, program: ConeProgram) -> ScaledProgram:
        """The program as it is."""
        one, column = program.q.new_ones(1, program.structure.m), torch.ones_like(program.q[:1])
        turn = Turn.none(program.structure, one)
        return cls(program, one, turn, program.q.new_ones(1, 1), column, torch.zeros_like(column))

    @classmethod
    def balanced(cls, program: ConeProgram, y: Tensor, s: Tensor) -> ScaledProgram:
        """ω = √(‖y‖/‖s‖) on the blocks of a solution where neither is zero, if they are far from one size anywhere.

        The program itself otherwise: ω would be of its own in every element, and nothing shared any more.
        """
        structure, one = program.structure, program.q.new_ones(1, 1)
        there = _there(structure.cones, y, s)
        exponents = torch.where(there, exponents_at(structure, s), 0.0)
        turn = Turn.by(structure, exponents)
        near = cls.by(program, one, turn, one, one) if exponents.any() else cls.plain(program)
        _, near_y, near_s = near.point(program.q, y, s)
        rows = _balance(structure.cones, near_y, near_s)
        return near if (rows.log2().abs() <= UNBALANCED).all() else cls.by(program, rows, turn, one, one)

    @classmethod
    def near(cls, program: ConeProgram, x: Tensor, y: Tensor, s: Tensor) -> ScaledProgram:
        """Counted from a point on, in units in which its slacks are one, and so is what a variable can do to them.

        A ball of radius 10⁻⁸ around a centre of one is a ball of radius one around zero. Of curved cones a variable can
        change a block by all that the block is, and rows carry that on to variables that are in no such block; those
        that nothing reaches are measured by how far they can go before they are all of a row.
        """
        structure, A_rows = program.structure, A_places(program.structure, program.A)
        turn = Turn.by(structure, exponents_at(structure, s), stretch_at(structure, y, s))
        moved = turn.of_slack(structure, s) * turn.factors
        A = (turn.of_matrix(structure, program.A) * turn.factors[:, A_rows[0]]).abs()
        A = A.unsqueeze(0) if A.dim() == 1 else A
        linear = _linear(structure.cones, s)
        there = block_max(structure.cones, s.abs()) > NOTHING * scales(program, x, y).row
        room = torch.where(linear | ~there, 0.0, block_max(structure.cones, moved.abs()))
        columns = _carried(structure, A, _least(structure, room, A), linear)
        # what is held by numbers alone: by the rows that have some
        bounded = torch.where(linear & (program.b != 0), sizes_of_rows(program, x), 0.0)
        columns = torch.where(columns.isfinite(), columns, _least(structure, bounded, A))
        columns = _carried(structure, A, columns, linear | (room == 0))
        columns = torch.where(columns.isfinite(), columns, _by_terms(program, x))
        columns = 1 / power_to_one(columns)
        i, j = A_rows
        own = block_max(structure.cones, largest(A * columns[:, j], i, structure.m))
        rows = power_to_one(room.maximum(own))
        start = ConeProgram(structure, program.P, program.q + P_of(program, x), program.A, program.b)
        size = max_abs(columns * start.q).maximum(max_abs(columns * P_of(absolute(program), columns)))
        return cls.by(program, rows, turn, power_to_one(size).unsqueeze(-1), columns, x)

    @classmethod
    def by(
        cls,
        program: ConeProgram,
        rows: Tensor,
        turn: Turn,
        objective: Tensor,
        columns: Tensor,
        origin: Tensor | None = None,
    ) -> ScaledProgram:
        """Map the data; what is shared stays shared where its factors are. ω is rows times e^κ on the rows z."""
        s = program.structure
        rows = rows * turn.factors
        columns = columns.expand(columns.shape[0], s.n)
        i, j = A_places(s, program.A)
        A = _times(turn.of_matrix(s, program.A), rows[:, i] * columns[:, j])
        i, j = P_places(s, program.P)
        P = _times(program.P, objective * columns[:, i] * columns[:, j]) if program.P.numel() else program.P
        q, b = program.q, program.b
        if origin is not None:
            q, b = q + P_of(program, origin), b - A_of(program, origin)
        scaled = ConeProgram(s, P, q * objective * columns, A, rows * turn.of_slack(s, b))
        origin = torch.zeros_like(program.q[:1]) if origin is None else origin
        return cls(scaled, rows, turn, objective, columns, origin)

    def point(self, x: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x′, y′ and s′."""
        structure = self.program.structure
        turned = self.turn.of_dual(structure, y) * (self.objective / self.rows)
        return (x - self.origin) / self.columns, turned, self.turn.of_slack(structure, s) * self.rows

    def back(self, x: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and s from x′, y′ and s′."""
        structure = self.program.structure
        y = self.turn.dual_back(structure, y * (self.rows / self.objective))
        return self.origin + self.columns * x, y, self.turn.slack_back(structure, s / self.rows)


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
    """The rows of the zero cone and the nonnegative rows, ``(m,)``."""
    return torch.arange(cones.rows, device=like.device) < cones.zero + cones.nonneg


def _times(values: Tensor, factors: Tensor) -> Tensor:
    """What the batch shares stays so where its factors are."""
    return values * (factors.squeeze(0) if values.dim() == 1 and factors.shape[0] == 1 else factors)


def _least(structure: ConeStructure, room: Tensor, A: Tensor) -> Tensor:
    """minᵢ roomᵢ / |Aᵢⱼ| over the rows that have room, infinite where there is none; ``(B, n)``."""
    i, j = A_places(structure, A)
    reach = torch.where((room[:, i] > 0) & (A > 0), room[:, i] / one_where_zero(A), torch.inf)
    out = reach.new_full((len(reach), structure.n), torch.inf)
    return out.scatter_reduce(1, j.expand_as(reach), reach, "amin", include_self=True)


def _carried(structure: ConeStructure, A: Tensor, found: Tensor, by: Tensor) -> Tensor:
    """Sizes of variables where they are not known yet, from those that share one of the rows ``by`` with them."""
    i, j = A_places(structure, A)
    for _ in range(CARRIED):
        known = found.isfinite()
        if known.all():
            break
        carried = block_max(
            structure.cones, largest(A * torch.where(known, found, 0.0)[:, j], i, structure.m)
        )
        found = torch.where(known, found, _least(structure, torch.where(by, carried, 0.0), A))
    return found


def _by_terms(program: ConeProgram, x: Tensor) -> Tensor:
    """How far a variable can go before it is all of a row, ``(B, n)``."""
    i, j = A_places(program.structure, program.A)
    room = one_where_zero(sizes_of_rows(program, x))
    return 1 / one_where_zero(
        largest((program.A.abs() / room[:, i]).expand(len(x), -1), j, program.structure.n)
    )


def sizes_of_rows(program: ConeProgram, x: Tensor) -> Tensor:
    """The size of the terms of every row, the largest of its block."""
    return block_max(program.structure.cones, terms_of_rows(program, x))


def terms_of_rows(program: ConeProgram, x: Tensor) -> Tensor:
    """|A||x| + |b|."""
    sizes = absolute(program)
    return sizes.b + A_of(sizes, x.abs())
