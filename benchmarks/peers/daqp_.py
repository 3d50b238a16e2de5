"""DAQP 0.11.0, bare: a Python loop over the batch, and behind it the backward pass of `active_set`.

This is how a careful user makes a layer of it without a package between. Rows of a constant G that are unit vectors
are told as simple bounds; where the matrices are shared, one model is set up and gets new vectors (`update`), or each
program is set up by itself: the ladders try both. It works on one thread.
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
TIGHT: tuple[Setting, ...] = ({}, {"primal_tol": 1e-9}, {"primal_tol": 1e-12, "dual_tol": 1e-14})
LADDERS: tuple[tuple[Setting, ...], ...] = (TIGHT, tuple(setting | {"update": True} for setting in TIGHT))
#: its stand-in for no lower bound, and its marks of an inequality and of an equality
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
    options = {key: value for key, value in setting.items() if key != "update"}
    shared = all(name in data.shared for name in ("Q", "G", "A"))
    if setting.get("update") and not shared:
        raise ValueError("a model is reused where all matrices are shared")
    bounds = None if "G" in data.learned or "G" not in data.shared else as_bounds(data.G.detach().numpy())

    def solve(data: Data) -> Answer:
        n, m, p = data.sizes
        with torch.no_grad():
            wide = data.expanded()
            Q, q, G, h, A, b = (t.detach().numpy() for t in wide.tensors)
            C, upper, lower, sense = _told(G, h, A, b, bounds)
            z, y = np.empty((data.batch, n)), np.empty((data.batch, len(sense)))
            model = daqp.Model() if setting.get("update") else None
            for i in range(data.batch):
                given = (
                    np.ascontiguousarray(Q[i]),
                    q[i],
                    np.ascontiguousarray(C[i]),
                    upper[i],
                    lower[i],
                    sense,
                )
                if model is None:
                    x, _, flag, info = daqp.solve(*given, **options)
                elif i == 0:
                    model.setup(*given)
                    model.settings = options
                    x, _, flag, info = model.solve()
                else:
                    model.update(f=q[i], bupper=upper[i], blower=lower[i])
                    x, _, flag, info = model.solve()
                if flag < 1:
                    raise RuntimeError(f"daqp: exit flag {flag} in element {i}")
                z[i], y[i] = x, info["lam"]
            lam, nu = _multipliers(y, m, p, bounds)
        answer = torch.from_numpy(z), torch.from_numpy(lam), torch.from_numpy(nu)
        return attach((*answer, answer[1] > 0), data.tensors)

    return solve


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
    p = b.shape[1]
    equal = np.full(p, EQUALITY, dtype=np.int32)
    if bounds is None:
        rows = np.concatenate([G, A], 1)
        lower = np.concatenate([np.full(h.shape, FREE), b], 1)
        sense = np.concatenate([np.full(h.shape[1], INEQUALITY, dtype=np.int32), equal])
        return rows, np.concatenate([h, b], 1), lower, sense
    above = np.where(bounds.upper >= 0, h[:, bounds.upper], -FREE)
    below = np.where(bounds.lower >= 0, -h[:, bounds.lower], FREE)
    sense = np.concatenate([np.full(above.shape[1], INEQUALITY, dtype=np.int32), equal])
    return A, np.concatenate([above, b], 1), np.concatenate([below, b], 1), sense


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
