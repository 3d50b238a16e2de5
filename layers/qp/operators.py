"""The solution map and its linear systems as custom operators: what torch.compile sees of the layer.

An operator is one node of a compiled graph. Its shapes follow from those of its arguments, its derivative is made of
operators and of plain torch again, and what happens inside stays eager: the engines, the merge of their answers, the
errors that they raise. Calls outside of torch.compile do not come here: the dispatcher would cost a small solve dearly.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch  # pyright: ignore[reportAttributeAccessIssue]
from torch.autograd import forward_ad

from layers.native import qp as native
from layers.problem import QP
from layers.qp.engines import ENGINES, Guess, Request
from layers.qp.function import (
    DATA_AXES,
    SYSTEM_AXES,
    Call,
    LinearisedSystem,
    SolutionMap,
    align,
)
from layers.qp.gradients import pull_back, pull_back_system

Outputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]


def suit(*tensors: Tensor) -> bool:
    """Whether operators can stand for the layer: an operator has a reverse derivative and a rule for vmap, no more."""
    depth = functorch.get_dynamic_layer_stack_depth()
    in_vmap_alone = depth == 1 and any(functorch.is_batchedtensor(t) for t in tensors)
    return forward_ad._current_level < 0 and (depth == 0 or in_vmap_alone)  # pyright: ignore[reportPrivateUsage]


def solve_qp(
    problem: QP,
    guess: Guess | None,
    solver: str,
    tol: float,
    max_iterations: int,
    precision: float,
    on_failure: str,
) -> tuple[Tensor, ...]:
    """:class:`layers.qp.function.SolutionMap` as an operator, with the same outputs."""
    start = (None,) * 4 if guess is None else guess
    outputs = _solve(*problem.tensors, *start, solver, tol, max_iterations, precision, on_failure)
    return (*outputs[:7], outputs[7].detach(), outputs[8])


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
    precision: float,
    on_failure: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    guess = None
    if guess_z is not None and guess_lam is not None and guess_nu is not None and guess_s is not None:
        guess = guess_z, guess_lam, guess_nu, guess_s
    engine = partial(ENGINES[solver], request=Request(tol, max_iterations, precision, guess))
    outputs = SolutionMap.forward(Call(engine, on_failure), Q, q, G, h, A, b)
    z, lam, nu, value, s, kind, status, error, iterations = map(_own, outputs)
    return z, lam, nu, value, s, kind, status, error, iterations


def _own(v: Tensor) -> Tensor:
    """An operator's output: in the layout that the compiler was promised, and no view of an argument."""
    return v.contiguous() if v.numel() else v.clone(memory_format=torch.contiguous_format)


@_solve.register_fake
def _(Q: Tensor, q: Tensor, G: Tensor, h: Tensor, A: Tensor, b: Tensor, *options: object) -> Outputs:
    problem = QP(Q, q, G, h, A, b)
    batch = torch.broadcast_shapes(
        *(t.shape[: t.dim() - k] for t, k in zip(problem.tensors, DATA_AXES, strict=True))
    )

    def new(*core: int, dtype: torch.dtype = q.dtype) -> Tensor:
        return q.new_empty((*batch, *core), dtype=dtype)

    return (
        new(problem.n), new(problem.m), new(problem.p), new(), new(problem.m), new(problem.m, dtype=torch.int8),
        new(dtype=torch.int64), new(3), new(dtype=torch.int64),
    )  # fmt: skip


def _save_solution(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:6], *output[:3], *output[5:7])


def _solve_backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
    pair = outer_pair if ctx.saved_tensors[6].device.type == "cpu" else None
    gradients = pull_back(ctx.needs_input_grad[:6], ctx.saved_tensors, cotangents, solve_linearised, pair)
    return *gradients, *(None,) * 9


_solve.register_autograd(_solve_backward, setup_context=_save_solution)


@_solve.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Outputs, tuple[int, ...]]:
    # a guess, which costs no digit, is left out
    outputs = _solve(*align(in_dims[:6], args[:6], DATA_AXES), *(None,) * 4, *args[10:])
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


@torch.library.custom_op("convex_layers::outer_pair", mutates_args=())
def outer_pair(u: Tensor, v: Tensor, w: Tensor, x: Tensor, scale: float) -> Tensor:
    """scale · (u vᵀ + w xᵀ) for every element of ``(B, ·)`` vectors, shape ``(B, rows, columns)``."""
    if native.suits(u):
        return native.outer_pair(u, v, w, x, scale)
    return scale * (u.unsqueeze(-1) * v.unsqueeze(-2) + w.unsqueeze(-1) * x.unsqueeze(-2))


@outer_pair.register_fake
def _(u: Tensor, v: Tensor, w: Tensor, x: Tensor, scale: float) -> Tensor:
    return u.new_empty(*u.shape, v.shape[-1])
