"""A canonical program with no cones but {0} and R₊ is a quadratic program: a smaller one without its defined variables.

CVXPY gives every quadratic term its own variables: ‖Fx − g‖² becomes ‖w‖² with rows w = Fx − g. Where such a w stands
in one equality only, with a constant coefficient, in no inequality, and in the objective as a sum of squares alone, its
row is its definition. With x = (u, w) and rows E w + C u = d, E diagonal,

    w = f − M u,  M = E⁻¹C,  f = E⁻¹d,  ½wᵀDw = ½uᵀ(MᵀDM)u − (MᵀDf)ᵀu + ½fᵀDf,

so u solves a quadratic program of its own, and the multipliers of the rows follow from stationarity in w: Eν + Dw = 0.
Both ways are exact, and written in torch: they are differentiated with the rest. Where D is constant, the rows are
scaled so that it is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layers.canonical.affine import AffineMap
from layers.canonical.assembly import Block
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
    pivots, scale : array, shape ``(w,)``
        E, and the factor √D that is in M and f, or ones.
    blocks : dict of str to Block
        θ ↦ Q, q, G, h, A, b of u alone; M, f, D as above, without D where it is the identity; the offset.
    """

    u: Indices
    w: Indices
    definitions: Indices
    equalities: Indices
    inequalities: Indices
    pivots: NDArray[np.float64]
    scale: NDArray[np.float64]
    blocks: dict[str, Block]

    @property
    def pieces(self) -> tuple[Indices, ...]:
        """Places in (x, y) of u, of ν and λ of the rows that stay, of w, and of ν of its definitions."""
        n = self.u.size + self.w.size
        return self.u, n + self.equalities, n + self.inequalities, self.w, n + self.definitions


def quadratic_form(program: CanonicalProgram) -> QuadraticForm:
    """Choose the variables to eliminate, and cut the maps of the canonical program accordingly."""
    s = program.structure
    w, definitions, pivots = _defined_variables(program)
    u = np.setdiff1d(np.arange(s.n), w)
    equalities = np.setdiff1d(np.arange(s.cones.zero), definitions)
    inequalities = np.arange(s.cones.zero, s.m)
    in_u, in_w = _places(u, s.n), _places(w, s.n)

    def part_of_A(rows: Indices, factor: NDArray[np.float64] | None = None) -> Block:
        return _spread(program.A, _places(rows, s.m)[s.A_rows], in_u[s.A_cols], (rows.size, u.size), factor)

    def vector(
        values: AffineMap, place: Indices, size: int, factor: NDArray[np.float64] | None = None
    ) -> Block:
        return _spread(values, place, np.zeros_like(place), (size,), factor)

    D = vector(program.P, np.where(s.P_rows == s.P_cols, in_w[s.P_rows], -1), w.size)
    unit = D.map.rows.size == 0 and bool((D.map.constant > 0).all())
    scale = np.sqrt(D.map.constant) if unit else np.ones(w.size)
    blocks = {
        "Q": _spread(program.P, in_u[s.P_rows], in_u[s.P_cols], (u.size, u.size)),
        "q": vector(program.q, in_u, u.size),
        "G": part_of_A(inequalities),
        "h": vector(program.b, _places(inequalities, s.m), inequalities.size),
        "A": part_of_A(equalities),
        "b": vector(program.b, _places(equalities, s.m), equalities.size),
        "M": part_of_A(definitions, scale / pivots),
        "f": vector(program.b, _places(definitions, s.m), w.size, scale / pivots),
        "offset": Block(program.offset, ()),
    }
    if not unit:
        blocks["D"] = D
    return QuadraticForm(u, w, definitions, equalities, inequalities, pivots, scale, blocks)


def _defined_variables(program: CanonicalProgram) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """The variables that one equality defines, that equality for each, and its coefficient there."""
    s = program.structure
    equality = s.A_rows < s.cones.zero
    in_equalities = np.bincount(s.A_cols[equality], minlength=s.n)
    in_inequalities = np.bincount(s.A_cols[~equality], minlength=s.n)
    mixed = np.bincount(s.P_cols[s.P_rows != s.P_cols], minlength=s.n)
    linear = program.q.constant != 0
    linear[program.q.rows] = True
    free = (in_equalities == 1) & (in_inequalities == 0) & (mixed == 0) & ~linear
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
    shape: tuple[int, ...],
    factor: NDArray[np.float64] | None = None,
) -> Block:
    """Put values at (row, column) of an array of one or two axes, those at −1 nowhere; multiply rows by ``factor``."""
    inside = (row >= 0) & (column >= 0)
    place = row * shape[1] + column if len(shape) == 2 else row
    scale = np.ones(row.size) if factor is None else np.append(factor, 0.0)[row]
    constant = np.zeros(int(np.prod(shape)))
    constant[place[inside]] = (values.constant * scale)[inside]
    kept = inside[values.rows]
    rows = place[values.rows[kept]]
    order = np.argsort(rows, kind="stable")
    weights = (values.weights * scale[values.rows])[kept]
    return Block(AffineMap(constant, rows[order], values.columns[kept][order], weights[order]), shape)
