"""Squares that CVXPY loses: X² where X itself is declared symmetric, semidefinite, diagonal or sparse.

CVXPY 1.9.2 compiles a quadratic term of such a variable to nothing, for every solver that takes quadratic objectives:
the variable is replaced by its free entries after the term was tied to it. A term of 1·X is compiled as it should.
"""

from __future__ import annotations

from typing import Any

import cvxpy as cp

#: attributes whose variables CVXPY replaces by their free entries
LOWERED = ("symmetric", "PSD", "NSD", "diag", "sparsity")


def keep_squares(problem: cp.Problem) -> cp.Problem:
    """The same problem, with 1·X for X where a square of X would be lost; constraints are the same objects."""
    objective: Any = problem.objective
    kept = _keep(objective.expr)
    return problem if kept is objective.expr else cp.Problem(type(objective)(kept), problem.constraints)


def lost_square(expression: Any) -> tuple[Any, cp.Variable] | None:
    """The first term in an objective that CVXPY would lose, and its variable; None if all are kept."""
    for part in expression.args:
        if _is_lost(expression, part):
            return expression, part
        if found := lost_square(part):
            return found
    return None


def _keep(expression: Any) -> Any:
    parts = [1 * part if _is_lost(expression, part) else _keep(part) for part in expression.args]
    same = all(new is old for new, old in zip(parts, expression.args, strict=True))
    return expression if same else expression.copy(parts)


def _is_lost(expression: Any, part: Any) -> bool:
    lowered = isinstance(part, cp.Variable) and any(part.attributes[name] for name in LOWERED)
    return lowered and bool(expression.is_quadratic()) and not expression.is_affine()
