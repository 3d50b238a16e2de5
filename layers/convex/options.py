"""Solver names and arguments of other layers in terms of ours, so that a program that names them runs unchanged."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import torch

from layers.backends import BACKENDS
from layers.cone.lpgd import Perturbation
from layers.cone_program import Cones
from layers.convex.canonical import CanonicalProgram
from layers.convex.canonical.defined import defined_variables
from layers.errors import LayerError
from layers.policy import EPSILON, require_choice, tolerance, whole_number
from layers.qp.adjoints import bound, named
from layers.qp.engines import Request
from layers.qp.gradients import Adjoint
from layers.qp_layer import QPLayer, engines
from layers.sparse import CONE_ADJOINTS, derivative_of_cones

#: engines of cone programs; they take quadratic programs too
CONE_ENGINES = ("clarabel", "moreau", "diffcp")
#: where conic engines keep their settings
SETTINGS = {"clarabel": ("clarabel", "DefaultSettings"), "moreau": ("moreau", "IPMSettings")}
#: CVXPY's names of solvers that have no counterpart here
REPLACED = ("scs", "ecos", "cuclarabel", "mpax", "osqp", "piqp", "qpalm", "daqp", "proxqp")
TOLERANCES = frozenset(
    {
        "eps",
        "eps_abs",
        "eps_rel",
        "tol",
        "abstol",
        "reltol",
        "feastol",
        "tol_gap_abs",
        "tol_gap_rel",
        "tol_feas",
    }
)
LIMITS = frozenset({"max_iters", "max_iter", "max_iterations"})
#: arguments of diffcp that change nothing in the answer: threads, and how it computes its derivative
HARMLESS = frozenset(
    {"verbose", "n_jobs_forward", "n_jobs_backward", "mode", "warn_on_slow", "raise_on_error"}
)


@dataclass(frozen=True)
class Options:
    """How to solve: as in :func:`layers.solve_qp`; ``settings`` are those of a conic engine under its own names.

    ``precision`` is the machine epsilon of the dtype in which the caller formed the quadratic part of the objective.
    """

    solver: str
    adjoint: str | Adjoint
    tol: float
    max_iterations: int
    on_failure: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    precision: float = EPSILON

    def request(self) -> Request:
        """What is asked of an engine of quadratic programs."""
        numbers = (self.tol, self.max_iterations, self.on_failure, self.precision)
        return Request(self.solver, named(self.adjoint), *numbers)

    def derivative_of_cones(self) -> str | Perturbation:
        """What is asked of the derivative of a cone program; :func:`uses_qp` has refused what it does not have."""
        return derivative_of_cones(self.adjoint)

    def for_curvature(self, dtypes: Sequence[torch.dtype]) -> Options:
        """The same where parameters of these dtypes are in the quadratic part of the objective."""
        precision = max(torch.finfo(dtype).eps for dtype in dtypes)
        return self if precision <= self.precision else replace(self, precision=precision)


def solver_name(given: Any) -> str:
    """Our name of a solver: CVXPY's names in any case, None for "auto".

    Raises
    ------
    LayerError
        If there is no such engine.
    """
    if given is None:
        return "auto"
    if not isinstance(given, str):
        raise LayerError(
            f"solver must be a name, found {type(given).__name__}; a SolverInterface belongs to cvxpylayers' CvxpyLayer"
        )
    name = given.lower()
    if name in REPLACED:
        warnings.warn(
            f'solver={given!r} has no counterpart here: solver="auto" is used', UserWarning, stacklevel=3
        )
        return "auto"
    require_choice("solver", name, tuple(dict.fromkeys((*engines(), *CONE_ENGINES))))
    return name


def with_solver_args(options: Options, given: Mapping[str, Any]) -> Options:
    """The options after a dictionary of solver arguments in the names of SCS, ECOS, Clarabel, OSQP, diffcp or ours.

    Tolerances become ``tol`` (the smallest counts), limits of iterations ``max_iterations``; a conic engine that was
    asked for by name gets its own settings. One UserWarning names the arguments that mean nothing here, among them
    ``solve_method``, the solver inside diffcp, unless it is the engine in use.

    Raises
    ------
    LayerError
        If that is no dictionary of names, or a value is not what its name takes.
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise LayerError(
            f"solver_args must be a dictionary of names and values, as {{'eps': 1e-8}}; found {given!r}"
        )
    tolerances = [tolerance(name, value) for name, value in given.items() if name in TOLERANCES]
    limits = [whole_number(name, value) for name, value in given.items() if name in LIMITS]
    others = {n: v for n, v in given.items() if n not in TOLERANCES | LIMITS | HARMLESS}
    if str(others.get("solve_method", "")).lower() == options.solver:
        del others["solve_method"]
    settings = _settings_of(options.solver) if others else None
    own = {name: value for name, value in others.items() if hasattr(settings, name)}
    for name, value in own.items():
        _require_setting(options.solver, settings, name, value)
    left_out = sorted(others.keys() - own.keys())
    if left_out:
        warnings.warn(
            f"solver_args that mean nothing to solver={options.solver!r} are left out: {', '.join(left_out)}",
            UserWarning,
            stacklevel=4,
        )
    return replace(
        options,
        tol=tolerance("tol", min(tolerances, default=options.tol)),
        max_iterations=whole_number("max_iterations", min(limits, default=options.max_iterations)),
        settings={**options.settings, **own},
    )


