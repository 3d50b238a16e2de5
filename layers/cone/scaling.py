"""The scaled program that engines and Newton's method see, and the way back.

Cones are invariant under ω > 0 on a block, so rows may be multiplied by ω and the objective by c:

    P′ = cP, q′ = cq, A′ = ωA, b′ = ωb   ⇒   x′ = x, s′ = ωs, y′ = (c/ω) y.

v = s − y adds up what has different units: only where both are of one size does neither lose its digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone.kkt import Norms
from layers.cone.products import A_places
from layers.cone.projections import block_max, block_sum
from layers.cone_program import ConeProgram, Cones
from layers.linalg.batched import Batched
from layers.linalg.products import max_abs, one_where_zero, power_to_one

#: sizes of s and y in one block may differ by 4 to this power before it matters
UNBALANCED = 3.0
#: sᵀy below this multiple of ‖s‖∞‖y‖∞: both are there
ORTHOGONAL = 1e-2


@dataclass(frozen=True)
class ScaledProgram(Batched):
    """A program, its scaled form, ω ``(B or 1, m)`` and c ``(B or 1, 1)``, both powers of two."""

    ALIKE = frozenset({"rows", "objective"})

    program: ConeProgram
    rows: Tensor
    objective: Tensor

    @classmethod
    def of(cls, program: ConeProgram, norms: Norms) -> ScaledProgram:
        """Blocks of A get a largest entry of about one, and the objective one of about one over the batch."""
        size = max_abs(norms.P_row).unsqueeze(-1)
        shared = program.P.dim() == 1 and program.P.numel() > 0
        linear = max_abs(program.q).unsqueeze(-1)
        size = size.maximum(linear.amax(0, keepdim=True) if shared and program.batch else linear)
        return cls.by(program, power_to_one(norms.A_row), power_to_one(size))

    @classmethod
    def plain(cls, program: ConeProgram) -> ScaledProgram:
        """The program as it is."""
        return cls(program, program.q.new_ones(1, program.structure.m), program.q.new_ones(1, 1))

    @classmethod
    def balanced(cls, program: ConeProgram, y: Tensor, s: Tensor) -> ScaledProgram:
        """ω = √(‖y‖/‖s‖) on the blocks of a solution where neither is zero, if they are far from one size anywhere.

        The program itself otherwise: ω would be of its own in every element, and nothing shared any more.
        """
        rows = _balance(program.structure.cones, y, s)
        if (rows.log2().abs() <= UNBALANCED).all():
            return cls.plain(program)
        return cls.by(program, rows, program.q.new_ones(1, 1))

    @classmethod
    def by(cls, program: ConeProgram, rows: Tensor, objective: Tensor) -> ScaledProgram:
        """Multiply the data; what is shared stays shared where its factors are."""
        entries, _ = A_places(program.structure, program.A)
        A_factor = rows[:, entries]
        P, A = program.P, program.A
        if P.numel():
            P = P * (objective.squeeze(0) if P.dim() == 1 else objective)
        A = A * (A_factor.squeeze(0) if A.dim() == 1 and rows.shape[0] == 1 else A_factor)
        scaled = ConeProgram(program.structure, P, program.q * objective, A, program.b * rows)
        return cls(scaled, rows, objective)

    def point(self, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """y′ and s′."""
        return y * (self.objective / self.rows), s * self.rows

    def back(self, y: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """y and s from y′ and s′."""
        return y * (self.rows / self.objective), s / self.rows


def _balance(cones: Cones, y: Tensor, s: Tensor) -> Tensor:
    """ω by blocks. Where sᵀy is not small beside ‖s‖‖y‖, one of the two is but what the barrier of an engine left."""
    y_size, s_size = block_max(cones, y.abs()), block_max(cones, s.abs())
    product = y_size * s_size
    active = block_sum(cones, y * s).abs() < ORTHOGONAL * product
    ratio = torch.where(active, s_size / one_where_zero(y_size), 1.0)
    return torch.where(active, power_to_one(ratio.sqrt()), 1.0)
