"""CVXPY's DPP problems in canonical form: parameters → cone data, and solution → variables, each an affine map."""

from layers.canonical.affine import AffineMap
from layers.canonical.assembly import Assembly, Block
from layers.canonical.batch_axes import flattened, shaped
from layers.canonical.call import check_call
from layers.canonical.conic import ConicForm, conic_form
from layers.canonical.disciplined import check_problem
from layers.canonical.inspected import inspect_values
from layers.canonical.parameter_values import ParameterSpec
from layers.canonical.program import CanonicalProgram, Source, compile_problem
from layers.canonical.quadratic import QuadraticForm, quadratic_form
from layers.canonical.retrieval import Retrieval, retrieve
from layers.canonical.retrieval_map import Piece, Retriever

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
    "quadratic_form",
    "retrieve",
    "shaped",
]
