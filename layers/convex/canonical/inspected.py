"""A look at the values of a call, where there are values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layers.convex.canonical.parameter_values import ParameterSpec, check_values


def inspect_values(specs: Sequence[ParameterSpec], tensors: Sequence[Tensor]) -> None:
    """Refuse values that are not those that the parameters were declared to have, also under ``torch.func.vmap``.

    Raises
    ------
    ProblemError
        Naming the parameter, the property and the batch element.
    """
    _Look.apply(specs, *(tensor.detach() for tensor in tensors))


class _Look(torch.autograd.Function):
    """A function without a value: inside ``forward`` tensors are plain numbers, whatever transforms stand around it."""

    @staticmethod
    def forward(specs: Sequence[ParameterSpec], *tensors: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        for spec, tensor in zip(specs, tensors, strict=True):
            check_values(spec, tensor)
        return torch.zeros((), device="cpu")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], specs: Sequence[ParameterSpec], *tensors: Tensor
    ) -> tuple[Tensor, None]:
        moved = (t if d is None else t.movedim(d, 0) for t, d in zip(tensors, in_dims[1:], strict=True))
        return _Look.apply(specs, *moved), None
