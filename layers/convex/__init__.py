"""Solving compiled convex programs: options, the two engines behind one call, and the solution."""

from layers.convex.conic import solve_conic
from layers.convex.direct import Route, solve_directly
from layers.convex.options import (
    Options,
    keeps_sparsity,
    require_exportable,
    solver_name,
    uses_qp,
    with_solver_args,
)
from layers.convex.quadratic import solve_quadratic
from layers.convex.solution import Answer, ConvexSolution, starting_point, without_graph

__all__ = [
    "Answer",
    "ConvexSolution",
    "Options",
    "Route",
    "keeps_sparsity",
    "require_exportable",
    "solve_conic",
    "solve_directly",
    "solve_quadratic",
    "solver_name",
    "starting_point",
    "uses_qp",
    "with_solver_args",
    "without_graph",
]
