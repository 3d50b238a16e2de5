"""CVXPY's DPP problems in canonical form: parameters → cone data, and solution → variables, each an affine map."""

from layers.convex.canonical.affine import AffineMap
from layers.convex.canonical.assembly import Assembly, Block
from layers.convex.canonical.batch_axes import flattened, shaped
from layers.convex.canonical.call import check_call
from layers.convex.canonical.conic import ConicForm, conic_form
from layers.convex.canonical.disciplined import check_problem
from layers.convex.canonical.parameter_values import ParameterSpec, inspect_values
from layers.convex.canonical.precision import parameters_in_quadratic, precision_of_constants
from layers.convex.canonical.program import CanonicalProgram, Source, compile_problem
from layers.convex.canonical.quadratic import QuadraticForm, quadratic_form
from layers.convex.canonical.retrieval import Retrieval, retrieve
from layers.convex.canonical.retrieval_map import Piece, Retriever

__all__ = [
    "AffineMap",
    "Assembly",
    "Block",
    "CanonicalProgram",
    "ConicForm",
    "ParameterSpec",
    "Piece",
    "QuadraticForm",
    "Retrieval",
    "Retriever",
    "Source",
    "check_call",
    "check_problem",
    "compile_problem",
    "conic_form",
    "flattened",
    "inspect_values",
    "parameters_in_quadratic",
    "precision_of_constants",
    "quadratic_form",
    "retrieve",
    "shaped",
]
