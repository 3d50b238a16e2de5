"""One thread for the BLAS of numpy and scipy while small matrices are decomposed.

Its threads share out products of microseconds and wait for each other in a loop. Where another process has taken a
core, each wait lasts until the scheduler comes round: a triangular solve of 200 rows took 16 ms, for 20 µs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import cache, wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
T = TypeVar("T")

_lock = Lock()
#: what the limit in force is to be lifted by, and how many calls are under it: threads of Python share it
_held: list[Any] = []
_calls = [0]


@contextmanager
def one_blas_thread() -> Generator[None]:
    """One thread inside; what it was before once the last call that asked for this is done."""
    with _lock:
        _calls[0] += 1
        if _calls[0] == 1:
            _held.append(_controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            _calls[0] -= 1
            if not _calls[0]:
                _held.pop().restore_original_limits()


def in_one_blas_thread(function: Callable[P, T]) -> Callable[P, T]:
    """The function, inside :func:`one_blas_thread`."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with one_blas_thread():
            return function(*args, **kwargs)

    return call


@cache
def _controller() -> ThreadpoolController:
    """The libraries that are loaded: looking for them takes milliseconds."""
    return ThreadpoolController()
