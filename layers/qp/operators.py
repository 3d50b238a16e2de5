"""The solution map and its linear systems as custom operators: what torch.compile sees of the layer.

An operator is one node of a compiled graph. Its shapes follow from those of its arguments, its derivative is made of
operators and of plain torch again, and what happens inside stays eager: the engines, the merge of their answers, the
errors that they raise. Calls outside of torch.compile do not come here: the dispatcher would cost a small solve dearly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

from layers.linalg.batched import align
from layers.problem import QP
from layers.qp.engines import Request
from layers.qp.function import (
    DATA_AXES,
    SYSTEM_AXES,
    Call,
    LinearisedSystem,
    Outputs,
    pull_back,
    pull_back_system,
    solve,
)
from layers.qp.gradients import Saved

Nine = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]

#: in the place of z, λ, ν and s of an earlier solution
NO_GUESS = (None,) * 4


def suit(*tensors: Tensor) -> bool:
    """Whether operators can stand for the layer: an operator has a reverse derivative and a rule for vmap, no more."""
    depth = functorch.get_dynamic_layer_stack_depth()
    in_vmap_alone = depth == 1 and any(functorch.is_batchedtensor(t) for t in tensors)
    return forward_ad._current_level < 0 and (depth == 0 or in_vmap_alone)  # pyright: ignore[reportPrivateUsage]


def solve_qp(problem: QP, request: Request) -> Outputs:
    """:class:`layers.qp.function.SolutionMap` as an operator, with the same outputs."""
    r, guess = request, NO_GUESS if request.guess is None else request.guess
    options = (r.solver, r.tol, r.max_iterations, r.on_failure, r.precision)
    outputs = Outputs(*_solve(*problem.tensors, *guess, *options))
    return outputs._replace(residuals=outputs.residuals.detach())


@torch.library.custom_op("convex_layers::solve_qp", mutates_args=())
def _solve(
    Q: Tensor,
    q: Tensor,
    G: Tensor,
    h: Tensor,
    A: Tensor,
    b: Tensor,
    guess_z: Tensor | None,
    guess_lam: Tensor | None,
    guess_nu: Tensor | None,
    guess_s: Tensor | None,
    solver: str,
    tol: float,
    max_iterations: int,
    on_failure: str,
    precision: float,
) -> Nine:
    guess = None
    if guess_z is not None and guess_lam is not None and guess_nu is not None and guess_s is not None:
        guess = guess_z, guess_lam, guess_nu, guess_s
    request = Request(solver, "implicit", tol, max_iterations, on_failure, precision, guess)
    found = Outputs(*map(_own, solve(Call(request), QP(Q, q, G, h, A, b))))
    return (
        found.z, found.lam, found.nu, found.objective, found.s,
        found.kind, found.status, found.residuals, found.iterations,
    )  # fmt: skip


def _own(v: Tensor) -> Tensor:
    """An operator's output: in the layout that the compiler was promised, and no view of an argument."""
    return v.contiguous() if v.numel() else v.clone(memory_format=torch.contiguous_format)


@_solve.register_fake
def _(Q: Tensor, q: Tensor, G: Tensor, h: Tensor, A: Tensor, b: Tensor, *options: object) -> Nine:
    problem = QP(Q, q, G, h, A, b)
    batch = torch.broadcast_shapes(
        *(t.shape[: t.dim() - k] for t, k in zip(problem.tensors, DATA_AXES, strict=True))
    )

    def new(*core: int, dtype: torch.dtype = q.dtype) -> Tensor:
        return q.new_empty((*batch, *core), dtype=dtype)

    return (
        new(problem.n), new(problem.m), new(problem.p), new(), new(problem.m), new(problem.m, dtype=torch.int8),
        new(dtype=torch.int64), new(6), new(dtype=torch.int64),
    )  # fmt: skip


def _save_solution(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    found = Outputs(*output)
    ctx.save_for_backward(*inputs[:6], found.z, found.lam, found.nu, found.kind, found.status)


def _solve_backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    saved, needed = Saved(*ctx.saved_tensors), ctx.needs_input_grad[:6]
    return *pull_back(needed, saved, cotangents, "implicit", solve_linearised), *(None,) * 9


_solve.register_autograd(_solve_backward, setup_context=_save_solution)


@_solve.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Nine, tuple[int, ...]]:
    data, options = args[: len(DATA_AXES)], args[len(DATA_AXES) + len(NO_GUESS) :]
    # a guess, which costs no digit, is left out
    outputs = _solve(*align(in_dims[: len(data)], data, DATA_AXES), *NO_GUESS, *options)
    return outputs, (0,) * len(outputs)


@torch.library.custom_op("convex_layers::solve_linearised", mutates_args=())
def solve_linearised(
    transpose: bool,
    Q: Tensor,
    G: Tensor,
    A: Tensor,
    kind: Tensor,
    status: Tensor,
    r_z: Tensor,
    r_lam: Tensor,
    r_nu: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """:class:`layers.qp.function.LinearisedSystem` as an operator."""
    z, lam, nu = map(_own, LinearisedSystem.forward(transpose, Q, G, A, kind, status, r_z, r_lam, r_nu))
    return z, lam, nu


@solve_linearised.register_fake
def _(transpose: bool, Q: Tensor, G: Tensor, A: Tensor, *rest: Tensor) -> Three:
    tensors = (Q, G, A, *rest)
    batch = torch.broadcast_shapes(
        *(t.shape[: t.dim() - k] for t, k in zip(tensors, SYSTEM_AXES, strict=True))
    )
    z, lam, nu = (r.new_empty((*batch, r.shape[-1])) for r in rest[2:])
    return z, lam, nu


def _save_system(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.transpose = inputs[0]
    ctx.save_for_backward(*inputs[1:], *output)


def _linearised_backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
    return pull_back_system(ctx.transpose, ctx.saved_tensors, cotangents, solve_linearised)


solve_linearised.register_autograd(_linearised_backward, setup_context=_save_system)


@solve_linearised.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, ...], transpose: bool, *tensors: Tensor
) -> tuple[Three, tuple[int, ...]]:
    outputs = solve_linearised(transpose, *align(in_dims[1:], tensors, SYSTEM_AXES))
    return outputs, (0,) * len(outputs)
