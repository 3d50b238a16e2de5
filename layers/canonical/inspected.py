"""A look at the values of a call, where there are values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layers.canonical.parameter_values import ParameterSpec, check_values


class Inspected(torch.autograd.Function):
    """The identity on the tensors of a call, after a look at their values.

    Inside ``forward`` they are plain numbers, also under ``torch.func.vmap``, where nothing outside may depend on
    values.
    """

    @staticmethod
    def forward(specs: Sequence[ParameterSpec], *tensors: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for spec, tensor in zip(specs, tensors, strict=True):
            check_values(spec, tensor)
        return tuple(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (None, *cotangents)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return tuple(None if t is None else t.view_as(t) for t in tangents[1:])

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], specs: Sequence[ParameterSpec], *tensors: Tensor
    ) -> tuple[Any, Any]:
        moved = [t if d is None else t.movedim(d, 0) for t, d in zip(tensors, in_dims[1:], strict=True)]
        return Inspected.apply(specs, *moved), tuple(None if d is None else 0 for d in in_dims[1:])
