"""What a network is asked for: an output of least loss under affine constraints that depend on the input."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Manifold:
    """The points with Ay = b, and two coordinates on them: of least norm, and by completion of some variables.

    Attributes
    ----------
    A : Tensor, shape (p, n)
        Of rank p.
    free : Tensor, shape (n - p,)
        The variables that a network gives where the others are completed (DC3, arXiv 2104.12225, section 3.1).
    inverse, basis : Tensor, shapes (n, p) and (n, n - p)
        y = A⁺b + Zw with ZᵀZ = I: the distance of two points is that of their w.
    offset, completion : Tensor, shapes (n, p) and (n, n - p)
        y = Ob + Cv, whose free variables are v.
    """

    A: Tensor
    free: Tensor
    inverse: Tensor = field(init=False)
    basis: Tensor = field(init=False)
    offset: Tensor = field(init=False)
    completion: Tensor = field(init=False)

    def __post_init__(self) -> None:
        p, n = self.A.shape
        rest = torch.ones(n, dtype=torch.bool)
        rest[self.free] = False
        offset, completion = self.A.new_zeros(n, p), self.A.new_zeros(n, n - p)
        completion[self.free] = torch.eye(n - p, dtype=self.A.dtype)
        solved = torch.linalg.inv(self.A[:, rest])
        offset[rest], completion[rest] = solved, -solved @ self.A[:, self.free]
        found = {
            "inverse": torch.linalg.pinv(self.A),
            "basis": torch.linalg.qr(self.A.mT, mode="complete").Q[:, p:],
            "offset": offset,
            "completion": completion,
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)


class Problem(ABC):
    """Least loss of y under Ay = b(x) and G(x)y ≤ h(x), for every input x.

    Attributes
    ----------
    name : str
    manifold : Manifold
        Of the equalities; A has no rows where there are none.
    inputs : dict
        Tensors of shape (count, inputs), by split: `train` and `test`.
    """

    name: str
    manifold: Manifold
    inputs: dict[str, Tensor]

    @abstractmethod
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss of each output, shape (batch,); x (batch, inputs), y (batch, n)."""

    @abstractmethod
    def rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """G, shape (m, n) or (batch, m, n), and h, shape (m,) or (batch, m)."""

    def right(self, x: Tensor) -> Tensor:
        """b, shape (batch, p): the input itself, as many of its entries as there are equalities."""
        return x[:, : len(self.manifold.A)]

    def inequality(self, x: Tensor, y: Tensor) -> Tensor:
        """(Gy - h)⁺, shape (batch, m)."""
        G, h = self.rows(x)
        return (times(G, y) - h).relu()

    def equality(self, x: Tensor, y: Tensor) -> Tensor:
        """|Ay - b|, shape (batch, p)."""
        return (y @ self.manifold.A.mT - self.right(x)).abs()


def times(G: Tensor, y: Tensor) -> Tensor:
    """Gy for each y of a batch, shape (batch, m); G is shared or one for each."""
    return (y.unsqueeze(-2) @ G.mT).squeeze(-2)


def complete(problem: Problem, x: Tensor, v: Tensor) -> Tensor:
    """The point with the free variables v, (batch, n - p), and Ay = b: DC3's completion, here in closed form."""
    manifold = problem.manifold
    return problem.right(x) @ manifold.offset.mT + v @ manifold.completion.mT


def correct(problem: Problem, x: Tensor, y: Tensor, steps: int, rate: float, momentum: float) -> Tensor:
    """DC3's correction: gradient steps on ‖(Gy - h)⁺‖² in the free variables, so that Ay = b stays as it is.

    With y = Ob + Cv a step of v along -2CᵀGᵀ(Gy - h)⁺ moves y along C times that (arXiv 2104.12225, section 3.2).
    """
    G, h = problem.rows(x)
    C = problem.manifold.completion
    reduced, step = G @ C, torch.zeros_like(y)
    for _ in range(steps):
        slope = 2 * (times(G, y) - h).relu().unsqueeze(-2) @ reduced
        step = rate * slope.squeeze(-2) @ C.mT + momentum * step
        y = y - step
    return y


def project(problem: Problem, layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The nearest point to y under the constraints: argmin ‖z - y‖² subject to Az = b, Gz ≤ h, differentiable in y.

    The layer gets the program in the coordinates w of `Manifold`, which has n - p variables and no equalities and, as
    Z is orthonormal, the same solution: argmin ½wᵀw - wᵀZᵀ(y - A⁺b) subject to GZw ≤ h - GA⁺b.
    """
    G, h = problem.rows(x)
    basis = problem.manifold.basis
    start = problem.right(x) @ problem.manifold.inverse.mT
    identity = torch.eye(basis.shape[1], dtype=y.dtype)
    w = layer(identity, -(y - start) @ basis, G @ basis, h - times(G, start))
    return start + w @ basis.mT
