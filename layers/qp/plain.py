"""The plain way: one call of the compiled core there, and one back, behind a handle from which arrays are fetched.

Whoever asks for z alone fetches z and nothing else; what the derivative needs stays in the core until cotangents come.
A derivative that the core does not give (of a derivative, under a transform, of the objective or the slack) is that
of the transformable way from the same solution, which is not solved again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from layers.modes.transforms import vectorised
from layers.native import qp as native
from layers.problem import AXES, QP
from layers.qp.adjoints.implicit import SOLVE_TOLERANCE
from layers.qp.engines import Request, completed, measured
from layers.qp.function import Call, Outputs, SolutionMap
from layers.qp.gradients import Triple, collect, equation_8

#: the outputs of :class:`Outputs` that are differentiable, in order
DIFFERENTIABLE = 5
#: all six arguments have the batch axis, or there is none
ALL = (True,) * 6


class Solved(Protocol):
    """A solved batch, and both ways to its derivative."""

    def pull_back(
        self, bars: Sequence[Tensor | None], needed: Sequence[bool], values: Sequence[Tensor]
    ) -> Sequence[Tensor | None] | None:
        """Gradients of the values from the cotangents of the outputs, by the core; None if it leaves an element."""
        ...

    def transformable(self, *values: Tensor) -> Sequence[Tensor]:
        """The same outputs as functions that torch differentiates to every order."""
        ...


class Plain(torch.autograd.Function):
    """(solved, outputs, *values) -> outputs; the solve is done, its derivative is attached."""

    @staticmethod
    def forward(ctx: Any, solved: Solved, outputs: Sequence[Tensor], *values: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.solved = solved
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*values)
        return tuple(outputs)

    @staticmethod
    @vectorised
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        values, needed = ctx.saved_tensors, ctx.needs_input_grad[2:]
        solved: Solved = ctx.solved
        found = None
        if not torch.is_grad_enabled() and native.plain(bars):
            found = solved.pull_back(bars, needed, values)
        return (None, None, *(_by_torch(solved, values, needed, bars) if found is None else found))


def attach(solved: Solved, outputs: Sequence[Tensor], values: Sequence[Tensor]) -> Sequence[Tensor]:
    """The outputs, with their derivative where one may be asked for."""
    if torch.is_grad_enabled() and any(v.requires_grad for v in values):
        return Plain.apply(solved, outputs, *values)
    return outputs


def _by_torch(
    solved: Solved, values: Sequence[Tensor], needed: Sequence[bool], bars: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Gradients by the transformable way; they have a graph of their own where one is recorded."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A value may have been made of another one: views of them have no way to each other.
        own = [value.view_as(value) for value in values]
        pairs = [(v, bar) for v, bar in zip(solved.transformable(*own), bars, strict=True) if bar is not None]
        wanted = [value for value, need in zip(own, needed, strict=True) if need]
        outputs, given = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, wanted, given, create_graph=again, allow_unused=True)
    following = iter(found)
    return [next(following) if need else None for need in needed]


class SolvedQP(NamedTuple):
    """A handle of :func:`layers.native.qp.solve`, whose elements are solved or proved to have no solution.

    Attributes
    ----------
    fetched : int
        How many of :class:`Outputs` were fetched: the first, or all that are differentiable.
    """

    handle: Any
    request: Request
    batch: torch.Size
    fetched: int

    def pull_back(
        self, bars: Sequence[Tensor | None], needed: Sequence[bool], values: Sequence[Tensor]
    ) -> Sequence[Tensor | None] | None:
        """See :class:`Solved`."""
        if len(bars) > 3 and any(bar is not None for bar in bars[3:]):  # of the objective or the slack
            return None
        batch = self.batch.numel()
        sizes = batch, values[1].shape[-1], values[3].shape[-1] + values[5].shape[-1]
        # a sum over a batch of one is what the element has
        own = ALL if batch == 1 else [v.dim() > axes for v, axes in zip(values, AXES.values(), strict=True)]
        wanted = (needed[0] and own[0], needed[2] and own[2], needed[4] and own[4])
        cotangents = bars[:3] if len(bars) > 1 else (bars[0], None, None)
        matrices = (values[0], values[2], values[4])
        made, vectors, error = native.pull_back(self.handle, matrices, cotangents, sizes, wanted)
        if not error <= SOLVE_TOLERANCE:
            return None
        found = (made[0], vectors[0], made[1], vectors[1], made[2], vectors[2])
        gradients = [
            None if array is None or not need else _shaped(array, value.shape)
            for array, value, need in zip(found, values, needed, strict=True)
        ]
        if own is ALL:
            return gradients
        shared = tuple(need and not have for need, have in zip(needed, own, strict=True))
        if any(shared[::2]):  # what the batch shares receives a sum
            q_bar, h_bar, b_bar = map(torch.from_numpy, vectors)
            at = native.Arrays.of(self.handle)
            terms = [equation_8(Triple(at.z, at.lam, at.nu), Triple(q_bar, -h_bar, -b_bar))]
            sums = collect((shared[0], False, shared[2], False, shared[4], False), tuple(values), terms)
            gradients = [g if total is None else total for g, total in zip(gradients, sums, strict=True)]
        return gradients

    def transformable(self, *values: Tensor) -> Sequence[Tensor]:
        """See :class:`Solved`."""
        known = completed(QP(*values), self.request, self.handle)
        return SolutionMap.apply(Call(self.request, known), *values)[: self.fetched]


def _shaped(array: Any, shape: torch.Size) -> Tensor:
    gradient = torch.from_numpy(array)
    # A view of what has the shape already costs as much as the arithmetic of a small problem.
    if gradient.shape == shape:
        return gradient
    return gradient.view(shape) if gradient.numel() == shape.numel() else gradient.sum_to_size(shape)


def minimiser(handle: Any, problem: QP, request: Request) -> Tensor:
    """z of a handle that has told everything."""
    solved = SolvedQP(handle, request, problem.batch_shape, 1)
    return attach(solved, (torch.from_numpy(handle.z()),), problem.tensors)[0]


def solution(handle: Any, problem: QP, request: Request) -> Outputs:
    """All that is known of such a handle; with a batch axis unless it is settled."""
    solved = SolvedQP(handle, request, problem.batch_shape, DIFFERENTIABLE)
    found = native.Arrays.of(handle)
    if not handle.settled:
        found = measured(problem, found)
    fetched = (found.z, found.lam, found.nu, found.objective, found.s)
    constant = (found.kind, found.status, found.residuals, found.iterations)
    return Outputs._make((*attach(solved, fetched, problem.tensors), *constant))
