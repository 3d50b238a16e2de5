"""Errors of the layer: one family, so that a caller can catch all of it with ``except LayerError``."""

from __future__ import annotations

import torch


class LayerError(Exception):
    """Base class of every error raised by :mod:`layers`."""


class ProblemError(LayerError, ValueError):
    """The data do not describe a convex quadratic program; the message names argument, expected and found."""


class SolverError(LayerError, RuntimeError):
    """At least one element of the batch was not solved; the message names the elements and their statuses."""


class DifferentiationError(LayerError, RuntimeError):
    """The linear system of a derivative could not be solved to the accuracy that is promised."""


class UnavailableError(LayerError, ImportError):
    """An optional third-party engine was asked for and its package cannot be used; the message says why."""


def remedy_of_dtype(name: str, dtype: torch.dtype) -> str:
    """What to do with the tensor ``name`` if its dtype is not a real floating one."""
    return f"pass {name}.real and {name}.imag by themselves" if dtype.is_complex else f"call {name}.double()"


def remedy_of_layout(name: str) -> str:
    """What to do with the tensor ``name`` if it is sparse."""
    return f"call {name}.to_dense(): its gradient is then dense too"


#: what is wrong with a tensor on the meta device
WITHOUT_VALUES = (
    "is on the meta device, where tensors have no values to solve with; create it on a device of its own"
)
