"""From the caller's data to a checked answer: the engines of ours behind one signature.

Each checks the data, solves every element, tells which constraints are active, and says how it went. Nothing here is
differentiated: :mod:`layers.qp.function` attaches the derivative.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from layers.errors import UnavailableError
from layers.linalg.batched import Batched, join, take
from layers.linalg.semidefinite import curvature_rounding
from layers.native import qp as native
from layers.problem import QP, check_values
from layers.qp import admm, interior_point, proposal, vertex
from layers.qp.activity import WEAK
from layers.qp.apart import solve_apart
from layers.qp.doubt import as_it_is, refined, told
from layers.qp.gradients import Adjoint
from layers.qp.kkt import objective, residuals, slack
from layers.qp.polish import improves, unsharp
from layers.qp.warm import start_warm
from layers.solution import Point, Residuals, Status

Guess = tuple[Tensor, Tensor, Tensor, Tensor]


class Request(NamedTuple):
    """What a call of the layer asks for.

    Attributes
    ----------
    solver : str
        Of :data:`ENGINES`.
    adjoint : str or Adjoint
        Of :data:`layers.qp.adjoints.ADJOINTS`, or one with settings of its own.
    tol, max_iterations, on_failure
        As in :func:`layers.solve_qp`.
    precision : float
        Machine epsilon of the dtype in which the caller formed the data.
    guess : tuple of Tensor, optional
        z, λ, ν and s of an earlier solution, flat.
    verbose : bool
        Whether a large sparse program tells how far it is.
    """

    solver: str
    adjoint: str | Adjoint
    tol: float
    max_iterations: int
    on_failure: str
    precision: float
    guess: Guess | None = None
    verbose: bool = False


@dataclass(frozen=True)
class Answer(Batched):
    """A solved batch, flat; a problem without batch axes may lack B.

    Attributes
    ----------
    point : Point
        With zeros in place of what is not finite.
    kind : Tensor of int8, shape ``(B, m)``
        Class of every constraint (:mod:`layers.qp.activity`); 0 for elements that were not solved.
    value : Tensor, shape ``(B,)``
        Objective.
    slack : Tensor, shape ``(B, m)``
        h − Gz.
    settled : bool
        Whether it is known already that every element was solved.
    """

    point: Point
    kind: Tensor
    value: Tensor
    slack: Tensor
    settled: bool = False

    @classmethod
    def of(cls, found: native.Arrays, *, settled: bool) -> Answer:
        """What the core says, as it is."""
        point = Point.without_certificate(
            found.z, found.lam, found.nu, found.status, Residuals(found.residuals), found.iterations
        )
        return cls(point, found.kind, found.objective, found.s, settled)


class Engine(Protocol):
    """An engine of ours."""

    def __call__(self, problem: QP, request: Request) -> Answer:
        """Check and solve a problem with any batch axes; the answer is flat over them."""
        ...


def answer_in_torch(problem: QP, request: Request) -> Answer:
    """The interior point in torch, on any device, part by part so that its work arrays stay in the cache."""
    check_values(problem, request.precision)
    return _answer_flat(problem.flatten(), request)


def answer_by_splitting(problem: QP, request: Request) -> Answer:
    """ADMM with a polish (:mod:`layers.qp.admm`), on any device; it proves nothing of what has no solution.

    An element with a weakly active row goes to :func:`answer_in_torch`: where multipliers are not unique those of ADMM
    may vanish on a row that can push, whose derivative is then missed; those of an interior point are positive where
    any are.
    """
    check_values(problem, request.precision)
    cold = _apart(request, partial(admm.solve_polished, **_limits(request)))
    flat = problem.flatten()
    answer = _answer_flat(flat, request, cold)
    weak = (answer.kind == WEAK).any(-1).nonzero().squeeze(-1)
    if weak.numel():
        answer = answer.put(weak, _answer_flat(flat.take(weak), _for_part(request, weak)))
    return answer


def answer_natively(problem: QP, request: Request) -> Answer:
    """The compiled core, on the CPU; what it cannot solve or judge beyond doubt goes to :func:`answer_in_torch`.

    Raises
    ------
    UnavailableError
        If the core is not built, the tensors are not on the CPU, or the problem is too large for it.
    """
    if reason := native.refusal(problem):
        raise UnavailableError(f"solver='native' cannot be used: {reason}; pass solver=\"auto\"")
    return completed(problem, request, solve_in_core(problem, request))


def solve_in_core(problem: QP, request: Request) -> Any:
    """The handle of :func:`layers.native.qp.solve` on a problem that the core takes."""
    shape = problem.batch_shape
    rounding = curvature_rounding(problem.n, request.precision)
    batch = shape.numel() if shape else None
    return native.solve(
        problem.core_view(), batch, request.tol, rounding, request.max_iterations, request.guess
    )


def completed(problem: QP, request: Request, handle: Any) -> Answer:
    """The core's answer, with that of the torch engine for the elements that the core left or could not judge."""
    found = native.Arrays.of(handle)
    if handle.settled:
        return Answer.of(found, settled=True)
    answer = Answer.of(measured(problem, found if problem.batch_shape else found.with_axis()), settled=False)
    status = answer.point.status
    if (status == native.SUSPECT).any():
        check_values(problem, request.precision)
    left = (status < Status.OPTIMAL).nonzero().squeeze(-1)
    if left.numel():
        answer = _proposed(problem, request, answer, left)
        left = (answer.point.status < Status.OPTIMAL).nonzero().squeeze(-1)
    if left.numel():
        rest = problem.flat_view().take(left).symmetric()
        answer = answer.put(
            left, _answer_flat(rest, _for_part(request, left), _in_torch(request, first=True))
        )
    if (answer.kind == native.UNCLEAR).any():
        return _tell_activity(problem, request, answer)
    return answer


