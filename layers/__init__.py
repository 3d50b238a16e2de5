"""Differentiable convex optimization layers: the public names, the only import path for the rest of the project."""

from layers.errors import (
    DifferentiationError,
    LayerError,
    ProblemError,
    SolverError,
    UnavailableError,
)
from layers.qp_layer import QPLayer, engines, solve_qp
from layers.solution import Degeneracy, Residuals, Solution, Status

__all__ = [
    "Degeneracy",
    "DifferentiationError",
    "LayerError",
    "ProblemError",
    "QPLayer",
    "Residuals",
    "Solution",
    "SolverError",
    "Status",
    "UnavailableError",
    "engines",
    "solve_qp",
]
