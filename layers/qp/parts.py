"""A quadratic program whose parts nothing connects is several programs.

Each is solved by itself (:mod:`layers.qp.apart`), and what rounding may leave in its rows is measured by itself
(:mod:`layers.qp.kkt`): together they would share a step length and a norm, and a part of size 1e-8 beside one of size
1e8 would be lost in the rounding of the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from layers.linalg.parts import parts_of_rows, parts_of_variables
from layers.problem import QP


class Part(NamedTuple):
    """Parts of one size, of any elements, as a batch of programs.

    Attributes
    ----------
    problem : QP
        Flat, every tensor with a batch axis.
    element : Tensor of int64, shape ``(k,)``
        Whose part each is.
    z, lam, nu : Tensor of int64, shapes ``(k, ·)``
        Its variables and rows.
    """

    problem: QP
    element: Tensor
    z: Tensor
    lam: Tensor
    nu: Tensor

    def take(self, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What vectors of the whole, ``(B, ·)``, are in these parts."""
        at = self.element.unsqueeze(-1)
        return z[at, self.z], lam[at, self.lam], nu[at, self.nu]


def divided(problem: QP) -> tuple[Tensor, Tensor | None]:
    """Which elements of a flat problem have several parts, as indices, and the part of every variable of these."""
    label = parts_of_variables((problem.Q, problem.G, problem.A)).expand(problem.q.shape)
    several = (label != 0).any(-1).nonzero().squeeze(-1)
    return several, label[several] if several.numel() else None


def split(problem: QP, label: Tensor) -> Iterator[Part]:
    """The parts of all elements of a flat problem, in batches of one size."""
    batch, n = problem.q.shape
    G, A = (M.expand(batch, *M.shape[-2:]) for M in (problem.G, problem.A))
    owners = [label, *(parts_of_rows(M, label) for M in (G, A))]
    element, root = (label == torch.arange(n, device=label.device)).nonzero().unbind(-1)
    masks = [owner[element] == root.unsqueeze(-1) for owner in owners]
    counts = torch.stack([mask.sum(-1) for mask in masks], dim=-1)
    for size in counts.unique(dim=0):
        chosen = (counts == size).all(-1)
        z, lam, nu = (_places(mask[chosen], int(k)) for mask, k in zip(masks, size, strict=True))
        own = element[chosen]
        at, column = own[:, None, None], z[:, None, :]
        Q = problem.Q.expand(batch, n, n)[at, z[:, :, None], column]
        data = Q, G[at, lam[:, :, None], column], A[at, nu[:, :, None], column]
        q, h, b = problem.q[own[:, None], z], problem.h[own[:, None], lam], problem.b[own[:, None], nu]
        yield Part(QP(data[0], q, data[1], h, data[2], b), own, z, lam, nu)


def _places(mask: Tensor, count: int) -> Tensor:
    """Where each row of a mask with so many true entries has them, in order."""
    return mask.nonzero()[:, 1].reshape(len(mask), count)
