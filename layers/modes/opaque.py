"""Functions that torch is not to look into: how often they iterate depends on the data.

``torch.compile`` breaks its graph there. ``torch.jit.trace`` has no way to, nor has ``make_fx``, on which
``torch.func.linearize`` stands: what they record is the solution of their example, as a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch._C._dynamo import eval_frame

from layers.errors import OUTSIDE, LayerError

P = ParamSpec("P")
R = TypeVar("R")

_skip = eval_frame._FrameAction.SKIP  # pyright: ignore[reportPrivateUsage]
#: of a frame, and of every frame that it calls
SKIP = eval_frame._FrameExecStrategy(_skip, _skip)  # pyright: ignore[reportPrivateUsage]
#: how many modes are between tensors and their numbers
modes = torch._C._len_torch_dispatch_stack  # pyright: ignore[reportPrivateUsage]
_mode = torch._C._get_dispatch_mode  # pyright: ignore[reportPrivateUsage]
_Mode = torch._C._TorchDispatchModeKey  # pyright: ignore[reportPrivateUsage]
OPAQUE = "how often a solver iterates depends on the data; leave out fullgraph=True, or strict=True"
TRACED = (
    "torch.jit.trace keeps the solution of its example and would answer every later call with it. Use torch.export or "
    "torch.compile, or save the module itself by torch.save"
)
RECORDED = (
    "torch.func.linearize and make_fx keep the solution of their example as a constant, and would be wrong at the next "
    "call. Use torch.func.jvp or vjp, torch.compile or torch.export"
)
FAKE = f"inside of FakeTensorMode there is nothing to solve: {OUTSIDE}"


def refuse_tracing() -> None:
    """Raise where what is computed would be recorded as a constant.

    Raises
    ------
    LayerError
        Under ``torch.jit.trace``.
    """
    if torch._C._get_tracing_state():  # pyright: ignore[reportPrivateUsage]
        raise LayerError(TRACED)


def refuse_recording() -> None:
    """The same of modes that stand between tensors and their numbers.

    Raises
    ------
    LayerError
        Under ``make_fx`` and ``torch.func.linearize``, and inside of ``FakeTensorMode``.
    """
    if modes() and not torch.compiler.is_compiling():
        if _mode(_Mode.PROXY) is not None:
            raise LayerError(RECORDED)
        if _mode(_Mode.FAKE) is not None:
            raise LayerError(FAKE)


def refuse_export(found: str, instead: str) -> None:
    """Raise where torch.export asks for the shapes of what it cannot keep.

    Raises
    ------
    LayerError
    """
    if torch.compiler.is_exporting():
        raise LayerError(
            f"torch.export does not take {found}: pass {instead}, or save the module itself by torch.save"
        )


def opaque(function: Callable[P, R]) -> Callable[P, R]:
    """Break the graph of torch.compile at this function; outside of it, call the function itself.

    Raises
    ------
    LayerError
        Where :func:`refuse_tracing` and :func:`refuse_recording` raise.

    Notes
    -----
    ``torch.compiler.disable`` alone costs at every call, compiled or not, about a fifth of a small solve.
    """

    # What torch.compiler.disable does, without loading the whole of the compiler for it, which took two thirds of the
    # time of `import layers`: the compiler breaks its graph at `hidden` and looks into no frame below.
    def hidden(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    vars(hidden).update(_torchdynamo_disable=True, _torchdynamo_disable_msg=OPAQUE)
    eval_frame.set_code_exec_strategy(hidden.__code__, SKIP)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        refuse_tracing()
        if not torch.compiler.is_dynamo_compiling():
            refuse_recording()
        # Inside of a transform the compiler leaves this frame alone and yet looks at those that it calls.
        compiled = torch.compiler.is_compiling() or eval_frame.get_eval_frame_callback() is not None
        return hidden(*args, **kwargs) if compiled else function(*args, **kwargs)

    return call
