"""A canonical program with no cones but {0} and R₊ is a quadratic program: a smaller one without its defined variables.

Its defined variables w (:mod:`layers.convex.canonical.defined`) have rows E w + C u = d with E diagonal, x = (u, w). So

    w = f − M u,  M = E⁻¹C,  f = E⁻¹d,  ½wᵀDw = ½uᵀ(MᵀDM)u − (MᵀDf)ᵀu + ½fᵀDf,

so u solves a quadratic program of its own, and the multipliers of the rows follow from stationarity in w: Eν + Dw = 0.
Both ways are exact, and written in torch: they are differentiated with the rest. Where D is constant, the rows are
scaled so that it is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from layers.cone_program import Indices
from layers.convex.canonical.affine import AffineMap
from layers.convex.canonical.assembly import Block
from layers.convex.canonical.defined import defined_variables, places_of
from layers.convex.canonical.program import CanonicalProgram


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
    w, definitions, pivots = defined_variables(program)
    u = np.setdiff1d(np.arange(s.n), w)
    equalities = np.setdiff1d(np.arange(s.cones.zero), definitions)
    inequalities = np.arange(s.cones.zero, s.m)
    in_u, in_w = places_of(u, s.n), places_of(w, s.n)

    def part_of_A(rows: Indices, factor: NDArray[np.float64] | None = None) -> Block:
        return _spread(program.A, places_of(rows, s.m)[s.A_rows], in_u[s.A_cols], (rows.size, u.size), factor)

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
        "h": vector(program.b, places_of(inequalities, s.m), inequalities.size),
        "A": part_of_A(equalities),
        "b": vector(program.b, places_of(equalities, s.m), equalities.size),
        "M": part_of_A(definitions, scale / pivots),
        "f": vector(program.b, places_of(definitions, s.m), w.size, scale / pivots),
        "offset": Block(program.offset, ()),
    }
    if not unit:
        blocks["D"] = D
    return QuadraticForm(u, w, definitions, equalities, inequalities, pivots, scale, blocks)


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
