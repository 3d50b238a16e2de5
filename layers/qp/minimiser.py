"""The short way to the minimiser alone: one call of the compiled core there, and one back.

:func:`layers.solve_qp` answers with everything that is known of a solution, and attaches the derivative to all of it.
Who asks for z alone, of plain tensors, needs none of the arrays around it: they stay in the core until the cotangent of
z comes. What the core does not settle goes the long way, and so does a derivative of the derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from layers.native import qp as native
from layers.problem import AXES, QP, curvature_rounding
from layers.qp.adjoints import implicit

EPSILON = torch.finfo(torch.float64).eps

LongWay = Callable[..., Tensor]


class _Minimiser(torch.autograd.Function):
    """((z, what is kept), long way, Q, q, G, h, A, b) -> z; the solve is done, its derivative is attached."""

    @staticmethod
    def forward(ctx: Any, found: tuple[Tensor, Any], long_way: LongWay, *data: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        z, ctx.kept = found
        ctx.long_way = long_way
        ctx.save_for_backward(*data)
        return z

    @staticmethod
    def backward(ctx: Any, bar: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        data, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        if not torch.is_grad_enabled() and native.plain((bar,)):
            found = native.pull_back_kept(ctx.kept, data, bar, needed, implicit.SOLVE_TOLERANCE)
            if found is not None:
                return (None, None, *found)
        return (None, None, *differentiated(ctx.long_way, data, needed, (bar,)))


def differentiated(
    function: Callable[..., Any], values: Sequence[Tensor], needed: Sequence[bool], bars: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradients of the values that are needed, by torch; they have a graph of their own where one is recorded."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A value may have been made of another one: views of them have no way to each other.
        own = [value.view_as(value) for value in values]
        outputs = function(*own)
        wanted = [value for value, need in zip(own, needed, strict=True) if need]
        found = torch.autograd.grad(outputs, wanted, bars, create_graph=again, allow_unused=True)
    following = iter(found)
    return [next(following) if need else None for need in needed]


def minimiser(problem: QP, tol: float, max_iterations: int, long_way: LongWay) -> Tensor | None:
    """z of a problem, shape ``batch + (n,)``; None where the long way has to be taken.

    It is taken for tensors that are not plain or not float64, several batch axes, an argument with a gradient that the
    batch shares, and an element that the core does not solve or judge beyond doubt.

    Parameters
    ----------
    long_way : callable
        (Q, q, G, h, A, b) ↦ z, differentiable to every order.
    """
    data, batch = problem.tensors, problem.batch_shape
    if len(batch) > 1 or 0 in batch or problem.q.dtype != torch.float64:
        return None
    if not native.plain(data) or not native.holds(problem.n, problem.m, problem.p):
        return None
    attached, several = False, batch.numel() > 1
    for value, axes in zip(data, AXES.values(), strict=True):
        shared = several and value.shape[: value.dim() - axes] != batch
        if shared and (value.requires_grad or value.dim() > axes):
            return None
        attached = attached or value.requires_grad
    rounding = curvature_rounding(problem.n, EPSILON)
    found = native.solve_for_z(problem, batch[0] if batch else None, tol, rounding, max_iterations)
    if found is None:
        return None
    if attached and torch.is_grad_enabled():
        return _Minimiser.apply(found, long_way, *data)
    return found[0]
