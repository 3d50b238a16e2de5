"""libdqp 0.1.2 (Magoon et al. 2024, dQP): any solver of qpsolvers, then the active set's linear system, one by one.

Of the solvers that it offers and that are free, an active set (daqp, alone and over processes), a proximal interior
point (piqp) and the dual method of Goldfarb and Idnani (quadprog) are tried on each row. It wants p = 0 as None.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.base import Answer, Setting, Solve, missing, with_row
from benchmarks.problems import NAMES, Data

NAME, CUDA = "dqp", False
TIGHT: Setting = {"eps_abs": 1e-11, "eps_active": 1e-8}
LADDERS: tuple[tuple[Setting, ...], ...] = (
    ({"qp_solver": "daqp"}, {"qp_solver": "daqp"} | TIGHT),
    ({"qp_solver": "daqp", "omp_parallel": True},),
    ({"qp_solver": "piqp"} | TIGHT,),
    ({"qp_solver": "quadprog"} | TIGHT,),
)


def unavailable() -> str | None:
    """Why it cannot be used here."""
    with contextlib.redirect_stdout(io.StringIO()):  # it tells which optional packages it does without
        return missing("dqp.dQP")


def build(data: Data, setting: Setting) -> Solve:
    """The package's layer with dense linear algebra."""
    module: Any = import_module("dqp.dQP")
    options = {"solve_type": "dense", "lin_solver": "scipy LU", "n_cpu": torch.get_num_threads(), **setting}
    layer = module.dQP_layer(settings=module.build_settings(**options))
    _, m, p = data.sizes

    def solve(data: Data) -> Answer:
        wide = data.expanded()
        if data.batch == 1:
            # One program has to come without a batch axis.
            wide = replace(wide, **{name: getattr(wide, name)[0] for name in NAMES})
        G, h = with_row(wide)
        equalities = (wide.A, wide.b) if p else (None, None)
        found: list[Tensor] = layer(wide.Q, wide.q, G, h, *equalities)
        z, nu, lam = found[:3]
        batch = data.batch
        return (
            z.reshape(batch, -1),
            lam.reshape(batch, -1)[:, :m],
            nu.reshape(batch, p) if p else data.b.expand(batch, 0),
        )

    return solve
