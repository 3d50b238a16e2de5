"""A canonical program with no cones but {0} and R₊ is a quadratic program: a smaller one without its defined variables.

CVXPY gives every quadratic term its own variables: ‖Fx − g‖² becomes ‖w‖² with rows w = Fx − g. Where such a w stands
in one equality only, with a constant coefficient, in no inequality, and without products with other variables in the
objective, its row is its definition. With x = (u, w) and rows E w + C u = d, E diagonal,

    w = f − M u,  M = E⁻¹C,  f = E⁻¹d,
    ½wᵀDw + cᵀw = ½uᵀ(MᵀDM)u − (Mᵀ(Df + c))ᵀu + ½fᵀDf + cᵀf,

so u solves a quadratic program of its own, and the multipliers of the rows follow from stationarity in w:
E ν + Dw + c = 0. Both ways are exact, and written in torch: they are differentiated with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layers.canonical.affine import AffineMap
from layers.canonical.program import CanonicalProgram
from layers.cone_program import Indices

#: a variable is eliminated by an entry of at least this size relative to the constant entries of its row
PIVOT = 1e-2


@dataclass(frozen=True)
class QuadraticForm:
    """Which variables and rows go, and the maps of what is left.

    Attributes
    ----------
    u, w : array of int64
        Variables that stay, and those that are eliminated.
    definitions, equalities, inequalities : array of int64
        Rows of the cone program: the definition of each w, the others of the zero cone, those of the nonnegative cone.
    pivots : array, shape ``(w,)``
        E.
    maps : dict of str to AffineMap
        θ ↦ Q, q, G, h, A, b of u alone, the matrices row-major; M, f, D, c as above, and the offset of the objective.
    """

    u: Indices
    w: Indices
    definitions: Indices
    equalities: Indices
    inequalities: Indices
    pivots: NDArray[np.float64]
    maps: dict[str, AffineMap]


def quadratic_form(program: CanonicalProgram) -> QuadraticForm:
    """Choose the variables to eliminate, and cut the maps of the canonical program accordingly."""
    s = program.structure
    w, definitions, pivots = _defined_variables(program)
    u = np.setdiff1d(np.arange(s.n), w)
    equalities = np.setdiff1d(np.arange(s.cones.zero), definitions)
    inequalities = np.arange(s.cones.zero, s.m)
    width, all_rows = u.size, np.arange(s.n)

    def part_of_A(rows: Indices, factor: NDArray[np.float64] | None = None) -> AffineMap:
        row, column = _places(rows, s.m)[s.A_rows], _places(u, s.n)[s.A_cols]
        return _spread(program.A, row, column, (rows.size, width), factor)

    def part_of_b(rows: Indices, factor: NDArray[np.float64] | None = None) -> AffineMap:
        return _spread(program.b, _places(rows, s.m), np.zeros(s.m, dtype=np.int64), (rows.size, 1), factor)

    def part_of_q(columns: Indices) -> AffineMap:
        return _spread(program.q, _places(columns, s.n), 0 * all_rows, (columns.size, 1))

    in_u, in_w = _places(u, s.n), _places(w, s.n)
    maps = {
        "Q": _spread(program.P, in_u[s.P_rows], in_u[s.P_cols], (width, width)),
        "q": part_of_q(u),
        "G": part_of_A(inequalities),
        "h": part_of_b(inequalities),
        "A": part_of_A(equalities),
        "b": part_of_b(equalities),
        "M": part_of_A(definitions, 1 / pivots),
        "f": part_of_b(definitions, 1 / pivots),
        "D": _spread(program.P, in_w[s.P_rows], 0 * s.P_cols, (w.size, 1)),
        "c": part_of_q(w),
        "offset": program.offset,
    }
    return QuadraticForm(u, w, definitions, equalities, inequalities, pivots, maps)


def _defined_variables(program: CanonicalProgram) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """The variables that one equality defines, that equality for each, and its coefficient there."""
    s = program.structure
    equality = s.A_rows < s.cones.zero
    in_equalities = np.bincount(s.A_cols[equality], minlength=s.n)
    in_inequalities = np.bincount(s.A_cols[~equality], minlength=s.n)
    mixed = np.bincount(s.P_cols[s.P_rows != s.P_cols], minlength=s.n)
    free = (in_equalities == 1) & (in_inequalities == 0) & (mixed == 0)
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


def _places(chosen: Indices, size: int) -> Indices:
    """The place of each index among the chosen ones, −1 if it is not one of them."""
    place = np.full(size, -1, dtype=np.int64)
    place[chosen] = np.arange(chosen.size)
    return place


def _spread(
    values: AffineMap,
    row: Indices,
    column: Indices,
    shape: tuple[int, int],
    factor: NDArray[np.float64] | None = None,
) -> AffineMap:
    """Put values at (row, column) of a row-major matrix, those at −1 nowhere; multiply rows by ``factor``."""
    inside = (row >= 0) & (column >= 0)
    place = row * shape[1] + column
    scale = np.ones(row.size) if factor is None else np.append(factor, 0.0)[row]
    constant = np.zeros(shape[0] * shape[1])
    constant[place[inside]] = (values.constant * scale)[inside]
    kept = inside[values.rows]
    rows = place[values.rows[kept]]
    order = np.argsort(rows, kind="stable")
    weights = (values.weights * scale[values.rows])[kept]
    return AffineMap(constant, rows[order], values.columns[kept][order], weights[order])
