"""What is made once and used in later calls too: it must not remember how the call that made it was made.

A tensor of ``torch.inference_mode`` cannot be saved for a backward pass, ever; one of ``torch.set_default_device`` lies
on that device; one of ``torch.export`` has no values; one of ``torch.func`` belongs to a transform that is over. A
cache that is filled under any of these spoils every call after it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch.utils._python_dispatch import (
    _disable_current_modes,  # pyright: ignore[reportPrivateUsage]
)

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def lasting() -> Generator[None]:
    """Inside, tensors are those of no mode, and on the CPU unless they name a device."""
    with (
        torch.inference_mode(mode=False),
        torch.device("cpu"),
        _disable_current_modes(),
        torch._C._DisableFuncTorch(),  # pyright: ignore[reportPrivateUsage]
    ):
        yield


def made_once(size: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """``functools.lru_cache`` for a function whose value holds tensors."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @lru_cache(maxsize=size)
        @wraps(function)
        def make(*args: Any, **kwargs: Any) -> R:
            with lasting():
                return function(*args, **kwargs)

        return cast("Callable[P, R]", make)

    return decorate
