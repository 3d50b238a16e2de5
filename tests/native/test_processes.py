"""The core among signals, forks, threads and limits: it answers, or is interrupted; the process goes on."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from layers import solve_qp
from tests.layers.instances import leaves, random_qp, weigh
from tests.native.conftest import PATIENCE, ROOT, Child

PROBLEM = """
import numpy as np, torch
from layers import solve_qp

def problem(n, batch):
    g = torch.Generator().manual_seed(0)
    G, q = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((2 * n, n), (batch, n)))
    return torch.eye(n, dtype=torch.float64), q, G, torch.ones(2 * n, dtype=torch.float64)
"""

#: minutes of work on any machine, in one call
LONG = (
    PROBLEM
    + """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
torch.set_num_threads(int(sys.argv[1]))
small, long = problem(5, 20), problem(200, 20_000)
before = solve_qp(*small, solver="native").z
try:
    print("started", flush=True)
    solve_qp(*long, solver="native")
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert torch.equal(solve_qp(*small, solver="native").z, before)
print("answers again", flush=True)
"""
)


@pytest.mark.parametrize("threads", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_interrupt_stops_a_long_solve_and_the_process_goes_on(threads: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", LONG, str(threads)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    # it would work for minutes: an interrupt that only counted afterwards would run out of patience
    alarm = threading.Timer(PATIENCE / 4, child.kill)
    alarm.start()
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        interrupt = threading.Timer(0.3, child.send_signal, [signal.SIGINT])
        interrupt.start()
        assert child.stdout.read() == "interrupted\nanswers again\n"
        assert child.wait() == 0
    finally:
        alarm.cancel()
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.mark.slow
def test_memory_does_not_grow_with_calls(child: Child) -> None:
    program = """
import resource
import numpy as np
from layers.native import _core
rng = np.random.default_rng(0)
B, n, m = 200, 10, 20
data = (np.eye(n), rng.normal(size=(B, n)), rng.normal(size=(m, n)), np.ones(m), np.zeros((0, n)), np.zeros(0))
r = [np.ones((B, k)) for k in (n, m, 0)]

def call(times):
    for _ in range(times):
        solved = _core.solve(*data, B, 1e-8, 1e-9, 100, 2, None)
        z, lam, nu, _, _, _, kind, status, _ = solved.arrays()
        assert not status.any()
        _core.solve(*data, B, 1e-8, 1e-9, 100, 1, (z, lam, nu, 1.0 * (lam == 0)))
        system = data[0], data[2], data[4], kind, status
        _core.solve_linearised(*system, *r, True, 1)
        solved.pull_back(data[0], data[2], data[4], *r, (True, True, True), 2, 2)
        try:
            _core.solve(*data, B + 1, 1e-8, 1e-9, 100, 1, None)
        except ValueError:
            continue
        raise AssertionError

call(200)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
call(1000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / before)
"""
    # one array of a batch kept per call would come to 16 MB, a tenth of the process
    assert float(child(program)) < 0.03


def test_a_forked_process_solves(child: Child) -> None:
    # two threads of the core; torch with more than one of its own cannot go on after a fork, with or without us
    program = """
import multiprocessing
import numpy as np
from layers.native import _core
rng = np.random.default_rng(0)
B, n, m = 200, 20, 40
data = (np.eye(n), rng.normal(size=(B, n)), rng.normal(size=(m, n)), np.ones(m), np.zeros((0, n)), np.zeros(0))

def answer():
    return _core.solve(*data, B, 1e-8, 1e-9, 100, 2, None).z()

expected = answer()

def work(_):
    return np.array_equal(answer(), expected)

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(work, range(4)))
assert np.array_equal(answer(), expected)
"""
    assert child(program).strip() == "[True, True, True, True]"


@pytest.mark.slow
def test_workers_of_a_data_loader_solve(child: Child) -> None:
    program = (
        PROBLEM
        + """
from torch.utils.data import DataLoader, Dataset
Q, q, G, h = problem(6, 12)
expected = solve_qp(Q, q, G, h, solver="native").z

class Solutions(Dataset):
    def __len__(self):
        return 12
    def __getitem__(self, i):
        return solve_qp(Q, q[i], G, h, solver="native").z

found = torch.cat(list(DataLoader(Solutions(), batch_size=3, num_workers=2)))
print((found - expected).abs().max().item() < 1e-12)
"""
    )
    assert child(program).strip() == "True"


def test_threads_of_the_caller_do_not_disturb_each_other() -> None:
    problems = [
        random_qp(np.random.default_rng(i), 4 + i, 6 + i, i % 3, batch=(1 + 5 * i,)) for i in range(8)
    ]

    def answer(data) -> list[torch.Tensor]:
        variables = leaves(data)
        z = solve_qp(*variables, solver="native").z
        return [z.detach(), *torch.autograd.grad(weigh(z), variables)]

    expected = [answer(data) for data in problems]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            for found, wanted in zip(pool.map(answer, problems), expected, strict=True):
                assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="a sanitizer takes all addresses")
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux holds a process to its addresses"
)
def test_a_system_that_gives_no_more_threads_gets_the_work_done_with_fewer(child: Child) -> None:
    program = """
import os, resource
from pathlib import Path
import numpy as np
from layers.native import _core
rng = np.random.default_rng(0)
B, n, m = 600, 6, 4
data = (np.eye(n), rng.normal(size=(B, n)), rng.normal(size=(m, n)), np.ones(m), np.zeros((0, n)), np.zeros(0))
expected = _core.solve(*data, B, 1e-8, 1e-9, 100, 1, None).arrays()
used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
# room for the answer, in the handle and out of it, and for the stacks of a few threads
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
found = _core.solve(*data, B, 1e-8, 1e-9, 100, 64, None).arrays()
print(all(np.array_equal(x, y) for x, y in zip(found, expected)))
"""
    assert child(program).strip() == "True"
