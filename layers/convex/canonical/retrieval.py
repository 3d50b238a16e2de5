"""Retrieval: from the solution (x, y) of the cone program back to variables and dual variables, a gather and a scale.

Every entry of a variable is one entry of x, or zero by its pattern (diagonal and sparse variables); both triangles of a
symmetric one are the same entries. Every entry of a dual variable is one entry of y; off the diagonal of a semidefinite
one it is that entry over √2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.constraints.exponential import ExpCone
from cvxpy.constraints.nonpos import Inequality, NonNeg
from cvxpy.constraints.power import PowCone3D
from cvxpy.constraints.psd import PSD
from cvxpy.constraints.second_order import SOC
from cvxpy.constraints.zero import Equality, Zero
from numpy.typing import NDArray

from layers.cone_program import Indices
from layers.convex.canonical.program import Compiled, lowered_index
from layers.errors import ProblemError

#: constraints whose dual variables are entries of y: CVXPY rewrites the others
WITH_ROWS = (Equality, Inequality, Zero, NonNeg, SOC, PSD, ExpCone, PowCone3D)


@dataclass(frozen=True)
class Retrieval:
    """One variable or dual variable as a function of the solution.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dual : bool
        Whether it is taken from y, not from x.
    index : array, shape ``(entries,)``
        Place in x or y of each entry, row-major.
    weights : array, shape ``(entries,)``
        Its factor; 0 where the variable is zero by its pattern.
    """

    name: str
    shape: tuple[int, ...]
    dual: bool
    index: Indices
    weights: NDArray[np.float64]


def retrieve(
    problem: cp.Problem, variables: Sequence[cp.Variable], compiled: Compiled
) -> tuple[Retrieval, ...]:
    """Retrieval maps of ``variables``, each a variable of the problem or a dual variable of one of its constraints."""
    primal = {v.id for v in problem.variables()}
    duals = {d.id: c for c in problem.constraints for d in c.dual_variables}
    return tuple(
        _primal(v, compiled) if v.id in primal else _dual(v, duals[v.id], compiled) for v in variables
    )


def _primal(variable: cp.Variable, compiled: Compiled) -> Retrieval:
    identifiers = compiled.variable_ids.get(variable.id, [variable.id])
    if len(identifiers) != 1:
        raise ProblemError(f"variable {variable.name()} is complex; write its real and imaginary parts")
    kept = lowered_index(variable)
    index, weights = np.zeros(variable.size, dtype=np.int64), np.zeros(variable.size)
    # A variable without entries is eliminated before the program is built.
    start = compiled.program.var_id_to_col[identifiers[0]] if variable.size else 0
    index[kept], weights[kept] = start + np.arange(kept.size), 1.0
    if any(variable.attributes[kind] for kind in ("symmetric", "PSD", "NSD")):
        place = np.arange(variable.size).reshape(variable.shape)
        other = np.swapaxes(place, -1, -2).ravel()
        index, weights = np.maximum(index, index[other]), np.maximum(weights, weights[other])
    return Retrieval(variable.name(), variable.shape, dual=False, index=index, weights=weights)


def _dual(variable: cp.Variable, constraint: Any, compiled: Compiled) -> Retrieval:
    final = compiled.constraint_ids.get(constraint.id, constraint.id)
    place = [c.id for c in compiled.program.constraints].index(final) if type(constraint) in WITH_ROWS else -1
    if place < 0 or len(variable.shape) > 2:
        raise ProblemError(
            f"the constraint {constraint} has no rows of its own in the cone program, so its dual variable cannot be "
            "returned; write it with ==, <=, >=, >>, cvxpy.SOC, cvxpy.ExpCone or cvxpy.PowCone3D"
        )
    candidate = compiled.program.constraints[place]
    start = sum(_height(before) for before in compiled.program.constraints[:place])
    which = [d.id for d in constraint.dual_variables].index(variable.id)
    index, weights = _rows(constraint, candidate, which, variable.shape)
    return Retrieval(variable.name(), variable.shape, dual=True, index=start + index, weights=weights)


def _height(constraint: Any) -> int:
    return sum(argument.size for argument in constraint.args)


def _rows(
    given: Any, constraint: Any, which: int, shape: tuple[int, ...]
) -> tuple[Indices, NDArray[np.float64]]:
    """Rows of a dual variable of ``given`` within its compiled constraint, and their factors; row-major."""
    kind = type(constraint)
    size = int(np.prod(shape))
    if kind in (Zero, NonNeg):
        rows = np.arange(size).reshape(shape, order="F")
    elif kind is SOC:
        # One cone after the other, each t before its u; u comes as columns, or as rows if the caller has it so.
        cones = constraint.args[0].size
        block = np.arange(_height(constraint)).reshape(cones, -1)
        rows = block[:, 0] if which == 0 else block[:, 1:]
        rows = rows.T if which == 1 and given.axis == 0 else rows
    elif kind in (ExpCone, PowCone3D):
        rows = (3 * np.arange(size) + which).reshape(shape, order="F")
    else:
        # What is left is SvecPSD, the upper triangle by columns.
        k = shape[-1]
        row, column = np.triu_indices(k)
        by_column = np.lexsort((row, column))
        row, column = row[by_column], column[by_column]
        rows, weights = np.zeros((k, k), dtype=np.int64), np.full((k, k), 1 / np.sqrt(2.0))
        rows[row, column] = rows[column, row] = np.arange(row.size)
        np.fill_diagonal(weights, 1.0)
        return rows.ravel(), weights.ravel()
    return rows.astype(np.int64).ravel(), np.ones(size)
