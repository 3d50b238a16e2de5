"""Cells of the matrix: other processes. What is slow to start does the work of all examples at once."""

import datetime
import functools
import os
import queue as queues
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from layers import LayerError
from tests.layers.mechanics.programs import EXAMPLES, THETA, Example, close, right, weighted

Make = Callable[[], Example]
#: seconds after which a child counts as hanging
PATIENCE = 120.0


def _report(send: Callable[[Any], None], work: Callable[[], Any]) -> None:
    """Do it, as the worker of a DataLoader does, on one thread of torch, and say how it went."""
    torch.set_num_threads(1)
    try:
        send(("ok", work()))
    except (AssertionError, RuntimeError, LayerError):
        send(("failed", traceback.format_exc()))


def _child(send: Any, example: Example) -> None:
    """Train in another process."""
    _report(send.put, lambda: right(example, example.exact))


def _children(method: str, examples: dict[str, Example]) -> dict[str, Any]:
    """What one child by ``method`` has to say of each example."""
    context, found = mp.get_context(method), {}
    answers = context.Queue()
    child = context.Process(target=_all, args=(answers, examples), daemon=True)
    child.start()
    try:
        for name in examples:
            found[name] = answers.get(timeout=PATIENCE)
    except queues.Empty:
        found |= {name: ("hangs", "") for name in examples if name not in found}
    finally:
        child.join(1.0)
        if child.is_alive():
            child.kill()
    return found


def _all(send: Any, examples: dict[str, Example]) -> None:
    for example in examples.values():
        _child(send, example)


@functools.cache
def _started(method: str) -> dict[str, Any]:
    """Examples that were used here before they went to a child."""
    examples = {name: example() for name, example in EXAMPLES.items()}
    for example in examples.values():
        right(example, example.exact)
    return _children(method, examples)


def spawn(make: Make) -> None:
    """``spawn``: the layer is pickled with what it has used."""
    _by("spawn", make)


def forkserver(make: Make) -> None:
    """``forkserver``."""
    _by("forkserver", make)


def _by(method: str, make: Make) -> None:
    name = next(name for name, example in EXAMPLES.items() if example is make)
    verdict, said = _started(method)[name]
    assert verdict == "ok", f"{verdict}\n{said}"


def fork(make: Make) -> None:
    """A child by fork of a process that has used the layer, and a child of that."""
    example = make()
    right(example, example.exact)
    right(example, example.exact, THETA[:3])
    found = _children("fork", {"one": example})
    assert found["one"][0] == "ok", found


def grandchildren(make: Make) -> None:
    """The same one generation further, with ``os.fork``."""
    example = make()
    right(example, example.exact)
    first = os.fork()
    if first == 0:
        _exit_with(lambda: right(example, example.exact), then=lambda: _in_a_fork(example))
    assert os.waitstatus_to_exitcode(_wait(first)) == 0


def _in_a_fork(example: Example) -> None:
    second = os.fork()
    if second == 0:
        _exit_with(lambda: right(example, example.exact))
    assert os.waitstatus_to_exitcode(_wait(second)) == 0


def _exit_with(work: Callable[[], None], then: Callable[[], None] | None = None) -> None:
    torch.set_num_threads(1)
    code = 1
    try:
        work()
        if then is not None:
            then()
        code = 0
    finally:
        os._exit(code)


def _wait(process: int) -> int:
    """The exit status of a child, which is ended when it hangs."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


class Answers(Dataset[Tensor]):
    """A data set whose items are answers of a layer."""

    def __init__(self, example: Example) -> None:
        self.example = example

    def __len__(self) -> int:
        return len(THETA)

    def __getitem__(self, index: int) -> Tensor:
        return self.example(THETA[index])


def data_loader(make: Make) -> None:
    """Workers of a ``DataLoader`` that call a layer which was used before, in two epochs."""
    example = make()
    right(example, example.exact)
    for _ in range(2):
        batches = list(DataLoader(Answers(example), batch_size=2, num_workers=2, timeout=PATIENCE))
        close(torch.cat(batches), example.exact(THETA))


class Model(nn.Module):
    """Weights before a layer."""

    def __init__(self, example: Example) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, dtype=THETA.dtype))
        self.example = example

    def forward(self, theta: Tensor) -> Tensor:
        return self.example(self.weight * theta)


def _share(rank: int, folder: str, send: Any) -> None:
    """One of two processes: half of the batch, and the mean of both gradients."""
    meeting = f"file://{folder}/meeting"
    dist.init_process_group(
        "gloo", init_method=meeting, rank=rank, world_size=2, timeout=datetime.timedelta(seconds=PATIENCE)
    )
    for name, example in EXAMPLES.items():

        def work(make: type[Example] = example) -> list[float]:
            model = DistributedDataParallel(Model(make()))
            sum(map(weighted, model(THETA[2 * rank : 2 * rank + 2]))).backward()
            return model.module.weight.grad.tolist()

        _report(lambda answer, name=name: send.put((rank, name, answer)), work)
    dist.destroy_process_group()


@functools.cache
def _shared() -> dict[tuple[int, str], Any]:
    """The gradients that both processes end up with."""
    context = mp.get_context("spawn")
    answers, found = context.Queue(), {}
    with tempfile.TemporaryDirectory() as folder:
        children = [context.Process(target=_share, args=(rank, folder, answers)) for rank in range(2)]
        for child in children:
            child.start()
        try:
            for _ in range(2 * len(EXAMPLES)):
                rank, name, answer = answers.get(timeout=PATIENCE)
                found[rank, name] = answer
        finally:
            for child in children:
                child.join(10.0)
                if child.is_alive():
                    child.kill()
            assert Path(folder).exists()
    return found


def data_parallel(make: Make) -> None:
    """``DistributedDataParallel`` on gloo with two processes: the mean of their gradients is half of that of one."""
    name = next(name for name, example in EXAMPLES.items() if example is make)
    model = Model(make())
    sum(map(weighted, model(THETA))).backward()
    for rank in range(2):
        verdict, own = _shared()[rank, name]
        assert verdict == "ok", own
        close(torch.tensor(own, dtype=THETA.dtype), 0.5 * model.weight.grad)


PROCESSES: dict[str, Callable[[Make], None]] = {
    "fork": fork,
    "fork of a fork": grandchildren,
    "DataLoader workers": data_loader,
    "spawn": spawn,
    "forkserver": forkserver,
    "DistributedDataParallel": data_parallel,
}
