"""The solution map of a quadratic program as a torch function of its data, differentiable to every order.

Two functions, because the derivative is itself a function that can be differentiated:

* ``SolutionMap``: (Q, q, G, h, A, b) -> (z, λ, ν, objective). Its derivatives are products of the solution with
* ``LinearisedSystem``: (Q, G, A, r) -> x = K⁺r or K⁺ᵀr, whose derivatives are again such solves.

With F_θ of :mod:`layers.qp.adjoints.implicit` and d = −K⁺ᵀ (z̄, λ̄, ν̄), the reverse derivative is (OptNet eq. 8 in
the sign of our Lagrangian, λ being part of the solution and not of the system)

    Q̄ = ½(d_z zᵀ + z d_zᵀ)    q̄ = d_z    Ḡ = λ d_zᵀ + d_λ zᵀ    h̄ = −d_λ    Ā = ν d_zᵀ + d_ν zᵀ    b̄ = −d_ν,

and the objective adds the derivative of the Lagrangian at fixed (z, λ, ν): ½zzᵀ, z, λzᵀ, −λ, νzᵀ, −ν, with no solve.
Both functions flatten the batch inside ``forward`` and carry their own vmap rule, so nothing above them knows of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from layers.errors import SolverError
from layers.linalg.products import mv
from layers.native import qp as native
from layers.policy import describe_failures
from layers.problem import QP, broadcast
from layers.qp.adjoints import implicit
from layers.qp.engines import Answer
from layers.qp.gradients import LinearSolve, pull_back, pull_back_at_once, pull_back_system, where_solved
from layers.solution import Status

#: core axes of (Q, q, G, h, A, b) and of (Q, G, A, kind, status, r_z, r_λ, r_ν)
DATA_AXES = (2, 1, 2, 1, 2, 1)
SYSTEM_AXES = (2, 2, 2, 1, 0, 1, 1, 1)


@dataclass(frozen=True)
class Call:
    """What a call of the layer asks for, besides its data.

    Attributes
    ----------
    engine : callable
        From a problem with any batch axes to its flat answer.
    on_failure : {"raise", "nan", "ignore"}
    """

    engine: Callable[[QP], Answer]
    on_failure: str


class SolutionMap(torch.autograd.Function):
    """(call, data) -> z, λ, ν, objective, s and, not differentiable, kind, status, residuals, iterations."""

    @staticmethod
    def forward(call: Call, *data: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _outputs(call, QP(*data))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[5:])
        ctx.set_materialize_grads(False)
        saved = (*inputs[1:], *output[:3], *output[5:7])
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        # nothing is differentiated further: the bookkeeping of apply takes longer than a small solve
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[-6:]
        given = (c for c in cotangents if c is not None)
        plain = not torch.is_grad_enabled() and native.suits(saved[-1], *given)
        if plain and (gradients := pull_back_at_once(needed, saved, cotangents)) is not None:
            return None, *gradients
        solve = cast("LinearSolve", LinearisedSystem.forward if plain else LinearisedSystem.apply)
        pair = native.outer_pair if plain else None
        return None, *pull_back(needed, saved, cotangents, solve, pair)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        Q, q, G, h, A, b, z, lam, nu, kind, status = ctx.saved_tensors
        data = (Q, q, G, h, A, b)
        dQ, dq, dG, dh, dA, db = (
            torch.zeros_like(v) if t is None else t for v, t in zip(data, tangents[-6:], strict=True)
        )
        solved = where_solved(status, z)
        dQz = mv(0.5 * (dQ + dQ.mT), z)
        moved_g, moved_a = dh - mv(dG, z), db - mv(dA, z)
        top = dQz + dq + mv(dG.mT, lam) + mv(dA.mT, nu)
        dz, dlam, dnu = LinearisedSystem.apply(False, Q, G, A, kind, status, -top, moved_g, moved_a)
        value = ((0.5 * dQz + dq) * z).sum(-1) - (moved_g * lam).sum(-1) - (moved_a * nu).sum(-1)
        ds = (moved_g - mv(G, dz)) * solved.unsqueeze(-1)
        return dz, dlam, dnu, solved * value, ds, None, None, None, None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], call: Call, *data: Tensor
    ) -> tuple[Any, Any]:
        outputs = SolutionMap.apply(call, *align(in_dims[1:], data, DATA_AXES))
        return outputs, (0,) * len(outputs)


class PlainSolutionMap(torch.autograd.Function):
    """:class:`SolutionMap` outside of the transforms of torch.func: torch binds no signature, which takes its time.

    It also takes the problem, whose tensors follow as arguments of their own.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, problem: QP, *data: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        outputs = _outputs(call, problem)
        SolutionMap.setup_context(ctx, (call, *data), outputs)
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, *SolutionMap.backward(ctx, *cotangents)

    jvp = SolutionMap.jvp


