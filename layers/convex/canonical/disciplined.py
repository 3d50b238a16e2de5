"""What a problem and its lists of parameters and variables must be before it can become a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cvxpy as cp

from layers.convex.canonical.advice import explain
from layers.convex.canonical.forms import written_out
from layers.errors import ProblemError


def check_problem(
    problem: cp.Problem, parameters: Sequence[cp.Parameter], variables: Sequence[cp.Variable], *, gp: bool
) -> cp.Problem:
    """The problem in forms that DPP takes; refuse what cannot become a layer.

    Raises
    ------
    ProblemError
        Naming the parameter, variable or expression, and a form that works.
    """
    _check_kind(problem)
    _check_list("parameters", parameters, cp.Parameter)
    _check_list("variables", variables, cp.Variable)
    _check_parameters(problem, parameters)
    _check_variables(problem, variables)
    written = problem if gp else written_out(problem)
    if not _disciplined(written, gp=gp):
        raise ProblemError(explain(written, gp=gp))
    return written


def _check_kind(problem: Any) -> None:
    if not isinstance(problem, cp.Problem):
        raise ProblemError(f"problem must be a cvxpy.Problem; found {type(problem).__name__}")


def _check_list(name: str, given: Any, kind: type) -> None:
    if not isinstance(given, list | tuple):
        raise ProblemError(f"{name} must be a list or tuple; found {type(given).__name__}")
    for place, leaf in enumerate(given):
        if not isinstance(leaf, kind):
            raise ProblemError(
                f"{name}[{place}] must be a cvxpy.{kind.__name__}; found {type(leaf).__name__}"
            )
    repeated = sorted({leaf.name() for leaf in given if sum(leaf is other for other in given) > 1})
    if repeated and kind is cp.Parameter:
        raise ProblemError(
            f"every parameter stands once in {name}; found more than once: {', '.join(repeated)}"
        )


def _check_parameters(problem: cp.Problem, parameters: Sequence[cp.Parameter]) -> None:
    own = {p.id: p.name() for p in problem.parameters()}
    if not own:
        raise ProblemError(
            "the problem has no parameters, so its solution is a constant: call problem.solve(), or make the data "
            "that a gradient should reach a cvxpy.Parameter"
        )
    foreign = [p.name() for p in parameters if p.id not in own]
    if foreign:
        raise ProblemError(
            f"not parameters of this problem: {', '.join(foreign)}; it has {', '.join(own.values())}"
        )
    missing = own.keys() - {p.id for p in parameters}
    if missing:
        names = ", ".join(name for i, name in own.items() if i in missing)
        raise ProblemError(f"parameters must list all parameters of the problem; missing: {names}")


def _check_variables(problem: cp.Problem, variables: Sequence[cp.Variable]) -> None:
    if not problem.variables():
        raise ProblemError("the problem has no variables")
    own = {v.id: v.name() for v in problem.variables()}
    duals = {d.id for c in problem.constraints for d in c.dual_variables}
    foreign = [v.name() for v in variables if v.id not in own and v.id not in duals]
    if foreign:
        raise ProblemError(
            f"neither variables of this problem nor dual variables of its constraints: {', '.join(foreign)}; "
            f"its variables are {', '.join(own.values())}"
        )
    if problem.is_mixed_integer():
        names = ", ".join(
            v.name() for v in problem.variables() if v.attributes["boolean"] or v.attributes["integer"]
        )
        raise ProblemError(
            f"integer variables have no derivative: {names}; relax them, for instance to "
            "cvxpy.Variable(..., bounds=[0, 1])"
        )
    complex_leaves = [v.name() for v in (*problem.variables(), *problem.parameters()) if not v.is_real()]
    if complex_leaves:
        raise ProblemError(
            f"complex variables and parameters are not supported: {', '.join(complex_leaves)}; "
            "write real and imaginary parts as two of them"
        )


def _disciplined(problem: Any, *, gp: bool) -> bool:
    return bool(problem.is_dpp("dgp") if gp else problem.is_dpp(quad_form_dpp="qp"))
