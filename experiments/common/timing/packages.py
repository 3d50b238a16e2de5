"""The packages that are timed, each with ladders of settings that it climbs until its answer is accurate.

A package is a name, a ladder for each of its methods, from the published or the cheapest setting to the tightest, and
what makes a call of programs and a setting; what is made there is not timed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor

from experiments.common.config import LayerConfig
from experiments.common.timing import reference
from experiments.common.timing.programs import NAMES, Programs
from layers import engines

# From what is learned to z, shape (batch, n).
Call = Callable[[dict[str, Tensor]], Tensor]
Setting = dict[str, Any]
# prof.py of cvxpylayers [code]; its dense derivative costs the cube of rows and columns, so it is left out above.
PUBLISHED: Setting = {"solve_method": "SCS", "eps_abs": 1e-6, "eps_rel": 1e-6, "max_iters": 1000}
TIGHT: Setting = {"solve_method": "SCS", "eps_abs": 1e-10, "eps_rel": 1e-10, "max_iters": 20_000}
CLARABEL: Setting = {
    "solve_method": "Clarabel",
    "tol_gap_abs": 1e-13,
    "tol_gap_rel": 1e-13,
    "tol_feas": 1e-12,
}
DENSE_DERIVATIVE = 1000
INTERIOR: Setting = {"diff_method": "exact"}


@dataclass(frozen=True)
class Package:
    """A way to solve and to differentiate."""

    name: str
    make: Callable[[Programs, Setting], Call]
    ladders: Sequence[Sequence[Setting]] = (({},),)


def layer(config: LayerConfig, *, one_by_one: bool = False) -> Package:
    """The layer that a run is about; sparse matrices stay sparse where it chooses its ways itself."""
    built = config.build()

    def make(programs: Programs, _: Setting) -> Call:
        constants = programs.constants(dense=config.solver != "auto")

        def call(leaves: dict[str, Tensor]) -> Tensor:
            return built(*({**constants, **leaves}[name] for name in NAMES))

        def loop(leaves: dict[str, Tensor]) -> Tensor:
            each = ({k: v[i] for k, v in leaves.items()} for i in range(len(programs.q)))
            return torch.stack([call(one) for one in each])

        return loop if one_by_one else call

    return Package("layer_one_by_one" if one_by_one else "layer", make)


def clarabel() -> Package:
    """Clarabel in a loop, and the derivative on its active rows; `exact` where it takes a wrong row for active."""

    def make(programs: Programs, setting: Setting) -> Call:
        return lambda leaves: reference.call(programs, leaves, **setting)

    return Package("clarabel", make, [[{"tol": 1e-9}, {"tol": 1e-11}, {"tol": 1e-11, "exact": True}]])


def qpth() -> Package:
    """qpth's function, on dense copies; `unit` are its units of slack, in which its clamp at 1e-8 is smaller."""
    settings = [{"eps": 1e-8, "unit": 1.0}, {"eps": 1e-12, "unit": 1.0}, {"eps": 1e-12, "unit": 1e3}]
    return Package("qpth", _qpth, [settings])


def _qpth(programs: Programs, setting: Setting) -> Call:
    function = import_module("qpth.qp").QPFunction(
        eps=setting["eps"], verbose=-1, maxIter=100, check_Q_spd=False
    )
    unit, batch = setting["unit"], len(programs.q)
    # The objective times u squared and the rows times u: the same z, and slack and multipliers times u.
    factors = {"Q": unit**2, "q": unit**2, "G": unit, "h": unit, "A": 1.0, "b": 1.0}
    wide = {k: None if v is None else v.expand(batch, *v.shape[-2:]) if v.dim() == 2 and k.isupper() else v
            for k, v in programs.constants(dense=True).items()}  # fmt: skip

    def call(leaves: dict[str, Tensor]) -> Tensor:
        given = ((name, {**wide, **leaves}[name]) for name in NAMES)
        return function(
            *(torch.empty(0, dtype=torch.float64) if v is None else factors[k] * v for k, v in given)
        )

    return call


def cvxpylayers(engine: str, programs: Programs) -> Package:
    """cvxpylayers on `diffcp` or `MOREAU`; what is not learned is a constant of its program."""
    _, n, m, p = programs.sizes
    if engine == "MOREAU":
        tight = dict.fromkeys(("tol_gap_abs", "tol_gap_rel", "tol_feas"), 1e-12)
        active = [
            {"solver": "active_set"},
            {"solver": "active_set", "active_set_settings": {"primal_tol": 1e-12}},
        ]
        ladders = [active, [{"solver": "ipm", "ipm_settings": INTERIOR | tols} for tols in ({}, tight)]]
    elif n + m + p <= DENSE_DERIVATIVE:
        ladders = [[setting | {"mode": "dense"} for setting in (PUBLISHED, TIGHT, CLARABEL)]]
    else:
        ladders = [[setting | {"mode": "lsqr"} for setting in (PUBLISHED, CLARABEL)]]
    name = "cvxpylayers" if engine == "diffcp" else "cvxpylayers_moreau"
    return Package(name, partial(_cvxpylayers, engine), ladders)


def _cvxpylayers(engine: str, programs: Programs, setting: Setting) -> Call:
    z, objects = cp.Variable(programs.q.shape[1]), {name: _object(programs, name, engine) for name in NAMES}
    roots = engine == "diffcp" and "Q" in programs.learned
    quadratic: Any = cp.sum_squares(objects["Q"] @ z) if roots else cp.quad_form(z, objects["Q"])
    _, _, m, p = programs.sizes
    rules: list[Any] = [objects["G"] @ z <= objects["h"]] if m else []
    rules += [objects["A"] @ z == objects["b"]] if p else []
    problem = cp.Problem(cp.Minimize(0.5 * quadratic + objects["q"] @ z), rules)
    interface: Any = import_module("cvxpylayers.torch").CvxpyLayer
    parameters, moreau = [objects[name] for name in programs.learned], engine != "diffcp"
    if moreau:
        made = interface(problem, parameters, [z], solver=engine, solver_args=_typed(setting))
    else:
        made = interface(problem, parameters, [z])

    def call(leaves: dict[str, Tensor]) -> Tensor:
        # diffcp differentiates no quadratic objective: |L'z| with Q = LL' in the graph.
        given = leaves | {"Q": torch.linalg.cholesky(leaves["Q"]).mT} if roots else leaves
        return made(*given.values(), **({} if moreau else {"solver_args": setting}))[0]

    return call


def _object(programs: Programs, name: str, engine: str) -> Any:
    value = getattr(programs, name)
    if name in programs.learned:
        return cp.Parameter(value.shape[1:], PSD=name == "Q" and engine == "MOREAU")
    return cp.psd_wrap(value) if name == "Q" else value


def _typed(setting: Setting) -> Setting:
    if "active_set_settings" not in setting:
        return setting
    typed = import_module("moreau").ActiveSetSettings(**setting["active_set_settings"])
    return setting | {"active_set_settings": typed}


def installed(config: LayerConfig, programs: Programs) -> list[Package]:
    """The layer, Clarabel, and the packages of the two publications that are here."""
    there = engines()
    found = [layer(config), clarabel()]
    found += [qpth()] if there["qpth"] is None else []
    if there["cvxpylayers"] is None:
        found += [cvxpylayers("diffcp", programs)]
        found += [cvxpylayers("MOREAU", programs)] if there["moreau"] is None else []
    return found
