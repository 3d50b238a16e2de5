"""The linear map 𝒮 of :mod:`layers.cone.adjoint`, of which derivatives of a cone program are made, as a torch function.

𝒮 depends on the data through derivatives of projections, and those of curved cones are not differentiated again: asking
for that raises.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from layers.cone import adjoint
from layers.cone.products import on_A, on_P, times_A, times_AT, times_P
from layers.cone_program import ConeStructure, batch_shape, flat_program
from layers.errors import DifferentiationError
from layers.linalg.batched import align
from layers.modes.transforms import forward_mode, vectorised

#: core axes of (P, A, y, Π_K(s), weak, solved, r₁, r₂)
DERIVATIVE_AXES = (1, 1, 1, 1, 1, 0, 1, 1)

SECOND = (
    "second derivatives of x, y and s exist for programs with linear constraints only: this program has curved cones "
    "(second-order, semidefinite, exponential or power), whose projections are differentiated once. The objective "
    "can be differentiated twice; for the rest, take differences of first derivatives"
)


class ConeDerivative(torch.autograd.Function):
    """(structure, transpose, P, A, y, Π_K(s), weak, solved, r₁, r₂) -> (dx, dy) = 𝒮 (r₁, r₂), or 𝒮ᵀ (r₁, r₂).

    With linear rows alone 𝒮 does not depend on y and s but for which rows are active, and is differentiated again: from
    d(dx, dy) = 𝒮 (dr₁ − dP dx − dAᵀdy, dr₂ − dA dx).
    """

    @staticmethod
    def forward(structure: ConeStructure, transpose: bool, *tensors: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        P, A, y, cone_s, weak, solved, r1, r2 = tensors
        batch = batch_shape(P, A, y, cone_s, r1, r2)
        program, batch = flat_program(structure, P, r1.expand(*batch, -1), A, r2.expand(*batch, -1))
        y, cone_s, weak = (
            t.expand(*batch, -1).reshape(program.batch, structure.m) for t in (y, cone_s, weak)
        )
        solved = solved.expand(batch).reshape(-1) > 0
        answer = adjoint.solve_linearised(
            program, y, cone_s, weak, solved, program.q, program.b, transpose=transpose
        )
        return tuple(t.reshape(*batch, t.shape[-1]).clone() for t in answer)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.structure, ctx.transpose = inputs[:2]
        if ctx.structure.cones.linear:
            ctx.save_for_backward(*inputs[2:], *output)
            ctx.save_for_forward(*inputs[2:], *output)

    @staticmethod
    @vectorised
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        structure: ConeStructure = ctx.structure
        if not structure.cones.linear:
            raise DifferentiationError(SECOND)
        P, A, y, cone_s, weak, solved, r1, r2, dx, dy = ctx.saved_tensors
        u, w = ConeDerivative.apply(structure, not ctx.transpose, P, A, y, cone_s, weak, solved, *cotangents)
        P_bar, A_bar = -on_P(structure, u, dx), -on_A(structure, w, dx) - on_A(structure, dy, u)
        made = ((P_bar, P), (A_bar, A), (u, r1), (w, r2))
        P_bar, A_bar, r1_bar, r2_bar = (bar.sum_to_size(value.shape) for bar, value in made)
        return None, None, P_bar, A_bar, None, None, None, None, r1_bar, r2_bar

    @staticmethod
    @forward_mode
    def jvp(ctx: Any, values: list[Tensor], *tangents: Tensor | None) -> tuple[Tensor, ...]:
        structure: ConeStructure = ctx.structure
        if not structure.cones.linear:
            raise DifferentiationError(SECOND)
        P, A, y, cone_s, weak, solved, r1, r2, dx, dy = values
        given = (*tangents[2:4], *tangents[8:10])
        dP, dA, dr1, dr2 = (
            torch.zeros_like(v) if t is None else t for v, t in zip((P, A, r1, r2), given, strict=True)
        )
        moved = (
            dr1 - times_P(structure, dP, dx) - times_AT(structure, dA, dy),
            dr2 - times_A(structure, dA, dx),
        )
        return ConeDerivative.apply(structure, ctx.transpose, P, A, y, cone_s, weak, solved, *moved)

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any,
        in_dims: tuple[int | None, ...],
        structure: ConeStructure,
        transpose: bool,
        *tensors: Tensor,
    ) -> tuple[Any, Any]:
        outputs = ConeDerivative.apply(structure, transpose, *align(in_dims[2:], tensors, DERIVATIVE_AXES))
        return outputs, (0,) * len(outputs)
