"""What a training tells while it goes on: how far it is, and its scalars. Nobody has to listen; no result changes."""

import importlib.util
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from experiments.common.errors import ConfigError, require_one_of

LOGS = ("none", "tensorboard")
# Seconds between two words about where a training is.
EVERY = 0.2

# How far a training is: (done, of how many).
Hears = Callable[[int, int], None]

_hears: ContextVar[Hears | None] = ContextVar("hears", default=None)
_writer: ContextVar[Any] = ContextVar("writer", default=None)


def counted(first: int, last: int) -> Iterator[int]:
    """The steps or epochs `first` to `last` of a training, telling a listener how far it is."""
    hears, told = _hears.get(), 0.0
    for step in range(first, last + 1):
        yield step
        if hears is not None and (time.monotonic() - told > EVERY or step == last):
            hears(step, last)
            told = time.monotonic()


def scalar(name: str, step: int, value: float) -> None:
    """Write one point of the curve `name`, if the run was asked for a log."""
    writer = _writer.get()
    if writer is not None:
        writer.add_scalar(name, value, step)


@contextmanager
def listening(hears: Hears | None) -> Generator[None]:
    """Within the block, trainings tell `hears` how far they are."""
    token = _hears.set(hears)
    try:
        yield
    finally:
        _hears.reset(token)


@contextmanager
def logged(log: str, folder: Path) -> Generator[None]:
    """Within the block, scalars go to `folder` in the format that `log` names."""
    if log == "none":
        yield
        return
    from torch.utils.tensorboard import SummaryWriter  # the package is an extra

    writer = SummaryWriter(str(folder))
    token = _writer.set(writer)
    try:
        yield
    finally:
        _writer.reset(token)
        writer.close()


def check_log(log: str) -> None:
    """Raise a `ConfigError` unless scalars can be written as `log` says."""
    require_one_of("log", log, LOGS)
    if log == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError("log: tensorboard is not installed here; python -m pip install tensorboard==2.20.0")
