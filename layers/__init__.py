"""Differentiable convex optimization layers: the public names, the only import path for the rest of the project."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from layers.errors import (
    DifferentiationError,
    LayerError,
    ProblemError,
    SolverError,
    UnavailableError,
)
from layers.qp.adjoints import adjoint
from layers.qp.adjoints.alternating import Alternating
from layers.qp.adjoints.first_order import FirstOrder
from layers.qp.adjoints.lpgd import Lpgd
from layers.qp.adjoints.one_step import OneStep
from layers.qp.adjoints.penalty import Penalty
from layers.qp.adjoints.smoothed import Smoothed
from layers.qp.adjoints.truncated import Truncated
from layers.qp.adjoints.unrolled import Unrolled
from layers.qp.gradients import Adjoint
from layers.qp_layer import QPLayer, adjoints, core, engines, solve_qp, third_party
from layers.solution import Degeneracy, Residuals, Solution, Status

__version__ = "0.1.0"

if TYPE_CHECKING:
    from layers.convex import ConvexSolution
    from layers.convex.inside_cvxpylayers import CvxpylayersSolver
    from layers.convex_layer import ConvexLayer

__all__ = [
    "Adjoint",
    "Alternating",
    "ConvexLayer",
    "ConvexSolution",
    "CvxpylayersSolver",
    "Degeneracy",
    "DifferentiationError",
    "FirstOrder",
    "LayerError",
    "Lpgd",
    "OneStep",
    "Penalty",
    "ProblemError",
    "QPLayer",
    "Residuals",
    "Smoothed",
    "Solution",
    "SolverError",
    "Status",
    "Truncated",
    "UnavailableError",
    "Unrolled",
    "__version__",
    "adjoint",
    "adjoints",
    "core",
    "engines",
    "solve_qp",
    "third_party",
]

#: names whose modules import CVXPY, which takes longer than all the rest: only who asks for them waits for it
_ON_DEMAND = {
    "ConvexLayer": "layers.convex_layer",
    "ConvexSolution": "layers.convex",
    "CvxpylayersSolver": "layers.convex.inside_cvxpylayers",
}


def __getattr__(name: str) -> Any:
    if name in _ON_DEMAND:
        return getattr(import_module(_ON_DEMAND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
