"""Processes that share work: they end with the process that started them, and none of them can be lost unnoticed."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from experiments.common.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")


def shared(
    work: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[tuple[Item, Result]]:
    """Each of `items` with `work(item)`, as they are finished, computed in so many `processes`.

    Raises
    ------
    ConfigError
        If a process was killed; what `work` raises in a process is raised here.
    """
    # A forked process would inherit torch's thread pool in an undefined state, hence spawn.
    context, left = multiprocessing.get_context("spawn"), list(reversed(items))
    started: list[BaseProcess] = []
    busy: dict[Connection, Item] = {}
    try:
        for _ in range(min(processes, len(items))):
            ours, theirs = context.Pipe()
            started.append(context.Process(target=_serve, args=(theirs, work), daemon=True))
            started[-1].start()
            theirs.close()
            _give(ours, left, busy)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                item = busy.pop(connection)
                yield item, _answer(connection, item)
                _give(connection, left, busy)
    finally:
        for process in started:
            process.kill()
            process.join()


def _give(connection: Connection, left: list[Any], busy: dict[Connection, Any]) -> None:
    if left:
        busy[connection] = left.pop()
        try:
            connection.send(busy[connection])
        except BrokenPipeError as error:
            raise _lost(busy[connection]) from error


def _answer(connection: Connection, item: Any) -> Any:
    try:
        result, error = connection.recv()
    except (EOFError, ConnectionResetError) as ended:
        raise _lost(item) from ended
    if error is not None:
        raise error
    return result


def _lost(item: Any) -> ConfigError:
    return ConfigError(
        f"the process that computed {item} was killed, perhaps for want of memory; what is finished is kept, "
        "the same command goes on from there (workers=1 needs the least memory)"
    )


def _serve(connection: Connection, work: Callable[[Any], Any]) -> None:
    # An interruption from the keyboard reaches every process of the terminal: it is left to the parent, which ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            answer = (work(item), None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            error.add_note("".join(traceback.format_exception(error)))
            answer = (None, error)
        connection.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
