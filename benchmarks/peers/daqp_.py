"""DAQP 0.11.0, bare: a Python loop over the batch, and behind it the backward pass of `active_set`.

This is how a careful user makes a layer of it without a package between. One `Model` is set up in a call and gets what
differs from program to program (`update`), which is several times as fast as `daqp.solve` for each; the ladders start
it from nothing, or at the active set of the program before. Rows of a constant G that are unit vectors are told as
simple bounds. It works on one thread: it holds Python's lock, so that threads would wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch

from benchmarks.peers.active_set import attach
from benchmarks.peers.base import Answer, Setting, Solve, missing
from benchmarks.problems import Data

NAME, CUDA, THREADS, BARE = "daqp", False, 1, True
TOLERANCES: tuple[Setting, ...] = ({}, {"primal_tol": 1e-9}, {"primal_tol": 1e-12, "dual_tol": 1e-14})
LADDERS: tuple[tuple[Setting, ...], ...] = tuple(
    tuple({"warm": warm, **setting} for setting in TOLERANCES) for warm in (False, True)
)
#: what stands for no bound, and its marks of an inequality and of an equality
FREE, INEQUALITY, EQUALITY = -1e30, 0, 5


@dataclass(frozen=True)
class Rows:
    """How rows of G are told: by place among n simple bounds, or all as general rows.

    Attributes
    ----------
    upper, lower : array of int, shape (n,)
        The row of G that bounds a variable above, and below; -1 for none.
    """

    upper: np.ndarray
    lower: np.ndarray


def unavailable() -> str | None:
    """Why it cannot be used here."""
    return missing("daqp")


def build(data: Data, setting: Setting) -> Solve:
    """A loop over DAQP; the answer is attached to the arguments of a call."""
    daqp: Any = import_module("daqp")
    options = {key: value for key, value in setting.items() if key != "warm"}
    bounds = None if "G" in data.learned or "G" not in data.shared else as_bounds(data.G.detach().numpy())

    def solve(data: Data) -> Answer:
        n, m, p = data.sizes
        Q, q, G, h, A, b = (t.detach().numpy() for t in data.tensors)
        C, upper, lower, sense = _told(G, h, A, b, bounds)
        model, z, y = daqp.Model(), np.empty((data.batch, n)), np.empty((data.batch, len(sense)))
        parts = {"H": Q, "f": q, "A": C, "bupper": upper, "blower": lower}
        # What all programs share is told once; a part is copied because the package wants its own strides.
        moving = {name: part for name, part in parts.items() if part.ndim == 2 + (name in "HA")}
        model.setup(*(_of(part, 0, name) for name, part in parts.items()), sense)
        model.settings = options
        cold = {} if setting["warm"] else {"sense": sense}
        for i in range(data.batch):
            if i:
                model.update(**{name: part[i] for name, part in moving.items()}, **cold)
            z[i], _, flag, info = model.solve()
            if flag < 1:
                raise RuntimeError(f"daqp: exit flag {flag} in element {i}")
            y[i] = info["lam"]
        lam, nu = (torch.from_numpy(each) for each in _multipliers(y, m, p, bounds))
        return attach((torch.from_numpy(z), lam, nu, lam > 0), data.tensors)

    return solve


def _of(part: np.ndarray, i: int, name: str) -> np.ndarray:
    """The part of one program."""
    return (part[i] if part.ndim == 2 + (name in "HA") else part).copy()


def as_bounds(G: np.ndarray) -> Rows | None:
    """The rows as simple bounds; None unless each is a unit vector or its negative, no two for the same bound."""
    n = G.shape[1]
    upper, lower = np.full(n, -1), np.full(n, -1)
    for place, row in enumerate(G):
        (columns,) = row.nonzero()
        if len(columns) != 1 or abs(row[columns[0]]) != 1:
            return None
        side = upper if row[columns[0]] > 0 else lower
        if side[columns[0]] >= 0:
            return None
        side[columns[0]] = place
    return Rows(upper, lower)


def _told(
    G: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray, bounds: Rows | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """General rows, upper and lower ends and marks: simple bounds first, as the package wants them."""
    p, equal = b.shape[-1], np.full(b.shape[-1], EQUALITY, dtype=np.int32)
    if bounds is None:
        rows, upper, lower = _joined(G, A, 2), _joined(h, b, 1), _joined(np.full(h.shape, FREE), b, 1)
    else:
        above = np.where(bounds.upper >= 0, h[..., bounds.upper], -FREE)
        below = np.where(bounds.lower >= 0, -h[..., bounds.lower], FREE)
        rows, upper, lower = A, _joined(above, b, 1), _joined(below, b, 1)
    free = np.full(upper.shape[-1] - p, INEQUALITY, dtype=np.int32)
    return rows, upper, lower, np.concatenate([free, equal])


def _joined(first: np.ndarray, second: np.ndarray, single: int) -> np.ndarray:
    """One below the other; with a batch axis if one of them has more than `single` axes."""
    if first.ndim == second.ndim:
        return np.concatenate([first, second], -single)
    batch = max(len(part) for part in (first, second) if part.ndim > single)
    parts = [
        part if part.ndim > single else np.broadcast_to(part, (batch, *part.shape))
        for part in (first, second)
    ]
    return np.concatenate(parts, -single)


def _multipliers(y: np.ndarray, m: int, p: int, bounds: Rows | None) -> tuple[np.ndarray, np.ndarray]:
    """Lambda of the rows of G, and nu; the package's are negative at a lower end."""
    inside, nu = np.split(y, [y.shape[1] - p], 1)
    if bounds is None:
        return np.maximum(inside, 0.0), np.ascontiguousarray(nu)
    lam = np.zeros((len(y), m))
    for side, sign in ((bounds.upper, 1.0), (bounds.lower, -1.0)):
        (held,) = (side >= 0).nonzero()
        lam[:, side[held]] = np.maximum(sign * inside[:, held], 0.0)
    return lam, np.ascontiguousarray(nu)
