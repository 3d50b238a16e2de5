"""Why a problem is not DPP, in one message: the smallest expression that breaks the rules, and a form that keeps them.

Disciplined parametrized programming (DPP; Agrawal et al. 2019, arXiv 1910.12430, section 4.1): DCP with parameters
counted as affine, and in every product at most one factor with parameters, the other then without. What breaks the
rules of DCP and DGP themselves is explained in :mod:`layers.convex.canonical.curvature`.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression, multiply
from cvxpy.atoms.affine.promote import Promote
from cvxpy.atoms.elementwise.power import Power
from cvxpy.atoms.perspective import perspective
from cvxpy.atoms.quad_form import QuadForm
from cvxpy.utilities import scopes

from layers.convex.canonical.curvature import advice_on_curvature, advice_on_exponent, advice_on_matrix
from layers.convex.canonical.forms import BILINEAR

PRODUCTS = (MulExpression, multiply, *BILINEAR)
THROUGH = "compute its value in torch: the gradient goes through"


def explain(problem: cp.Problem, *, gp: bool) -> str:
    """What breaks the rules of a problem that is not DPP, and what to write instead."""
    if not (problem.is_dgp() if gp else problem.is_dcp()):
        culprit = _smallest(problem, gp=gp, parametrized=False)
        rules = "a disciplined geometric program (DGP)" if gp else "a disciplined convex program (DCP)"
        advice = "it is a geometric program: pass gp=True"
        if gp or not problem.is_dgp():
            advice = advice_on_curvature(culprit, gp=gp)
        return f"the problem is not {rules}, whatever its parameters, because of the expression `{culprit}`: {advice}"
    culprit = _smallest(problem, gp=gp, parametrized=True)
    return (
        "the problem is not DPP, so the data of its cone program are not affine in the parameters. "
        f"The expression `{culprit}` breaks the rules: {_advice(culprit, gp=gp)}"
    )


def explain_failure(problem: cp.Problem, error: Exception) -> str:
    """What to write where CVXPY fails to compile a problem that keeps the rules."""
    for found in (_first(part, perspective) for part in (problem.objective, *problem.constraints)):
        if found is not None:
            return (
                f"CVXPY compiles `{found}` for solvers of its own list only. Write the perspective of its function as "
                "another atom: cvxpy.quad_over_lin(x, s) for that of the sum of squares, cvxpy.rel_entr(s, x) for that "
                "of -log(x), the function itself where it is a norm"
            )
    said = str(error) or "it gives no reason"
    return (
        f"CVXPY fails to compile the problem ({type(error).__name__}: {said}). Write in other words, or leave out, one "
        "constraint or term after the other, to find the one that it does not take"
    )


def _first(expression: Any, kind: type) -> Any:
    """The first part of this kind; None without one."""
    if isinstance(expression, kind):
        return expression
    found = (_first(argument, kind) for argument in expression.args)
    return next((f for f in found if f is not None), None)


def _smallest(problem: cp.Problem, *, gp: bool, parametrized: bool) -> Any:
    """The first part that breaks the rules, narrowed down to an expression whose arguments all keep them."""

    def keeps_rules(part: Any) -> bool:
        return bool(part.is_dgp(dpp=parametrized) if gp else part.is_dcp(dpp=parametrized))

    def narrowed(part: Any) -> Any:
        broken = [argument for argument in part.args if not keeps_rules(argument)]
        return narrowed(broken[0]) if broken else part

    # In the objective, and only there, the matrix of quad_form may be a parameter: it goes into P.
    with scopes.quad_form_dpp_scope():
        if not keeps_rules(problem.objective):
            return narrowed(problem.objective)
    broken = [part for part in problem.constraints if not keeps_rules(part)]
    # What is left, when all of these keep the rules, is a variable with parametric bounds.
    bounds = [v for v in problem.variables() if not v.is_dpp("dgp" if gp else "dcp")]
    return next(iter([*map(narrowed, broken), *bounds]), problem.objective)


def _advice(culprit: Any, *, gp: bool) -> str:
    """A form of the expression that keeps the rules."""
    if isinstance(culprit, QuadForm):
        return _advice_on_quad_form(culprit)
    if isinstance(culprit, DivExpression) and culprit.args[1].parameters():
        top, bottom = culprit.args[0], _plain(culprit.args[1])
        return f"it divides by a parameter. Write ({top}) * r {_in_place(f'1 / ({bottom})', bottom)}"
    if isinstance(culprit, Power) and not isinstance(culprit.p, cp.Constant):
        (base,) = culprit.args
        if gp:
            return f"exponent and base contain parameters. {_named(base, 'pos=True')}, and write w ** ({culprit.p})"
        return advice_on_exponent(culprit)
    function = _function_of_parameters(culprit)
    if function is not None:
        return f"`{function}` depends on parameters alone, but not affinely. {_computed(function)}"
    if isinstance(culprit, PRODUCTS):
        left, right = (_plain(factor) for factor in culprit.args)
        inner, outer = (left, right) if left.variables() else (right, left)
        return (
            f"both factors, `{left}` and `{right}`, contain parameters. {_named(inner)}, "
            f"and write the product of `{outer}` and w"
        )
    if isinstance(culprit, cp.Variable):
        return (
            "a bound of it is not affine in the parameters. Make the bound itself a parameter, and " + THROUGH
        )
    return (
        "parameters count as affine expressions, not as constants. Replace what is computed from parameters by a new "
        f"parameter, and {THROUGH}"
    )


def _advice_on_quad_form(culprit: Any) -> str:
    x, P = culprit.args
    n = x.size
    if not P.is_psd():
        return advice_on_matrix(culprit)
    if x.parameters():
        return f"its vector contains parameters. {_named(x)}, and write cvxpy.quad_form(w, {P})"
    return (
        f"a parametric matrix is allowed in the objective only. Write cvxpy.sum_squares(R @ {x}) with "
        f"R = cvxpy.Parameter(({n}, {n})) a factor of {P} = RᵀR, computed in torch by torch.linalg.cholesky({P}).mT"
    )


def _computed(function: Any) -> str:
    """A new parameter for a function of parameters."""
    return f"Put a new parameter r = cvxpy.Parameter({_declared(function)}) in its place and {THROUGH}"


def _in_place(text: str, expression: Any) -> str:
    """A new parameter for a text, with the sign of an expression."""
    return f"with a new parameter r = cvxpy.Parameter({_declared(expression)}) in the place of {text}, and {THROUGH}"


def _named(expression: Any, attribute: str = "") -> str:
    """How to give a name to an expression, so that it stands in a product as a variable."""
    relation = "==" if attribute or expression.is_affine() else ">=" if expression.is_convex() else "<="
    arguments = f"{expression.shape}{', ' if attribute else ''}{attribute}"
    return f"Add a variable w = cvxpy.Variable({arguments}) and the constraint w {relation} {expression}"


def _function_of_parameters(expression: Any) -> Any:
    """The first largest sub-expression without variables that is not affine in its parameters, or None."""
    if not expression.parameters():
        return None
    if not expression.variables():
        with scopes.dpp_scope():
            affine = expression.is_affine()
        return None if affine else _plain(expression)
    found = (_function_of_parameters(argument) for argument in expression.args)
    return next((f for f in found if f is not None), None)


def _plain(expression: Any) -> Any:
    """The expression without the promotion of a scalar to the shape of its partner."""
    return expression.args[0] if isinstance(expression, Promote) else expression


def _declared(expression: Any) -> str:
    """Shape and sign, as a parameter is declared."""
    sign = ", nonneg=True" if expression.is_nonneg() else ", nonpos=True" if expression.is_nonpos() else ""
    return f"{expression.shape}{sign}"
