"""Parts of a program with curved cones that nothing connects are solved each by itself, in units of its own.

Beside exp(x) ≤ 10⁻⁸, whose multiplier is 10⁸, that of exp(x) ≤ 10¹² is less than rounding of the largest. Parts of one
structure, of any elements, are one batch: the many x of an elementwise function are as many small programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from layers.cone import solve as whole
from layers.cone.attempt import ConePoint
from layers.cone.engines import Engine, Limits
from layers.cone_program import ConeProgram, Cones, ConeStructure, Indices
from layers.modes.kept import made_once
from layers.solution import FIRST, Residuals, Status


@dataclass(frozen=True)
class Alike:
    """Parts of one structure.

    Attributes
    ----------
    structure : ConeStructure
    x, rows, P, A : Tensor of int64, shapes ``(g, ·)``
        Their variables, rows, and entries of P and A, each in the order of the whole.
    """

    structure: ConeStructure
    x: Tensor
    rows: Tensor
    P: Tensor
    A: Tensor

    def of(self, program: ConeProgram) -> ConeProgram:
        """These parts of all elements, one element after the other."""
        P, A = (_values(v, at, program.batch) for v, at in ((program.P, self.P), (program.A, self.A)))
        return ConeProgram(self.structure, P, taken(program.q, self.x), A, taken(program.b, self.rows))


def taken(v: Tensor, at: Tensor) -> Tensor:
    """The entries ``at`` of ``(B, ·)``, as a batch."""
    return v[:, at].flatten(0, 1)


def _values(values: Tensor, at: Tensor, batch: int) -> Tensor:
    """Values on the pattern of the parts; what all elements and all parts share stays shared."""
    if values.dim() == 2:
        return taken(values, at)
    own = values[at]
    return own[0] if bool((own == own[0]).all()) else own.repeat(batch, 1)


def solve(
    program: ConeProgram,
    engines: list[Engine],
    limits: Limits,
    tol: float,
    guess: tuple[Tensor, Tensor, Tensor] | None = None,
) -> ConePoint:
    """:func:`layers.cone.solve.solve`, part by part where there are several and cones are curved.

    Linear rows are polished on their active set: they see the whole.
    """
    structure = program.structure
    kinds = () if structure.cones.linear else parts(structure)
    if sum(len(kind.x) for kind in kinds) < 2 or not program.batch:
        return whole.solve(program, engines, limits, tol, guess)
    points: list[ConePoint] = []
    for kind in kinds:
        start = None
        if guess is not None:
            start = taken(guess[0], kind.x), taken(guess[1], kind.rows), taken(guess[2], kind.rows)
        points.append(whole.solve(kind.of(program), engines, limits, tol, start))
    return _put_together(program, kinds, points)


def _put_together(program: ConeProgram, kinds: Sequence[Alike], points: Sequence[ConePoint]) -> ConePoint:
    """The first status of :data:`FIRST` that a part has; of a certificate the first part that has one speaks alone."""
    batch = program.batch

    def by_element(name: str) -> Tensor:
        """A number of each part, ``(B, parts)``."""
        return torch.cat([getattr(point, name).reshape(batch, -1) for point in points], dim=1)

    statuses = by_element("status")
    order = torch.tensor([FIRST.index(one) for one in Status], device=statuses.device)
    rank, speaker = order[statuses].min(1)
    status = torch.tensor(FIRST, device=statuses.device)[rank]
    proven = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    speaks = torch.arange(statuses.shape[1], device=statuses.device) == speaker.unsqueeze(-1)
    kept = (speaks | ~proven.unsqueeze(-1)).split([len(kind.x) for kind in kinds], dim=1)
    x, y, s = torch.zeros_like(program.q), torch.zeros_like(program.b), torch.zeros_like(program.b)
    for kind, point, own in zip(kinds, points, kept, strict=True):
        for vector, at, found in ((x, kind.x, point.x), (y, kind.rows, point.y), (s, kind.rows, point.s)):
            values = torch.where(own.unsqueeze(-1), found.reshape(batch, *at.shape), 0.0)
            vector[:, at.flatten()] = values.flatten(1)
    residuals = torch.cat([p.residuals.values.reshape(batch, -1, 6) for p in points], dim=1).amax(1)
    return ConePoint(
        x, y, s, status, Residuals(residuals), by_element("iterations").amax(1),
        by_element("contradicted").any(1), by_element("engine").amax(1), by_element("blunt").any(1),
    )  # fmt: skip


@made_once(64)
def parts(structure: ConeStructure) -> tuple[Alike, ...]:
    """The parts, like ones together; what has no row, or no variable, goes with the first that has both."""
    c, n = structure.cones, structure.n
    sizes = [1] * (c.zero + c.nonneg) + [*c.soc] + [k * (k + 1) // 2 for k in c.psd]
    sizes = np.array(sizes + [3] * (c.exp + len(c.power)), dtype=np.int64)
    block_of = np.repeat(np.arange(sizes.size), sizes)
    pairs = (
        np.concatenate([structure.P_rows, structure.A_cols]),
        np.concatenate([structure.P_cols, n + block_of[structure.A_rows]]),
    )
    size = n + sizes.size
    links = sp.coo_array((np.ones(pairs[0].size), pairs), shape=(size, size))
    label = connected_components(links, directed=False)[1]
    whole_ones = np.intersect1d(label[:n], label[n:])
    if whole_ones.size < 2:
        return ()
    label = np.where(np.isin(label, whole_ones), label, whole_ones[0])
    found: dict[tuple[object, ...], list[tuple[Indices, ...]]] = {}
    made: dict[tuple[object, ...], ConeStructure] = {}
    for one in whole_ones:
        own, places = _part(structure, label[:n] == one, label[n:] == one, block_of)
        key = (own.cones, own.n, *(v.tobytes() for v in (own.P_rows, own.P_cols, own.A_rows, own.A_cols)))
        made.setdefault(key, own)
        found.setdefault(key, []).append(places)
    return tuple(
        Alike(made[key], *(torch.from_numpy(np.stack(v)) for v in zip(*places, strict=True)))
        for key, places in found.items()
    )


def _part(
    structure: ConeStructure, variables: np.ndarray, blocks: np.ndarray, block_of: Indices
) -> tuple[ConeStructure, tuple[Indices, ...]]:
    """The structure of one part, and where its variables, rows and entries stand in the whole."""
    c, rows = structure.cones, blocks[block_of]
    ends = np.cumsum([c.zero, c.nonneg, len(c.soc), len(c.psd), c.exp, len(c.power)])
    zero, nonneg, soc, psd, exp, power = np.split(blocks, ends[:-1])
    cones = Cones(
        zero=int(zero.sum()),
        nonneg=int(nonneg.sum()),
        soc=tuple(size for size, mine in zip(c.soc, soc, strict=True) if mine),
        psd=tuple(order for order, mine in zip(c.psd, psd, strict=True) if mine),
        exp=int(exp.sum()),
        power=tuple(a for a, mine in zip(c.power, power, strict=True) if mine),
    )
    x, y = np.cumsum(variables) - 1, np.cumsum(rows) - 1
    P, A = np.flatnonzero(variables[structure.P_cols]), np.flatnonzero(variables[structure.A_cols])
    own = ConeStructure(
        int(variables.sum()), cones.rows, cones, x[structure.P_rows[P]], x[structure.P_cols[P]],
        y[structure.A_rows[A]], x[structure.A_cols[A]],
    )  # fmt: skip
    return own, (np.flatnonzero(variables), np.flatnonzero(rows), P, A)
