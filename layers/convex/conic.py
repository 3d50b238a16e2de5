"""From the data of a compiled program to its solution, by a conic engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from layers.cone.function import solve_cone_program
from layers.cone_program import ConeProgram
from layers.convex.canonical import ConicForm
from layers.convex.defined import defined_variables
from layers.convex.options import Options
from layers.convex.solution import Answer
from layers.linalg.products import dot


def solve_conic(
    form: ConicForm, blocks: Mapping[str, Tensor], batch: torch.Size, options: Options, warm: Any
) -> Answer:
    """Solve with :func:`layers.cone.function.solve_cone_program`; the pieces are those of ``form.pieces``.

    See :mod:`layers.convex.canonical.conic` for the formulas.
    """
    f = blocks["f"]
    flat = {
        name: block.reshape(-1, block.shape[-1]) if block.dim() > 1 else block
        for name, block in blocks.items()
    }
    q, b = (flat[name].expand(batch.numel(), -1) for name in ("q", "b"))
    found = solve_cone_program(
        ConeProgram(form.structure, flat["P"], q, flat["A"], b),
        solver=options.solver,
        adjoint=options.derivative_of_cones(),
        tol=options.tol,
        max_iterations=options.max_iterations,
        on_failure=options.on_failure,
        warm_start=warm,
        **options.settings,
    )

    def shaped(value: Tensor) -> Tensor:
        return value.reshape((*batch, *value.shape[1:]))

    def minus(u: Tensor) -> Tensor:
        M: Any = form.M.tocoo()
        row, column, value = (torch.as_tensor(v, device=u.device) for v in (M.row, M.col, -M.data))
        return u.new_zeros((*u.shape[:-1], f.shape[-1])).index_add(
            -1, row, u.index_select(-1, column) * value
        )

    computed: list[tuple[Tensor, Tensor]] = []

    def defined() -> tuple[Tensor, Tensor]:
        if not computed:
            taken_out = defined_variables(
                form.scale,
                form.pivots,
                None,
                minus,
                f,
                shaped(found.x),
                shaped(found.status),
                options.on_failure,
            )
            computed.append(taken_out)
        return computed[0]

    def slack() -> Tensor:
        s = shaped(found.s)
        return torch.cat([s.new_zeros((*s.shape[:-1], form.w.size)), s], -1)

    return Answer(
        pieces=(lambda: shaped(found.x), lambda: shaped(found.y), lambda: defined()[0], lambda: defined()[1]),
        s=slack,
        objective=lambda: shaped(found.objective) + blocks["offset"] + 0.5 * dot(f, f),
        found=found,
    )
