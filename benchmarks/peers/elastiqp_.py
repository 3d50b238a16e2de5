"""elastiqp 0.2.0: programs whose inequalities may be violated at a price, one after the other behind a torch function.

With a price above every multiplier the answer is that of the hard program. It differentiates at a point of the central
path (`target_kappa`), whose distance from the solution is a bias; below 1e-10 that drowns in rounding, so the ladders
end there.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.peers.base import Answer, Setting, Solve, missing
from benchmarks.problems import Data

NAME, CUDA, THREADS = "elastiqp", False, 1
# Of (price, tolerance, target_kappa): the default, and two that are as near as rounding lets them come.
REACHES = ((1e3, 1e-6, 1e-3), (1e3, 1e-10, 1e-9), (1e2, 1e-12, 1e-10))
LADDERS: tuple[tuple[Setting, ...], ...] = tuple(
    tuple(
        {"method": method, "penalty": penalty, "eps_abs": eps, "target_kappa": kappa}
        for penalty, eps, kappa in REACHES
    )
    for method in ("das", "ipm")
)


def unavailable() -> str | None:
    """Why it cannot be used here."""
    return missing("elastiqp.torch")


def build(data: Data, setting: Setting) -> Solve:
    """The package's torch function; shared arguments are broadcast by it."""
    function: Any = import_module("elastiqp.torch").solve

    def solve(data: Data) -> Answer:
        p = data.sizes[2]
        equalities: dict[str, Any] = {"A": data.A, "b": data.b} if p else {}
        found = function(
            data.Q, data.q, data.G, data.h, setting["penalty"], **equalities, **_options(setting)
        )
        if not bool(found.converged.all()):
            raise RuntimeError(f"elastiqp: {int((found.converged == 0).sum())} elements did not converge")
        nu = found.y if p else data.b.expand(data.batch, 0)
        return found.x, found.z, nu

    return solve


def _options(setting: Setting) -> Setting:
    return {key: value for key, value in setting.items() if key != "penalty"}
