"""The tensors of a call: one per parameter, of the right type, shape and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layers.convex.canonical.parameter_values import ParameterSpec
from layers.errors import ProblemError, refusal_of_tensor


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
        if not usual(tensor) and (why := refusal_of_tensor(spec.name, tensor)):
            raise _refused(place, spec, why)
        shape = tensor.shape
        lead = len(shape) - len(spec.shape)
        if lead < 0 or shape[lead:] != spec.shape:
            hint = _order_hint(specs, tensors) or _column_hint(spec, tensor)
            raise _refused(place, spec, f"have shape batch + {spec.shape}, found {tuple(tensor.shape)}{hint}")
        batches.append(shape[:lead])
    devices = {tensor.device for tensor in tensors}
    if len(devices) > 1:
        raise ProblemError(
            f"all tensors must be on one device; found {', '.join(sorted(map(str, devices)))}: call .to(...) with one "
            "of them on each"
        )
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


def usual(tensor: Any) -> bool:
    """Whether :func:`layers.errors.refusal_of_tensor` has nothing to say: asked at every call, so briefly."""
    if isinstance(tensor, Tensor) and tensor.dtype is torch.float64 and type(tensor) is Tensor:
        return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_meta
    return refusal_of_tensor("", tensor) is None


def _refused(place: int, spec: ParameterSpec, why: str) -> ProblemError:
    return ProblemError(f"parameter {place} ({spec.name}) must {why}")


def _order_hint(specs: Sequence[ParameterSpec], tensors: Sequence[Any]) -> str:
    """Whether the same tensors would fit in another order."""
    left = [tuple(t.shape) for t in tensors if usual(t)]
    order: list[int] = []
    for spec in sorted(specs, key=lambda s: -len(s.shape)):
        k = len(spec.shape)
        fits = [i for i, shape in enumerate(left) if i not in order and shape[len(shape) - k :] == spec.shape]
        if not fits:
            return ""
        order.append(fits[0])
    names = ", ".join(spec.name for spec in specs)
    return f"; the shapes would fit in another order: pass {names}, as parameters were listed"


def _column_hint(spec: ParameterSpec, tensor: Tensor) -> str:
    """Whether the tensor would fit without a last axis of one, or transposed."""
    shape, k = tuple(tensor.shape), len(spec.shape)
    if shape[-1:] == (1,) and shape[len(shape) - k - 1 : -1] == spec.shape:
        return f"; pass {spec.name}.squeeze(-1)"
    return f"; pass {spec.name}.mT" if k == 2 and shape[-2:] == spec.shape[::-1] else ""
