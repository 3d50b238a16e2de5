"""What the adapters of the peers share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.problems import Data

Setting = dict[str, Any]
#: z, and lambda and nu where a package gives them
Answer = tuple[Tensor, ...]
Solve = Callable[[Data], Answer]

INSTALL = "run `make bench`, which installs the peers"


@dataclass(frozen=True)
class Peer:
    """One way of using a package that has several.

    `THREADS` is on how many it works, all that there are unless given; `BARE` is a solver in a loop, `FORWARD_ONLY` one
    without a derivative.
    """

    NAME: str
    LADDERS: Sequence[Sequence[Setting]]
    unavailable: Callable[[], str | None]
    build: Callable[[Data, Setting], Solve]
    CUDA: bool = False
    THREADS: int | None = None
    BARE: bool = False
    FORWARD_ONLY: bool = False


def missing(module: str) -> str | None:
    """Why a module cannot be imported; None if it can be."""
    try:
        import_module(module)
    except ImportError as error:
        return f"{error}: {INSTALL}"
    return None


def with_row(data: Data) -> tuple[Tensor, Tensor]:
    """(G, h) with a row 0'z <= 1 when there is no inequality, for packages that cannot do without one."""
    if data.h.shape[-1] > 0:
        return data.G, data.h
    return torch.zeros_like(data.q).unsqueeze(-2), torch.ones_like(data.q[..., :1])
