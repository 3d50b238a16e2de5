"""Processes that run blocks, so that one which crashes or hangs takes nothing with it."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from tests.adversary.campaign import HANG, SECONDS, Campaign, Report


def work(pipe: Connection, seed: int, first: int, step: int) -> None:
    """Block after block, until the parent ends this process: first what is about to run, then what it came to."""
    campaign, number = Campaign(seed), first
    while True:
        pipe.send((number, "starts"))
        pipe.send((number, campaign.run(number, lambda what, n=number: pipe.send((n, what)))))
        number += step


class Worker:
    """A process, and the last block that it began."""

    def __init__(self, seed: int, first: int, step: int) -> None:
        self.seed, self.step = seed, step
        self.number, self.doing, self.heard = first, "starts", time.monotonic()
        self._start(first)

    def _start(self, first: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=work, args=(theirs, self.seed, first, self.step), daemon=True
        )
        self.process.start()
        theirs.close()
        self.heard = time.monotonic()

    def hear(self, seconds: float) -> Report | None:
        """The report of a block if there is one; a process that died or is silent is one too, and starts again."""
        try:
            if self.pipe.poll(seconds):
                self.number, what = self.pipe.recv()
                self.heard = time.monotonic()
                if isinstance(what, Report):
                    return what
                self.doing = what
                return None
        except EOFError:
            return self._again("")
        if time.monotonic() - self.heard > 3 * SECONDS:
            return self._again(f"no answer in {3 * SECONDS} s")
        return None

    def _again(self, why: str) -> Report:
        if not why:
            self.process.join(5)
            why = f"the process died with exit status {self.process.exitcode}"
        self.stop()
        where = f"seed {self.seed}, block {self.number}, {self.doing}"
        lost = Report(found=1, scripts={f"hang_{self.seed}_{self.number}": f'"""{why}: {where}."""\n'})
        lost.answers[self.doing, HANG] += 1
        self.number += self.step
        self._start(self.number)
        return lost

    def stop(self) -> None:
        """End this process."""
        self.process.kill()
        self.process.join()
