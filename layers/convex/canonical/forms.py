"""Forms that DPP refuses though they can be written in ones that it takes: written out before CVXPY compiles them.

* ``conv(p, x)``, ``convolve(p, x)``, ``kron(P, X)`` are linear in a parameter and a variable, but CVXPY takes a
  constant first argument alone: Σₗ pₗ f(eₗ, x) over the entries of the parameter is a sum of products that DPP takes.
* ``cumsum(p)`` of parameters is affine in them, but CVXPY makes a variable of it, which no product takes: Lp with a
  triangular matrix L of ones.
* ``quad_over_lin(x, r)`` divides by a parameter: with a variable that equals r it is convex in both. As a quadratic
  term ``(1 / r) * sum_squares(x)``, with the value of 1 / r computed in torch, it is solved in less time.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp
import numpy as np
from cvxpy.atoms.affine.conv import conv, convolve
from cvxpy.atoms.affine.cumsum import cumsum
from cvxpy.atoms.affine.kron import kron
from cvxpy.atoms.quad_over_lin import quad_over_lin

#: functions of two arguments, linear in each
BILINEAR = (kron, conv, convolve)


def written_out(problem: cp.Problem) -> cp.Problem:
    """The same problem in forms that DPP takes; its variables, parameters and the names of its constraints stay."""
    definitions: list[cp.Constraint] = []
    objective: Any = problem.objective
    expression = _written(objective.expr, definitions)
    constraints = [_written(constraint, definitions) for constraint in problem.constraints]
    pairs = zip((expression, *constraints), (objective.expr, *problem.constraints), strict=True)
    if all(new is old for new, old in pairs):
        return problem
    return cp.Problem(type(objective)(expression), [*constraints, *definitions])


def _written(expression: Any, definitions: list[cp.Constraint]) -> Any:
    """An expression or a constraint, its parts first; what it needs beside it is added to the definitions."""
    parts = [_written(part, definitions) for part in expression.args]
    if any(new is not old for new, old in zip(parts, expression.args, strict=True)):
        expression = expression.copy(parts)
    if isinstance(expression, BILINEAR):
        return _entry_by_entry(expression)
    if isinstance(expression, cumsum) and _is_data(expression):
        (argument,) = expression.args
        axis: Any = expression.axis
        ones = np.tril(np.ones((argument.shape[axis or 0],) * 2))
        return argument @ ones.T if axis == 1 else ones @ argument
    if isinstance(expression, quad_over_lin) and _is_data(expression.args[1]):
        divisor = cp.Variable()
        definitions.append(divisor == cp.sum(expression.args[1]))
        return expression.copy([expression.args[0], divisor])
    return expression


def _is_data(expression: Any) -> bool:
    """Whether an expression is made of parameters, and no variables."""
    return bool(expression.parameters()) and not expression.variables()


def _entry_by_entry(expression: Any) -> Any:
    """Σₗ pₗ f(eₗ, x) where one argument holds parameters and the other variables alone."""
    left, right = expression.args
    data, other = (left, right) if _is_data(left) else (right, left)
    if not _is_data(data) or other.parameters() or not other.variables():
        return expression

    def with_unit(place: tuple[int, ...]) -> Any:
        unit = np.zeros(data.shape)
        unit[place] = 1.0
        return expression.copy([unit, right] if data is left else [left, unit])

    terms = [data[place] * with_unit(place) for place in np.ndindex(data.shape)]
    return sum(terms[1:], terms[0])
