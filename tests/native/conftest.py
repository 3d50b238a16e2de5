"""Tests of the compiled core itself: its door, its kernels, and how it lives with processes, threads and signals."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from layers.native import qp as native

ROOT = Path(__file__).resolve().parents[2]
#: seconds after which a child that neither answered nor failed is taken to hang
PATIENCE = 240

Child = Callable[..., str]


@pytest.fixture(autouse=True)
def _core() -> None:
    if native.unavailable():
        pytest.skip(str(native.unavailable()))


@pytest.fixture(scope="session")
def child() -> Child:
    """Run a program in a process of its own, with the same packages; it has to succeed. What it prints comes back."""

    def run(program: str, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", program, *arguments],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run
