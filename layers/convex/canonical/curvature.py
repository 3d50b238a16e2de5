"""Why a problem is no disciplined convex or geometric program, whatever its parameters, and what to write instead."""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.atoms.affine.binary_operators import DivExpression, MulExpression, multiply
from cvxpy.atoms.elementwise.power import Power
from cvxpy.atoms.quad_form import QuadForm
from cvxpy.constraints.nonpos import Inequality
from cvxpy.constraints.zero import Equality

from layers.linalg.semidefinite import curvature_rounding

FLOAT32 = float(np.finfo(np.float32).eps)


def advice_on_curvature(culprit: Any, *, gp: bool) -> str:
    """What to write in the place of an expression, constraint or objective that breaks the rules of DCP or DGP."""
    if gp:
        return _advice_on_geometric(culprit)
    if isinstance(culprit, QuadForm):
        return advice_on_matrix(culprit)
    if isinstance(culprit, Power) and not isinstance(culprit.p, cp.Constant):
        return advice_on_exponent(culprit)
    if isinstance(culprit, MulExpression | multiply | DivExpression):
        return _advice_on_product(culprit)
    if isinstance(culprit, Equality):
        return (
            "an equality must be affine on both sides. Write <= with the convex side on the left, if the solution "
            "will lie on its boundary, or another affine equality"
        )
    if isinstance(culprit, Inequality):
        return (
            "the smaller side must be convex and the larger one concave, and the set that this describes is not "
            "convex. Turn it round, if the other side of it was meant, or bound an affine expression"
        )
    if isinstance(culprit, cp.Minimize | cp.Maximize):
        wanted, other = (
            ("convex", "Maximize") if isinstance(culprit, cp.Minimize) else ("concave", "Minimize")
        )
        return f"the objective must be {wanted}. If the opposite was meant, write cvxpy.{other}"
    return (
        "it composes functions in a way that has no known curvature. Give the inner one a variable of its own, "
        "w = cvxpy.Variable(shape), with an inequality that it may satisfy loosely, or look for an atom of CVXPY "
        "that is the whole expression"
    )


def advice_on_matrix(culprit: Any) -> str:
    """What to do with a quadratic form whose matrix is not known to be positive semidefinite."""
    x, P = culprit.args
    n = x.size
    if P.parameters():
        return (
            "nothing says that its matrix is positive semidefinite. Declare it: "
            f"cvxpy.Parameter(({n}, {n}), PSD=True)"
        )
    values = np.linalg.eigvalsh(np.asarray(P.value.toarray() if hasattr(P.value, "toarray") else P.value))
    rounding = curvature_rounding(n, FLOAT32) * np.abs(values).max(initial=0.0)
    if values[0] >= -rounding:
        return (
            f"its constant matrix has the eigenvalue {values[0]:.1e}, which is zero but for rounding. Say so: "
            f"cvxpy.quad_form({x}, cvxpy.psd_wrap(P))"
        )
    return (
        f"its constant matrix P has the eigenvalue {values[0]:.3g}, so the function is not convex, and no declaration "
        f"helps. Choose a matrix that is positive semidefinite, as P + {-1.01 * values[0]:.3g} * numpy.eye({n}), or "
        "P.T @ P"
    )


def advice_on_exponent(culprit: Any) -> str:
    """What to do with a parameter as exponent."""
    return (
        f"its exponent `{culprit.p}` is a parameter, on which its curvature depends; only a geometric program, with "
        f"gp=True, may have one. Make it a number, with a layer for each: cvxpy.power({culprit.args[0]}, 0.5)"
    )


def _advice_on_product(culprit: Any) -> str:
    left, right = culprit.args
    if left.variables() and right.variables():
        if isinstance(culprit, DivExpression):
            return (
                "a ratio of variables is not convex. Fix one of them as a parameter, or, for x²/y, write "
                "cvxpy.quad_over_lin(x, y)"
            )
        return (
            "a product of variables is not convex. Fix one of them as a parameter, or, for a square, write "
            "cvxpy.square(x) or cvxpy.sum_squares(x)"
        )
    factor, other = (left, right) if right.variables() else (right, left)
    factor = factor.args[0] if type(factor).__name__ == "Promote" else factor
    if not (factor.is_nonneg() or factor.is_nonpos()) and factor.parameters():
        return (
            f"nothing says the sign of `{factor}`, and with it whether the product curves up or down. Declare it: "
            f"cvxpy.Parameter({factor.shape}, nonneg=True)"
        )
    return f"`{other}` has no curvature that a product with `{factor}` keeps. Give it a variable of its own"


def _advice_on_geometric(culprit: Any) -> str:
    if isinstance(culprit, cp.Variable | cp.Parameter):
        kind = type(culprit).__name__
        return (
            "variables and parameters of a geometric program are positive. Declare it: "
            f"cvxpy.{kind}({culprit.shape}, pos=True)"
        )
    if isinstance(culprit, Equality | Inequality):
        return (
            "the smaller side must be a sum of monomials (a posynomial), the larger one a monomial, and both sides of "
            "an equality monomials. Divide by what stands beside the larger monomial, or move it to the other side"
        )
    return (
        "sums and products of positive variables and parameters and their powers are allowed, differences are not. "
        "Move what is subtracted to the other side of a constraint"
    )
