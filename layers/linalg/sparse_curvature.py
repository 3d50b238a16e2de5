"""Sparse matrices that have to be symmetric positive semidefinite, up to the rounding of who formed them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import qdldl
import scipy.sparse as sp
import torch
from torch import Tensor

from layers.errors import ProblemError
from layers.linalg.semidefinite import curvature_rounding, first_of


def check_sparse_curvature(
    pattern: tuple[Any, Any], values: Tensor, n: int, precision: float, name: str = "Q"
) -> None:
    """Refuse Q, n × n with values ``(…, k)`` at the rows and columns of a pattern, that is not symmetric and Q ⪰ 0.

    The same bounds as :func:`layers.linalg.semidefinite.check_curvature`: Q + ρI has positive pivots.

    Raises
    ------
    ProblemError
        With the name of the matrix and the first offending batch element.

    Notes
    -----
    Cost: a sparse factorisation for each element.
    """
    rounding = curvature_rounding(n, precision)
    flat = values.detach().reshape(prod(values.shape[:-1]), values.shape[-1]).cpu().numpy()
    bad: dict[str, list[bool]] = {"symmetric": [], "positive": []}
    for own in flat:
        Q = sp.csc_matrix((own, pattern), shape=(n, n))
        scale = abs(own).max(initial=0.0)
        bad["symmetric"].append(abs(Q - Q.T).max() > rounding * scale if own.size else False)
        bad["positive"].append(_indefinite(Q, rounding * scale))
    skew, indefinite = (
        torch.tensor(v, device=values.device).reshape(values.shape[:-1]) for v in bad.values()
    )
    if skew.any():
        raise ProblemError(
            f"{name} must be symmetric, both of its triangles given; found |{name} - {name}ᵀ| above rounding"
            f"{first_of(skew)}; pass 0.5 * ({name} + {name}.mT)"
        )
    if indefinite.any():
        raise ProblemError(
            f"{name} must be positive semidefinite{first_of(indefinite)}: the problem is not convex. Pass {name} plus "
            "a multiple of the identity, or L @ L.mT"
        )


def _indefinite(Q: Any, shift: float) -> bool:
    diagonal = Q.diagonal()
    if (diagonal < -shift).any():
        return True
    if Q.nnz <= np.count_nonzero(diagonal):
        return False
    shifted = sp.csc_matrix(
        sp.triu(Q + (shift + np.finfo(float).tiny) * sp.eye_array(Q.shape[0]), format="csc")
    )
    try:
        pivots = qdldl.Solver(shifted, upper=True).factors()[1]
    except RuntimeError:
        return True
    return bool((pivots <= 0).any())
