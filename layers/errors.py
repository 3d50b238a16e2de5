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
