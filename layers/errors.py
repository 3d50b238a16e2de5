"""Errors of the layer: one family, so that a caller can catch all of it with ``except LayerError``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy


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


#: the dtypes that a layer takes, and gives back: those of eight bits hold no answer, and one of them has no sign
FLOATING = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
#: tensors that are what they hold; whatever else there is, is looked at
PLAIN = frozenset({Tensor, torch.nn.Parameter})
#: where there is nothing to solve
OUTSIDE = "call the layer outside of FakeTensorMode, or let torch.compile or torch.export ask for the shapes"
QUANTIZED = frozenset({torch.qint8, torch.quint8, torch.qint32})


def refusal_of_tensor(name: str, value: object, *, sparse: bool = False) -> str | None:
    """Why a layer does not take ``value`` for the argument ``name``, and what to pass; None if it does.

    A sparse tensor it takes where ``sparse``.
    The sentence begins after "must".
    """
    if not isinstance(value, Tensor):
        if type(value).__module__ == "torch.fx.proxy":
            return (
                "hold numbers, and torch.fx.symbolic_trace calls the model without any: make the layer a leaf in the "
                "is_leaf_module of a torch.fx.Tracer, or use torch.export or torch.compile"
            )
        return f"be a torch.Tensor, found {type(value).__name__}; pass {_converted(name, value)}"
    if wraps(value):
        return _plain(value)
    if is_lazy(value):
        return (
            f"have a shape, found {type(value).__name__}; call the lazy module that it belongs to once before"
        )
    if value.is_nested:
        return f"be one array, found a nested tensor; pass torch.nested.to_padded_tensor({name}, 0.0), or its parts"
    if value.layout is not torch.strided and not sparse:
        return (
            f"be dense, found layout {value.layout}; call {name}.to_dense(). Where few entries in fixed places are not "
            "zero, ConvexLayer with cvxpy.Parameter(shape, sparsity=(rows, columns)) keeps only them"
        )
    if value.is_meta:
        return (
            f"hold numbers, and a tensor on the meta device has none; pass torch.zeros_like({name}, device='cpu') "
            "with the numbers filled in, or call .to_empty(device='cpu') on the module that owns it and initialise it"
        )
    if value.dtype not in FLOATING:
        return f"have a real floating dtype (float32 or float64), found {value.dtype}; {_real(name, value.dtype)}"
    return None


def refuse_inference(error: RuntimeError, tensors: Mapping[str, object]) -> None:
    """Say which of the tensors torch cannot keep for a derivative, if that is the error; else do nothing.

    Raises
    ------
    ProblemError
    """
    if isinstance(error, LayerError) or "nference tensor" not in str(error):
        return
    made = [name for name, value in tensors.items() if isinstance(value, Tensor) and value.is_inference()]
    if made:
        remedy = " and ".join(f"{name}.clone()" for name in made)
        raise ProblemError(
            f"{', '.join(made)} must not come from torch.inference_mode() where another tensor needs a gradient: torch "
            f"keeps none of them for a derivative; pass {remedy}"
        ) from error


def wraps(value: Tensor) -> bool:
    """Whether operations on this subclass of tensors are its own, as of those that have no memory of their own."""
    own = type(value).__torch_dispatch__ is not torch._C._disabled_torch_dispatch_impl  # pyright: ignore
    return type(value) not in PLAIN and own and not torch.compiler.is_compiling()


def refuse_wrapped(name: str, value: Tensor) -> None:
    """Refuse a tensor whose numbers are elsewhere.

    Raises
    ------
    ProblemError
    """
    if wraps(value):
        raise ProblemError(f"{name} must {_plain(value)}")


def _plain(value: Tensor) -> str:
    if type(value).__name__ == "FakeTensor":
        return f"hold numbers, and a FakeTensor has none; {OUTSIDE}"
    return (
        f"be a plain tensor, found {type(value).__name__}, whose numbers are elsewhere; pass what it holds, as "
        ".full_tensor() of a DTensor"
    )


def _converted(name: str, value: object) -> str:
    """How to make a tensor of something else."""
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):  # pyright: ignore[reportUnknownVariableType]
        return f"torch.stack({name})"
    return f"torch.as_tensor({name}, dtype=torch.float64)"


def _real(name: str, dtype: torch.dtype) -> str:
    """How to make a tensor of a real floating dtype of one of another dtype."""
    if dtype.is_complex:
        return f"pass {name}.real and {name}.imag by themselves"
    return f"call {name}{'.dequantize()' if dtype in QUANTIZED else ''}.double()"
