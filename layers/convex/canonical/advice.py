"""Why a problem is not DPP, in one message: the smallest expression that breaks the rules, and a form that keeps them.

Disciplined parametrized programming (DPP; Agrawal et al. 2019, arXiv 1910.12430, section 4.1): DCP with parameters
counted as affine, and in every product at most one factor with parameters, the other then without.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression, multiply
from cvxpy.atoms.affine.promote import Promote
from cvxpy.atoms.elementwise.power import Power
from cvxpy.atoms.quad_form import QuadForm
from cvxpy.utilities import scopes

PRODUCTS = (MulExpression, multiply)
THROUGH = "compute its value in torch: the gradient goes through"


def explain(problem: cp.Problem, *, gp: bool) -> str:
    """What breaks the rules of a problem that is not DPP, and what to write instead."""
    if not (problem.is_dgp() if gp else problem.is_dcp()):
        culprit = _smallest(problem, gp=gp, parametrized=False)
        rules = "a disciplined geometric program (DGP)" if gp else "a disciplined convex program (DCP)"
        message = (
            f"the problem is not {rules}, whatever its parameters, because of the expression `{culprit}`"
        )
        if isinstance(culprit, QuadForm):
            return f"{message}: {_advice_on_quad_form(culprit)}"
        return message + ("; it is a geometric program: pass gp=True" if not gp and problem.is_dgp() else "")
    culprit = _smallest(problem, gp=gp, parametrized=True)
    return (
        "the problem is not DPP, so the data of its cone program are not affine in the parameters. "
        f"The expression `{culprit}` breaks the rules: {_advice(culprit, gp=gp)}"
    )


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
    return narrowed(broken[0]) if broken else bounds[0]


def _advice(culprit: Any, *, gp: bool) -> str:
    """A form of the expression that keeps the rules."""
    if isinstance(culprit, QuadForm):
        return _advice_on_quad_form(culprit)
    if isinstance(culprit, DivExpression) and culprit.args[1].parameters():
        top, bottom = culprit.args[0], _plain(culprit.args[1])
        return (
            f"it divides by a parameter. Write ({top}) * r with a new parameter "
            f"r = cvxpy.Parameter({bottom.shape}{_sign(bottom)}) in the place of 1 / ({bottom}), and {THROUGH}"
        )
    if isinstance(culprit, Power) and not isinstance(culprit.p, cp.Constant):
        (base,) = culprit.args
        if gp:
            return f"exponent and base contain parameters. {_named(base, 'pos=True')}, and write w ** ({culprit.p})"
        return (
            "its exponent is a parameter, which only a geometric program (gp=True) may have: make it a number"
        )
    function = _function_of_parameters(culprit)
    if function is not None:
        return (
            f"`{function}` depends on parameters alone, but not affinely. Put a new parameter "
            f"r = cvxpy.Parameter({function.shape}{_sign(function)}) in its place and {THROUGH}"
        )
    if isinstance(culprit, PRODUCTS):
        left, right = (_plain(factor) for factor in culprit.args)
        inner, outer = (left, right) if left.variables() else (right, left)
        return (
            f"both factors, `{left}` and `{right}`, contain parameters. {_named(inner)}, "
            f"and write the product of `{outer}` and w"
        )
    return (
        "parameters count as affine expressions, not as constants. Replace what is computed from parameters by a new "
        f"parameter, and {THROUGH}"
    )


def _advice_on_quad_form(culprit: Any) -> str:
    x, P = culprit.args
    n = x.size
    if not P.is_psd():
        return (
            "nothing says that its matrix is positive semidefinite. Declare it: "
            f"cvxpy.Parameter(({n}, {n}), PSD=True)"
        )
    if x.parameters():
        return f"its vector contains parameters. {_named(x)}, and write cvxpy.quad_form(w, {P})"
    return (
        f"a parametric matrix is allowed in the objective only. Write cvxpy.sum_squares(R @ {x}) with "
        f"R = cvxpy.Parameter(({n}, {n})) a factor of {P} = RᵀR, computed in torch by torch.linalg.cholesky({P}).mT"
    )


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


def _sign(expression: Any) -> str:
    return ", nonneg=True" if expression.is_nonneg() else ", nonpos=True" if expression.is_nonpos() else ""
