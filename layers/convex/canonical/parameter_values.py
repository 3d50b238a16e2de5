"""What a parameter was declared to be, and whether a value is that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from layers.errors import ProblemError
from layers.modes.look import look

#: a declared property may be missed by this much relative to the largest entry, or by this many roundings of the dtype
SLACK, ROUNDINGS = 1e-9, 10


@dataclass(frozen=True)
class ParameterSpec:
    """What a parameter was declared to be.

    Attributes
    ----------
    name : str
    shape : tuple of int
    attributes : frozenset of str
        Of nonneg, nonpos, pos, neg, symmetric, PSD, NSD, diag.
    outside : array of bool, shape ``shape``, optional
        Entries that a sparse parameter does not have.
    lower, upper : array, shape ``shape``, optional
        Declared bounds.
    """

    name: str
    shape: tuple[int, ...]
    attributes: frozenset[str]
    outside: np.ndarray | None
    lower: np.ndarray | None
    upper: np.ndarray | None

    @classmethod
    def of(cls, parameter: cp.Parameter) -> ParameterSpec:
        """Read the declaration of a CVXPY parameter."""
        kinds = ("nonneg", "nonpos", "pos", "neg", "symmetric", "PSD", "NSD", "diag")
        outside = None
        if parameter.attributes["sparsity"]:
            outside = np.ones(parameter.shape, dtype=bool)
            outside[parameter.sparse_idx] = False
        bounds: Any = parameter.attributes["bounds"] or (None, None)
        lower, upper = (None if v is None else np.broadcast_to(v, parameter.shape).copy() for v in bounds)
        declared = frozenset(kind for kind in kinds if parameter.attributes[kind])
        return cls(parameter.name(), tuple(parameter.shape), declared, outside, lower, upper)

    @cached_property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @cached_property
    def declared(self) -> bool:
        """Whether anything is said of its values."""
        return bool(self.attributes) or any(v is not None for v in (self.outside, self.lower, self.upper))

    @cached_property
    def symmetric(self) -> bool:
        """Whether its values are symmetric matrices."""
        return bool(self.attributes & {"symmetric", "PSD", "NSD"})


def inspect_values(specs: Sequence[ParameterSpec], tensors: Sequence[Tensor]) -> None:
    """Refuse values that are not those that the parameters were declared to have, also under ``torch.func.vmap``.

    Raises
    ------
    ProblemError
        Naming the parameter, the property and the batch element.
    """

    def check(*values: Tensor) -> None:
        for spec, value in zip(specs, values, strict=True):
            check_values(spec, value)

    look(check, *tensors)


def check_values(spec: ParameterSpec, value: Tensor) -> None:
    """Refuse values that are not finite, or not what the parameter was declared to be.

    Raises
    ------
    ProblemError
        Naming the parameter, the property and the batch element.
    """
    precision = torch.finfo(value.dtype).eps
    value = value.double()  # torch factorises no numbers of 16 bits
    lead = value.dim() - len(spec.shape)
    _require(torch.isfinite(value), lead, spec, "finite")
    if not spec.declared or value.numel() == 0:
        return
    scale = value.abs().unsqueeze(-1).flatten(lead).amax(-1)
    tolerance = max(SLACK, ROUNDINGS * precision) * scale
    room = tolerance.reshape((*tolerance.shape, *([1] * len(spec.shape))))
    signs = {"nonneg": value >= -room, "nonpos": value <= room, "pos": value > 0, "neg": value < 0}
    for name, holds in signs.items():
        if name in spec.attributes:
            _require(holds, lead, spec, name)
    if spec.lower is not None:
        _require(
            value >= torch.as_tensor(spec.lower, device=value.device).to(value) - room,
            lead,
            spec,
            "within its lower bounds",
        )
    if spec.upper is not None:
        _require(
            value <= torch.as_tensor(spec.upper, device=value.device).to(value) + room,
            lead,
            spec,
            "within its upper bounds",
        )
    if spec.outside is not None:
        outside = torch.as_tensor(spec.outside, device=value.device)
        _require((value == 0) | ~outside, lead, spec, "zero outside its sparsity pattern")
    if "diag" in spec.attributes:
        eye = torch.eye(spec.shape[-1], dtype=torch.bool, device=value.device)
        _require((value == 0) | eye, lead, spec, "diagonal")
    if spec.symmetric:
        _require((value - value.mT).abs() <= room, lead, spec, "symmetric; pass 0.5 * (M + M.mT)")
    for name, sign in (("PSD", 1.0), ("NSD", -1.0)):
        if name in spec.attributes:
            _check_definite(spec, lead, sign * 0.5 * (value + value.mT), room, name)


def _check_definite(spec: ParameterSpec, lead: int, matrix: Tensor, room: Tensor, name: str) -> None:
    n = matrix.shape[-1]
    shift = (n * room + torch.finfo(matrix.dtype).tiny) * torch.eye(
        n, dtype=matrix.dtype, device=matrix.device
    )
    if (torch.linalg.cholesky_ex(matrix + shift).info == 0).all():
        return
    # Cholesky can stumble over rounding: only an eigenvalue decides.
    smallest = torch.linalg.eigvalsh(matrix)[..., 0]
    kind = "positive" if name == "PSD" else "negative"
    holds = smallest >= -n * room[..., 0, 0]
    _require(holds[..., None, None].expand_as(matrix), lead, spec, f"{name} ({kind} semidefinite)")


def _require(holds: Tensor, lead: int, spec: ParameterSpec, what: str) -> None:
    if holds.all():
        return
    bad = ~holds.unsqueeze(-1).flatten(lead).all(-1)
    where = f" in batch element {tuple(bad.nonzero()[0].tolist())}" if lead else ""
    raise ProblemError(f"parameter {spec.name} must be {what}; its value is not{where}")
