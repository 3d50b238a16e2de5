"""Solvers without a derivative, in a Python loop over the batch: Clarabel 0.11.1, PIQP 0.7.0 and quadprog 0.1.14.

They stand in the table with their forward pass alone. Clarabel gets sparse matrices and quadprog its own order of
signs, as they ask for; what has to be converted for each program is inside the timing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from benchmarks.peers.base import Peer, Setting, Solve, missing
from benchmarks.problems import Data

#: One program's Q, q, G, h, A, b to z, and lambda and nu where a solver gives them with their signs.
One = Callable[[Sequence[np.ndarray], Setting], tuple[np.ndarray, ...]]

TOLERANCES: tuple[Setting, ...] = tuple({"tol": tol} for tol in (1e-9, 1e-11, 1e-12))


def _clarabel(program: Sequence[np.ndarray], setting: Setting) -> tuple[np.ndarray, ...]:
    clarabel: Any = import_module("clarabel")
    Q, q, G, h, A, b = program
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.tol_feas = options.tol_gap_abs = options.tol_gap_rel = setting["tol"]
    cones = [clarabel.ZeroConeT(len(b)), clarabel.NonnegativeConeT(len(h))]
    rows, right = sparse.csc_matrix(np.concatenate([A, G])), np.concatenate([b, h])
    found = clarabel.DefaultSolver(sparse.csc_matrix(np.triu(Q)), q, rows, right, cones, options).solve()
    y = np.asarray(found.z)
    return np.asarray(found.x), y[len(b) :], y[: len(b)]


def _piqp(program: Sequence[np.ndarray], setting: Setting) -> tuple[np.ndarray, ...]:
    piqp: Any = import_module("piqp")
    Q, q, G, h, A, b = program
    solver = piqp.DenseSolver()
    solver.settings.eps_abs = solver.settings.eps_rel = setting["tol"]
    solver.settings.eps_duality_gap_abs = solver.settings.eps_duality_gap_rel = setting["tol"]
    wide = {"P": Q, "A": A, "G": G}
    matrices = {name: np.asfortranarray(matrix) for name, matrix in wide.items()}
    solver.setup(c=q, b=b, h_u=h, **matrices)
    solver.solve()
    return solver.result.x, solver.result.z_u, solver.result.y


def _quadprog(program: Sequence[np.ndarray], _: Setting) -> tuple[np.ndarray, ...]:
    quadprog: Any = import_module("quadprog")
    Q, q, G, h, A, b = program
    rows, right = np.ascontiguousarray(-np.concatenate([A, G]).T), -np.concatenate([b, h])
    # It factorises its first argument in place.
    return (quadprog.solve_qp(Q.copy(), -q, rows, right, len(b))[0],)


def _build(_: Data, setting: Setting, one: One) -> Solve:
    def solve(data: Data) -> tuple[Tensor, ...]:
        wide = [t.detach().numpy() for t in data.expanded().tensors]
        each = [one([np.ascontiguousarray(t[i]) for t in wide], setting) for i in range(data.batch)]
        return tuple(torch.from_numpy(np.stack(column)) for column in zip(*each, strict=True))

    return solve


def _peer(name: str, ladders: Sequence[Sequence[Setting]], one: One) -> Peer:
    return Peer(
        name,
        ladders,
        partial(missing, name),
        partial(_build, one=one),
        THREADS=1,
        BARE=True,
        FORWARD_ONLY=True,
    )


PEERS = (
    _peer("clarabel", [TOLERANCES], _clarabel),
    _peer("piqp", [TOLERANCES], _piqp),
    _peer("quadprog", [({},)], _quadprog),
)
