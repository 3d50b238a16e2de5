"""Threads: one for the BLAS of numpy and scipy while small matrices are decomposed, several for elements of a batch.

Those of a BLAS share out products of microseconds and wait for each other in a loop. Where another process has taken a
core, each wait lasts until the scheduler comes round: a triangular solve of 200 rows took 16 ms, for 20 µs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial, wraps
from threading import Event, Lock
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


def shared_out(work: Callable[[Event, int], T], count: int, threads: int, *, long: bool = False) -> list[T]:
    """``[work(stop, 0), …, work(stop, count − 1)]``, on so many threads; what is ``long`` never on the caller's.

    Worth it for what leaves the lock of the interpreter alone, as Clarabel and QDLDL do. An interrupt reaches only the
    thread that waits: it sets ``stop``, which long work has to look at now and then, and is raised when that has ended.
    """
    stop = Event()
    if count < 2 - long or (threads < 2 and not long):
        return [work(stop, i) for i in range(count)]
    with ThreadPoolExecutor(min(threads, count)) as pool:
        try:
            return list(pool.map(partial(work, stop), range(count)))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


@cache
def _controller() -> ThreadpoolController:
    """The libraries that are loaded: looking for them takes milliseconds."""
    return ThreadpoolController()