def _require_setting(engine: str, settings: Any, name: str, value: object) -> None:
    """Refuse a value that an engine's setting does not take: the settings are a fresh object, to try it on."""
    try:
        setattr(settings, name, value)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise LayerError(
            f"{name} of solver={engine!r} must be of the kind of its default, {getattr(settings, name)!r}; found "
            f"{value!r} ({error})"
        ) from error


def _settings_of(engine: str) -> Any:
    """The settings that a conic engine has, with their defaults, or None."""
    if engine not in SETTINGS:
        return None
    package, name = SETTINGS[engine]
    try:
        return getattr(import_module(package), name)()
    except ImportError:
        # The solve says that the package is missing, and how to get it.
        return None


def uses_qp(options: Options, cones: Cones) -> bool:
    """Whether a program may go to the QP layer, its rows being linear; checks the options on the way.

    Raises
    ------
    LayerError
        If the engine asked for does not exist, or solves quadratic programs only and this is none.
    """
    linear = cones.linear and options.solver not in CONE_ENGINES
    if not linear and options.solver not in ("auto", "native", *CONE_ENGINES):
        raise LayerError(
            f"solver={options.solver!r} solves quadratic programs, and this program has other cones ({cones}); "
            f"choose auto, native, {' or '.join(CONE_ENGINES)}"
        )
    # The constructor checks the options.
    QPLayer(
        options.solver if linear else "auto",
        options.adjoint,
        options.tol,
        options.max_iterations,
        options.on_failure,
    )
    if not linear and bound(named(options.adjoint)).name not in CONE_ADJOINTS:
        why = (
            f"solver={options.solver!r} takes cones" if cones.linear else f"this program has others: {cones}"
        )
        raise LayerError(
            f"adjoint={options.adjoint!r} is for programs with linear constraints, as quadratic programs; {why}. "
            f"Choose 'auto', {' or '.join(map(repr, CONE_ADJOINTS))}"
        )
    return linear


def keeps_sparsity(options: Options, program: CanonicalProgram) -> bool:
    """Whether a program with linear rows goes to the room of cones, whose matrices are sparse: where that is cheaper.

    Factorisations are counted: a sparse one, and one of the core, which takes bounds and a diagonal objective out. A
    linear program has no such objective, and its vertices are what the core leaves. An engine asked for by name keeps
    what it is given, and so does an adjoint that cones do not have.
    """
    if options.solver != "auto" or bound(named(options.adjoint)).name not in CONE_ADJOINTS:
        return False
    w, _, _ = defined_variables(program)
    s = program.structure
    return s.sparse_pays(s.core_work(w.size))


def require_exportable(solver: str, cones: Cones, linear: bool, looked_at: Sequence[str]) -> None:
    """Refuse torch.export: a graph has operators for quadratic programs, and none that looks at values.

    Parameters
    ----------
    looked_at : sequence of str
        Parameters whose values every call looks at, because they were declared nonnegative, semidefinite, ….

    Raises
    ------
    LayerError
    """
    if not linear and cones.linear:
        why = 'this one is solved with sparse matrices: name solver="native", which has dense ones'
    elif not linear:
        why = f"this one has others: {cones}"
    elif looked_at:
        why = f"the values of {', '.join(looked_at)} have to be looked at in every call"
    elif solver in BACKENDS:
        why = f"solver={solver!r} has no operator"
    else:
        return
    raise LayerError(
        "torch.export takes a ConvexLayer with linear constraints and parameters of any value, solved as a "
        f"quadratic program; {why}. Save the module itself by torch.save, or export what is around it"
    )
