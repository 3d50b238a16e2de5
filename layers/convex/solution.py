"""What solving a convex program returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from torch import Tensor

from layers.cone_program import ConeSolution
from layers.convex.canonical import Piece
from layers.errors import ProblemError
from layers.solution import Degeneracy, Residuals, Solution


@dataclass(frozen=True)
class Answer:
    """An engine's answer, of which only what is asked for is computed.

    Attributes
    ----------
    pieces : tuple of callable
        Parts of (x, y), shapes ``batch + (·,)``, in the order of the form that the engine was given.
    s, objective : callable
        Slack, shape ``batch + (m,)``, and ½xᵀPx + qᵀx + offset, shape ``batch``.
    found : Solution or ConeSolution
        Status, residuals, iterations.
    """

    pieces: tuple[Piece, ...]
    s: Piece
    objective: Callable[[], Tensor]
    found: Solution | ConeSolution


@dataclass(frozen=True)
class ConvexSolution:
    """Solution of a batch of convex programs, with what it takes to judge it.

    Attributes
    ----------
    variables : tuple of Tensor, shapes ``batch + variable.shape``
        The variables and dual variables that the layer was asked for, in order. Differentiable, as are the next four.
    objective : Tensor, shape ``batch``
        The value of the objective as it was written.
    x, y, s : Tensor, shapes ``batch + (n,)``, ``batch + (m,)``, ``batch + (m,)``
        Solution of the compiled program, minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K: minimiser, dual variable,
        slack. With ``on_failure="ignore"``, y is the certificate of an infeasible element, x the ray of an unbounded
        one.
    status : Tensor of int64, shape ``batch``
        A :class:`layers.Status` per element.
    residuals : Residuals
        Relative residuals of the optimality conditions of the compiled program.
    iterations : Tensor of int64, shape ``batch``
    warm : Solution or ConeSolution
        What ``warm_start=`` of a later call needs; no part of a graph.
    inspect : callable
        Computes :attr:`degeneracy`.
    """

    variables: tuple[Tensor, ...]
    objective: Tensor
    x: Tensor
    y: Tensor
    s: Tensor
    status: Tensor
    residuals: Residuals
    iterations: Tensor
    warm: Solution | ConeSolution
    inspect: Callable[[], Degeneracy]

    @property
    def degeneracy(self) -> Degeneracy:
        """Of the compiled program; ``solution_dimension`` counts choices among minimisers that ``variables`` show.

        Computed when asked for. See :mod:`layers.cone.degeneracy`.
        """
        return self.inspect()


def starting_point(warm_start: object, last: Any, kind: type) -> Any:
    """What an engine can start from: that of the last call for True, that of a solution of the same layer, or None.

    Parameters
    ----------
    kind : type
        What the engine of the layer gives back.

    Raises
    ------
    ProblemError
        If ``warm_start`` is something else.
    """
    if warm_start is True or warm_start is None:
        return last if warm_start else None
    found = type(warm_start).__name__
    if isinstance(warm_start, ConvexSolution):
        if isinstance(warm_start.warm, kind):
            return warm_start.warm
        found = "that of another layer"
    raise ProblemError(
        f"warm_start must be True, False, or the ConvexSolution that solve(...) of this layer returned; found {found}"
    )


def without_graph(found: Any) -> Any:
    """The same solution as numbers only, for a later warm start: neither it nor what it computes later has a graph."""
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    return replace(found, **{name: _detached(value) for name, value in values.items()})


def _detached(value: Any) -> Any:
    if isinstance(value, partial):
        return partial(value.func, *map(_detached, value.args))
    return value.detach() if isinstance(value, Tensor) else value
