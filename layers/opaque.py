"""Functions that torch.compile is not to look into: how often they iterate depends on the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


def opaque(function: Callable[P, R]) -> Callable[P, R]:
    """Break the graph of torch.compile at this function; outside of it, call the function itself.

    Notes
    -----
    ``torch.compiler.disable`` alone costs at every call, compiled or not, about a fifth of a small solve.
    """
    hidden = cast("Callable[P, R]", torch.compiler.disable(function))

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return hidden(*args, **kwargs) if torch.compiler.is_compiling() else function(*args, **kwargs)

    return call
