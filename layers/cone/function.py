"""The solution map of a cone program as a torch function of its data: first derivatives in both modes, under vmap.

``ConeSolutionMap``, (P, q, A, b) -> (x, y, s, objective); its derivatives are made of the linear map 𝒮 of
:mod:`layers.cone.derivative`. The objective adds the derivative of the Lagrangian, ½xxᵀ, x, yxᵀ, −y at fixed (x, y),
with no solve (envelope theorem), so its own second derivative exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from layers.cone import adjoint, kkt
from layers.cone import apart as solver_
from layers.cone.activity import weak_rows
from layers.cone.derivative import ConeDerivative
from layers.cone.engines import AUTOMATIC, ENGINES, SPARSE, Engine, Limits
from layers.cone.linearised.sparse import pays
from layers.cone.linearised.system import threads_for
from layers.cone.lpgd import ORDER, Again, Perturbation, Perturbed, with_quotient
from layers.cone.products import times_A, times_AT, times_P
from layers.cone.rows import without_single_rows
from layers.cone_program import ConeProgram, ConeSolution, ConeStructure, flat_program
from layers.errors import DifferentiationError, LayerError, ProblemError, SolverError, UnavailableError
from layers.linalg import kept
from layers.linalg.batched import align
from layers.modes.opaque import opaque
from layers.modes.transforms import forward_mode, vectorised
from layers.policy import check_options, describe_failures, require_choice, without_failures
from layers.solution import Point, Residuals, Status


@dataclass(frozen=True)
class Call:
    """What a call asks for besides its data."""

    structure: ConeStructure
    engines: list[Engine]
    limits: Limits
    tol: float
    on_failure: str
    guess: tuple[Tensor, Tensor, Tensor] | None
    again: Again | None = None


class Outputs(NamedTuple):
    """What a solve gives, in the batch shape of the program: the first four are differentiable."""

    x: Tensor
    y: Tensor
    s: Tensor
    objective: Tensor
    cone_s: Tensor
    weak: Tensor
    status: Tensor
    residuals: Tensor
    iterations: Tensor

    @property
    def constant(self) -> tuple[Tensor, ...]:
        """What has no derivative: Π_K(s), the weakly active rows, status, residuals and iterations."""
        return self[4:]


class Saved(NamedTuple):
    """What a derivative reads."""

    P: Tensor
    q: Tensor
    A: Tensor
    b: Tensor
    x: Tensor
    y: Tensor
    cone_s: Tensor
    weak: Tensor
    status: Tensor


class ConeSolutionMap(torch.autograd.Function):
    """(call, P, q, A, b) -> :class:`Outputs`."""

    @staticmethod
    def forward(call: Call, *data: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        program, batch = flat_program(call.structure, *data)
        _check_finite(program)
        guess = None
        if call.guess is not None:
            x, y, s = (t.expand(*batch, -1).reshape(program.batch, -1) for t in call.guess)
            guess = x, y, s
        kept.forget()
        with threads_for(program):
            point = solver_.solve(program, call.engines, call.limits, call.tol, guess)
            s = program.b - times_A(call.structure, program.A, point.x)
            value = kkt.objective(program, point.x)
            weak = weak_rows(program, point.x, point.y, point.s, point.residuals.relative.amax(-1))
        if call.on_failure == "raise" and not (point.status == Status.OPTIMAL).all():
            raise SolverError(_describe(call, point, batch, program.b))
        told = (point.status, point.residuals.values, point.iterations)
        outputs = Outputs(point.x, point.y, s, value, point.s, weak, *told)
        return tuple(v.reshape(*batch, *v.shape[1:]).clone() for v in outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.structure, ctx.again = inputs[0].structure, inputs[0].again
        found = Outputs(*output)
        ctx.mark_non_differentiable(*found.constant)
        ctx.set_materialize_grads(False)
        saved = Saved._make((*inputs[1:], found.x, found.y, found.cone_s, found.weak, found.status))
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    @vectorised
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        P, q, A, b, x, y, cone_s, weak, status = Saved(*ctx.saved_tensors)
        solved = (status == Status.OPTIMAL).to(x.dtype)
        x_bar, y_bar, s_bar, value_bar = (
            None if c is None else c * (solved if c.dim() == solved.dim() else solved.unsqueeze(-1))
            for c in cotangents[:4]
        )
        structure: ConeStructure = ctx.structure
        d_x, d_y, on_s = torch.zeros_like(x), torch.zeros_like(y), torch.zeros_like(y)
        between = None
        if x_bar is not None or y_bar is not None or s_bar is not None:
            top, low = (torch.zeros_like(u) if c is None else c for u, c in ((x, x_bar), (y, y_bar)))
            if s_bar is not None:
                top, on_s = top - times_AT(structure, A, s_bar), s_bar
            if ctx.again is None:
                d_x, d_y = ConeDerivative.apply(structure, True, P, A, y, cone_s, weak, solved, -top, -low)
            else:
                between = Perturbed.apply(ctx.again, P, q, A, b, x, y, cone_s, solved, top, low)
        # the objective: the derivative of the Lagrangian, half of the weight on each of the two products
        w = torch.zeros_like(x[..., 0]) if value_bar is None else value_bar
        gradients = partial(adjoint.gradients, ctx.needs_input_grad[1:], structure, (P, q, A, b))
        found = gradients((x, y), (d_x, d_y), on_s, w.unsqueeze(-1))
        if between is not None:
            found = with_quotient(found, gradients, between)
        return None, *found

    @staticmethod
    @forward_mode
    def jvp(ctx: Any, values: list[Tensor], *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        P, q, A, b, x, y, cone_s, weak, status = Saved(*values)
        structure: ConeStructure = ctx.structure
        if ctx.again is not None:
            raise DifferentiationError(ORDER)
        dP, dq, dA, db = (
            torch.zeros_like(u) if t is None else t for u, t in zip((P, q, A, b), tangents[1:], strict=True)
        )
        solved = (status == Status.OPTIMAL).to(x.dtype)
        dPx = times_P(structure, dP, x)
        moved = db - times_A(structure, dA, x)
        top = dPx + dq + times_AT(structure, dA, y)
        dx, dy = ConeDerivative.apply(structure, False, P, A, y, cone_s, weak, solved, -top, moved)
        ds = solved.unsqueeze(-1) * (moved - times_A(structure, A, dx))
        value = ((0.5 * dPx + dq) * x).sum(-1) - (moved * y).sum(-1)
        return dx, dy, ds, solved * value, None, None, None, None, None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], call: Call, *data: Tensor
    ) -> tuple[Any, Any]:
        outputs = ConeSolutionMap.apply(call, *align(in_dims[1:], data, (1,) * len(data)))
        return outputs, (0,) * len(outputs)


@opaque
def solve_cone_program(
    program: ConeProgram,
    *,
    solver: str = "auto",
    adjoint: str | Perturbation = "auto",
    tol: float = 1e-8,
    max_iterations: int = 100,
    on_failure: str = "raise",
    warm_start: ConeSolution | None = None,
    verbose: bool = False,
    **options: Any,
) -> ConeSolution:
    """Solve a batch of cone programs: minimise ½xᵀPx + qᵀx subject to Ax + s = b, s ∈ K.

    x, y, s and the objective are differentiable once in P, q, A and b, in reverse and forward mode and under
    ``torch.func`` transforms; the objective twice.

    Parameters
    ----------
    program : ConeProgram
        P must be positive semidefinite. Values shared over the batch get the sum of their gradients.
    solver : {"auto", "native", "moreau", "clarabel", "diffcp"}
        ``"auto"``: the compiled core for small programs with zero, nonnegative and second-order cones, else moreau
        where it is installed; what one does not solve goes to the next, at last to Clarabel.
    adjoint : {"auto", "implicit"} or Perturbation
        The implicit function theorem, or differences of solutions (:mod:`layers.cone.lpgd`).
    tol : float
        ``OPTIMAL`` means that the relative residuals (:func:`layers.cone.kkt.residuals`) are at most this.
    max_iterations : int
        Limit per element and engine.
    on_failure : {"raise", "nan", "ignore"}
        What to do when an element is not ``OPTIMAL``: raise; fill it with NaN; or return the last iterate (for an
        infeasible or unbounded element, the certificate). Its gradient contribution is zero in the last two.
    warm_start : ConeSolution, optional
        An earlier solution of programs of the same structure: Newton's method is tried from it first, and the
        elements that it solves are not handed to an engine. The answer meets the same checks.
    verbose : bool
        A line on standard error about large programs that Clarabel solves, while they are.
    **options
        For the engine, under its own names; only with one engine named.

    Raises
    ------
    ProblemError
        If the data are not finite.
    SolverError
        With ``on_failure="raise"``, naming the elements that failed, and the one engine that was asked where it
        claimed something that the program refutes.
    DifferentiationError
        In a derivative, if its linear solve missed its accuracy; in a second derivative, always.
    UnavailableError
        If the engine asked for is not installed.

    Notes
    -----
    See :mod:`layers.cone.adjoint` for the derivative and its assumptions.
    """
    engines = _engines(solver, program, options)
    if not isinstance(adjoint, Perturbation):
        require_choice("adjoint", adjoint, ("auto", "implicit"))
    tol, max_iterations = check_options(tol, max_iterations, on_failure)
    guess = None if warm_start is None else _guess(warm_start, program)
    limits = Limits(tol, max_iterations, options, torch.get_num_threads(), verbose)
    again = None
    if isinstance(adjoint, Perturbation):
        again = Again(program.structure, engines, limits, tol, adjoint)
    call = Call(program.structure, engines, limits, tol, on_failure, guess, again)
    x, y, s, value, _, _, status, error, iterations = ConeSolutionMap.apply(call, *program.data)
    x, y, s, value = (
        without_failures(v, status == int(Status.OPTIMAL), on_failure) for v in (x, y, s, value)
    )
    return ConeSolution(
        x=x,
        y=y,
        s=s,
        objective=value,
        status=status,
        residuals=Residuals(error),
        iterations=iterations,
    )


def _engines(solver: str, program: ConeProgram, options: dict[str, Any]) -> list[Engine]:
    if solver != "auto":
        require_choice("solver", solver, ("auto", *ENGINES))
        engine = ENGINES[solver]
        reason = engine.unavailable()
        if reason is not None:
            raise UnavailableError(f"solver={solver!r} cannot be used: {reason}")
        if not engine.supports(without_single_rows(program.structure)[0]):
            raise LayerError(
                f"{solver} does not take this program, with its cones {program.structure.cones} and "
                f'{program.structure.n} variables; use "auto"'
            )
        return [engine]
    if options:
        raise LayerError(
            f'options of an engine ({", ".join(options)}) need one engine: name it in solver=, found "auto"'
        )
    structure = without_single_rows(program.structure)[0]
    names = SPARSE if structure.cones.linear and pays(program.structure) else AUTOMATIC
    return [engine for engine in _available(names) if engine.supports(structure)]


@cache
def _available(names: tuple[str, ...]) -> tuple[Engine, ...]:
    return tuple(ENGINES[name] for name in names if ENGINES[name].unavailable() is None)


def _guess(warm: ConeSolution, program: ConeProgram) -> tuple[Tensor, Tensor, Tensor]:
    if not isinstance(warm, ConeSolution):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ProblemError(
            "warm_start must be the ConeSolution that an earlier solve_cone_program(...) returned, or None; found "
            f"{type(warm).__name__}"
        )
    shapes = {"x": program.q.shape, "y": program.b.shape, "s": program.b.shape}
    for name, shape in shapes.items():
        value: Tensor = getattr(warm, name)
        if value.shape != shape:
            raise ProblemError(
                f"warm_start.{name} must have shape {tuple(shape)}; found {tuple(value.shape)}: pass a solution of "
                "programs of the same structure and batch, or None"
            )
    return warm.x.detach(), warm.y.detach(), warm.s.detach()


def _check_finite(program: ConeProgram) -> None:
    for name, value in zip("PqAb", program.data, strict=True):
        if not torch.isfinite(value).all():
            raise ProblemError(f"{name} must be finite; found NaN or infinity")


def _describe(call: Call, point: solver_.ConePoint, batch: torch.Size, bounds: Tensor) -> str:
    """Which elements failed, and whether the engine that was asked said something else than the program."""
    text = describe_failures(
        Point.without_certificate(point.x, point.y, point.s, point.status, point.residuals, point.iterations),
        batch,
        bounds,
    )
    lied = point.contradicted.nonzero().squeeze(-1)
    if lied.numel() and len(call.engines) == 1:  # of several no one is to blame, and none was chosen
        listed = ", ".join(map(str, lied[:5].tolist()))
        text = (
            f"{call.engines[0].name} reported a solution or a certificate of element(s) {listed} that the program "
            f'that was passed does not bear out: do not trust it here, pass solver="auto".\n{text}'
        )
    return text
