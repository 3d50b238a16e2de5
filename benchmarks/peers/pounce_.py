"""pounce-solver 0.13.0: `pounce.torch`, an interior point in Rust and the equations of OptNet behind it.

It solves a batch at once where Q, G and A are shared, and one program at a time elsewhere. It returns z alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from benchmarks.peers.base import Answer, Setting, Solve, missing
from benchmarks.problems import Data

NAME, CUDA = "pounce", False
# Every Q here is positive definite: that is not checked once more.
LADDERS: tuple[tuple[Setting, ...], ...] = (
    tuple({"tol": tol, "check_psd": False} for tol in (1e-8, 1e-10, 1e-12)),
)


def unavailable() -> str | None:
    """Why it cannot be used here."""
    return missing("pounce.torch")


def build(data: Data, setting: Setting) -> Solve:
    """The package's functions, of a batch where it has one."""
    module: Any = import_module("pounce.torch")
    together = all(name in data.shared for name in ("Q", "G", "A")) and data.batch > 1

    def solve(data: Data) -> Answer:
        present = _present(data)
        if together:
            vectors = {
                name: getattr(data.expanded(), field) for name, field in present.items() if name in "chb"
            }
            matrices = {name: getattr(data, field) for name, field in present.items() if name in "PGA"}
            return (module.solve_qp_batch(**vectors, **matrices, **setting),)
        wide = data.expanded()
        each = [
            module.solve_qp(**{name: getattr(wide, field)[i] for name, field in present.items()}, **setting)
            for i in range(data.batch)
        ]
        return (torch.stack(each),)

    return solve


def _present(data: Data) -> dict[str, str]:
    """The package's names of our arguments, of those that have rows."""
    _, m, p = data.sizes
    names = {"P": "Q", "c": "q"}
    return names | ({"G": "G", "h": "h"} if m else {}) | ({"A": "A", "b": "b"} if p else {})
