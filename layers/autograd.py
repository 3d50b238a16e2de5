"""The solution map of a quadratic program as a torch function of its data, differentiable to every order.

Two functions, because the derivative is itself a function that can be differentiated:

* ``SolutionMap``: (Q, q, G, h, A, b) -> (z, λ, ν, objective). Its derivatives are products of the solution with
* ``LinearisedSystem``: (Q, G, A, r) -> x = K⁺r or K⁺ᵀr, whose derivatives are again such solves.

With F_θ of :mod:`layers.adjoints.implicit` and d = −K⁺ᵀ (z̄, λ̄, ν̄), the reverse derivative is (OptNet eq. 8 in the sign
of our Lagrangian, λ being part of the solution and not of the system)

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

from layers import compiled
from layers.adjoints import implicit
from layers.answer import Answer
from layers.errors import SolverError
from layers.problem import QP, broadcast
from layers.solution import Point, Status

#: core axes of (Q, q, G, h, A, b) and of (Q, G, A, kind, status, r_z, r_λ, r_ν)
DATA_AXES = (2, 1, 2, 1, 2, 1)
SYSTEM_AXES = (2, 2, 2, 1, 0, 1, 1, 1)

ADVICE = {
    Status.ITERATION_LIMIT: "raise max_iterations, or tol",
    Status.INFEASIBLE: "no point satisfies its constraints: relax them with a penalised slack",
    Status.UNBOUNDED: "its objective has no lower bound: bound the variables or add a quadratic term",
    Status.NUMERICAL_FAILURE: "rescale its data, or raise tol",
}


LinearSolve = Callable[..., tuple[Tensor, Tensor, Tensor]]
OuterPair = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


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
        problem = QP(*data)
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
        plain = not torch.is_grad_enabled() and compiled.suits(*(c for c in cotangents if c is not None))
        saved = ctx.saved_tensors
        solve = _solve_plainly if plain else cast("LinearSolve", LinearisedSystem.apply)
        pair = compiled.outer_pair if plain else None
        return None, *pull_back(ctx.needs_input_grad[1:], saved, cotangents, solve, pair)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        Q, q, G, h, A, b, z, lam, nu, kind, status = ctx.saved_tensors
        data = (Q, q, G, h, A, b)
        dQ, dq, dG, dh, dA, db = (
            torch.zeros_like(v) if t is None else t for v, t in zip(data, tangents[1:], strict=True)
        )
        solved = _solved(status, z)
        dQz = _mv(0.5 * (dQ + dQ.mT), z)
        moved_g, moved_a = dh - _mv(dG, z), db - _mv(dA, z)
        top = dQz + dq + _mv(dG.mT, lam) + _mv(dA.mT, nu)
        dz, dlam, dnu = LinearisedSystem.apply(False, Q, G, A, kind, status, -top, moved_g, moved_a)
        value = ((0.5 * dQz + dq) * z).sum(-1) - (moved_g * lam).sum(-1) - (moved_a * nu).sum(-1)
        ds = (moved_g - _mv(G, dz)) * solved.unsqueeze(-1)
        return dz, dlam, dnu, solved * value, ds, None, None, None, None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], call: Call, *data: Tensor
    ) -> tuple[Any, Any]:
        outputs = SolutionMap.apply(call, *align(in_dims[1:], data, DATA_AXES))
        return outputs, (0,) * len(outputs)


class PlainSolutionMap(torch.autograd.Function):
    """:class:`SolutionMap` outside of the transforms of torch.func: torch binds no signature, which takes its time."""

    @staticmethod
    def forward(ctx: Any, call: Call, *data: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        outputs = SolutionMap.forward(call, *data)
        SolutionMap.setup_context(ctx, (call, *data), outputs)
        return outputs

    backward = SolutionMap.backward
    jvp = SolutionMap.jvp


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
        top = d_z - _mv(0.5 * (dQ + dQ.mT), x_z) - _mv(dG.mT, x_lam) - _mv(dA.mT, x_nu)
        return LinearisedSystem.apply(
            ctx.transpose, Q, G, A, kind, status, top, d_lam - _mv(dG, x_z), d_nu - _mv(dA, x_z)
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


def _solve_plainly(
    transpose: bool, Q: Tensor, G: Tensor, A: Tensor, kind: Tensor, status: Tensor, *r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """:class:`LinearisedSystem` without bookkeeping, and without a look at single elements where there is no need."""
    if kind.dim() <= 2 and status.numel():
        problem = QP(Q, r[0], G, r[1], A, r[2])
        x = implicit.solve_at_once(problem.core_view(), kind, status)
        if x is not None:
            return x
    z, lam, nu = LinearisedSystem.forward(transpose, Q, G, A, kind, status, *r)
    return z, lam, nu


def pull_back(
    needed: tuple[bool, ...],
    saved: tuple[Tensor, ...],
    cotangents: tuple[Tensor | None, ...],
    solve: LinearSolve,
    pair: OuterPair | None,
) -> tuple[Tensor | None, ...]:
    """Reverse derivative of the solution map in its six tensors.

    Parameters
    ----------
    needed : tuple of bool
        Which of Q, q, G, h, A, b are asked for.
    saved : tuple of Tensor
        Q, q, G, h, A, b, z, λ, ν, kind, status.
    cotangents : tuple of Tensor or None
        Of z, λ, ν, objective, s; what follows is not read.
    solve : callable
        :class:`LinearisedSystem`.
    pair : callable, optional
        :func:`layers.compiled.outer_pair`, or the same as an operator; differentiable torch without it.
    """
    *data, z, lam, nu, kind, status = saved
    z_bar, lam_bar, nu_bar, value_bar, s_bar = cotangents[:5]
    if s_bar is not None:  # s = h − Gz
        s_bar = s_bar * _solved(status, z).unsqueeze(-1)
        moved = -_mv(data[2].mT, s_bar)
        z_bar = moved if z_bar is None else z_bar + moved
    direction = None
    if z_bar is not None or lam_bar is not None or nu_bar is not None:
        r = tuple(
            torch.zeros_like(v) if c is None else -c
            for v, c in zip((z, lam, nu), (z_bar, lam_bar, nu_bar), strict=True)
        )
        direction = solve(True, data[0], data[2], data[4], kind, status, *r)
    weight = None if value_bar is None else (value_bar * _solved(status, z)).unsqueeze(-1)
    gradients = _gradients(needed, tuple(data), (z, lam, nu), direction, weight, pair)
    return gradients if s_bar is None else _with_slack(needed, gradients, tuple(data), z, s_bar)


def pull_back_system(
    transpose: bool, saved: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], solve: LinearSolve
) -> tuple[Tensor | None, ...]:
    """Reverse derivative of :class:`LinearisedSystem`, from its inputs and outputs."""
    Q, G, A, kind, status, r_z, r_lam, r_nu, x_z, x_lam, x_nu = saved
    y_z, y_lam, y_nu = solve(not transpose, Q, G, A, kind, status, *cotangents)
    Q_bar = -0.5 * (_outer(y_z, x_z, Q) + _outer(x_z, y_z, Q))
    G_bar = -(_outer(x_lam, y_z, G) + _outer(y_lam, x_z, G))
    A_bar = -(_outer(x_nu, y_z, A) + _outer(y_nu, x_z, A))
    r_bar = tuple(_sum_to(y, r) for y, r in zip((y_z, y_lam, y_nu), (r_z, r_lam, r_nu), strict=True))
    return (None, Q_bar, G_bar, A_bar, None, None, *r_bar)


def _gradients(
    needed: tuple[bool, ...],
    data: tuple[Tensor, ...],
    solution: tuple[Tensor, Tensor, Tensor],
    direction: tuple[Tensor, Tensor, Tensor] | None,
    weight: Tensor | None,
    pair: OuterPair | None,
) -> tuple[Tensor | None, ...]:
    """Gradients of the six arguments: from d of the solve, and from the objective's weight."""
    Q, q, G, h, A, b = data
    z, lam, nu = solution
    from_solve: tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...] = (
        lambda d_z, d_lam, d_nu: _two_outer(d_z, z, z, d_z, Q, pair, 0.5),
        lambda d_z, d_lam, d_nu: _sum_to(d_z, q),
        lambda d_z, d_lam, d_nu: _two_outer(lam, d_z, d_lam, z, G, pair),
        lambda d_z, d_lam, d_nu: _sum_to(-d_lam, h),
        lambda d_z, d_lam, d_nu: _two_outer(nu, d_z, d_nu, z, A, pair),
        lambda d_z, d_lam, d_nu: _sum_to(-d_nu, b),
    )
    from_objective: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda w: 0.5 * _outer(w * z, z, Q),
        lambda w: _sum_to(w * z, q),
        lambda w: _outer(w * lam, z, G),
        lambda w: _sum_to(-w * lam, h),
        lambda w: _outer(w * nu, z, A),
        lambda w: _sum_to(-w * nu, b),
    )
    gradients: list[Tensor | None] = []
    for need, solve_term, objective_term in zip(needed, from_solve, from_objective, strict=True):
        total: Tensor | None = None
        if need and direction is not None:
            total = solve_term(*direction)
        if need and weight is not None:
            total = objective_term(weight) if total is None else total + objective_term(weight)
        gradients.append(total)
    return tuple(gradients)