def measured(problem: QP, found: native.Arrays) -> native.Arrays:
    """The same with the residuals of certificates, which the core does not measure."""
    proven = (found.status > Status.OPTIMAL).nonzero().squeeze(-1)
    if not proven.numel():
        return found
    few = QP(*(v.detach() for v in problem.flat_view().take(proven).symmetric().tensors))
    error = residuals(few, *take((found.z, found.lam, found.nu), proven))
    return found._replace(residuals=found.residuals.index_copy(0, proven, error.values))


def answer_automatically(problem: QP, request: Request) -> Answer:
    """The compiled core where it can be used, the torch engine elsewhere."""
    if not native.refusal(problem):
        return completed(problem, request, solve_in_core(problem, request))
    if native.unavailable() and problem.q.device.type == "cpu":
        _warn_once()
    return answer_in_torch(problem, request)


#: our engines by name
ENGINES: dict[str, Engine] = {
    "auto": answer_automatically,
    "native": answer_natively,
    "interior_point": answer_in_torch,
    "admm": answer_by_splitting,
}

#: what to add where an engine gave up
HINTS = {"admm": 'ADMM has no certificates: solver="auto" tells what is infeasible or unbounded'}

_warned: list[bool] = []


def _warn_once() -> None:
    if not _warned:
        _warned.append(True)
        warnings.warn(
            f'solver="auto" takes the torch engine: {native.unavailable()}', RuntimeWarning, stacklevel=2
        )


def answer_by(problem: QP, request: Request, solve: Callable[[QP], Point]) -> Answer:
    """The answer of a function that solves a flat problem, such as the iteration that an adjoint differentiates."""
    check_values(problem, request.precision)
    # the iterate that an adjoint differentiates is the answer as it is
    return _answer_flat(problem.flatten(), request._replace(guess=None), solve, as_it_is)


