"""Functions that torch is not to look into: how often they iterate depends on the data.

``torch.compile`` breaks its graph there. ``torch.jit.trace`` has no way to: what it records is the solution of its
example, as a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch._C._dynamo import eval_frame

from layers.errors import LayerError

P = ParamSpec("P")
R = TypeVar("R")

_skip = eval_frame._FrameAction.SKIP  # pyright: ignore[reportPrivateUsage]
#: of a frame, and of every frame that it calls
SKIP = eval_frame._FrameExecStrategy(_skip, _skip)  # pyright: ignore[reportPrivateUsage]
OPAQUE = "how often a solver iterates depends on the data; leave out fullgraph=True, or strict=True"
TRACED = (
    "torch.jit.trace keeps the solution of its example and would answer every later call with it. Use torch.export or "
    "torch.compile, or save the module itself by torch.save"
)


def refuse_tracing() -> None:
    """Raise where what is computed would be recorded as a constant.

    Raises
    ------
    LayerError
        Under ``torch.jit.trace``.
    """
    if torch._C._get_tracing_state():  # pyright: ignore[reportPrivateUsage]
        raise LayerError(TRACED)


def opaque(function: Callable[P, R]) -> Callable[P, R]:
    """Break the graph of torch.compile at this function; outside of it, call the function itself.

    Raises
    ------
    LayerError
        Under ``torch.jit.trace``.

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
        return hidden(*args, **kwargs) if torch.compiler.is_compiling() else function(*args, **kwargs)

    return call
