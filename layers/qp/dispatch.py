"""The one place that chooses a way, from the tensors and options of a call, once.

* *plain* (:mod:`layers.qp.plain`): float64 numbers on the host, sizes that the core takes, a
  solver that is the core and the adjoint that the core has. One call there and one back. Elements that the core has
  proved to have no solution stay there, under the policy for failures.
* *transformable* (:mod:`layers.qp.function`): everything else, transforms and higher derivatives among it. Inside a
  graph of torch.compile it is the same function as one operator (:mod:`layers.qp.operators`). A batch with an element
  that the core could not settle goes on from the core's answer.

A problem on a device that the host solves sooner is brought there first (:mod:`layers.qp.hosted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

from layers.errors import DifferentiationError, refuse_inference
from layers.modes.opaque import opaque, refuse_export
from layers.native import qp as native
from layers.policy import without_failures
from layers.problem import QP
from layers.qp import hosted, operators, plain
from layers.qp.adjoints import bound, refusal
from layers.qp.engines import Request, completed, solve_in_core
from layers.qp.function import Call, Outputs, SolutionMap, under_policy
from layers.qp.gradients import Adjoint
from layers.solution import Status

#: engines that are the compiled core, where it can be used
CORE = ("auto", "native")


def takes_plain(
    tensors: Sequence[Tensor], solver: str, adjoint: str | Adjoint, sizes: tuple[int, int, int]
) -> bool:
    """Whether a call with (n, m, p) = sizes goes the plain way."""
    return (
        solver in CORE
        and adjoint == "implicit"
        and not torch.compiler.is_compiling()
        and native.plain(tensors)
        and native.holds(*sizes)
    )


def prepared(given: QP, solver: str) -> QP:
    """The problem in float64, on the device where it is solved."""
    if solver == "auto" and hosted.pays(given):
        given = hosted.brought(given)
    return given if given.q.dtype == torch.float64 else QP(*(t.double() for t in given.tensors))


def solution(problem: QP, request: Request) -> Outputs:
    """All that is known of the solution of a prepared problem, under the policy for failures.

    Raises
    ------
    SolverError
        With ``on_failure="raise"``, naming the elements that failed.
    DifferentiationError
        If the adjoint cannot serve a transform around this call, before anything is solved.
    """
    flat, handle = _solved(problem, request)
    if not _answers(handle, flat, request):
        return _transformable(problem, request, handle)
    try:
        found = plain.solution(handle, flat, request)
    except RuntimeError as error:
        refuse_inference(error, problem.named)
        raise
    outputs = Outputs(*_in_batch_axes(found, problem.batch_shape))
    return outputs if handle.settled else under_policy(outputs, request.on_failure)


def minimiser(problem: QP, request: Request) -> Tensor:
    """z alone, as :func:`solution` gives it."""
    flat, handle = _solved(problem, request)
    if not _answers(handle, flat, request):
        return _transformable(problem, request, handle).z
    try:
        z = plain.minimiser(handle, flat, request)
    except RuntimeError as error:
        refuse_inference(error, problem.named)
        raise
    if not handle.settled:
        z = without_failures(z, torch.from_numpy(handle.status()) == Status.OPTIMAL, request.on_failure)
    return z if flat is problem else _in_batch_axes((z,), problem.batch_shape)[0]


def _answers(handle: Any, flat: QP, request: Request) -> bool:
    """Whether the core has the last word on every element, and nothing is to be raised."""
    if handle is None or handle.settled:
        return handle is not None
    return handle.told and request.on_failure != "raise" and bool(flat.batch_shape)


def _solved(problem: QP, request: Request) -> tuple[QP, Any]:
    """The problem with at most one batch axis, and the core's handle on it; None if it does not go the plain way."""
    sizes = (problem.n, problem.m, problem.p)
    if not takes_plain(problem.tensors, request.solver, request.adjoint, sizes):
        return problem, None
    batch = problem.batch_shape
    if 0 in batch:
        return problem, None
    flat = problem if len(batch) <= 1 else problem.flat_view()
    return flat, solve_in_core(flat, request)


def _in_batch_axes(values: Sequence[Tensor], batch: torch.Size) -> Sequence[Tensor]:
    return values if len(batch) <= 1 else [v.reshape((*batch, *v.shape[1:])) for v in values]


def _transformable(problem: QP, request: Request, handle: Any) -> Outputs:
    _require_order(problem.tensors, request.adjoint)
    compiling = torch.compiler.is_compiling()
    if compiling and request.adjoint == "implicit" and operators.suit(*problem.tensors):
        return under_policy(operators.solve_qp(problem, request), request.on_failure)
    return under_policy(_by_function(problem, request, handle), request.on_failure)


@opaque
def _by_function(problem: QP, request: Request, handle: Any) -> Outputs:
    refuse_export(f"adjoint={request.adjoint!r}, or a transform around the layer", 'adjoint="auto"')
    known = None if handle is None else completed(problem, request, handle)
    try:
        return Outputs(*SolutionMap.apply(Call(request, known), *problem.tensors))
    except RuntimeError as error:
        refuse_inference(error, problem.named)
        raise


def _require_order(tensors: Sequence[Tensor], adjoint: str | Adjoint) -> None:
    """Refuse an adjoint of finite order where a transform around the call already asks for more."""
    order = bound(adjoint).order
    if order is None or torch.compiler.is_compiling():
        return
    around = [level.key() for level in functorch.get_interpreter_stack() or ()]
    level = forward_ad._current_level  # pyright: ignore[reportPrivateUsage]
    dual = level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
    if dual or functorch.TransformType.Jvp in around:
        raise DifferentiationError(refusal(adjoint, "forward mode"))
    if around.count(functorch.TransformType.Grad) > order:
        raise DifferentiationError(refusal(adjoint, f"a derivative of order {order + 1}"))
