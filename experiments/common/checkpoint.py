"""Training that goes on, bit for bit, where its process was killed."""

import os
import pickle
import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

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


class Loop:
    """The state of a training between two epochs: model, optimiser, schedule, generators, and what the loop counts.

    Parameters
    ----------
    model, optimiser
        Of torch; restored in place, like all that follows.
    rng : numpy.random.Generator
        Shuffles the training data.
    schedule
        Of the learning rate, if it changes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        rng: np.random.Generator,
        schedule: torch.optim.lr_scheduler.LambdaLR | None = None,
    ) -> None:
        self.parts: dict[str, Any] = {"model": model, "optimiser": optimiser}
        if schedule is not None:
            self.parts["schedule"] = schedule
        self.rng, self.last, self.path = rng, time.monotonic(), _next_path()

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
        self.rng.bit_generator.state = kept["numpy"]
        torch.set_rng_state(kept["torch"])
        return kept["counts"]

    def keep(self, counts: dict[str, Any]) -> None:
        """Write the state, with `counts`, unless that was done a moment ago."""
        if self.path is None or time.monotonic() - self.last < EVERY:
            return
        states = {name: part.state_dict() for name, part in self.parts.items()}
        generators = {"numpy": self.rng.bit_generator.state, "torch": torch.get_rng_state()}
        partial = self.path.with_suffix(".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        torch.save({**states, **generators, "counts": counts}, partial)
        os.replace(partial, self.path)
        self.last = time.monotonic()


def _next_path() -> Path | None:
    cell = _cell.get()
    if cell is None:
        return None
    stem, begun = cell
    begun[0] += 1
    return stem.with_name(f"{stem.name}.{begun[0]}.pt")
