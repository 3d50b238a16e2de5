"""In which precision the quadratic part of an objective was formed: its rounding can look like negative curvature.

A covariance of fewer samples than assets is singular; formed in float32, its eigenvalues of zero come out as ±1e-7.
Wider numbers made of these do not say so: the dtype of a parameter's value is kept, and a constant is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from layers.convex.canonical.program import CanonicalProgram
from layers.policy import EPSILON

#: numbers with at most so many bits, as small integers and halves, were typed in, and are exact in every dtype
TYPED_IN = 16


def precision_of_constants(problem: cp.Problem) -> float:
    """Machine epsilon of the coarsest dtype in which a symmetric constant matrix of the objective was formed."""
    constants: Sequence[Any] = problem.objective.constants()
    matrices = [c.value for c in constants if c.ndim == 2 and c.shape[0] > 1 and c.is_symmetric()]
    if any(_formed_in_float32(matrix.data if sp.issparse(matrix) else matrix) for matrix in matrices):
        return torch.finfo(torch.float32).eps
    return EPSILON


def _formed_in_float32(values: NDArray[Any]) -> bool:
    """Whether all of the numbers are float32, and not only because they have few digits."""
    if np.iscomplexobj(values) or not (values == values.astype(np.float32)).all():
        return False
    mantissa, _ = np.frexp(values)
    return bool((np.ldexp(mantissa, TYPED_IN) % 1 != 0).any())


def parameters_in_quadratic(program: CanonicalProgram, widths: Sequence[int]) -> tuple[int, ...]:
    """Places of the parameters in the matrix of the objective, whose pieces of θ have these widths."""
    sources = np.searchsorted(np.cumsum(widths), np.unique(program.P.columns), side="right")
    return tuple(sorted({program.sources[k].parameter for k in sources.tolist()}))
