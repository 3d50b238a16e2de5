"""The options that every solve takes, and what happens to the elements of a batch that failed."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from difflib import get_close_matches
from math import inf
from typing import Any

import torch
from torch import Tensor

from layers.errors import DifferentiationError, LayerError
from layers.solution import Point, Status

POLICIES = ("raise", "nan", "ignore")

EPSILON = torch.finfo(torch.float64).eps
#: bounds of this size stand for infinity: beside them numbers of size one are rounded away
LARGE_BOUND = 1e15

CONTRADICTION = (
    "The tensors were not float64: constraints that follow from one another in exact numbers contradict each other by "
    "their rounding; compute their values in float64."
)

ADVICE = {
    Status.ITERATION_LIMIT: "raise max_iterations, or tol",
    Status.INFEASIBLE: "no point satisfies its constraints: relax them with a penalised slack",
    Status.UNBOUNDED: "its objective has no lower bound: bound the variables or add a quadratic term",
    Status.NUMERICAL_FAILURE: "rescale its data, or raise tol",
}

#: a certificate of an undecided element is worth a word if it is violated by less than this
DOUBTFUL = 1e-6


def check_options(tol: float, max_iterations: int, on_failure: str) -> tuple[float, int]:
    """Refuse a word or a number that no solve takes, and return ``tol`` and ``max_iterations`` as numbers.

    Raises
    ------
    LayerError
        Naming the option, what was found and what there is.
    """
    require_choice("on_failure", on_failure, POLICIES)
    return tolerance("tol", tol), whole_number("max_iterations", max_iterations)


def tolerance(name: str, value: object) -> float:
    """A positive number; of any type that has one, but text."""
    number = value if type(value) is float else _number(value)
    if number is None or not 0 < number < inf:
        raise LayerError(f"{name} must be positive and finite, as 1e-8; found {value!r}{_unquoted(value)}")
    return number


def whole_number(name: str, value: object) -> int:
    """A whole number of at least 1; 1e3 is one."""
    if type(value) is int and value >= 1:
        return value
    number = _number(value)
    if number is None or not 1 <= number < inf or number != int(number):
        raise LayerError(f"{name} must be a whole number, at least 1; found {value!r}{_unquoted(value)}")
    return int(number)


def _number(value: Any) -> float | None:
    """What ``float`` makes of a value that is a number."""
    if isinstance(value, str | bytes | bool) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # an array of several numbers, and 10**400
        return None


def _unquoted(value: object) -> str:
    """What to write for a number in quotation marks, as YAML reads 1e-8."""
    if isinstance(value, str):
        with suppress(ValueError):
            return f", which is text: write {float(value):g}, or float({value!r})"
    return ""


def require_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Refuse a word that is none of the choices, which are told with the one that comes closest."""
    if not isinstance(value, str) or value not in choices:
        near = get_close_matches(value.lower(), choices, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise LayerError(f"{name} must be one of {', '.join(map(repr, choices))}; found {value!r}{hint}")


def without_failures(value: Tensor, solved: Tensor, on_failure: str) -> Tensor:
    """A value of every element under the policy for those that failed, whose gradient is zero.

    Parameters
    ----------
    value : Tensor, shape ``batch`` or ``batch + (·,)``
    solved : Tensor of bool, shape ``batch``
    on_failure : {"raise", "nan", "ignore"}
        With ``"raise"`` no element has failed.
    """
    if on_failure == "raise":
        return value
    keep = solved if value.dim() == solved.dim() else solved.unsqueeze(-1)
    return torch.where(
        keep, value, torch.full_like(value, torch.nan) if on_failure == "nan" else value.detach()
    )


def describe_failures(
    point: Point, batch: torch.Size, bounds: Tensor | None = None, precision: float = EPSILON
) -> str:
    """Which elements failed, how, by how much, and what to try.

    Parameters
    ----------
    bounds : Tensor, optional
        Right-hand sides of the inequalities.
    precision : float
        Machine epsilon of the dtype in which the caller formed the data.
    """
    failed = (point.status != Status.OPTIMAL).nonzero().squeeze(-1)
    worst = point.residuals.largest
    lines: list[str] = []
    for flat_index in failed[:5].tolist():
        status = Status(int(point.status[flat_index]))
        place = (
            tuple(int(i) for i in torch.unravel_index(torch.tensor(flat_index, device="cpu"), batch))
            if batch
            else ()
        )
        name = f"element {place}" if batch else "the problem"
        steps = int(point.iterations[flat_index])
        counted = f" after {steps} iterations" if steps >= 0 else ""  # not every package tells
        lines.append(
            f"{name}: {status.name}, relative KKT residual {worst[flat_index].item():.1e}{counted}"
            f"{_doubt(point, flat_index)}; {ADVICE[status]}"
        )
    more = f"\n  … and {failed.numel() - 5} more" if failed.numel() > 5 else ""
    text = (
        f"{failed.numel()} of {point.status.numel()} problems not solved:\n  "
        + "\n  ".join(lines)
        + more
        + "\n"
        + _of_large_bounds(bounds)
        + 'Pass on_failure="nan" to get NaN for them and the exact answer for the others.'
    )
    return with_rounding(text) if precision > EPSILON else text


def with_rounding(text: str) -> str:
    """What :func:`describe_failures` said of data that were not float64, and, once, what their rounding can do."""
    may_be = (Status.INFEASIBLE, Status.ITERATION_LIMIT, Status.NUMERICAL_FAILURE)
    if CONTRADICTION in text or not any(status.name in text for status in may_be):
        return text
    return f"{text}\n{CONTRADICTION}"


def _of_large_bounds(bounds: Tensor | None) -> str:
    """What to do with bounds that stand for infinity."""
    largest = 0.0 if bounds is None or not bounds.numel() else bounds.abs().max().item()
    if largest < LARGE_BOUND:
        return ""
    return (
        f"A bound of {largest:.0e} is among the data, in whose rounding the others are lost: leave out the rows of "
        "bounds that do not bind, or give them a number that the variables cannot reach, as 1e6 times their size.\n"
    )


def _doubt(point: Point, index: int) -> str:
    """What speaks for a certificate of an element that is undecided, and does not prove it."""
    if point.status[index] != Status.NUMERICAL_FAILURE:
        return ""
    violation = point.nearest[index].item()
    if violation > DOUBTFUL:
        return ""
    return (
        f" and a certificate that it has no solution which is violated by {violation:.1e}: neither is proven, and "
        f"feasible points or values of the objective may be as far out as {1 / violation:.0e}"
        if violation > 0
        else " and a certificate that it has no solution which rounding leaves in doubt"
    )


def require_accurate(error: Tensor, solved: Tensor, bound: float, cost: str) -> None:
    """Refuse the linear solve of a derivative that missed its accuracy on a solved element.

    Parameters
    ----------
    error : Tensor, shape ``(B,)``
        Backward error of the solve.
    cost : str
        The name of the quadratic cost, for the advice.

    Raises
    ------
    DifferentiationError
        Naming the elements.
    """
    bad = solved & ~(error <= bound)
    if not bad.any():
        return
    listed = ", ".join(map(str, bad.nonzero().squeeze(-1)[:5].tolist()))
    raise DifferentiationError(
        f"the linear system of the derivative was solved only to relative residual {error[bad].max().item():.1e} "
        f"in {int(bad.sum())} batch element(s) ({listed}); expected {bound:.0e}. The data are too badly scaled for a "
        "derivative, or the rank of the active rows is in doubt: rescale variables and constraints, remove rows that "
        f"nearly follow from others, or add a small multiple of I to {cost}"
    )
