"""The equilibrated problem that the interior-point iteration sees, and the way back to the caller's units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from layers.linalg.batched import Batched
from layers.linalg.products import max_abs, mv, one_where_zero
from layers.linalg.saddle import equilibrate
from layers.problem import QP

#: a variable is never measured by less than this multiple of the largest
SMALLEST = 1e-18


@dataclass(frozen=True)
class ScaledQP(Batched):
    """An equilibrated problem.

    With D, E from Ruiz scaling of the KKT matrix, r the size of the right-hand sides and c the weight of the
    objective, the scaled problem minimises ½z̃ᵀ(cQ̃)z̃ + q̃ᵀz̃ subject to G̃z̃ ≤ h̃, Ãz̃ = b̃ with
    Q̃ = DQD, q̃ = (c/r) Dq, G̃ = E_G G D, h̃ = E_G h / r, Ã = E_A A D, b̃ = E_A b / r, and
    z = r D z̃, λ = (r/c) E_G λ̃, ν = (r/c) E_A ν̃.

    Attributes
    ----------
    problem : QP
        The scaled, flat problem; its Q lacks the factor c, so that a shared Q stays shared.
    D, E_G, E_A : Tensor
        Scales of variables and rows, with or without a batch axis.
    r, c : Tensor, shape ``(B, 1)``
        Scales of the right-hand sides and of the objective.
    """

    SHARED: ClassVar[Mapping[str, int]] = {"D": 1, "E_G": 1, "E_A": 1}

    problem: QP
    D: Tensor
    E_G: Tensor
    E_A: Tensor
    r: Tensor
    c: Tensor

    def Qz(self, z: Tensor) -> Tensor:
        """c Q̃ z̃."""
        return self.c * mv(self.problem.Q, z)

    def unscale(self, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A point of the scaled problem in the caller's units."""
        y = self.r / self.c
        return self.r * self.D * z, y * self.E_G * lam, y * self.E_A * nu

    def scale(self, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A point in the caller's units as a point of the scaled problem."""
        y = self.c / self.r
        return z / (self.r * self.D), y * lam / self.E_G, y * nu / self.E_A

    def cotangents(self, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cotangents of a point in the caller's units as those of a point of the scaled problem."""
        y = self.r / self.c
        return self.r * self.D * z, y * self.E_G * lam, y * self.E_A * nu

    def direction(self, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """d of :func:`layers.qp.gradients.equation_8` for the scaled problem as that of the caller's."""
        return self.c / self.r * self.D * z, self.E_G / self.r * lam, self.E_A / self.r * nu

    def weighted(self) -> QP:
        """The scaled problem with the factor c in Q."""
        p = self.problem
        return QP(self.c.unsqueeze(-1) * p.Q, p.q, p.G, p.h, p.A, p.b)


def scale_problem(problem: QP) -> ScaledQP:
    """Equilibrate a flat problem; matrices shared over the batch stay shared when all of them are.

    Notes
    -----
    r is the size that z may be expected to have: the larger of ‖q‖ / ‖Q‖ and of the geometric mean of the nonzero
    scaled right-hand sides (so that one huge bound that never binds does not drown the others). Far too small
    an r makes the iteration crawl, too large a one costs a step or two. c brings the larger of the scaled Q and q
    to one. All scales are powers of two.
    """
    shared = all(M.dim() == 2 for M in (problem.Q, problem.G, problem.A))
    batch = problem.q.shape[0]
    C = torch.cat([_expand(M, shared, batch) for M in (problem.G, problem.A)], dim=-2)
    D, E = equilibrate(_expand(problem.Q, shared, batch), C)
    E_G, E_A = E[..., : problem.m], E[..., problem.m :]
    h, b, q = E_G * problem.h, E_A * problem.b, D * problem.q
    Q = D.unsqueeze(-1) * problem.Q * D.unsqueeze(-2)
    Q_size, q_size = max_abs(Q.flatten(-2)).unsqueeze(-1), max_abs(q).unsqueeze(-1)
    rhs = torch.cat([h, b], dim=-1).abs()
    logs = torch.where(rhs > 0, rhs, torch.ones_like(rhs)).log2()
    mean = torch.exp2(logs.sum(-1, keepdim=True) / (rhs > 0).sum(-1, keepdim=True).clamp(min=1))
    free = torch.where(Q_size > 0, q_size / one_where_zero(Q_size), torch.zeros_like(q_size))
    r = torch.exp2(mean.maximum(free).log2().round())
    size = Q_size.maximum(q_size / r)
    c = torch.exp2(-one_where_zero(size).log2().round())
    G = E_G.unsqueeze(-1) * problem.G * D.unsqueeze(-2)
    A = E_A.unsqueeze(-1) * problem.A * D.unsqueeze(-2)
    return ScaledQP(QP(Q, c * q / r, G, h / r, A, b / r), D, E_G, E_A, r, c)


def _expand(M: Tensor, shared: bool, batch: int) -> Tensor:
    return M if shared or M.dim() == 3 else M.expand(batch, *M.shape)


@dataclass(frozen=True)
class Units:
    """Other units of a flat problem: z = D z′, λ = E_G λ′ / w, ν = E_A ν′ / w, all powers of two, with a batch axis.

    w is the weight of the objective: of rows and curvatures of far apart sizes no scales of variables make both one.
    """

    D: Tensor
    E_G: Tensor
    E_A: Tensor
    w: Tensor

    @classmethod
    def of(cls, problem: QP, sizes: Tensor) -> Units:
        """Variables of these sizes, ``(B, n)``, become about one, so do the largest entries of rows and objective."""
        sizes = sizes.nan_to_num(nan=0.0, posinf=0.0)
        largest = one_where_zero(max_abs(sizes)).unsqueeze(-1)
        D = _power_of_two(sizes.maximum(SMALLEST * largest))
        E_G, E_A = (
            1 / _power_of_two(one_where_zero(max_abs(M * D.unsqueeze(-2)))) for M in (problem.G, problem.A)
        )
        Q, q = D.unsqueeze(-1) * problem.Q * D.unsqueeze(-2), D * problem.q
        objective = max_abs(Q.flatten(-2)).maximum(max_abs(q)).unsqueeze(-1)
        return cls(D, E_G, E_A, 1 / _power_of_two(one_where_zero(objective)))

    def inside(self, problem: QP) -> QP:
        """The problem in these units."""
        D, E_G, E_A, w = self.D, self.E_G, self.E_A, self.w
        Q = (w * D).unsqueeze(-1) * problem.Q * D.unsqueeze(-2)
        G = E_G.unsqueeze(-1) * problem.G * D.unsqueeze(-2)
        A = E_A.unsqueeze(-1) * problem.A * D.unsqueeze(-2)
        return QP(Q, w * D * problem.q, G, E_G * problem.h, A, E_A * problem.b)

    def outside(self, z: Tensor, lam: Tensor, nu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A point in these units in those of the problem."""
        return self.D * z, self.E_G * lam / self.w, self.E_A * nu / self.w


def _power_of_two(x: Tensor) -> Tensor:
    return torch.exp2(x.log2().round())
