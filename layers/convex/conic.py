"""From the data of a compiled program to its solution, by a conic engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from layers.cone_program import ConeProgram, ConeStructure
from layers.conic_autograd import solve_cone_program
from layers.convex.options import Options
from layers.convex.solution import ConvexSolution, without_graph


def solve_conic(
    structure: ConeStructure, blocks: Mapping[str, Tensor], batch: torch.Size, options: Options, warm: Any
) -> ConvexSolution:
    """Solve with :func:`layers.conic_autograd.solve_cone_program`."""
    q, b = (blocks[name].expand(batch.numel(), -1) for name in ("q", "b"))
    found = solve_cone_program(
        ConeProgram(structure, blocks["P"], q, blocks["A"], b),
        solver=options.solver,
        adjoint=options.adjoint,
        tol=options.tol,
        max_iterations=options.max_iterations,
        on_failure=options.on_failure,
        warm_start=warm,
    )
    return ConvexSolution(
        variables=(),
        objective=found.objective + blocks["offset"].squeeze(-1),
        x=found.x,
        y=found.y,
        s=found.s,
        status=found.status,
        residuals=found.residuals,
        iterations=found.iterations,
        warm=without_graph(found),
    )
