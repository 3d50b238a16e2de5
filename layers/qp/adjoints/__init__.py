"""Adjoints: how a solution is differentiated, each a function of problem and solution, never of the solver.

A new one is a file here and a line in :data:`ADJOINTS`; :class:`Adjoint` is the contract. ``adjoint="auto"`` is
``implicit``, the implicit function theorem in active-set form. Its linear system is itself a function that can be
differentiated (:class:`layers.qp.function.LinearisedSystem`): every order of derivative comes from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from layers.problem import QP
from layers.qp.adjoints import implicit, optnet
from layers.qp.gradients import Triple


@dataclass(frozen=True)
class Adjoint:
    """What an adjoint says of itself, and its derivative.

    Attributes
    ----------
    exact : str
        The domain in which it is the true derivative.
    order : int or None
        The highest order of derivative that it has; None for every order, in reverse and forward mode. With a finite
        order it has reverse mode alone.
    gradients : callable
        (problem, x, x̄) -> the gradients of Q, q, G, h, A and b, each with the batch axis. The problem is flat
        (:meth:`layers.problem.QP.flatten`), x = (z, λ, ν) is a solution of every element and x̄ its cotangent, shapes
        ``(B, ·)``; elements that were not solved do not come here, and the caller sums over the batch where it shares
        an argument. Raises :class:`layers.DifferentiationError` outside of the domain; what it returns is checked.
    """

    exact: str
    order: int | None
    gradients: Callable[[QP, Triple, Triple], tuple[Tensor, ...]]


ADJOINTS: dict[str, Adjoint] = {
    "implicit": Adjoint(
        exact="where the solution map is differentiable; elsewhere the least-squares answer of minimum norm",
        order=None,
        gradients=implicit.gradients,
    ),
    "optnet": Adjoint(
        exact="active rows independent, none weakly active, Q positive definite on their null space",
        order=1,
        gradients=optnet.gradients,
    ),
}


def named(adjoint: str) -> str:
    """The name in :data:`ADJOINTS` that ``adjoint=`` means."""
    return "implicit" if adjoint == "auto" else adjoint


def refusal(adjoint: str, what: str) -> str:
    """Why an adjoint cannot give something that is of every order, and which can."""
    able = [name for name, other in ADJOINTS.items() if other.order is None]
    return (
        f"adjoint={adjoint!r} has first derivatives in reverse mode alone, and {what} was asked for; "
        f"choose adjoint={' or '.join(map(repr, able))}"
    )
