"""The Neumann series of a fixed point, k terms of it (Geng et al. 2021, arXiv 2111.05177).

Also called phantom gradients; Fung et al. (2022, arXiv 2103.12803) take one term. A solution is a fixed point
w* = T(w*; θ) of ADMM (:mod:`layers.qp.admm`) with x* = X(w*; θ), whoever found it. By the implicit function theorem,
and the series of (I − ∂_wT)⁻¹, its derivative is

    dx = ∂_wX dw + ∂_θX dθ,   dw = Σ_{j<k} (∂_wT)ʲ ∂_θT dθ   for k → ∞.                                       (1)

In reverse that is u = Σ_{j<k} (∂_wTᵀ)ʲ ∂_wXᵀ x̄ and θ̄ = ∂_θTᵀ u + ∂_θXᵀ x̄: k − 1 products with ∂_wTᵀ, no linear
system and no memory of an iteration.

*Exact* in the limit k → ∞ where the derivative exists; the error falls geometrically, at the rate at which ADMM
converges near the solution. It depends on ``rho``, which counts on the equilibrated problem. Where the derivative does
not exist the sum grows with k.
*At a kink* v_G = h on a weakly active row, where torch takes half of both sides: an answer between them.
*Cost*: one factorisation, n³/3 + n²(m + p), and k products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.policy import tolerance, whole_number
from layers.problem import QP
from layers.qp.activity import WEAK, activity
from layers.qp.adjoints.unrolled import own
from layers.qp.admm import Splitting, inside
from layers.qp.gradients import Adjoint, Triple, setting
from layers.qp.scaling import scale_problem


@dataclass(frozen=True)
class Truncated(Adjoint):
    """k terms of the Neumann series of a step of ADMM at the solution.

    Parameters
    ----------
    k : int
        The number of terms.
    rho : float
        Step size of ADMM, on the equilibrated problem.

    Raises
    ------
    ProblemError
        If a setting cannot be used.
    """

    name = "truncated"
    error = "geometric in k"

    k: int = setting(100, whole_number)
    rho: float = setting(1.0, tolerance)

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b by k terms of (1), from the cotangents of z, λ and ν."""
        scaled = scale_problem(problem)
        with torch.enable_grad():
            leaves = own(problem)
            split = Splitting.of(inside(scaled, leaves), problem.q.new_full((len(x.z), 1), self.rho))
            with torch.no_grad():
                weak = torch.nn.functional.pad(activity(problem, *x) == WEAK, (0, problem.p))
                point, v = split.state(Triple(*scaled.scale(*x)))
                state = point, torch.where(weak, split.project(torch.full_like(v, torch.inf)), v)
            w = tuple(v.requires_grad_() for v in state)
            moved = split.step(*w)
            after = tuple(v.detach().requires_grad_() for v in moved)
            point = scaled.unscale(*split.point(*after))
            given = (*leaves.tensors, *after)
            found = torch.autograd.grad(point, given, bars, retain_graph=True, materialize_grads=True)
            direct, total = found[:6], found[6:]
            term = total
            for _ in range(self.k - 1):
                term = torch.autograd.grad(moved, w, term, retain_graph=True, materialize_grads=True)
                total = tuple(u + v for u, v in zip(total, term, strict=True))
            through = torch.autograd.grad(moved, leaves.tensors, total, materialize_grads=True)
            return tuple(u + v for u, v in zip(direct, through, strict=True))