def _with_slack(
    needed: tuple[bool, ...],
    gradients: tuple[Tensor | None, ...],
    data: tuple[Tensor, ...],
    z: Tensor,
    s_bar: Tensor,
) -> tuple[Tensor | None, ...]:
    """What G and h contribute to s = h − Gz at a fixed z, added to the gradients of the six arguments."""
    Q_bar, q_bar, G_bar, h_bar, A_bar, b_bar = gradients
    if needed[2]:
        own = -_outer(s_bar, z, data[2])
        G_bar = own if G_bar is None else G_bar + own
    if needed[3]:
        own = _sum_to(s_bar, data[3])
        h_bar = own if h_bar is None else h_bar + own
    return Q_bar, q_bar, G_bar, h_bar, A_bar, b_bar


def _solved(status: Tensor, like: Tensor) -> Tensor:
    """One for elements that were solved, zero for the others."""
    return (status == int(Status.OPTIMAL)).to(like.dtype)


def _mv(M: Tensor, x: Tensor) -> Tensor:
    return (M @ x.unsqueeze(-1)).squeeze(-1)


def _outer(u: Tensor, v: Tensor, like: Tensor) -> Tensor:
    """u vᵀ summed over the batch axes that ``like`` lacks; one matrix product when it lacks them all."""
    if like.dim() == 2:
        return u.unsqueeze(0).flatten(0, -2).mT @ v.unsqueeze(0).flatten(0, -2)
    return _sum_to(u.unsqueeze(-1) * v.unsqueeze(-2), like)


