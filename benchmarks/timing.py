"""Stopwatch: engines in turn, again and again, so that a slow minute of the machine is everybody's."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

#: seconds; a longer call does not feel what was in the caches before it
SHORT = 0.05
#: seconds of such calls before the one that counts: the second call after another engine's still takes a third more
#: than the tenth
SETTLING = 0.02


@dataclass(frozen=True)
class Trial:
    """One call, ready to be made: what `prepare` of a subject returns.

    Attributes
    ----------
    forward : callable
        ``() -> outputs``.
    leaves : sequence of Tensor
        What gradients are asked of.
    cotangents : sequence of Tensor
        Of the first so many outputs.
    """

    forward: Callable[[], Sequence[Tensor]]
    leaves: Sequence[Tensor]
    cotangents: Sequence[Tensor]


@dataclass(frozen=True)
class Sample:
    """Outputs and gradients of a trial, and the seconds that forward and backward took."""

    outputs: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]
    forward: float
    backward: float

    @property
    def both(self) -> float:
        """Seconds of forward and backward together."""
        return self.forward + self.backward


Prepare = Callable[[int], Trial]


def run_once(trial: Trial) -> Sample:
    """Forward, then backward, each timed; on CUDA until the device is done."""
    device = trial.leaves[0].device
    _wait(device)
    start = time.perf_counter()
    outputs = tuple(trial.forward())
    _wait(device)
    middle = time.perf_counter()
    gradients = torch.autograd.grad(outputs[: len(trial.cotangents)], trial.leaves, trial.cotangents)
    _wait(device)
    end = time.perf_counter()
    return Sample(tuple(x.detach() for x in outputs), gradients, middle - start, end - middle)


def run_alone(trial: Trial) -> Sample:
    """Forward as it is without training: no gradient is asked for, and none prepared."""
    device = trial.leaves[0].device
    with torch.no_grad():
        _wait(device)
        start = time.perf_counter()
        outputs = tuple(trial.forward())
        _wait(device)
        return Sample(outputs, (), time.perf_counter() - start, 0.0)


def interleaved(
    subjects: Mapping[str, Prepare],
    rounds: int,
    seconds: float,
    least: int = 3,
    once: Callable[[Trial], Sample] = run_once,
) -> dict[str, list[Sample]]:
    """Time every subject in turn, `rounds` times at most, each turn after calls of the same one that do not count.

    In a training loop a layer follows itself; here it would follow another engine, whose code and data fill the caches
    and whose threads may still be spinning. Calls are made until that is over, and left out where it could not matter.
    Every round has an order of its own, the same in every run: whoever always followed one neighbour would bear that
    one's traces.

    Parameters
    ----------
    subjects : mapping
        Name to ``draw -> Trial``. Rounds alternate between draws 0 and 1. Warmed up by the caller.
    rounds : int
        Largest number of rounds.
    seconds : float
        A subject that has used up so much sits out, once it has `least` samples.
    least : int
        Smallest number of samples.
    once : callable
        :func:`run_once`, or :func:`run_alone`.

    Returns
    -------
    dict
        Samples without their tensors, by subject.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    turns = Random(0)
    with _little_garbage():
        for k in range(rounds):
            for name, prepare in turns.sample(list(subjects.items()), len(subjects)):
                so_far = samples[name]
                if len(so_far) >= least and sum(s.both for s in so_far) > seconds:
                    continue
                gc.collect()
                if not so_far or so_far[-1].both < SHORT:
                    _settle(prepare, k + 1, once)
                found = once(prepare(k % 2))
                so_far.append(Sample((), (), found.forward, found.backward))
    return samples


def _settle(prepare: Prepare, draw: int, once: Callable[[Trial], Sample]) -> None:
    start = time.perf_counter()
    while True:
        once(prepare(draw % 2))
        if time.perf_counter() - start > SETTLING:
            return
        draw += 1


@contextmanager
def _little_garbage() -> Generator[None]:
    """No collection of garbage unless asked for, and then of what is new alone, which takes no time."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], rounds: int, seconds: float, least: int = 3) -> list[float]:
    """Seconds of something without a backward pass, after a warm-up, as often as :func:`interleaved` would."""
    work()
    times: list[float] = []
    while len(times) < least or (len(times) < rounds and sum(times) < seconds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times
