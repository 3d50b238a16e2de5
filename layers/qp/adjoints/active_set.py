"""The active rows as equalities: one symmetric system, factorised once (dQP, Magoon et al. 2025, arXiv 2410.06324).

With the rows J = {i : Gᵢz* = hᵢ} that hold with equality, z* also solves min ½zᵀQz + qᵀz subject to G_J z = h_J and
Az = b, as long as λ_J > 0. Its optimality conditions are linear, and so is their derivative:

    [Q   G_Jᵀ Aᵀ]
    [G_J  0   0 ] (d_z, d_λ, d_ν) = −(z̄, λ̄_J, ν̄),   d_λ = 0 off J.                                          (1)

*Exact* where active rows are independent, none is weakly active, and Q is positive definite on their null space.
*At a kink* a weakly active row is in J: what comes back is the derivative on the side on which it stays active.
Dependent active rows, or several solutions, make (1) singular, and it is refused.
*Cost*: n³/3 + n²(k + p) + (k + p)³/3 with k = |J|, where OptNet's system has all m rows in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.errors import DifferentiationError
from layers.policy import require_accurate
from layers.problem import QP
from layers.qp.active_set import ActiveSystem
from layers.qp.activity import INACTIVE, activity
from layers.qp.gradients import Adjoint, Triple, of_direction

#: bound on the backward error of the solve
SOLVE_TOLERANCE = 1e-9


class ActiveSet(Adjoint):
    """The active rows as equalities."""

    name = "active_set"

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b, from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            Where (1) is singular.
        """
        system = ActiveSystem.factor(problem, activity(problem, *x) != INACTIVE)
        require_regular(system.singular, "active_set")
        right = (-bars.z, -bars.lam, -bars.nu)
        d = system.solve(*right)
        error = system.backward_error(d, right)
        require_accurate(error, torch.ones_like(system.singular), SOLVE_TOLERANCE, "Q")
        return of_direction(x, Triple(*d))


def require_regular(singular: Tensor, name: str) -> None:
    """Refuse elements whose system (1) is singular, and name who answers.

    Raises
    ------
    DifferentiationError
    """
    if singular.any():
        raise DifferentiationError(
            f"the system of the active rows is singular in {int(singular.sum())} of {len(singular)} solved problems "
            f'(dependent active rows, or several solutions, as a linear program has): adjoint="{name}" has no '
            'derivative there; adjoint="implicit" takes the least-squares answer of minimum norm, and '
            'adjoint="smoothed" that of the central path'
        )
