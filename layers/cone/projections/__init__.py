"""Projection onto products of cones, and its derivative.

Everything follows from Moreau's decomposition v = s − y with s = Π_K(v), y = Π_K*(−v), sᵀy = 0: the residual map of a
cone program is written in v (Busseti, Moursi & Boyd 2019), and the derivatives of both parts are diagonal in one
orthonormal frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from layers.cone.projections import symmetric
from layers.cone.projections.exponential import exponential
from layers.cone.projections.frames import Frame, Split
from layers.cone.projections.power import power
from layers.cone_program import Cones, Indices
from layers.linalg.batched import Batched
from layers.modes.kept import made_once


@dataclass(frozen=True)
class Group:
    """Blocks of one cone and one size.

    Attributes
    ----------
    kind : str
    rows : Tensor of int64, shape ``(g, d)``
        Their rows of A.
    exponents : Tensor, shape ``(g,)``
        α of power cones.
    """

    kind: str
    rows: Tensor
    exponents: Tensor

    @cached_property
    def index(self) -> slice | Tensor:
        """The rows, as a slice where they stand together: nothing is copied then."""
        first, last = int(self.rows[0, 0]), int(self.rows[-1, -1])
        return slice(first, last + 1) if last + 1 - first == self.rows.numel() else self.rows.flatten()

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of blocks and of rows in each."""
        return self.rows.shape[0], self.rows.shape[1]

    def split(self, v: Tensor, near: Tensor | None) -> Split:
        """Decompose blocks ``(B, g, d)``, starting iterations from a point near the projection."""
        if self.kind == "power":
            return power(v, self.exponents.to(v.device))
        if self.kind == "exp":
            return exponential(v, near)
        return _SPLITS[self.kind](v)


_SPLITS = {
    "zero": symmetric.zero,
    "nonneg": symmetric.nonneg,
    "soc": symmetric.second_order,
    "psd": symmetric.semidefinite,
}


