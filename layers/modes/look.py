"""A look at the values of a call, where there are values, whatever transforms stand around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def look(rule: Callable[..., None], *tensors: Tensor) -> None:
    """Show a rule the numbers of tensors, those that a ``torch.func.vmap`` goes over in front; the rule may raise."""
    _Look.apply(rule, *(tensor.detach() for tensor in tensors))


class _Look(torch.autograd.Function):
    """A function without a value: inside ``forward`` tensors are plain numbers."""

    @staticmethod
    def forward(rule: Callable[..., None], *tensors: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        rule(*tensors)
        return torch.zeros((), device="cpu")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], rule: Callable[..., None], *tensors: Tensor
    ) -> tuple[Tensor, None]:
        moved = (t if d is None else t.movedim(d, 0) for t, d in zip(tensors, in_dims[1:], strict=True))
        return _Look.apply(rule, *moved), None
