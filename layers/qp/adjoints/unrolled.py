"""Automatic differentiation through the iterations of a solver (Domke 2012; Gould et al. 2016).

The layer is not the solution but the k-th iterate of ADMM (:mod:`layers.qp.admm`),

    w_{t+1} = T(w_t; θ),  w_0 = 0,   x_k(θ) = X(w_k; θ),                                                      (1)

and its derivative is the chain rule along the steps,

    dw_{t+1} = ∂_wT dw_t + ∂_θT dθ,                                                                           (2)

taken in reverse by torch. Forward and backward belong together: ``adjoint="unrolled"`` solves by (1). An element stops
at k steps, or sooner where it meets ``tol``; a status tells which. At a loose ``tol`` the layer is (1) with few steps.

*Exact* for x_k at every k, which is what other adjoints are not; the derivative of the solution in the limit, where it
exists: the error falls geometrically once the active rows have settled. The step sizes that the iteration picks on its
way count as constants.
*At a kink* it is the derivative on the side from which the iterates come; at v_G = h torch takes half of both.
*Cost*: the forward steps once more, with their graph, and their reverse; memory linear in k. Nothing is kept from
forward to backward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from layers.linalg.products import max_abs
from layers.policy import tolerance, whole_number
from layers.problem import QP
from layers.qp import admm
from layers.qp.gradients import Adjoint, Triple, setting
from layers.solution import Point

#: an iterate this near to the answer of the forward pass, relative to its size, is that answer
SAME = 1e-12


@dataclass(frozen=True)
class Iterated(Adjoint):
    """At most k steps of ADMM, which also solve.

    Parameters
    ----------
    k : int
        The most steps.
    rho : float
        Step size of ADMM at the start, on the equilibrated problem.

    Raises
    ------
    ProblemError
        If a setting cannot be used.
    """

    k: int = setting(1000, whole_number)
    rho: float = setting(1.0, tolerance)

    @property
    def iteration(self) -> Callable[[QP, float], Point]:
        """x_k of (1)."""
        return partial(admm.solve, k=self.k, rho=self.rho)


@dataclass(frozen=True)
class Unrolled(Iterated):
    """Automatic differentiation through the steps; settings as :class:`Iterated`."""

    name = "unrolled"
    error = "geometric in k; exact for the iterate"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b through at most k steps, stopping where they arrive at x."""
        with torch.enable_grad():
            leaves = own(problem)
            found = admm.iterate(leaves, self.k, self.rho, arrival(x))
            return torch.autograd.grad(found.point, leaves.tensors, bars, materialize_grads=True)


def own(problem: QP) -> QP:
    """Every element with tensors of its own, as leaves."""
    batch = len(problem.q)
    matrices = (M.expand(batch, *M.shape[-2:]) for M in (problem.Q, problem.G, problem.A))
    Q, G, A = (M.detach().clone().requires_grad_() for M in matrices)
    q, h, b = (v.detach().clone().requires_grad_() for v in (problem.q, problem.h, problem.b))
    return QP(Q, q, G, h, A, b)


def arrival(x: Triple) -> Callable[[Triple], Tensor]:
    """Whether an iterate is x, the answer of the forward pass, up to rounding."""
    size = max_abs(torch.cat(x, -1))

    def arrived(at: Triple) -> Tensor:
        return max_abs(torch.cat(at, -1) - torch.cat(x, -1)) <= SAME * size

    return arrived
