"""ADMM together with the recursion of its Jacobian (Alt-Diff, Sun et al. 2023, arXiv 2210.01802).

The derivative of each step of ADMM is written down and carried along, forward: with w_t = (x_t, v_t) of
:mod:`layers.qp.admm`, r = Π(v), J_• the derivative of • in ϑ = (q, h, b), M the matrix of its eq. (1) and I_h, I_b, I_q
the derivatives of h, b, q in ϑ,

    J_r = D(v_G < h) J_v on rows without equality, I_h where v_G ≥ h, I_b on equalities,
    J_x̃ = M⁻¹ (σJ_x − I_q + CᵀD(ρ)(2J_r − J_v)),                                                              (1)
    J_x ← J_x + α(J_x̃ − J_x),   J_v ← J_v + α(C J_x̃ − J_r).

The matrix has the size of x alone, and the steps share it: the paper's point. Its iteration is this one with α = 1 and
σ = 0, its slack s = h − r. The multipliers have J_y = D(ρ)(J_v − J_r), a loss with cotangent x̄ has d = Jᵀx̄, and
equation 8 with the k-th iterate makes the gradients of Q, G and A of it, whose own Jacobians would have n² columns.

*Exact* for the gradients of q, h and b of the k-th iterate; the derivative of the solution in the limit, where it
exists. Once the active rows have settled its error is of the order of the iterate's, as the authors say, as long as the
iterate comes in along the slowest mode; one that happens to be there already may have a derivative that is not. An
element stops at k steps, or sooner where it meets ``tol``; where a derivative does not exist, that of the iterate grows
with k.
*At a kink* it is the derivative on the side from which the iterates come; v_G = h counts as active.
*Cost*: a step costs n² + n(m + p) for each of the n + m + p columns; memory does not grow with k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.linalg.products import mtv
from layers.problem import QP
from layers.qp import admm
from layers.qp.adjoints.unrolled import Iterated, arrival
from layers.qp.gradients import Triple, of_direction
from layers.qp.scaling import scale_problem


@dataclass(frozen=True)
class Alternating(Iterated):
    """The Jacobian carried along the steps; settings as :class:`layers.qp.adjoints.unrolled.Iterated`."""

    name = "alternating"
    error = "geometric in k; exact in q, h and b for the iterate"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b by at most k steps of (1), stopping where they arrive at x."""
        scaled = scale_problem(problem)
        jacobian = Jacobian(problem)
        with torch.no_grad():
            found = admm.iterate(problem, self.k, self.rho, arrival(x), jacobian)
        z_bar, *y_bar = scaled.cotangents(*bars)
        J_y = found.split.rho.unsqueeze(-1) * (jacobian.J_v - jacobian.projected(found.split, found.v))
        gradient = mtv(jacobian.J_x, z_bar) + mtv(J_y, torch.cat(y_bar, -1))
        g_q, g_h, g_b = gradient.split([problem.n, problem.m, problem.p], -1)
        return of_direction(found.point, Triple(*scaled.direction(g_q, -g_h, -g_b)))


class Jacobian:
    """J_x and J_v of (1), shapes ``(B, ·, n + m + p)``, whose columns are q, h and b."""

    def __init__(self, problem: QP) -> None:
        self.sizes = problem.n, problem.m, problem.p
        count = len(problem.q)
        self.unit = torch.eye(sum(self.sizes), dtype=problem.q.dtype, device=problem.q.device)
        self.J_x = self.unit.new_zeros(count, problem.n, sum(self.sizes))
        self.J_v = self.unit.new_zeros(count, problem.m + problem.p, sum(self.sizes))

    def step(self, split: admm.Splitting, v: Tensor, going: Tensor) -> None:
        """(1)."""
        rho, going = split.rho.unsqueeze(-1), going.unsqueeze(-1)
        J_r = self.projected(split, v)
        side = rho * (2 * J_r - self.J_v)
        ahead = split.inverse @ (admm.SIGMA * self.J_x - self.unit[: self.sizes[0]] + split.C.mT @ side)
        J_x = self.J_x + admm.ALPHA * (ahead - self.J_x)
        J_v = self.J_v + admm.ALPHA * (split.C @ ahead - J_r)
        self.J_x, self.J_v = torch.where(going, J_x, self.J_x), torch.where(going, J_v, self.J_v)

    def change(self, split: admm.Splitting, v: Tensor, other: admm.Splitting) -> None:
        """J_v where ρ becomes another: r and y = ρ(v − r) stay."""
        J_r = self.projected(split, v)
        self.J_v = J_r + (split.rho / other.rho).unsqueeze(-1) * (self.J_v - J_r)

    def projected(self, split: admm.Splitting, v: Tensor) -> Tensor:
        """J_r."""
        n, m, _ = self.sizes
        holds = (v[:, :m] >= split.problem.h).unsqueeze(-1)
        own = torch.where(holds, self.unit[n : n + m], self.J_v[:, :m])
        return torch.cat([own, self.unit[n + m :].expand(len(v), -1, -1)], -2)
