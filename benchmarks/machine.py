"""The machine, described without its name, and the two speeds that bound every engine on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib import metadata

import numpy as np
import torch
from threadpoolctl import threadpool_info

from experiments.common.provenance import processor

#: distributions that no experiment uses
PEERS = (
    *("proxsuite", "libdqp", "qpsolvers", "daqp", "piqp", "quadprog"),
    *("elastiqp", "pounce-solver", "ffolayer", "osqp"),
)


def describe() -> str:
    """Processor and number of cores, for example ``AMD EPYC, 2 cores``."""
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores"


def accelerator() -> str:
    """Name of the CUDA device; empty without one."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def peer_versions() -> dict[str, str | None]:
    """Versions of the peers that no experiment uses; None where one is missing."""
    found: dict[str, str | None] = {}
    for name in PEERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def matrix_product_peak(n: int = 1536) -> tuple[float, str]:
    """Floating-point operations per second of the faster float64 matrix product here, best of five, and its kernel."""
    left, right = torch.rand(n, n, dtype=torch.float64), torch.rand(n, n, dtype=torch.float64)
    a, b = left.numpy(), right.numpy()
    found = {
        _kernel("torch"): _best(lambda: torch.mm(left, right)),
        _kernel("numpy"): _best(lambda: np.matmul(a, b)),
    }
    name = min(found, key=found.__getitem__)
    return 2 * n**3 / found[name], name


def _kernel(package: str) -> str:
    """The library behind the matrix product of torch or numpy, and the processor that its code is for."""
    if package == "torch" and torch.backends.mkl.is_available():
        return f"MKL in torch, {torch.backends.cpu.get_cpu_capability()}"
    for library in threadpool_info():
        if library["user_api"] == "blas" and f"/{package}" in library["filepath"]:
            return f"{library['internal_api']} {library['version']} in {package}, {library.get('architecture', '')}"
    return package


def copy_peak(n: int = 2**25) -> float:
    """Bytes per second that a copy of an array too large for the caches reads and writes, best of five."""
    source = torch.rand(n, dtype=torch.float64)
    target = torch.empty_like(source)
    return 2 * 8 * n / _best(lambda: target.copy_(source))


def _best(work: Callable[[], object], repeats: int = 5) -> float:
    times: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def dense_floor(
    batch: int, n: int, m: int, p: int, iterations: float, peak: float, bandwidth: float
) -> float:
    """Seconds below which no dense interior-point solve of `iterations` steps can come on this machine.

    Operations of a step: G'DG by halves mn^2, Cholesky n^3/3, the Schur complement of A pn^2 + p^2n + p^3/3, two
    directions 2(2n^2 + 4mn + 4pn). Bytes: the data once. The larger of the two times counts; an engine that uses
    structure may go below.
    """
    step = m * n**2 + n**3 / 3 + p * n**2 + p**2 * n + p**3 / 3 + 2 * (2 * n**2 + 4 * m * n + 4 * p * n)
    data = 8 * (n * n + m * n + p * n)
    return max(batch * iterations * step / peak, batch * data / bandwidth)
