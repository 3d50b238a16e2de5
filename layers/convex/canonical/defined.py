"""Defined variables: those that CVXPY adds for quadratic terms, and that can be taken out again.

‖Fx − g‖² becomes ‖w‖² with rows w = Fx − g. Where such a w stands in one equality only, with a constant coefficient, in
no other constraint, and in the objective as a sum of squares alone, its row is its definition.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from layers.cone_program import Indices
from layers.convex.canonical.program import CanonicalProgram

#: a variable is eliminated by an entry of at least this size relative to the constant entries of its row
PIVOT = 1e-2


def defined_variables(program: CanonicalProgram) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """The variables that an equality defines, that equality for each, and its coefficient there."""
    s = program.structure
    equality = s.A_rows < s.cones.zero
    in_equalities = np.bincount(s.A_cols[equality], minlength=s.n)
    elsewhere = np.bincount(s.A_cols[~equality], minlength=s.n)
    mixed = np.bincount(s.P_cols[s.P_rows != s.P_cols], minlength=s.n)
    linear = program.q.constant != 0
    linear[program.q.rows] = True
    free = (in_equalities == 1) & (elsewhere == 0) & (mixed == 0) & ~linear
    size = np.abs(program.A.constant)
    largest = np.zeros(s.m)
    np.maximum.at(largest, s.A_rows, size)
    constant = np.ones(size.size, dtype=bool)
    constant[program.A.rows] = False
    pivotal = equality & constant & free[s.A_cols] & (size > 0) & (size >= PIVOT * largest[s.A_rows])
    # One variable per row, that with the largest entry; and one at least stays.
    entries = np.flatnonzero(pivotal)
    entries = entries[np.lexsort((-size[entries], s.A_rows[entries]))]
    rows, first = np.unique(s.A_rows[entries], return_index=True)
    chosen, rows = entries[first][: s.n - 1], rows[: s.n - 1]
    return s.A_cols[chosen], rows, program.A.constant[chosen]


def places_of(chosen: Indices, size: int) -> Indices:
    """The place of each index among the chosen ones, −1 if it is not one of them."""
    place = np.full(size, -1, dtype=np.int64)
    place[chosen] = np.arange(chosen.size)
    return place
