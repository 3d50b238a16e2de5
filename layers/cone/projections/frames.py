"""Orthonormal frames in which the derivative of a projection is diagonal.

DΠ(v) is symmetric with 0 ⪯ DΠ ⪯ I wherever it exists (Π is the gradient of a convex function and nonexpansive), so
DΠ = V diag(δ) Vᵀ with 0 ≤ δ ≤ 1. Every cone here has V in closed form. Blocks of one cone and one size stand in tensors
of shape ``(B, g, d, …)``: batch, block, row of the block.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from layers.linalg.batched import Batched
from layers.modes.kept import made_once


class Frame(Batched, ABC):
    """The orthogonal matrix V of every block."""

    @abstractmethod
    def into(self, M: Tensor) -> Tensor:
        """``Vᵀ M`` for M of shape ``(B, g, d, r)``."""

    @abstractmethod
    def out(self, M: Tensor) -> Tensor:
        """``V M`` for M of shape ``(B, g, d, r)``."""


@dataclass(frozen=True)
class Split:
    """Moreau's decomposition v = s − y of blocks, s = Π_K(v) and y = Π_K*(−v), and the derivative of both.

    Attributes
    ----------
    s, y : Tensor, shape ``(B, g, d)``
        Each computed on its own, so that neither carries the rounding of the other.
    inside, outside : Tensor, shape ``(B, g, d)``
        δ and 1 − δ, each accurate: ds = V diag(δ) Vᵀ dv and dy = −V diag(1 − δ) Vᵀ dv.
    frame : Frame
    """

    s: Tensor
    y: Tensor
    inside: Tensor
    outside: Tensor
    frame: Frame


@dataclass(frozen=True)
class Axes(Frame):
    """V = I: the rows themselves."""

    def into(self, M: Tensor) -> Tensor:
        """``M``."""
        return M

    def out(self, M: Tensor) -> Tensor:
        """``M``."""
        return M


@dataclass(frozen=True)
class Dense(Frame):
    """V stored, shape ``(B, g, d, d)``."""

    V: Tensor

    def into(self, M: Tensor) -> Tensor:
        """``Vᵀ M``."""
        return self.V.mT @ M

    def out(self, M: Tensor) -> Tensor:
        """``V M``."""
        return self.V @ M


@dataclass(frozen=True)
class Reflection(Frame):
    """V = [(1, û)/√2, (1, −û)/√2, tangents]: û and its tangents are the columns of the reflection I − 2wwᵀ.

    Attributes
    ----------
    w : Tensor, shape ``(B, g, d − 1)``
        Unit vector.
    sign : Tensor, shape ``(B, g)``
        The first column of the reflection is sign · û.
    """

    w: Tensor
    sign: Tensor

    def _reflect(self, M: Tensor) -> Tensor:
        w = self.w.unsqueeze(-1)
        return M - 2 * w * (w.mT @ M)

    def into(self, M: Tensor) -> Tensor:
        """``Vᵀ M``: one reflection and one rotation by 45°."""
        t, tail = M[..., :1, :], self._reflect(M[..., 1:, :])
        along = self.sign[..., None, None] * tail[..., :1, :]
        return torch.cat([(t + along) / sqrt(2), (t - along) / sqrt(2), tail[..., 1:, :]], -2)

    def out(self, M: Tensor) -> Tensor:
        """``V M``."""
        a, b = M[..., :1, :], M[..., 1:2, :]
        along = self.sign[..., None, None] * (a - b) / sqrt(2)
        return torch.cat([(a + b) / sqrt(2), self._reflect(torch.cat([along, M[..., 2:, :]], -2))], -2)


@dataclass(frozen=True)
class Congruence(Frame):
    """V maps svec(H) to svec(U H Uᵀ), for U of shape ``(B, g, k, k)``."""

    U: Tensor

    def into(self, M: Tensor) -> Tensor:
        """``Vᵀ M``: svec(Uᵀ mat(·) U) of every column."""
        U = self.U.unsqueeze(-3)
        return svec(U.mT @ smat(M.mT) @ U).mT

    def out(self, M: Tensor) -> Tensor:
        """``V M``: svec(U mat(·) Uᵀ) of every column."""
        U = self.U.unsqueeze(-3)
        return svec(U @ smat(M.mT) @ U.mT).mT


@made_once(64)
def _triangle(k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row and column of each entry of the upper triangle by columns, its weight, and its place in the full matrix."""
    j, i = torch.tril_indices(k, k)  # by rows of the lower triangle: by columns of the upper
    weight = torch.ones(i.numel(), dtype=torch.float64).masked_fill(i != j, sqrt(2))
    place = torch.zeros(k, k, dtype=torch.int64)
    place[i, j] = place[j, i] = torch.arange(i.numel())
    return i, j, weight, place.flatten()


def order_of(rows: int) -> int:
    """k from k(k+1)/2."""
    return (round(sqrt(8 * rows + 1)) - 1) // 2


def svec(X: Tensor) -> Tensor:
    """Upper triangle by columns, √2 off the diagonal, of symmetric matrices ``(…, k, k)``."""
    i, j, weight, _ = (t.to(X.device) for t in _triangle(X.shape[-1]))
    return X[..., i, j] * weight


def smat(v: Tensor) -> Tensor:
    """The symmetric matrices whose :func:`svec` is v."""
    k = order_of(v.shape[-1])
    _, _, weight, place = (t.to(v.device) for t in _triangle(k))
    return (v / weight)[..., place].reshape(*v.shape[:-1], k, k)
