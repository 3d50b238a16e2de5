"""Quadratic programs whose matrices are sparse tensors: what they hold, and which room solves them."""

from layers.sparse.adjoint import CONE_ADJOINTS, derivative_of_cones
from layers.sparse.program import SparseQP, pays
from layers.sparse.solve import solve

__all__ = ["CONE_ADJOINTS", "SparseQP", "derivative_of_cones", "pays", "solve"]
