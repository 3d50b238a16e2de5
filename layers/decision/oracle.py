"""What the losses ask of a solver and of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from layers.errors import DifferentiationError, LayerError, ProblemError, refusal_of_tensor

#: costs -> decisions, both ``(..., n)``: a minimiser of ⟨c, w⟩ over a set, for each element of the batch by itself
Solver = Callable[[Tensor], Tensor]


def decide(solver: Solver, costs: Tensor) -> Tensor:
    """w*(costs) without a graph, shape and dtype of ``costs``.

    Raises
    ------
    LayerError
        If ``solver`` is no function, or does not return one finite decision for each cost.
    """
    if not callable(solver):
        raise LayerError(
            f"solver must be a function from costs (..., n) to decisions (..., n); found {type(solver).__name__}"
        )
    with torch.no_grad():
        found: Any = solver(costs.detach())
    if not isinstance(found, Tensor) or found.shape != costs.shape:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise LayerError(
            f"solver must return decisions of the shape of its costs, {tuple(costs.shape)}; found {shape}"
        )
    decisions = found.detach().to(costs)
    if not decisions.isfinite().all():
        raise LayerError(
            "solver returned decisions that are not finite: bound the set that it minimises over"
        )
    return decisions


def check_costs(**tensors: object) -> None:
    """Refuse what is no real, dense, finite tensor with an axis of costs, or has not the shape of the first.

    Raises
    ------
    ProblemError
        Naming the argument, what was expected and what was found.
    """
    shape = None
    for name, value in tensors.items():
        reason = refusal_of_tensor(name, value)
        if reason is not None:
            raise ProblemError(f"{name} must {reason}")
        assert isinstance(value, Tensor)
        if value.ndim == 0 or not value.isfinite().all():
            found = "a scalar" if value.ndim == 0 else "an entry that is not finite"
            raise ProblemError(f"{name} must have shape (..., n) and finite entries; found {found}")
        shape = value.shape if shape is None else shape
        if value.shape != shape:
            first = next(iter(tensors))
            raise ProblemError(
                f"{name} must have the shape of {first}, {tuple(shape)}; found {tuple(value.shape)}"
            )


def refuse_second(name: str) -> None:
    """Refuse the derivative of a backward pass that is itself no function of the costs.

    Raises
    ------
    DifferentiationError
    """
    if torch.is_grad_enabled():
        raise DifferentiationError(
            f"{name} has first derivatives in reverse mode alone, and a second one was asked for (create_graph=True); "
            "of these losses, fenchel_young has a second"
        )