def _outputs(call: Call, problem: QP) -> tuple[Tensor, ...]:
    """What :class:`SolutionMap` gives, in the batch shape of the problem."""
    answer = call.engine(problem)
    point, batch = answer.point, problem.batch_shape
    if call.on_failure == "raise" and not answer.settled and bool(point.status.any()):
        raise SolverError(describe_failures(point, batch))
    outputs = (
        point.z, point.lam, point.nu, answer.value, answer.slack,
        answer.kind, point.status, point.residuals.relative, point.iterations,
    )  # fmt: skip
    if point.z.dim() == len(batch) + 1:
        return outputs
    return tuple(v.reshape((*batch, *v.shape[1:])) for v in outputs)


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
        transpose, Q, G, A, kind, status, *r = inputs
        ctx.transpose = transpose
        saved = (Q, G, A, kind, status, *r, *output)
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        solve = cast("LinearSolve", LinearisedSystem.apply)
        return pull_back_system(ctx.transpose, ctx.saved_tensors, cotangents, solve)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        Q, G, A, kind, status, r_z, r_lam, r_nu, x_z, x_lam, x_nu = ctx.saved_tensors
        inputs = (Q, G, A, r_z, r_lam, r_nu)
        given = (*tangents[1:4], *tangents[6:])
        dQ, dG, dA, d_z, d_lam, d_nu = (
            torch.zeros_like(v) if t is None else t for v, t in zip(inputs, given, strict=True)
        )
        top = d_z - mv(0.5 * (dQ + dQ.mT), x_z) - mv(dG.mT, x_lam) - mv(dA.mT, x_nu)
        return LinearisedSystem.apply(
            ctx.transpose, Q, G, A, kind, status, top, d_lam - mv(dG, x_z), d_nu - mv(dA, x_z)
        )

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], transpose: bool, *tensors: Tensor
    ) -> tuple[Any, Any]:
        outputs = LinearisedSystem.apply(transpose, *align(in_dims[1:], tensors, SYSTEM_AXES))
        return outputs, (0,) * len(outputs)


# torch asks for the signature of forward at every call; looking it up takes longer than solving a small problem
for _function in (SolutionMap, LinearisedSystem):
    _function.forward.__signature__ = inspect.signature(_function.forward)  # pyright: ignore[reportFunctionMemberAccess]


def align(
    in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...], axes: tuple[int, ...]
) -> list[Tensor]:
    """Put the vmapped axis in front of every tensor that has one, before batch axes of one common number."""
    lead = [t.dim() - a - (d is not None) for t, a, d in zip(tensors, axes, in_dims, strict=True)]
    most = max(lead)
    aligned: list[Tensor] = []
    for tensor, dim, own in zip(tensors, in_dims, lead, strict=True):
        if dim is not None:
            tensor = tensor.movedim(dim, 0)
            tensor = tensor.reshape(tensor.shape[0], *([1] * (most - own)), *tensor.shape[1:])
        aligned.append(tensor)
    return aligned
