"""Training that goes on, bit for bit, where its process was killed."""

import io
import pickle
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.common.results import Row, write_bytes

# Seconds between two checkpoints; cells that take less leave none.
EVERY = 30.0

# Where the cell at work keeps its checkpoints, and how many trainings it has begun.
_cell: ContextVar[tuple[Path, list[int]] | None] = ContextVar("cell", default=None)


@contextmanager
def checkpoints(stem: Path) -> Generator[None]:
    """Within the block, trainings are kept in `stem`.<number>.pt, in the order in which they begin."""
    token = _cell.set((stem, [0]))
    try:
        yield
    finally:
        _cell.reset(token)


def forget_checkpoints(stem: Path) -> None:
    """Remove what the trainings of a cell have kept, once its rows are safe."""
    for path in stem.parent.glob(f"{stem.name}.*.pt"):
        path.unlink()


class Leaves:
    """Tensors that are learned, where there is no module: what a loop keeps of them, and puts back in place."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Copies of the tensors."""
        return {"tensors": [tensor.detach().clone() for tensor in self.tensors]}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Put the values of `state` into the tensors."""
        with torch.no_grad():
            for tensor, value in zip(self.tensors, state["tensors"], strict=True):
                tensor.copy_(value)


class Loop:
    """The state of a training between two epochs: model, optimiser, schedule, generators, rows, what the loop counts.

    Parameters
    ----------
    model, optimiser
        Of torch; restored in place, like all that follows.
    rng : numpy.random.Generator or torch.Generator, optional
        Shuffles the training data.
    schedule
        Of the learning rate, if it changes.
    rows : list, optional
        To which the training adds what it measures on the way.
    """

    def __init__(
        self,
        model: nn.Module | Leaves,
        optimiser: torch.optim.Optimizer,
        rng: np.random.Generator | torch.Generator | None = None,
        schedule: torch.optim.lr_scheduler.LambdaLR | None = None,
        rows: list[Row] | None = None,
    ) -> None:
        self.parts: dict[str, Any] = {"model": model, "optimiser": optimiser}
        if schedule is not None:
            self.parts["schedule"] = schedule
        self.rng, self.last, self.path = rng, time.monotonic(), _next_path()
        self.rows: list[Row] = [] if rows is None else rows
        self.before = len(self.rows)

    def restored(self, counts: dict[str, Any]) -> dict[str, Any]:
        """What the loop counted when it was last kept, everything else put back; `counts` if it never was."""
        if self.path is None or not self.path.exists():
            return counts
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return counts  # damaged: from the start, which gives the same numbers
        for name, part in self.parts.items():
            part.load_state_dict(kept[name])
        if isinstance(self.rng, torch.Generator):
            self.rng.set_state(kept["rng"])
        elif self.rng is not None:
            self.rng.bit_generator.state = kept["rng"]
        torch.set_rng_state(kept["torch"])
        self.rows[self.before :] = kept["rows"]
        return kept["counts"]

    def keep(self, counts: dict[str, Any]) -> None:
        """Write the state, with `counts`, unless that was done a moment ago."""
        if self.path is None or time.monotonic() - self.last < EVERY:
            return
        states = {name: part.state_dict() for name, part in self.parts.items()}
        own = self.rng.get_state() if isinstance(self.rng, torch.Generator) else None
        if isinstance(self.rng, np.random.Generator):
            own = self.rng.bit_generator.state
        generators = {"rng": own, "torch": torch.get_rng_state(), "rows": self.rows[self.before :]}
        # Through memory: torch tells of a full disk in words of its own.
        content = io.BytesIO()
        torch.save({**states, **generators, "counts": counts}, content)
        write_bytes(self.path, content.getvalue())
        self.last = time.monotonic()


def _next_path() -> Path | None:
    cell = _cell.get()
    if cell is None:
        return None
    stem, begun = cell
    begun[0] += 1
    return stem.with_name(f"{stem.name}.{begun[0]}.pt")
