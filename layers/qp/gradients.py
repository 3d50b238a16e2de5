"""Equation 8 of OptNet (Amos & Kolter 2017), once, how a call's gradients are made of it, and what an adjoint is.

The derivative of a solution is one linear solve, d = −K⁻ᵀ (z̄, λ̄, ν̄) with the cotangents of z, λ and ν, and six products
with what it finds. Here λ is part of the solution and not of the system, so that d_λ stands for D(λ) d_λ of the paper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from layers.errors import LayerError, ProblemError
from layers.linalg.products import mv
from layers.problem import QP
from layers.solution import Point, Status

Outer = Callable[[Tensor, Tensor], Tensor]
Term = Callable[[Outer], Tensor]


class Triple(NamedTuple):
    """A point (z, λ, ν), its cotangents, or the direction d; shapes ``(..., n), (..., m), (..., p)``."""

    z: Tensor
    lam: Tensor
    nu: Tensor


class Saved(NamedTuple):
    """What a derivative reads: the data, the solution, the class of every constraint, and who was solved."""

    Q: Tensor
    q: Tensor
    G: Tensor
    h: Tensor
    A: Tensor
    b: Tensor
    z: Tensor
    lam: Tensor
    nu: Tensor
    kind: Tensor
    status: Tensor

    @property
    def data(self) -> tuple[Tensor, ...]:
        """The six arguments."""
        return self[:6]

    @property
    def point(self) -> Triple:
        """The solution (z, λ, ν)."""
        return Triple(self.z, self.lam, self.nu)

    @property
    def system(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the linear system K is made of."""
        return self.Q, self.G, self.A, self.kind, self.status


#: where nearly every adjoint is exact
STRICT = "active rows independent, none weakly active, Q positive definite on their null space"


def setting(default: Any, check: Callable[[str, Any], Any]) -> Any:
    """A field of an adjoint: its default, and (name, value) -> the value that is kept, or a LayerError."""
    return field(default=default, metadata={"check": check})


@dataclass(frozen=True, repr=False)
class Adjoint(ABC):
    """A way to differentiate a solution: what it says of itself, and its derivative.

    One with settings is a frozen dataclass whose fields they are, checked where they are given.

    Attributes
    ----------
    name : str
        In :data:`layers.qp.adjoints.ADJOINTS`.
    exact : str
        The domain in which it is the true derivative; of an approximation, the domain in which it tends to that.
    error : str
        How far it is from the derivative that it tends to, as "O(kappa)"; empty if it is that derivative.
    order : int or None
        The highest order of derivative that it has; None for every order, in reverse and forward mode. With a finite
        order it has reverse mode alone.
    """

    name: ClassVar[str]
    exact: ClassVar[str] = STRICT
    error: ClassVar[str] = ""
    order: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        for each in fields(self):
            check = each.metadata["check"]
            try:
                kept = check(f"{each.name} of adjoint={self.name!r}", getattr(self, each.name))
            except LayerError as error:
                raise ProblemError(str(error)) from error
            object.__setattr__(self, each.name, kept)

    @abstractmethod
    def gradients(self, problem: QP, x: Triple, bars: Triple) -> tuple[Tensor, ...]:
        """The gradients of Q, q, G, h, A and b, each with the batch axis.

        Parameters
        ----------
        problem : QP
            Flat (:meth:`layers.problem.QP.flatten`).
        x, bars : Triple, shapes ``(B, ·)``
            A solution (z, λ, ν) of every element and its cotangent. Elements that were not solved do not come here,
            and the caller sums over the batch where it shares an argument.

        Raises
        ------
        DifferentiationError
            Outside of the domain; what is returned is checked.
        """

    @property
    def iteration(self) -> Callable[[QP, float], Point] | None:
        """(problem, tol) -> its own last iterate, with a status and the number of iterations.

        Given by an adjoint that differentiates an iteration: forward and backward then belong together.
        """
        return None

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings with their values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __repr__(self) -> str:
        return repr(self.name)


