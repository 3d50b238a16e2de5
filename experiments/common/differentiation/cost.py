"""What each adjoint costs: seconds and peak memory of forward and backward, and the error bought with the time."""

import ctypes
import math
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.common.differentiation import exact, instances
from experiments.common.differentiation.instances import NAMES, Instance, Size
from experiments.common.differentiation.methods import Method, derivative, reason
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from layers import LayerError


@dataclass
class Cost:
    """Sizes that are timed; `n` and `batch` where the other one, or a setting, is swept."""

    n: int = 50  #: where the batch or a setting is swept [variables]
    batch: int = 16  #: where the size or a setting is swept [programs]
    sizes: list[int] = field(default_factory=lambda: [10, 20, 50, 100, 200])  #: sizes, swept [variables]
    batches: list[int] = field(default_factory=lambda: [1, 4, 16, 64, 256])  #: batches, swept [programs]
    repetitions: int = 9  #: of a measurement, whose median counts [times]
    budget: float = 2.0  #: for each measurement [s]

    def check(self) -> None:
        """Raise a `ConfigError` unless this can be timed."""
        for name in ("n", "batch", "repetitions"):
            require(getattr(self, name) > 0, f"cost.{name}", getattr(self, name), "a positive number")
        for name in ("sizes", "batches"):
            valid = len(getattr(self, name)) > 0 and min(getattr(self, name)) > 0
            require(valid, f"cost.{name}", getattr(self, name), "positive numbers")
        require(
            0 < self.budget < math.inf, "cost.budget", self.budget, "positive seconds for each measurement"
        )


@dataclass(frozen=True)
class Batch:
    """Instances of one size, and the arguments of a layer that hold all of them."""

    instances: list[Instance]
    data: tuple[Tensor, ...]
    w: Tensor

    @classmethod
    def drawn(cls, rng: np.random.Generator, n: int, count: int) -> "Batch":
        """`count` regular instances of n variables."""
        some = [instances.regular(rng, Size.of(n)) for _ in range(count)]
        data = tuple(_stacked(getattr(one, name) for one in some).requires_grad_() for name in NAMES)
        return cls(some, data, _stacked(one.w for one in some))

    def loss(self, method: Method) -> Tensor:
        """The sum over the batch of w'z*."""
        return (method.solve(*self.data) * self.w).sum()


def run_cost(
    settings: Cost, method: Method, seed: int, record: Recorder, beside: Method | None = None
) -> None:
    """Record times, memory and the front of one method; nothing else may run meanwhile.

    Where there is a method `beside` it, the time of its backward pass over that of the other is recorded by size.
    """
    rng = np.random.default_rng([seed, 3])
    sweeps = {
        "n": {n: Batch.drawn(rng, n, settings.batch) for n in settings.sizes},
        "batch": {count: Batch.drawn(rng, settings.n, count) for count in settings.batches},
    }
    for axis, batches in sweeps.items():
        for value, batch in batches.items():
            if not _record_cost(settings, method, batch, f"{axis}={value}", record):
                break
    _record_front(settings, method, Batch.drawn(rng, settings.n, settings.batch), record)
    if beside is None:
        return
    for n, batch in sweeps["n"].items():
        own, other = (times(settings, one, batch)[1] for one in (method, beside))
        record.timing(f"backward over that of {beside.name}, n={n}", own / other, "1")


def _record_cost(settings: Cost, method: Method, batch: Batch, place: str, record: Recorder) -> bool:
    """Record times and memory; whether something larger may be tried."""
    try:
        forward, backward = times(settings, method, batch)
    except LayerError as error:
        record.refusal(f"cost {place}", 0, reason(error))
        return False
    record.timing(f"forward {place}", forward)
    record.timing(f"backward {place}", backward)
    record_memory(method, batch, f"memory {place}", record)
    return forward + backward < settings.budget


def _record_front(settings: Cost, method: Method, batch: Batch, record: Recorder) -> None:
    """Record error, time and memory of the method and of its variants, and how memory grows with its iterations."""
    wanted, peaks = [exact.gradients(instance) for instance in batch.instances], dict[float, float]()
    for (setting, value), variant in ({("default", 0.0): method} | method.variants()).items():
        place = "pareto " + (setting if setting == "default" else f"{setting}={value:g}")
        try:
            error = _relative_error(batch, variant, wanted)
        except LayerError as refusal:
            record.refusal(place, 0, reason(refusal))
            continue
        record.metric("pareto_error", place, 0, error, "1")
        record.timing(place, sum(times(settings, variant, batch)))
        peak = record_memory(variant, batch, f"memory {place}", record)
        if peak is not None and setting in ("k", "tol"):
            count = float(variant.iterations(*batch.data)) if setting == "tol" else value
            record.metric("iterations", place, 0, count, "1")
            peaks[count] = peak
    if len(peaks) > 2 and len(set(peaks.values())) > 1:
        r = np.corrcoef(list(peaks), list(peaks.values()))[0, 1]
        record.timing("memory with iterations, correlation", float(r), "1")
        record.timing(
            "memory of an iteration", float(np.polyfit(list(peaks), list(peaks.values()), 1)[0]), "B"
        )


def times(settings: Cost, method: Method, batch: Batch) -> tuple[float, float]:
    """Median seconds of forward and of backward; the first run counts only if it takes all the time there is."""
    spent: list[tuple[float, float]] = []
    end = time.perf_counter() + settings.budget
    while len(spent) <= settings.repetitions and (not spent or time.perf_counter() < end):
        begin = time.perf_counter()
        loss = batch.loss(method)
        middle = time.perf_counter()
        derivative(loss, batch.data)
        spent.append((middle - begin, time.perf_counter() - middle))
    forward, backward = zip(*(spent[1:] or spent), strict=True)
    return statistics.median(forward), statistics.median(backward)


def peak_memory(work: Callable[[], object]) -> float | None:
    """Bytes by which the resident memory of this process rises at most during `work`; None where nobody counts them.

    Linux keeps the high-water mark of a process and lets it reset its own; what was freed before is given back first,
    so that it does not hide what is needed now.
    """
    mark = Path("/proc/self/clear_refs")
    if sys.platform != "linux" or not mark.exists():
        return None
    ctypes.CDLL(None).malloc_trim(0)
    mark.write_text("5", encoding="utf-8")
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def record_memory(method: Method, batch: Batch, phase: str, record: Recorder) -> float | None:
    """Record the peak memory of forward and backward under `phase`, and return it."""
    peak = peak_memory(lambda: derivative(batch.loss(method), batch.data))
    if peak is not None:
        record.timing(phase, peak, "B")
    return peak


def _relative_error(batch: Batch, method: Method, wanted: list[dict[str, np.ndarray]]) -> float:
    """Euclidean distance of all gradients of the batch together, over the length of what is wanted."""
    found = derivative(batch.loss(method), batch.data)
    exactly = [_stacked(one[name] for one in wanted) for name in NAMES]
    wrong = sum(float((g - e).square().sum()) for g, e in zip(found, exactly, strict=True))
    return math.sqrt(wrong / sum(float(e.square().sum()) for e in exactly))


def _stacked(arrays: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(list(arrays)))


def _status(field_: str) -> float:
    text = Path("/proc/self/status").read_text("utf-8")
    found = re.search(rf"^{field_}:\s+(\d+) kB", text, re.MULTILINE)
    assert found is not None, f"/proc/self/status has no {field_}"
    return 1024 * float(found.group(1))
