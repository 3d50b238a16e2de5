"""cvxpylayers 1.2.0 on its two engines: diffcp, and MOREAU.

diffcp differentiates cone programs without a quadratic objective, so 1/2 z'Qz is 1/2 |Lz|^2 there, with the Cholesky
factor Q = L L' inside the graph; MOREAU takes z'Qz with a parameter Q. Only what the layer learns, and what varies over
the batch, is a parameter; the rest is a constant of the program, which the package can use.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers.base import Answer, Peer, Setting, Solve, missing
from benchmarks.problems import Data

DIFFCP: tuple[Setting, ...] = (
    {},
    {"solve_method": "SCS", "eps_abs": 1e-11, "eps_rel": 1e-11, "max_iters": 20_000, "mode": "dense"},
    {
        "solve_method": "Clarabel",
        "tol_gap_abs": 1e-15,
        "tol_gap_rel": 1e-15,
        "tol_feas": 1e-12,
        "mode": "dense",
    },
)
#: of MOREAU's interior point
TIGHT = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
MOREAU: tuple[Setting, ...] = (
    {"solver": "active_set"},
    {"solver": "active_set", "active_set_settings": {"primal_tol": 1e-12}},
    {"solver": "ipm", "ipm_settings": TIGHT | {"diff_method": "exact"}},
)


def _unavailable() -> str | None:
    return missing("cvxpylayers.torch")


def _build(data: Data, setting: Setting, engine: str) -> Solve:
    cp: Any = import_module("cvxpy")
    layer_of: Any = import_module("cvxpylayers.torch").CvxpyLayer
    n, m, p = data.sizes
    z, objects = (
        cp.Variable(n),
        {name: _object(data, name, engine) for name in ("Q", "q", "G", "h", "A", "b")},
    )
    if engine == "MOREAU":
        quadratic: Any = cp.quad_form(z, objects["Q"])
    else:
        quadratic = cp.sum_squares(objects["Q"] @ z)
    constraints: list[Any] = [objects["G"] @ z <= objects["h"]] if m else []
    constraints += [objects["A"] @ z == objects["b"]] if p else []
    problem = cp.Problem(cp.Minimize(0.5 * quadratic + objects["q"] @ z), constraints)
    given = [
        name for name, value in objects.items() if isinstance(value, cp.Parameter) and _present(name, m, p)
    ]
    variables = [z, *(constraint.dual_variables[0] for constraint in constraints)]
    options = with_types(setting) | _threads(engine)
    solver = None if engine == "diffcp" else engine
    layer = layer_of(
        problem, [objects[name] for name in given], variables, solver=solver, solver_args=options
    )

    def solve(data: Data) -> Answer:
        arguments = {name: getattr(data, name) for name in given}
        if engine == "diffcp" and "Q" in given:
            # Clean upper triangles: |Lz| with L' from the factorisation.
            arguments["Q"] = torch.linalg.cholesky(data.Q).mT
        answers: list[Tensor] = list(layer(*arguments.values()))
        batch = data.batch
        lam = answers[1] if m else data.h.expand(batch, 0)
        nu = answers[-1] if p else data.b.expand(batch, 0)
        return answers[0].expand(batch, n), lam.expand(batch, m), nu.expand(batch, p)

    return solve


def _present(name: str, m: int, p: int) -> bool:
    return not (name in "Gh" and m == 0) and not (name in "Ab" and p == 0)


def _object(data: Data, name: str, engine: str) -> Any:
    """A parameter for what is learned or varies, a constant for the rest."""
    cp: Any = import_module("cvxpy")
    value: Tensor = getattr(data, name)
    shape = value.shape[-2:] if name.isupper() else value.shape[-1:]
    if name in data.learned or data.is_batched(name):
        return cp.Parameter(shape, PSD=True) if name == "Q" and engine == "MOREAU" else cp.Parameter(shape)
    fixed = value.detach()
    if name != "Q":
        return fixed.numpy()
    return cp.psd_wrap(fixed.numpy()) if engine == "MOREAU" else torch.linalg.cholesky(fixed).mT.numpy()


def _threads(engine: str) -> Setting:
    threads = torch.get_num_threads()
    return {"n_jobs_forward": threads, "n_jobs_backward": threads} if engine == "diffcp" else {}


def with_types(setting: Setting) -> Setting:
    """Settings of MOREAU's active set as the package's own type; those of its interior point it converts itself."""
    if "active_set_settings" not in setting:
        return setting
    moreau: Any = import_module("moreau")
    return setting | {"active_set_settings": moreau.ActiveSetSettings(**setting["active_set_settings"])}


PEERS = (
    Peer("cvxpylayers_diffcp", [DIFFCP], _unavailable, partial(_build, engine="diffcp")),
    Peer("cvxpylayers_moreau", [MOREAU], _unavailable, partial(_build, engine="MOREAU")),
)
