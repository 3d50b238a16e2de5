"""Lagrangian proximal gradients: a second solve, no linear system (LPGD, Paulus et al. 2024, arXiv 2407.05920).

The loss, linearised at the solution as z̄ᵀz + λ̄ᵀλ + ν̄ᵀν, is added to the Lagrangian with a weight τ, or −τ. That moves
the data of the program, and the engine solves it again:

    x(τ) solves the program with q + τz̄, h − τλ̄, b − τν̄.                                                     (1)

The change of the Lagrangian's gradient in the data between both solutions, at the true data θ, is the answer:

    lower: (∇_θL(x(τ)) − ∇_θL(x*)) / τ,   upper: (∇_θL(x*) − ∇_θL(x(−τ))) / τ,   mean: half of their sum,      (2)

the gradient of a Moreau envelope of the loss. ∇_θL = (½zzᵀ, z, λzᵀ, −λ, νzᵀ, −ν).

*Exact* in the limit τ → 0; while the active set stays the same x(τ) is affine in τ, the gradients of q, h and b are
exact, those of the matrices miss O(τ) on one side and nothing in the mean.
*At a kink* ``lower`` is the derivative on the side to which a falling loss moves z, ``upper`` on the other.
*At a vertex of a linear program* it is zero until τz̄ is enough to leave the vertex, and then points there: the blackbox
interpolation of Vlastelica et al. (2020) is this case. τ has the unit of the cost over that of z̄.
*Cost*: one solve, or two for the mean, warm-started. Rounding and the tolerance of x* count as 1/τ times themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from layers.policy import require_choice, tolerance
from layers.problem import QP
from layers.qp.adjoints.again import solved_again
from layers.qp.gradients import Adjoint, Triple, of_direction, setting

#: of which points the difference is, in multiples of τ
SIDES = {"lower": (1.0, 0.0), "upper": (0.0, -1.0), "mean": (1.0, -1.0)}

OTHERWISE = (
    "the loss moves it out of its domain; take a smaller tau or the other side, bound its variables, or take "
    'adjoint="implicit"'
)


def _side(name: str, value: object) -> str:
    require_choice(name, value, tuple(SIDES))
    return str(value)


@dataclass(frozen=True)
class Lpgd(Adjoint):
    """The difference between the solution and that of a program moved along the loss.

    Parameters
    ----------
    tau : float
        Length τ of the move, in the unit of the cost over that of z̄.
    side : {"lower", "upper", "mean"}
        Move along the loss, against it, or both.

    Raises
    ------
    ProblemError
        If a setting cannot be used.
    """

    name = "lpgd"
    error = "O(tau) on one side, none in the mean while the active rows stay"

    tau: float = setting(1e-3, tolerance)
    side: str = setting("mean", _side)

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b by (2), from the cotangents of z, λ and ν.

        Raises
        ------
        DifferentiationError
            If the program of (1) has no solution.
        """
        weights = SIDES[self.side]
        first, second = (x if w == 0 else _moved(problem, x, bars, w * self.tau) for w in weights)
        return quotient(first, second, self.tau * (weights[0] - weights[1]))


def _moved(problem: QP, x: Triple, bars: Triple, tau: float) -> Triple:
    """x(τ) of (1)."""
    q, h, b = along(problem, bars, tau)
    return solved_again(QP(problem.Q, q, problem.G, h, problem.A, b), OTHERWISE, x)


def along(problem: QP, bars: Triple, tau: float) -> Triple:
    """q + τz̄, h − τλ̄ and b − τν̄: the data with the linearised loss in the Lagrangian."""
    return Triple(problem.q + tau * bars.z, problem.h - tau * bars.lam, problem.b - tau * bars.nu)


def quotient(first: Triple, second: Triple, width: float) -> tuple[Tensor, ...]:
    """(∇_θL(first) − ∇_θL(second)) / width: equation 8 midway, as aaᵀ − bbᵀ = ½(a − b)(a + b)ᵀ + ½(a + b)(a − b)ᵀ."""
    pairs = list(zip(first, second, strict=True))
    return of_direction(
        Triple(*(0.5 * (u + v) for u, v in pairs)), Triple(*((u - v) / width for u, v in pairs))
    )
