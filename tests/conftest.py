"""What all tests share: one thread, one seed each."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _single_thread() -> None:
    # Small batched matrices gain nothing from threads, and runs under pytest-xdist would fight for the cores. Every
    # test sets it anew: a program that takes threads, as the benchmark does, leaves them to the tests after it.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _torch_seed() -> Iterator[None]:
    # torch's generator (initial weights of modules) starts equal in every test and is put back afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator with a fixed seed: draws data that are the same in every run."""
    return np.random.default_rng(0)
