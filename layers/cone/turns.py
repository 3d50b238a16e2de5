"""Maps of a cone onto itself that are more than a factor: where a row of a block has units of its own.

An exponential cone: with y exp(x/y) ≤ z also y exp((x + κy)/y) ≤ e^κ z. So where its row y holds a number and no
variable, κ times that may be added to the row x and the row z multiplied by e^κ, and y′ loses κ times its entry x in
its entry y. exp(x) ≤ 10⁸ becomes exp(x′) ≤ 1.

A second-order cone (u + w, u − w, 2v) is uw ≥ ‖v‖², so u may be multiplied by t and w divided by it; of y the other way
round. Squares, powers and geometric means are compiled to such cones, in which u = v² = 10⁻⁸ stands beside w = 1. Which
cones are of this form is told by their first two rows, which hold the same variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from layers.cone_program import ConeStructure
from layers.linalg.batched import Batched
from layers.linalg.products import one_where_zero, power_to_one
from layers.modes.kept import made_once

#: a turn of less than 2 to this power is left alone
UNBALANCED = 3.0
#: what is less than this of another is lost in its rounding, with the digits that are asked for
LOST = 2.0**-30


class Rotated(NamedTuple):
    """Second-order cones whose first two rows hold the same variables.

    ``first`` are their first rows; ``upper`` and ``lower`` the entries of A in the two rows, by pairs of one column;
    ``cone`` says to which of the first rows a pair belongs.
    """

    first: Tensor
    upper: Tensor
    lower: Tensor
    cone: Tensor


@made_once(64)
def rotated(structure: ConeStructure) -> Rotated:
    """Found by comparing columns; entries are sorted by column and row."""
    c = structure.cones
    starts = c.zero + c.nonneg + np.cumsum([0, *c.soc])[:-1]
    order = np.argsort(structure.A_rows, kind="stable")
    ends = np.searchsorted(structure.A_rows[order], np.arange(structure.m + 1))
    first: list[int] = []
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for start, size in zip(starts.tolist(), c.soc, strict=True):
        if size < 3:  # of two rows it is u ≥ 0 and w ≥ 0
            continue
        upper, lower = (order[ends[i] : ends[i + 1]] for i in (start, start + 1))
        if np.array_equal(structure.A_cols[upper], structure.A_cols[lower]):
            first.append(start)
            pairs.append((upper, lower))
    found = [np.concatenate([np.zeros(0, dtype=np.int64), *part]) for part in zip(*pairs, strict=True)]
    upper, lower = found or [np.zeros(0, dtype=np.int64)] * 2
    cone = np.repeat(np.arange(len(first)), [len(p[0]) for p in pairs])
    parts = (first, upper, lower, cone)
    return Rotated(*(torch.as_tensor(v, dtype=torch.int64, device="cpu") for v in parts))


@dataclass(frozen=True)
class Turn(Batched):
    """κ at the rows x of exponential cones, ``(B or 1, m)``, and t of the rotated cones, ``(B or 1, k)``.

    e^κ and t are powers of two. e^κ on the rows z is not part of it: it is a factor of a row like any other.
    """

    ALIKE = frozenset({"shift", "stretch"})

    shift: Tensor
    stretch: Tensor

    @classmethod
    def none(cls, structure: ConeStructure, like: Tensor) -> Turn:
        """The identity."""
        return cls(like.new_zeros(1, structure.m), like.new_ones(1, len(rotated(structure).first)))

    @classmethod
    def by(cls, structure: ConeStructure, exponents: Tensor, stretch: Tensor | None = None) -> Turn:
        """κ = log 2 times the exponents."""
        one = exponents.new_ones(1, len(rotated(structure).first))
        return cls(log(2) * exponents, one if stretch is None else stretch)

    @property
    def factors(self) -> Tensor:
        """e^κ at the rows z, one elsewhere."""
        return torch.exp2((self.shift / log(2)).roll(2, -1))

    def of_slack(self, structure: ConeStructure, s: Tensor) -> Tensor:
        """What becomes of s, and of b, but for the factors of rows."""
        return self._stretched(structure, s + self.shift * s.roll(-1, -1), self.stretch)

    def of_dual(self, structure: ConeStructure, y: Tensor) -> Tensor:
        """What becomes of y."""
        return self._stretched(structure, y - (self.shift * y).roll(1, -1), 1 / self.stretch)

    def slack_back(self, structure: ConeStructure, s: Tensor) -> Tensor:
        """The inverse of :meth:`of_slack`."""
        return self._stretched(structure, s - self.shift * s.roll(-1, -1), 1 / self.stretch)

    def dual_back(self, structure: ConeStructure, y: Tensor) -> Tensor:
        """The inverse of :meth:`of_dual`."""
        return self._stretched(structure, y + (self.shift * y).roll(1, -1), self.stretch)

    def of_matrix(self, structure: ConeStructure, A: Tensor) -> Tensor:
        """The entries of A, ``(nnz,)`` or ``(B, nnz)``; the shift moves none."""
        where, t = rotated(structure), self.stretch
        if not t.numel() or (t == 1).all():
            return A
        A = A if len(t) == 1 and A.dim() == 1 else A.expand(max(len(t), A.shape[0] if A.dim() > 1 else 1), -1)
        t = t[:, where.cone.to(A.device)]
        u, w = _halves(A[..., where.upper], A[..., where.lower], t.squeeze(0) if A.dim() == 1 else t)
        out = A.clone()
        out[..., where.upper], out[..., where.lower] = u + w, u - w
        return out

    def _stretched(self, structure: ConeStructure, v: Tensor, t: Tensor) -> Tensor:
        first = rotated(structure).first.to(v.device)
        if not first.numel() or (t == 1).all():
            return v
        u, w = _halves(v[:, first], v[:, first + 1], t)
        out = v.clone()
        out[:, first], out[:, first + 1] = u + w, u - w
        return out


def _halves(upper: Tensor, lower: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """½t(upper + lower) and ½(upper − lower)/t: what is small is not taken out of what is large."""
    return 0.5 * t * (upper + lower), 0.5 * (upper - lower) / t


def without_variables(structure: ConeStructure) -> Tensor:
    """Rows of A without an entry, shape ``(m,)``."""
    return torch.from_numpy(np.bincount(structure.A_rows, minlength=structure.m) == 0)


def exponents_at(structure: ConeStructure, s: Tensor) -> Tensor:
    """log₂ of s_y / s_z at the rows x of exponential cones whose row y holds no variable, ``(B, m)``; 0 elsewhere."""
    out, cones = torch.zeros_like(s), structure.cones
    first = cones.rows - 3 * (cones.exp + len(cones.power))
    x = torch.arange(first, first + 3 * cones.exp, 3, device=s.device)
    x = x[without_variables(structure).to(s.device)[x + 1]]
    height, size = s[:, x + 1], s[:, x + 2]
    known = (height > 0) & (size > 0)
    ratio = torch.where(known, height, 1.0).log2() - torch.where(known, size, 1.0).log2()
    out[:, x] = torch.where(ratio.abs() > UNBALANCED, ratio.round(), 0.0)
    return out


def stretch_at(structure: ConeStructure, y: Tensor, s: Tensor) -> Tensor:
    """t = √(w/u) of the rotated cones at a point, ``(B, k)``; where s is the tip, u and w of y tell it.

    Where one is lost in rounding of the other, it counts as LOST of it: units in which it may be found.
    """
    first = rotated(structure).first.to(s.device)
    u, w = s[:, first] + s[:, first + 1], s[:, first] - s[:, first + 1]
    w_y, u_y = y[:, first] + y[:, first + 1], y[:, first] - y[:, first + 1]
    tip = (u <= 0) & (w <= 0)
    u, w = torch.where(tip, u_y, u), torch.where(tip, w_y, w)
    least = LOST * u.maximum(w)
    u, w = (one_where_zero(v.maximum(least).clamp(min=0)) for v in (u, w))
    t = power_to_one((u / w).sqrt())
    return torch.where(t.log2().abs() > UNBALANCED, t, 1.0)
