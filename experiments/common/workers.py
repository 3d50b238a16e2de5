"""Processes that share work: they end with the process that started them, and none of them can be lost unnoticed."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

from experiments.common.errors import ConfigError
from experiments.common.watch import listening

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Position(NamedTuple):
    """A word on the way: how far the training of an item is."""

    done: int
    of: int


def shared(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    processes: int,
    hears: Callable[[Item, int, int], None] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Each of `items` with `work(item)`, as they are finished, computed in so many `processes`.

    `hears(item, done, of)` is told how far the trainings of an item are (common/watch.py).

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
            started.append(
                context.Process(target=_serve, args=(theirs, work, hears is not None), daemon=True)
            )
            started[-1].start()
            theirs.close()
            _give(ours, left, busy)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                answer = _answer(connection, busy[connection])
                if isinstance(answer, _Position):
                    assert hears is not None
                    hears(busy[connection], *answer)
                    continue
                yield busy.pop(connection), answer
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
        received = connection.recv()
    except (EOFError, ConnectionResetError) as ended:
        raise _lost(item) from ended
    if isinstance(received, _Position):
        return received
    result, error = received
    if error is not None:
        raise error
    return result


def _lost(item: Any) -> ConfigError:
    return ConfigError(
        f"the process that computed {item} was killed, perhaps for want of memory; what is finished is kept, "
        "the same command goes on from there (workers=1 needs the least memory)"
    )


def _serve(connection: Connection, work: Callable[[Any], Any], tells: bool) -> None:
    # An interruption from the keyboard reaches every process of the terminal: it is left to the parent, which ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            with listening((lambda done, of: connection.send(_Position(done, of))) if tells else None):
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