@dataclass(frozen=True)
class Six:
    """A term for each argument of a quadratic program, computed when it is called with an outer product; None for 0."""

    Q: Term | None
    q: Term | None
    G: Term | None
    h: Term | None
    A: Term | None
    b: Term | None

    @property
    def terms(self) -> tuple[Term | None, ...]:
        """The six in order."""
        return (self.Q, self.q, self.G, self.h, self.A, self.b)


def equation_8(x: Triple, d: Triple) -> Six:
    """Gradients of a loss in the data, from the solution x = (z, λ, ν) and d = −K⁻ᵀ (z̄, λ̄, ν̄).

    Every implementation is held to these six lines by tests/layers/test_equation_8.py: the one in torch, which calls
    them, the compiled core (layers/native/csrc/door/module.cpp and qp/program.cpp), and each adjoint.
    """
    return Six(
        Q=lambda outer: 0.5 * (outer(d.z, x.z) + outer(x.z, d.z)),
        q=lambda _: d.z,
        G=lambda outer: outer(x.lam, d.z) + outer(d.lam, x.z),
        h=lambda _: -d.lam,
        A=lambda outer: outer(x.nu, d.z) + outer(d.nu, x.z),
        b=lambda _: -d.nu,
    )


def of_direction(x: Triple, d: Triple) -> tuple[Tensor, ...]:
    """Equation 8 as an adjoint returns it: six gradients with the batch axis, from vectors ``(B, ·)``."""
    terms = equation_8(x, d).terms
    return tuple(term(lambda u, v: u.unsqueeze(-1) * v.unsqueeze(-2)) for term in terms if term is not None)


def of_objective(x: Triple, w: Tensor) -> Six:
    """Gradients of the optimal value times w: those of the Lagrangian at a fixed (z, λ, ν), without a solve."""
    return Six(
        Q=lambda outer: 0.5 * outer(w * x.z, x.z),
        q=lambda _: w * x.z,
        G=lambda outer: outer(w * x.lam, x.z),
        h=lambda _: -w * x.lam,
        A=lambda outer: outer(w * x.nu, x.z),
        b=lambda _: -w * x.nu,
    )


def collect(
    needed: tuple[bool, ...], data: tuple[Tensor, ...], terms: list[Six]
) -> tuple[Tensor | None, ...]:
    """The sum of the terms of each argument that is needed, summed over the batch axes that the argument lacks."""
    gradients: list[Tensor | None] = []
    for place, (need, like) in enumerate(zip(needed, data, strict=True)):
        total: Tensor | None = None
        for six in terms if need else ():
            term_of = six.terms[place]
            if term_of is None:
                continue
            term = term_of(lambda u, v, like=like: outer(u, v, like))
            term = term.sum_to_size(like.shape) if term.shape != like.shape else term
            total = term if total is None else total + term
        gradients.append(total)
    return tuple(gradients)


def constant(gradient: Tensor) -> Term:
    """A term that is known already."""
    return lambda _: gradient


def outer(u: Tensor, v: Tensor, like: Tensor) -> Tensor:
    """u vᵀ, summed over the batch axes if ``like`` has none: one matrix product then, and no matrix per element."""
    if like.dim() == 2:
        return u.unsqueeze(0).flatten(0, -2).mT @ v.unsqueeze(0).flatten(0, -2)
    return (u.unsqueeze(-1) * v.unsqueeze(-2)).sum_to_size(like.shape)


def of_slack(G: Tensor, z: Tensor, s_bar: Tensor) -> tuple[Tensor, Six]:
    """What the cotangent of s = h − Gz adds to that of z, and to the gradients of G and h at a fixed z."""
    own = Six(Q=None, q=None, G=lambda outer: -outer(s_bar, z), h=lambda _: s_bar, A=None, b=None)
    return -mv(G.mT, s_bar), own


def where_solved(status: Tensor, like: Tensor) -> Tensor:
    """One for elements that were solved, zero for the others."""
    return (status == int(Status.OPTIMAL)).to(like.dtype)
