"""OptNet as the paper has it (Amos & Kolter 2017, arXiv 1703.00443, eq. 6-8): the full KKT matrix, solved densely.

Differentiating the KKT conditions, Qz + q + Gᵀλ + Aᵀν = 0, D(λ)(Gz − h) = 0, Az = b, gives (eq. 6) J dx = −F_θ dθ with

    J = [Q      Gᵀ         Aᵀ]
        [D(λ)G  D(Gz − h)  0 ]
        [A      0          0 ].

Every row stands in J, active or not, and the iterate enters it: where a constraint is weakly active J is singular, and
near such a point it is as badly conditioned as the point is near. :mod:`layers.qp.adjoints.implicit` is the same
derivative without both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.errors import DifferentiationError
from layers.linalg.products import column_max, mv, one_where_zero, row_max
from layers.problem import QP
from layers.qp.activity import WEAK, activity
from layers.qp.gradients import Adjoint, Triple, of_direction

#: an equilibrated J with a larger condition number is singular to working precision
CONDITION = 1e12


class OptNet(Adjoint):
    """All KKT conditions, differentiated."""

    name = "optnet"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b, from the cotangents of z, λ and ν; (n + m + p)³ per element.

        Raises
        ------
        DifferentiationError
            Where J is singular: a weakly active constraint, dependent active rows, or several solutions.
        """
        parts = [
            (problem.take(c), *(Triple(*(v[c] for v in t)) for t in (x, bars))) for c in problem.chunks()
        ]
        d = torch.cat([_direction(*part) for part in parts] or [torch.cat(x, -1)])
        d_z, d_lam, d_nu = d.split([problem.n, problem.m, problem.p], -1)
        # Eq. 8. As printed, ∇_G = D(λ)(d_λ zᵀ + λ d_zᵀ) has one D(λ) too many: it belongs to d_λ alone, here as in ∇_h.
        return of_direction(x, Triple(d_z, x.lam * d_lam, d_nu))


def _direction(problem: QP, x: Triple, bars: Triple) -> Tensor:
    """d = −J⁻ᵀ (z̄, λ̄, ν̄) (eq. 7), with the rows and columns of J brought to size one."""
    J = kkt_matrix(problem, x)
    rows = one_where_zero(row_max(J))
    J = J / rows.unsqueeze(-1)
    columns = one_where_zero(column_max(J))
    J = J / columns.unsqueeze(-2)
    singular = (activity(problem, *x) == WEAK).any(-1) | ~(torch.linalg.cond(J, 1) <= CONDITION)
    if singular.any():
        raise DifferentiationError(
            f"the KKT matrix of eq. 6 is singular in {int(singular.sum())} of {len(singular)} solved problems (a "
            'weakly active constraint, dependent active rows, or several solutions): adjoint="optnet" has no '
            'derivative there; adjoint="implicit" takes the least-squares answer of minimum norm'
        )
    return torch.linalg.solve(J.mT, -torch.cat(bars, -1) / columns) / rows


def kkt_matrix(problem: QP, x: Triple) -> Tensor:
    """J of eq. 6 at x, shape ``(B, n + m + p, n + m + p)``."""
    batch, m, p = len(x.z), problem.m, problem.p
    Q, G, A = (M.expand(batch, *M.shape[-2:]) for M in (problem.Q, problem.G, problem.A))
    rows = (
        (Q, G.mT, A.mT),
        (x.lam.unsqueeze(-1) * G, torch.diag_embed(mv(problem.G, x.z) - problem.h), Q.new_zeros(batch, m, p)),
        (A, Q.new_zeros(batch, p, m), Q.new_zeros(batch, p, p)),
    )
    return torch.cat([torch.cat(row, -1) for row in rows], -2)