@made_once(256)
def groups(cones: Cones) -> tuple[Group, ...]:
    """The blocks by cone and size. A second-order or semidefinite cone of one row is a nonnegative row."""
    found: dict[tuple[str, int], list[Tensor]] = {}
    exponents = torch.tensor(cones.power, dtype=torch.float64)
    blocks: list[tuple[str, int]] = [("zero", 1)] * cones.zero + [("nonneg", 1)] * cones.nonneg
    blocks += [("soc" if d > 1 else "nonneg", d) for d in cones.soc]
    blocks += [("psd" if k > 1 else "nonneg", k * (k + 1) // 2) for k in cones.psd]
    blocks += [("exp", 3)] * cones.exp + [("power", 3)] * len(cones.power)
    start = 0
    for kind, size in blocks:
        found.setdefault((kind, size), []).append(torch.arange(start, start + size))
        start += size
    return tuple(Group(kind, torch.stack(rows), exponents) for (kind, _), rows in found.items())


@made_once(256)
def _places(cones: Cones) -> Tensor | None:
    """Where each row stands when groups are strung together; None if in place."""
    strung = torch.cat([g.rows.flatten() for g in groups(cones)] or [torch.zeros(0, dtype=torch.int64)])
    return None if torch.equal(strung, torch.arange(strung.numel())) else torch.argsort(strung)


@dataclass(frozen=True)
class Decomposition(Batched):
    """v = s − y for the whole K, and the derivative of both parts.

    Attributes
    ----------
    s, y : Tensor, shape ``(B, m)``
        Π_K(v) and Π_K*(−v).
    inside, outside : Tensor, shape ``(B, m)``
        δ and 1 − δ: DΠ_K(v) = V diag(δ) Vᵀ and DΠ_K*(−v) = V diag(1 − δ) Vᵀ.
    """

    cones: Cones
    s: Tensor
    y: Tensor
    inside: Tensor
    outside: Tensor
    frames: tuple[Frame, ...]

    def into(self, M: Tensor) -> Tensor:
        """``Vᵀ M`` for M of shape ``(B, m, r)`` or ``(1, m, r)``."""
        return self._turn(M, out=False)

    def out(self, M: Tensor) -> Tensor:
        """``V M`` for M of shape ``(B, m, r)``."""
        return self._turn(M, out=True)

    def without(self, rows: Indices, cones: Cones) -> Decomposition:
        """The decomposition with respect to the cones that are left when zero rows are taken out and ``rows`` stay."""
        if rows.size == self.s.shape[1]:
            return self
        frames = self.frames if cones.zero else self.frames[1:]
        s, y, inside, outside = (v[:, rows] for v in (self.s, self.y, self.inside, self.outside))
        return Decomposition(cones, s, y, inside, outside, frames)

    def weak_rows(self, small: Tensor) -> Tensor:
        """Nonnegative rows where s and y are both ``small``, ``(B, 1)``, beside the largest of all: ``(B, m)``."""
        size = self.s.abs().maximum(self.y.abs())
        weak = size < small * size.amax(-1, keepdim=True)
        linear = torch.zeros_like(weak)
        for group in groups(self.cones):
            linear[:, group.index] = group.kind == "nonneg"
        return weak & linear

    def _turn(self, M: Tensor, *, out: bool) -> Tensor:
        parts: list[Tensor] = []
        for group, frame in zip(groups(self.cones), self.frames, strict=True):
            blocks = _blocks(group, M)
            turned = frame.out(blocks) if out else frame.into(blocks)
            parts.append(turned.flatten(1, 2).expand(self.s.shape[0], -1, -1))
        return _string(self.cones, parts, M)


def decompose(cones: Cones, v: Tensor, near: Tensor | None = None) -> Decomposition:
    """Moreau's decomposition of ``(B, m)`` with respect to K. Cost: the eigenvalues of its semidefinite blocks.

    A point ``near`` Π_K(v) saves iterations.
    """
    splits = [g.split(_blocks(g, v), None if near is None else _blocks(g, near)) for g in groups(cones)]
    s, y, inside, outside = (
        _string(cones, [getattr(split, name).flatten(1) for split in splits], v)
        for name in ("s", "y", "inside", "outside")
    )
    return Decomposition(cones, s, y, inside, outside, tuple(split.frame for split in splits))


def project(cones: Cones, v: Tensor) -> Tensor:
    """Π_K(v) for v of shape ``(B, m)``."""
    return decompose(cones, v).s


def project_dual(cones: Cones, v: Tensor) -> Tensor:
    """Π_K*(v) for v of shape ``(B, m)``."""
    return decompose(cones, -v).y


def block_max(cones: Cones, size: Tensor) -> Tensor:
    """The largest entry of every block, on each of its rows; ``(B, m)`` of nonnegative numbers."""
    return _string(cones, [_repeated(g, _blocks(g, size).amax(-1)) for g in groups(cones)], size)


def block_sum(cones: Cones, values: Tensor) -> Tensor:
    """The sum of every block, on each of its rows; ``(B, m)``."""
    return _string(cones, [_repeated(g, _blocks(g, values).sum(-1)) for g in groups(cones)], values)


def _repeated(group: Group, values: Tensor) -> Tensor:
    """One number per block, ``(B, g)``, on each of its rows."""
    return values.unsqueeze(-1).expand(-1, *group.shape).flatten(1)


def _blocks(group: Group, v: Tensor) -> Tensor:
    """The rows of a group, ``(B, g, d, …)``."""
    return v[:, group.index].unflatten(1, group.shape)


def _string(cones: Cones, parts: list[Tensor], like: Tensor) -> Tensor:
    """Parts of the groups, ``(B, g·d, …)``, in the order of the rows."""
    if not parts:
        return like
    strung = torch.cat(parts, 1)
    places = _places(cones)
    return strung if places is None else strung[:, places.to(strung.device)]