def _two_outer(
    u: Tensor, v: Tensor, w: Tensor, x: Tensor, like: Tensor, pair: OuterPair | None, scale: float = 1.0
) -> Tensor:
    """scale (u vᵀ + w xᵀ), summed as :func:`_outer` does; in one pass by ``pair`` where nothing is summed.

    With ``pair`` nothing is differentiated further, so that sums may be made in place.
    """
    if pair is not None and like.dim() == 2 and u.dim() >= 2 and u.numel() * v.numel() > 0:
        u, v, w, x = (t.reshape(-1, t.shape[-1]) for t in (u, v, w, x))
        return torch.mm(u.mT, v).addmm_(w.mT, x).mul_(scale)
    if pair is not None and like.shape[:-2] == u.shape[:-1] and like.numel() > 0:
        if like.dim() <= 3:
            return pair(u, v, w, x, scale)
        u, v, w, x = (t.reshape(-1, t.shape[-1]) for t in (u, v, w, x))
        return pair(u, v, w, x, scale).reshape(like.shape)
    return scale * (_outer(u, v, like) + _outer(w, x, like))


def _sum_to(x: Tensor, like: Tensor) -> Tensor:
    return x.sum_to_size(like.shape) if x.shape != like.shape else x


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


def describe_failures(point: Point, batch: torch.Size) -> str:
    """Which elements failed, how, by how much, and what to try."""
    failed = (point.status != Status.OPTIMAL).nonzero().squeeze(-1)
    worst = point.residuals.largest
    lines: list[str] = []
    for flat_index in failed[:5].tolist():
        status = Status(int(point.status[flat_index]))
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat_index), batch)) if batch else ()
        name = f"element {place}" if batch else "the problem"
        lines.append(
            f"{name}: {status.name}, relative KKT residual {worst[flat_index].item():.1e} after "
            f"{int(point.iterations[flat_index])} iterations; {ADVICE[status]}"
        )
    more = f"\n  … and {failed.numel() - 5} more" if failed.numel() > 5 else ""
    return (
        f"{failed.numel()} of {point.status.numel()} problems not solved:\n  "
        + "\n  ".join(lines)
        + more
        + "\n"
        'Pass on_failure="nan" to get NaN for them and the exact answer for the others.'
    )
