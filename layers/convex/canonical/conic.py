"""A canonical program for a conic engine: without those of its defined variables that no parameter multiplies.

With x = (u, w), rows E w + C u = d of constant E and C, and ½wᵀDw in the objective, D constant,

    √D w = f − M u,  M = √D E⁻¹C,  f = √D E⁻¹d,  ½wᵀDw = ½uᵀ(MᵀM)u − (Mᵀf)ᵀu + ½fᵀf,

so the data of the program in u are again affine in the parameters: P + MᵀM, q − Mᵀf, and fewer rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from layers.cone_program import ConeStructure, Indices
from layers.convex.canonical.affine import Entries, affine, on_pattern
from layers.convex.canonical.assembly import Block
from layers.convex.canonical.defined import defined_variables, places_of
from layers.convex.canonical.program import CanonicalProgram

#: variables stay where P would become fuller than this multiple of the entries of P and A
FILL = 4


@dataclass(frozen=True)
class ConicForm:
    """Which variables and rows go, and the maps of what is left.

    Attributes
    ----------
    structure : ConeStructure
        Of the program in u.
    u, w, definitions, rows : array of int64
        Variables that stay, and those that are eliminated; the definition of each w, and the rows that stay.
    pivots, scale : array, shape ``(w,)``
        E and √D.
    M : sparse array, shape ``(w, u)``
    blocks : dict of str to Block
        θ ↦ P, q, A, b of the program in u; f; the offset of the objective.
    """

    structure: ConeStructure
    u: Indices
    w: Indices
    definitions: Indices
    rows: Indices
    pivots: NDArray[np.float64]
    scale: NDArray[np.float64]
    M: sp.csc_array
    blocks: dict[str, Block]

    @property
    def pieces(self) -> tuple[Indices, ...]:
        """Places in (x, y) of u, of y of the rows that stay, of w, and of y of its definitions."""
        n = self.u.size + self.w.size
        return self.u, n + self.rows, self.w, n + self.definitions


def conic_form(program: CanonicalProgram) -> ConicForm:
    """Choose the variables to eliminate, and cut the maps of the canonical program accordingly."""
    s = program.structure
    w, definitions, pivots = _constantly_defined(program)
    scale = np.sqrt(_diagonal(program)[w])
    in_w, in_definitions = places_of(np.setdiff1d(np.arange(s.n), w), s.n), places_of(definitions, s.m)
    inside = (in_definitions[s.A_rows] >= 0) & (in_w[s.A_cols] >= 0)
    row, column = in_definitions[s.A_rows[inside]], in_w[s.A_cols[inside]]
    M = sp.csc_array(
        (program.A.constant[inside] * (scale / pivots)[row], (row, column)), (w.size, s.n - w.size)
    )
    if (abs(M).T @ abs(M)).nnz > FILL * (s.P_rows.size + s.A_rows.size):
        nothing = np.zeros(0, dtype=np.int64)
        return _without(program, nothing, nothing, np.zeros(0), np.zeros(0), sp.csc_array((0, s.n)))
    return _without(program, w, definitions, pivots, scale, M)


def _constantly_defined(program: CanonicalProgram) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """The defined variables of positive constant weight whose definition has no parameter in its matrix."""
    s = program.structure
    w, definitions, pivots = defined_variables(program)
    parametric = np.zeros(s.m, dtype=bool)
    parametric[s.A_rows[program.A.rows]] = True
    kept = (_diagonal(program)[w] > 0) & ~parametric[definitions]
    return w[kept], definitions[kept], pivots[kept]


def _diagonal(program: CanonicalProgram) -> NDArray[np.float64]:
    """The diagonal of P where it is constant, 0 elsewhere."""
    s = program.structure
    constant = s.P_rows == s.P_cols
    constant[program.P.rows] = False
    diagonal = np.zeros(s.n)
    diagonal[s.P_rows[constant]] = program.P.constant[constant]
    return diagonal


def _without(
    program: CanonicalProgram,
    w: Indices,
    definitions: Indices,
    pivots: NDArray[np.float64],
    scale: NDArray[np.float64],
    M: sp.csc_array,
) -> ConicForm:
    """The program in u: P + MᵀM, q − Mᵀf, and the rows that stay."""
    s = program.structure
    u, rows = np.setdiff1d(np.arange(s.n), w), np.setdiff1d(np.arange(s.m), definitions)
    in_u, in_rows = places_of(u, s.n), places_of(rows, s.m)
    f = program.b.take(definitions).entries()
    f = Entries(f.rows, f.columns, f.weights * (scale / pivots)[f.rows])
    curved = np.flatnonzero((in_u[s.P_rows] >= 0) & (in_u[s.P_cols] >= 0))
    P = program.P.take(curved).entries()
    P = P.placed((in_u[s.P_cols[curved]] * u.size + in_u[s.P_rows[curved]])[P.rows])
    added: Any = sp.coo_array(M.T @ M)
    constant = Entries(added.col.astype(np.int64) * u.size + added.row, np.full(added.nnz, -1), added.data)
    P_rows, P_cols, P_values = on_pattern(P.and_also(constant), u.size)
    kept = np.flatnonzero((in_rows[s.A_rows] >= 0) & (in_u[s.A_cols] >= 0))
    structure = ConeStructure(
        u.size,
        rows.size,
        replace(s.cones, zero=s.cones.zero - w.size),
        P_rows,
        P_cols,
        in_rows[s.A_rows[kept]],
        in_u[s.A_cols[kept]],
    )
    maps = {
        "P": P_values,
        "q": affine(program.q.take(u).entries().and_also(f.mapped(sp.csc_array(-M.T))), u.size),
        "A": program.A.take(kept),
        "b": program.b.take(rows),
        "f": affine(f, w.size),
    }
    blocks = {name: Block(values, (values.size,)) for name, values in maps.items()}
    blocks["offset"] = Block(program.offset, ())
    return ConicForm(structure, u, w, definitions, rows, pivots, scale, M, blocks)
