"""Cones of one row among the nonnegative rows: moreau takes no second-order cone of one row."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from layers.cone_program import Cones, ConeStructure, Indices


@lru_cache(maxsize=32)
def without_single_rows(structure: ConeStructure) -> tuple[ConeStructure, Indices]:
    """The structure with its cones of one row moved, and our rows in its order."""
    c = structure.cones
    start = c.zero + c.nonneg
    sizes = [*c.soc, *(k * (k + 1) // 2 for k in c.psd)]
    offsets = start + np.cumsum([0, *sizes])[:-1]
    single = [int(o) for o, size in zip(offsets, sizes, strict=True) if size == 1]
    if not single:
        return structure, np.arange(structure.m)
    taken = np.array(single)
    rest = np.setdiff1d(np.arange(start, structure.m), taken)
    order = np.concatenate([np.arange(start), taken, rest]).astype(np.int64)
    rank = np.argsort(order)
    cones = Cones(
        c.zero,
        c.nonneg + len(single),
        tuple(d for d in c.soc if d > 1),
        tuple(k for k in c.psd if k > 1),
        c.exp,
        c.power,
    )
    rows = rank[structure.A_rows]
    sort = np.argsort(structure.A_cols * structure.m + rows)
    moved = ConeStructure(
        structure.n,
        structure.m,
        cones,
        structure.P_rows,
        structure.P_cols,
        rows[sort],
        structure.A_cols[sort],
    )
    return moved, order


@lru_cache(maxsize=32)
def value_order(structure: ConeStructure) -> Indices:
    """Our values of A in the order of the structure without single rows."""
    moved, order = without_single_rows(structure)
    if moved is structure:
        return np.arange(structure.A_rows.size)
    rank = np.argsort(order)
    return np.argsort(structure.A_cols * structure.m + rank[structure.A_rows])
