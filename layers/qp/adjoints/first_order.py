"""Hypergradients without second-order data (FFOLayer, Zhao et al. 2025, arXiv 2512.02494).

The layer is the lower level of a bilevel program, whose inequalities are replaced by the equalities that are active at
the solution, a "ghost" program with the same solution and multipliers nearby. Its cost is moved by a step τ along z̄,

    x(τ) solves min ½zᵀQz + (q + τz̄)ᵀz  subject to  G_J z = h_J − τλ̄_J,  Az = b − τν̄,                          (1)

and two evaluations of the gradient of the Lagrangian in the data make the answer,

    (∇_θL(x(τ)) − ∇_θL(x*)) / τ,   ∇_θL = (½zzᵀ, z, λzᵀ, −λ, νzᵀ, −ν).                                        (2)

No Hessian of anything is formed or factorised: whatever solves (1) will do, here the engine of ``solver="auto"``.
LPGD keeps the inequalities in (1); here no row can enter or leave.

*Exact* in the limit τ → 0, where active rows are independent, none is weakly active, and Q is positive definite on
their null space. x(τ) is affine in τ: the gradients of q, h and b are exact at every τ, those of the matrices miss
½τ d_z d_zᵀ, τ d_λ d_zᵀ and τ d_ν d_zᵀ.
*At a kink* a weakly active row is an equality: the derivative on the side on which it stays active.
*Cost*: one solve of an equality-constrained program. Rounding counts as 1/τ times itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from layers.policy import tolerance
from layers.problem import QP
from layers.qp.adjoints.lpgd import along, quotient
from layers.qp.adjoints.qp_backward import solved_on_face
from layers.qp.gradients import Adjoint, Triple, setting


@dataclass(frozen=True)
class FirstOrder(Adjoint):
    """The difference between two gradients of the Lagrangian, with the active rows frozen.

    Parameters
    ----------
    tau : float
        Length τ of the move, in the unit of the cost over that of z̄.

    Raises
    ------
    ProblemError
        If a setting cannot be used.
    """

    name = "first_order"
    error = "O(tau)"

    tau: float = setting(1e-4, tolerance)

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b by (2), from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            If (1) has no solution.
        """
        moved = solved_on_face(problem, x, along(problem, bars, self.tau))
        return quotient(moved, x, self.tau)
