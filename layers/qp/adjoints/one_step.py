"""The derivative of the last iteration alone (Bolte, Pauwels & Vaiter 2023, arXiv 2305.13768).

Of a fixed point w* = T(w*; θ) with x* = X(w*; θ), the iteration that made it is differentiated as if what it started
from did not depend on the data:

    dx = (∂_wX ∂_θT + ∂_θX) dθ,                                                                               (1)

the first term of the series of :mod:`layers.qp.adjoints.truncated`. The paper's estimate is that its error is about
‖∂_wT‖ times the derivative: it is good where one step nearly solves the program, as Newton's method does, and poor
where convergence is slow. T is a step of ADMM (:mod:`layers.qp.admm`), which is not fast.

*Exact* nowhere. *At a kink* as ``truncated``.
*Cost*: one factorisation and a product.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from layers.policy import tolerance
from layers.problem import QP
from layers.qp.adjoints.truncated import Truncated
from layers.qp.gradients import Adjoint, Triple, setting


@dataclass(frozen=True)
class OneStep(Adjoint):
    """The derivative of one step of ADMM at the solution.

    Parameters
    ----------
    rho : float
        Step size of ADMM, on the equilibrated problem.

    Raises
    ------
    ProblemError
        If a setting cannot be used.
    """

    name = "one_step"
    exact = "nowhere"
    error = "the norm of a step's derivative"

    rho: float = setting(1.0, tolerance)

    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b by (1), from the cotangents of z, λ and ν."""
        return Truncated(k=1, rho=self.rho).gradients(problem, x, bars)
