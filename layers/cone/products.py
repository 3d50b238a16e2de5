"""Products with matrices that are given by their values on a fixed pattern, for any leading axes.

Values ``(…, nnz)`` and vectors ``(…, n)`` broadcast; every function is differentiable and works under ``torch.func``
transforms. ``A_of``, ``AT_of`` and ``P_of`` are for flat programs, inside of solvers and derivatives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone_program import ConeProgram, ConeStructure


def P_places(structure: ConeStructure, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the entries of P, on the device of a tensor."""
    rows, cols, _, _ = structure.places
    return rows.to(like.device), cols.to(like.device)


def A_places(structure: ConeStructure, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the entries of A, on the device of a tensor."""
    _, _, rows, cols = structure.places
    return rows.to(like.device), cols.to(like.device)


def times_A(structure: ConeStructure, A: Tensor, x: Tensor) -> Tensor:
    """Ax, shape ``(…, m)``."""
    rows, cols = A_places(structure, x)
    return _collect(A * x[..., cols], rows, structure.m)


def times_AT(structure: ConeStructure, A: Tensor, y: Tensor) -> Tensor:
    """Aᵀy, shape ``(…, n)``."""
    rows, cols = A_places(structure, y)
    return _collect(A * y[..., rows], cols, structure.n)


def times_P(structure: ConeStructure, P: Tensor, x: Tensor) -> Tensor:
    """½(P + Pᵀ)x, shape ``(…, n)``."""
    rows, cols = P_places(structure, x)
    if rows.numel() == 0:
        return torch.zeros_like(x)
    forward = _collect(P * x[..., cols], rows, structure.n)
    return 0.5 * (forward + _collect(P * x[..., rows], cols, structure.n))


def A_of(program: ConeProgram, x: Tensor) -> Tensor:
    """Ax for ``(B, n)``: :func:`times_A`, or one product of matrices where that is faster."""
    _, A = program.whole
    return times_A(program.structure, program.A, x) if A is None else x @ A.mT


def AT_of(program: ConeProgram, y: Tensor) -> Tensor:
    """Aᵀy for ``(B, m)``; see :func:`A_of`."""
    _, A = program.whole
    return times_AT(program.structure, program.A, y) if A is None else y @ A


def P_of(program: ConeProgram, x: Tensor) -> Tensor:
    """½(P + Pᵀ)x for ``(B, n)``; see :func:`A_of`."""
    P, _ = program.whole
    return times_P(program.structure, program.P, x) if P is None else x @ P


def on_A(structure: ConeStructure, y: Tensor, x: Tensor) -> Tensor:
    """The entries of y xᵀ on the pattern of A, shape ``(…, nnz_A)``."""
    rows, cols = A_places(structure, x)
    return y[..., rows] * x[..., cols]


def on_P(structure: ConeStructure, u: Tensor, x: Tensor) -> Tensor:
    """The entries of ½(u xᵀ + x uᵀ) on the pattern of P, shape ``(…, nnz_P)``."""
    rows, cols = P_places(structure, x)
    return 0.5 * (u[..., rows] * x[..., cols] + x[..., rows] * u[..., cols])


def _collect(values: Tensor, target: Tensor, size: int) -> Tensor:
    """Sums of the entries by target, over the last axis."""
    return values.new_zeros(*values.shape[:-1], size).index_add(values.dim() - 1, target, values)
