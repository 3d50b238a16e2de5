"""ffolayer 0.1.2: its FFOQPLayer, a first-order derivative on the active rows.

Of the solvers that it offers two are free and at hand: qpth's interior point (`PDIPM`), and OSQP at a fixed tolerance
of 1e-5, which is too loose for any row. Its default goes through a commercial solver. Its gradients are those of the
layer times the size of the batch, for which its cotangent is divided here; in G and A half of them is missing, so that
they count where neither is learned.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.peers.base import Answer, Setting, Solve, missing, with_row
from benchmarks.problems import Data

NAME, CUDA = "ffolayer", False
LADDERS: tuple[tuple[Setting, ...], ...] = (
    tuple(
        {"solver": "PDIPM", "eps": eps, "maxIter": 50, "slack_cutoff": cutoff}
        for eps, cutoff in ((1e-12, 1e-6), (1e-12, 1e-8))
    ),
)


def unavailable() -> str | None:
    """Why it cannot be used here."""
    return missing("ffolayer.ffoqp_eq") or missing("qpth.solvers.pdipm")


def build(data: Data, setting: Setting) -> Solve:
    """The package's function on data with a batch axis."""
    module: Any = import_module("ffolayer.ffoqp_eq")
    function = module.FFOQPLayer(verbose=-1, **setting)

    def solve(data: Data) -> Answer:
        wide = data.expanded()
        G, h = with_row(wide)
        none = wide.q.new_empty(0)
        equalities = (wide.A, wide.b) if data.sizes[2] else (none, none)
        z = function(wide.Q, wide.q, G, h, *equalities)
        return (z.detach() + (z - z.detach()) / data.batch,)

    return solve
