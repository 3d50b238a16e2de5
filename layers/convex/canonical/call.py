"""The tensors of a call: one per parameter, of the right type, shape and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layers.convex.canonical.parameter_values import ParameterSpec
from layers.errors import WITHOUT_VALUES, ProblemError, remedy_of_dtype, remedy_of_layout


def check_call(specs: Sequence[ParameterSpec], tensors: Sequence[Any]) -> torch.Size:
    """Check number, types, shapes and devices, and return the batch axes after broadcasting.

    Raises
    ------
    ProblemError
        Naming the parameter, what was expected and what was found.
    """
    if len(tensors) != len(specs):
        listed = ", ".join(f"{spec.name} {spec.shape}" for spec in specs)
        raise ProblemError(
            f"one tensor per parameter: expected {len(specs)} ({listed}), found {len(tensors)}; dictionaries of "
            "solver arguments go to solver_args="
        )
    batches: list[torch.Size] = []
    for place, (spec, tensor) in enumerate(zip(specs, tensors, strict=True)):
        if not isinstance(tensor, Tensor):
            raise _refused(place, spec, f"be a torch.Tensor, found {type(tensor).__name__}")
        if tensor.layout is not torch.strided:
            raise _refused(place, spec, f"be dense, found {tensor.layout}; {remedy_of_layout(spec.name)}")
        if not tensor.is_floating_point():
            remedy = remedy_of_dtype(spec.name, tensor.dtype)
            raise _refused(place, spec, f"have a real floating dtype, found {tensor.dtype}; {remedy}")
        shape = tensor.shape
        lead = len(shape) - len(spec.shape)
        if lead < 0 or shape[lead:] != spec.shape:
            hint = _order_hint(specs, tensors)
            raise _refused(place, spec, f"have shape batch + {spec.shape}, found {tuple(tensor.shape)}{hint}")
        batches.append(shape[:lead])
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ProblemError(f"all tensors must be on one device; found {', '.join(sorted(map(str, devices)))}")
    if tensors and tensors[0].is_meta:
        raise ProblemError(f"parameter 0 ({specs[0].name}) {WITHOUT_VALUES}")
    batched = [batch for batch in batches if batch]
    if not batched:
        return torch.Size()
    if all(batch == batched[0] for batch in batched[1:]):
        return batched[0]
    try:
        return torch.broadcast_shapes(*batched)
    except RuntimeError as error:
        found = ", ".join(f"{s.name}: {tuple(b)}" for s, b in zip(specs, batches, strict=True))
        raise ProblemError(
            f"the leading batch axes must agree, or be absent where a tensor is shared; found {found}"
        ) from error


def _refused(place: int, spec: ParameterSpec, why: str) -> ProblemError:
    return ProblemError(f"parameter {place} ({spec.name}) must {why}")


def _order_hint(specs: Sequence[ParameterSpec], tensors: Sequence[Any]) -> str:
    """Whether the same tensors would fit in another order."""
    left = [tuple(t.shape) for t in tensors if isinstance(t, Tensor)]
    order: list[int] = []
    for spec in sorted(specs, key=lambda s: -len(s.shape)):
        k = len(spec.shape)
        fits = [i for i, shape in enumerate(left) if i not in order and shape[len(shape) - k :] == spec.shape]
        if not fits:
            return ""
        order.append(fits[0])
    names = ", ".join(spec.name for spec in specs)
    return f"; the shapes would fit in another order: parameters were listed as {names}"