def _in_torch(request: Request, *, first: bool = False) -> Callable[[QP], Point]:
    """The interior point with a second opinion, which has the first word on few elements that the core has left."""
    limits = _limits(request)
    cold = partial(interior_point.solve, **limits)
    return _apart(request, partial(vertex.solve, cold=cold, first=first, **limits))


def _apart(request: Request, solve: Callable[[QP], Point]) -> Callable[[QP], Point]:
    return partial(solve_apart, solve=solve, tol=request.tol)


def _limits(request: Request) -> dict[str, Any]:
    return {"tol": request.tol, "max_iterations": request.max_iterations}


def _answer_flat(
    flat: QP,
    request: Request,
    cold: Callable[[QP], Point] | None = None,
    tell: Callable[[QP, Point], tuple[Point, Tensor]] = told,
) -> Answer:
    cold = _in_torch(request) if cold is None else cold
    parts: list[Point] = []
    for where in flat.chunks():
        part = flat.take(where)
        if request.guess is None:
            parts.append(cold(part))
        else:
            z, lam, nu, s = (v[where] for v in request.guess)
            parts.append(start_warm(part, cold=cold, guess=(z, lam, nu, s), tol=request.tol))
    point = _finite(join(parts) if parts else _no_points(flat))
    both = [tell(*take((flat, point), c)) for c in flat.chunks()]
    if both:
        point = join([one for one, _ in both])
    kind = torch.cat([kind for _, kind in both] or [flat.h.new_zeros(flat.h.shape, dtype=torch.int8)])
    solved = (point.status == Status.OPTIMAL).unsqueeze(-1)
    kind = torch.where(solved, kind, torch.zeros_like(kind))
    return Answer(point, kind, objective(flat, point.z), slack(flat, point.z))


def _no_points(flat: QP) -> Point:
    count = torch.zeros(0, dtype=torch.int64, device=flat.q.device)
    return Point.without_certificate(
        flat.q, flat.h, flat.b, count, Residuals(flat.q.new_zeros(0, 6)), count.clone()
    )


def _proposed(problem: QP, request: Request, answer: Answer, left: Tensor) -> Answer:
    """The same with those of the elements that the core left for which a proposal came out sharp."""
    left = left[answer.point.status[left] == native.LEFT]
    rest = QP(*(v.detach() for v in problem.flat_view().take(left).symmetric().tensors))
    rounding = curvature_rounding(problem.n, request.precision)
    found = proposal.answers(rest, request.tol, rounding, request.max_iterations)
    if found is None:
        return answer
    sharp, arrays = found
    return answer.put(left[sharp], Answer.of(arrays, settled=False).take(sharp))


def _finite(point: Point) -> Point:
    z, lam, nu = (v.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) for v in (point.z, point.lam, point.nu))
    return replace(point, z=z, lam=lam, nu=nu)


def _for_part(request: Request, index: Tensor) -> Request:
    if request.guess is None:
        return request
    return request._replace(guess=take(request.guess, index))


def _tell_activity(problem: QP, request: Request, answer: Answer) -> Answer:
    """Elements in doubt, told at a point that is refined; what that does not make sharp is solved anew."""
    unclear = (answer.kind == native.UNCLEAR).any(-1).nonzero().squeeze(-1)
    if not unclear.numel():
        return answer
    few = problem.flat_view().take(unclear).symmetric()
    point, kind = refined(few, answer.point.take(unclear))
    fresh = Answer(point, kind, objective(few, point.z), slack(few, point.z))
    blunt = unsharp(point.residuals).nonzero().squeeze(-1)
    if blunt.numel():
        own = _for_part(request, unclear[blunt])
        again = _answer_flat(few.take(blunt), own, _in_torch(request, first=True))
        better = improves(again.point.residuals, point.residuals.take(blunt))
        kept = (better & (again.point.status == Status.OPTIMAL)).nonzero().squeeze(-1)
        fresh = fresh.put(blunt[kept], again.take(kept))
    return answer.put(unclear, fresh)
