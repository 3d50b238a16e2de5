"""From the data of a compiled program to its solution, by a conic engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from layers.cone_program import ConeProgram, ConeStructure
from layers.conic_autograd import solve_cone_program
from layers.convex.options import Options
from layers.convex.solution import Answer


def solve_conic(
    structure: ConeStructure, blocks: Mapping[str, Tensor], batch: torch.Size, options: Options, warm: Any
) -> Answer:
    """Solve with :func:`layers.conic_autograd.solve_cone_program`; the pieces are x and y."""
    flat = {name: block.reshape(-1, block.shape[-1]) if block.dim() > 1 else block for name, block in blocks.items()}
    q, b = (flat[name].expand(batch.numel(), -1) for name in ("q", "b"))
    found = solve_cone_program(
        ConeProgram(structure, flat["P"], q, flat["A"], b),
        solver=options.solver,
        adjoint=options.adjoint,
        tol=options.tol,
        max_iterations=options.max_iterations,
        on_failure=options.on_failure,
        warm_start=warm,
    )

    def shaped(value: Tensor) -> Tensor:
        return value.reshape((*batch, *value.shape[1:]))

    return Answer(
        pieces=(lambda: shaped(found.x), lambda: shaped(found.y)),
        s=lambda: shaped(found.s),
        objective=lambda: shaped(found.objective) + blocks["offset"],
        found=found,
    )
