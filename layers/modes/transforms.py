"""What torch leaves to the rules of a custom function: the vmap of ``torch.autograd``, and forward mode around itself.

``torch.autograd.functional.jacobian(vectorize=True)`` and ``is_grads_batched=True`` hand a derivative many
cotangents, or tangents, at once, by a vmap older than that of ``torch.func``, which knows no rule of a custom
function. Here they are taken out of it, the derivative runs under ``torch.func.vmap``, whose rules our functions
have, and what it finds goes back.

A rule of forward mode runs with forward mode switched off, so that a second forward derivative around it is zero
without a word. Here it is on, and the rule sees the values that it has saved without the tangents of its own level.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad

from layers.errors import PLAIN, refuse_wrapped

Rule = Callable[..., tuple[Tensor | None, ...]]


def in_transform() -> bool:
    """Whether the tensors of this call may be those of a transform or of a graph, which mean nothing after it."""
    functorch_is = torch._C._are_functorch_transforms_active()  # pyright: ignore[reportPrivateUsage]
    return functorch_is or _level() > 0 or torch.compiler.is_compiling()


def vectorised(rule: Rule) -> Rule:
    """A backward or jvp of an autograd function, for one (co)tangent or for many under torch.autograd's own vmap."""

    @wraps(rule)
    def call(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        for t in given:
            if t is not None:
                if type(t) not in PLAIN:
                    refuse_wrapped("a cotangent or a tangent", t)
                if is_legacy_batchedtensor(t):
                    return _under_vmap(rule, ctx, given)
        return rule(ctx, *given)

    return call


def forward_mode(rule: Callable[..., tuple[Tensor | None, ...]]) -> Rule:
    """A jvp, from a rule (ctx, saved, *tangents) -> tangents that may itself be differentiated in forward mode."""

    @wraps(rule)
    @vectorised
    def call(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        with forward_ad._set_fwd_grad_enabled(True):  # pyright: ignore[reportPrivateUsage]
            saved = [forward_ad.unpack_dual(value, level=0).primal for value in ctx.saved_tensors]
            return rule(ctx, saved, *tangents)

    return call


def _under_vmap(rule: Rule, ctx: Any, given: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    level = _level()
    many = [i for i, t in enumerate(given) if isinstance(t, Tensor) and is_legacy_batchedtensor(t)]
    # Of a tensor that is batched at this level, the size that is named does not matter.
    plain = [torch._remove_batch_dim(given[i], level, 1, 0) for i in many]  # pyright: ignore
    there: list[int] = []

    def one(*own: Tensor) -> tuple[Tensor, ...]:
        arguments = list(given)
        for i, t in zip(many, own, strict=True):
            arguments[i] = t
        found = rule(ctx, *arguments)
        there[:] = [i for i, t in enumerate(found) if t is not None]
        there.append(len(found))
        return tuple(found[i] for i in there[:-1])  # pyright: ignore[reportReturnType]

    found: Any = torch.func.vmap(one)(*plain)
    *places, count = there
    out: list[Tensor | None] = [None] * count
    for i, value in zip(places, found, strict=True):
        out[i] = torch._add_batch_dim(value.contiguous(), 0, level)  # pyright: ignore
    return tuple(out)


def _level() -> int:
    """The number of the innermost vmap of this kind, which torch tells only to who enters another one."""
    level: int = torch._C._vmapmode_increment_nesting()  # pyright: ignore
    torch._C._vmapmode_decrement_nesting()  # pyright: ignore
    return level - 1
