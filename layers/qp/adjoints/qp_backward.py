"""The backward pass as a quadratic program of its own (BPQP, Pan et al. 2024, arXiv 2411.19285).

The system of the active rows J (:mod:`layers.qp.adjoints.active_set`, eq. 1) is the optimality condition of

    min ½dᵀQd + z̄ᵀd   subject to   G_J d = −λ̄_J,   A d = −ν̄,                                                (1)

whose solution is d_z, and whose multipliers are d_λ and d_ν. Whatever solves quadratic programs gives the derivative,
here the engine of ``solver="auto"``; an engine of first order never forms the matrix of the linear system.

*Exact* where active rows are independent, none is weakly active, and Q is positive definite on their null space. Where
active rows are dependent, so that d_λ and d_ν have a choice, or (1) has no solution, it is refused.
*At a kink* a weakly active row is in J: the derivative on the side on which it stays active.
*Cost*: one solve without inequalities; the question whether rows are independent, n(k + p)² + (k + p)³/3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.errors import DifferentiationError
from layers.linalg.products import max_abs, one_where_zero
from layers.problem import QP
from layers.qp.activity import INACTIVE, activity
from layers.qp.adjoints.again import solved_again
from layers.qp.gradients import Adjoint, Triple, of_direction

#: a row of norm one that is nearer than this to the span of others counts as dependent on them
INDEPENDENT = 1e-7

OTHERWISE = (
    "multipliers or solution are not unique, so that they have no derivative in this sense; "
    'adjoint="implicit" takes the least-squares answer of minimum norm, and adjoint="smoothed" that of the central path'
)


class QPBackward(Adjoint):
    """The linear system as a quadratic program."""

    name = "qp_backward"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b, from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            If (1) has no solution.
        """
        # d is linear in the cotangents: at size one, the tolerance of the engine is that of the derivative
        size = one_where_zero(max_abs(torch.cat(bars, -1))).unsqueeze(-1)
        d = solved_on_face(problem, x, Triple(bars.z / size, -bars.lam / size, -bars.nu / size))
        return of_direction(x, Triple(*(size * v for v in d)))


def solved_on_face(problem: QP, x: Triple, data: Triple) -> Triple:
    """The solution of min ½dᵀQd + q′ᵀd subject to G_J d = h′_J, A d = b′, with (q′, h′, b′) = ``data``.

    J are the rows that are active at x. A row that is not is one of zeros: all elements then share one size.

    Raises
    ------
    DifferentiationError
        If an element has no solution.
    """
    on = activity(problem, *x) != INACTIVE
    batch = len(on)
    G, A = (M.expand(batch, *M.shape[-2:]) for M in (problem.G, problem.A))
    rows = torch.cat([on.unsqueeze(-1) * G, A], -2)
    _require_independent(rows, torch.cat([on, on.new_ones(batch, problem.p)], -1))
    right = torch.cat([on * data.lam, data.nu], -1)
    none = problem.G.new_zeros(0, problem.n), problem.h.new_zeros(batch, 0)
    found = solved_again(QP(problem.Q, data.z, *none, rows, right), OTHERWISE)
    lam, nu = found.nu.split([problem.m, problem.p], -1)
    return Triple(found.z, torch.where(on, lam, 0.0), nu)


def _require_independent(rows: Tensor, counts: Tensor) -> None:
    """Refuse elements whose rows that count are dependent; the others are zero.

    Raises
    ------
    DifferentiationError
    """
    size = rows.norm(dim=-1, keepdim=True)
    unit = rows / one_where_zero(size)
    gram = unit @ unit.mT + torch.diag_embed((~counts).to(rows))
    L, info = torch.linalg.cholesky_ex(gram)
    dependent = info > 0
    dependent = dependent | ~(torch.diagonal(L, dim1=-2, dim2=-1) > INDEPENDENT).all(-1)
    if dependent.any():
        raise DifferentiationError(
            f"active rows are dependent in {int(dependent.sum())} of {len(dependent)} solved problems: {OTHERWISE}"
        )
