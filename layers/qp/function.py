"""The transformable way: the solution map of a quadratic program as a torch function of its data.

Two functions, because the derivative is itself a function that can be differentiated:

* ``SolutionMap``: (Q, q, G, h, A, b) -> (z, λ, ν, objective, s). Its derivatives are products of the solution with
* ``LinearisedSystem``: (Q, G, A, r) -> x = K⁺r or K⁺ᵀr, whose derivatives are again such solves.

With F_θ of :mod:`layers.qp.adjoints.implicit`, the forward derivative is K⁺ times −F_θ dθ, and the reverse one is
equation 8 (:mod:`layers.qp.gradients`). Both functions flatten the batch inside ``forward`` and carry their own vmap
rule, so nothing above them knows of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from layers.errors import DifferentiationError, SolverError
from layers.linalg.batched import align
from layers.linalg.products import mv
from layers.modes.transforms import forward_mode, vectorised
from layers.native import qp as native
from layers.policy import describe_failures, without_failures
from layers.problem import AXES, QP, broadcast
from layers.qp.adjoints import bound, implicit, refusal
from layers.qp.engines import ENGINES, HINTS, Answer, Request, answer_by
from layers.qp.gradients import (
    Adjoint,
    Saved,
    Six,
    Triple,
    collect,
    constant,
    equation_8,
    of_objective,
    of_slack,
    where_solved,
)
from layers.solution import Status

#: core axes of (Q, q, G, h, A, b), of (Q, G, A, kind, status, r_z, r_λ, r_ν), and of what a backward pass reads
DATA_AXES = tuple(AXES.values())
SYSTEM_AXES = (2, 2, 2, 1, 0, 1, 1, 1)
SAVED_AXES = (*DATA_AXES, 1, 1, 1, 1, 0)


class Call(NamedTuple):
    """What a call asks for besides its data, and its answer where that is known already."""

    request: Request
    known: Answer | None = None


class Outputs(NamedTuple):
    """What a solve gives, in the batch shape of the problem: the first five are differentiable."""

    z: Tensor
    lam: Tensor
    nu: Tensor
    objective: Tensor
    s: Tensor
    kind: Tensor
    status: Tensor
    residuals: Tensor
    iterations: Tensor

    @classmethod
    def of(cls, answer: Answer, batch: torch.Size) -> Outputs:
        """An answer that is flat over the batch."""
        point = answer.point
        flat = (
            point.z, point.lam, point.nu, answer.value, answer.slack,
            answer.kind, point.status, point.residuals.values, point.iterations,
        )  # fmt: skip
        if point.z.dim() == len(batch) + 1:
            return cls(*flat)
        return cls(*(v.reshape((*batch, *v.shape[1:])) for v in flat))

    @property
    def differentiable(self) -> tuple[Tensor, ...]:
        """z, λ, ν, the objective and s."""
        return self[:5]

    @property
    def constant(self) -> tuple[Tensor, ...]:
        """What has no derivative."""
        return self[5:]


def solve(call: Call, problem: QP) -> Outputs:
    """Solve, or take the known answer, under the policy for failures.

    Raises
    ------
    SolverError
        With ``on_failure="raise"``, naming the elements that failed.
    """
    request, own = call.request, bound(call.request.adjoint)
    iteration = own.iteration
    if iteration is not None:
        answer = answer_by(problem, request, lambda flat: iteration(flat, request.tol))
    else:
        answer = ENGINES[request.solver](problem, request) if call.known is None else call.known
    status = answer.point.status
    if request.on_failure == "raise" and not answer.settled and bool(status.any()):
        text = describe_failures(answer.point, problem.batch_shape, problem.h, request.precision)
        hint = HINTS.get(request.solver, "")
        if iteration is not None:
            hint = (
                f"{own!r} is the answer of its own iterations: raise k, or tol; where they do not arrive, as on many "
                'linear programs, adjoint="implicit", "smoothed" and "lpgd" take the answer of any solver'
            )
        raise SolverError(f"{text}\n{hint}" if hint else text)
    return Outputs.of(answer, problem.batch_shape)


def under_policy(outputs: Outputs, on_failure: str) -> Outputs:
    """The policy applied to what is differentiable of the elements that failed."""
    status = outputs.status
    if on_failure == "raise" or _all_solved(status):
        return outputs
    solved = status == int(Status.OPTIMAL)  # torch.compile does not know that an IntEnum is a number
    kept = (without_failures(v, solved, on_failure) for v in outputs.differentiable)
    return Outputs._make((*kept, *outputs.constant))


def _all_solved(status: Tensor) -> bool:
    """Whether this is known to be so without waiting: the policy for failures takes longer than a small solve."""
    return not torch.compiler.is_compiling() and native.plain((status,)) and not bool(status.any())


class SolutionMap(torch.autograd.Function):
    """(call, Q, q, G, h, A, b) -> :class:`Outputs`."""

    @staticmethod
    def forward(call: Call, *data: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(solve(call, QP(*data)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        outputs = Outputs(*output)
        ctx.adjoint = inputs[0].request.adjoint
        ctx.mark_non_differentiable(*outputs.constant)
        ctx.set_materialize_grads(False)
        solution = (outputs.z, outputs.lam, outputs.nu, outputs.kind, outputs.status)
        saved = Saved._make((*inputs[1:], *solution))
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    @vectorised
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        saved, needed = Saved(*ctx.saved_tensors), ctx.needs_input_grad[-6:]
        return None, *pull_back(needed, saved, cotangents, ctx.adjoint, LinearisedSystem.apply)

    @staticmethod
    @forward_mode
    def jvp(ctx: Any, values: list[Tensor], *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = Saved(*values)
        if bound(ctx.adjoint).order:
            raise DifferentiationError(refusal(ctx.adjoint, "forward mode"))
        dQ, dq, dG, dh, dA, db = (
            torch.zeros_like(v) if t is None else t for v, t in zip(saved.data, tangents[-6:], strict=True)
        )
        z, lam, nu = saved.point
        solved = where_solved(saved.status, z)
        dQz = mv(0.5 * (dQ + dQ.mT), z)
        moved_g, moved_a = dh - mv(dG, z), db - mv(dA, z)
        top = dQz + dq + mv(dG.mT, lam) + mv(dA.mT, nu)
        dz, dlam, dnu = LinearisedSystem.apply(False, *saved.system, -top, moved_g, moved_a)
        value = ((0.5 * dQz + dq) * z).sum(-1) - (moved_g * lam).sum(-1) - (moved_a * nu).sum(-1)
        ds = (moved_g - mv(saved.G, dz)) * solved.unsqueeze(-1)
        return dz, dlam, dnu, solved * value, ds, None, None, None, None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], call: Call, *data: Tensor
    ) -> tuple[Any, Any]:
        outputs = SolutionMap.apply(call, *align(in_dims[1:], data, DATA_AXES))
        return outputs, (0,) * len(outputs)


def pull_back(
    needed: tuple[bool, ...],
    saved: Saved,
    cotangents: tuple[Tensor | None, ...],
    adjoint: str | Adjoint,
    solve: Any,
) -> tuple[Tensor | None, ...]:
    """Reverse derivative of the solution map in its six tensors.

    Parameters
    ----------
    needed : tuple of bool
        Which of Q, q, G, h, A, b are asked for.
    cotangents : tuple of Tensor or None
        Of :class:`Outputs`, in order; what follows the fifth is not read.
    adjoint : str or Adjoint
        As in :class:`layers.qp.engines.Request`.
    solve : callable
        :class:`LinearisedSystem`, applied, or the same as an operator.
    """
    z_bar, lam_bar, nu_bar, value_bar, s_bar = cotangents[:5]
    x, terms = saved.point, list[Six]()
    solved = where_solved(saved.status, x.z).unsqueeze(-1)
    if s_bar is not None:
        moved, own = of_slack(saved.G, x.z, s_bar * solved)
        z_bar = moved if z_bar is None else z_bar + moved
        terms.append(own)
    if z_bar is not None or lam_bar is not None or nu_bar is not None:
        bars = zip(x, (z_bar, lam_bar, nu_bar), strict=True)
        bars = Triple(*(torch.zeros_like(v) if bar is None else bar for v, bar in bars))
        if bound(adjoint).order is None:
            terms.append(equation_8(x, Triple(*solve(True, *saved.system, *(-bar for bar in bars)))))
        else:
            gradients = FirstDerivative.apply(adjoint, *saved, *bars)
            terms.append(Six(*map(constant, gradients)))
    if value_bar is not None:
        terms.append(of_objective(x, value_bar.unsqueeze(-1) * solved))
    return collect(needed, saved.data, terms)


class LinearisedSystem(torch.autograd.Function):
    """(transpose, Q, G, A, kind, status, r) -> x = K⁺ r, or K⁺ᵀ r; zero for elements that were not solved.

    From dx = K⁺(dr − dK x): r̄ = K⁺ᵀ x̄ and K̄ = −r̄ xᵀ, where K holds Q, G and A twice each. Where active rows are
    dependent this is the derivative of the components that do not depend on the choice among equivalent multipliers.
    """

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        transpose: bool, Q: Tensor, G: Tensor, A: Tensor, kind: Tensor, status: Tensor, *r: Tensor
    ) -> tuple[Tensor, ...]:
        batch = broadcast([QP(Q, r[0], G, r[1], A, r[2]).batch_shape, kind.shape[:-1], status.shape])
        flat = QP(Q, r[0].expand(*batch, -1), G, r[1], A, r[2]).flat_view()
        if flat.q.shape[0] == 0:
            return tuple(v.reshape((*batch, v.shape[-1])) for v in (flat.q, flat.h, flat.b))
        kind = kind.expand(*batch, -1).reshape(flat.h.shape)
        # torch.compile does not know that an IntEnum is a number
        solved = status.expand(batch).reshape(-1) == int(Status.OPTIMAL)
        x = implicit.solve_accurately(flat, kind, solved, transpose=transpose)
        return x if len(batch) == 1 else tuple(v.reshape((*batch, v.shape[-1])) for v in x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.transpose = inputs[0]
        ctx.save_for_backward(*inputs[1:], *output)
        ctx.save_for_forward(*inputs[1:], *output)

    @staticmethod
    @vectorised
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return pull_back_system(ctx.transpose, ctx.saved_tensors, cotangents, LinearisedSystem.apply)

    @staticmethod
    @forward_mode
    def jvp(ctx: Any, values: list[Tensor], *tangents: Tensor | None) -> tuple[Tensor, ...]:
        Q, G, A, kind, status, *rest = values
        r, x = Triple(*rest[:3]), Triple(*rest[3:])
        given = (*tangents[1:4], *tangents[6:])
        dQ, dG, dA, *dr = (
            torch.zeros_like(v) if t is None else t for v, t in zip((Q, G, A, *r), given, strict=True)
        )
        top = dr[0] - mv(0.5 * (dQ + dQ.mT), x.z) - mv(dG.mT, x.lam) - mv(dA.mT, x.nu)
        moved = (top, dr[1] - mv(dG, x.z), dr[2] - mv(dA, x.z))
        return LinearisedSystem.apply(ctx.transpose, Q, G, A, kind, status, *moved)

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], transpose: bool, *tensors: Tensor
    ) -> tuple[Any, Any]:
        outputs = LinearisedSystem.apply(transpose, *align(in_dims[1:], tensors, SYSTEM_AXES))
        return outputs, (0,) * len(outputs)


def pull_back_system(
    transpose: bool, saved: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], solve: Any
) -> tuple[Tensor | None, ...]:
    """Reverse derivative of :class:`LinearisedSystem`, from its inputs and outputs."""
    Q, G, A, kind, status, *rest = saved
    r, x = rest[:3], Triple(*rest[3:])
    y = Triple(*solve(not transpose, Q, G, A, kind, status, *cotangents))
    # −r̄ xᵀ in the places where K holds each matrix: the products of equation 8, with the sign of a right-hand side
    Q_bar, _, G_bar, _, A_bar, _ = collect(
        (True, False, True, False, True, False), (Q, Q, G, G, A, A), [equation_8(x, Triple(*(-v for v in y)))]
    )
    r_bar = (v.sum_to_size(u.shape) for v, u in zip(y, r, strict=True))
    return (None, Q_bar, G_bar, A_bar, None, None, *r_bar)


class FirstDerivative(torch.autograd.Function):
    """(adjoint, saved, cotangents) -> six gradients with all batch axes, by an adjoint of first order."""

    @staticmethod
    def forward(adjoint: str | Adjoint, *tensors: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        saved = Saved(*tensors[:-3])
        batch = broadcast([QP(*saved.data).batch_shape, saved.status.shape, tensors[-3].shape[:-1]])
        flat = QP(saved.Q, saved.q.expand(*batch, -1), saved.G, saved.h, saved.A, saved.b).flatten()
        vectors = [
            v.expand(*batch, -1).reshape(batch.numel(), v.shape[-1]) for v in (*saved.point, *tensors[-3:])
        ]
        solved = (saved.status.expand(batch).reshape(-1) == int(Status.OPTIMAL)).nonzero().squeeze(-1)
        x, bars = (Triple(*(v[solved] for v in vectors[i : i + 3])) for i in (0, 3))
        if not solved.numel():
            return tuple(
                v.new_zeros((*batch, *v.shape[v.dim() - k :]))
                for v, k in zip(saved.data, DATA_AXES, strict=True)
            )
        _require_finite(bars, f"adjoint={adjoint!r} was given a gradient of the loss that is not finite")
        found = bound(adjoint).gradients(flat.take(solved), x, bars)
        _require_finite(found, f"adjoint={adjoint!r} found a gradient that is not finite: try 'implicit'")
        whole = (g.new_zeros((batch.numel(), *g.shape[1:])).index_copy(0, solved, g) for g in found)
        return tuple(g.reshape((*batch, *g.shape[1:])) for g in whole)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.adjoint = inputs[0]

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        raise DifferentiationError(refusal(ctx.adjoint, "a second derivative"))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> tuple[Tensor | None, ...]:
        raise DifferentiationError(refusal(ctx.adjoint, "a second derivative"))

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], adjoint: str | Adjoint, *tensors: Tensor
    ) -> tuple[Any, Any]:
        outputs = FirstDerivative.apply(adjoint, *align(in_dims[1:], tensors, (*SAVED_AXES, 1, 1, 1)))
        return outputs, (0,) * len(outputs)


def _require_finite(tensors: Sequence[Tensor], otherwise: str) -> None:
    if not all(bool(t.isfinite().all()) for t in tensors):
        raise DifferentiationError(otherwise)


# torch asks for the signature of forward at every call; looking it up takes longer than solving a small problem
for _function in (SolutionMap, LinearisedSystem, FirstDerivative):
    _function.forward.__signature__ = inspect.signature(_function.forward)  # pyright: ignore[reportFunctionMemberAccess]
