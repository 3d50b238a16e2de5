"""Processes that run blocks, so that one which crashes or hangs takes nothing with it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from tests.adversary.campaign import HANG, SECONDS, Campaign, Report

#: a process that says nothing for so long by the clock waits for something
SILENT = 15 * SECONDS


def work(pipe: Connection, seed: int) -> None:
    """Block after block, as they are asked for: first what is about to run, then what it came to."""
    campaign = Campaign(seed)
    while True:
        number = pipe.recv()
        pipe.send(campaign.run(number, pipe.send))


class Worker:
    """A process, and the block that it is at."""

    def __init__(self, seed: int) -> None:
        self.seed, self.number = seed, 0
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=work, args=(theirs, self.seed), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, number: int) -> None:
        """Begin a block."""
        self.number, self.doing, self.heard = number, "starts", time.monotonic()
        self.pipe.send(number)

    def hear(self) -> Report | None:
        """The report of the block if there is one; a process that died or is silent is one too, and starts again."""
        try:
            if self.pipe.poll():
                what, self.heard = self.pipe.recv(), time.monotonic()
                if isinstance(what, Report):
                    return what
                self.doing = what
                return None
        except EOFError:
            self.process.join(5)
            return self._lost(f"the process died with exit status {self.process.exitcode}")
        if time.monotonic() - self.heard > SILENT:
            return self._lost(f"no answer in {SILENT} s")
        return None

    def _lost(self, why: str) -> Report:
        self.stop()
        where = f"seed {self.seed}, block {self.number}, {self.doing}"
        lost = Report(found=1, scripts={f"hang_{self.seed}_{self.number}": f'"""{why}: {where}."""\n'})
        lost.answers[self.doing, HANG] += 1
        self._start()
        return lost

    def stop(self) -> None:
        """End this process."""
        self.process.kill()
        self.process.join()


def reports(seed: int, first: int, count: int, end: float, processes: int) -> Iterator[Report]:
    """Those of consecutive blocks, in order, until so many are begun (0 for any number) or until the time ``end``."""
    idle, busy = [Worker(seed) for _ in range(processes)], list[Worker]()
    numbers = iter(range(first, first + count) if count else range(first, 2**31))
    done: dict[int, Report] = {}
    try:
        while True:
            while idle and (number := next(numbers, None) if time.monotonic() < end else None) is not None:
                worker = idle.pop()
                worker.ask(number)
                busy.append(worker)
            if not busy:
                return
            wait([worker.pipe for worker in busy], 1.0)
            for worker in list(busy):
                report = worker.hear()
                if report is not None:
                    done[worker.number] = report
                    busy.remove(worker)
                    idle.append(worker)
            while first in done:
                yield done.pop(first)
                first += 1
    finally:
        for worker in (*idle, *busy):
            worker.stop()
