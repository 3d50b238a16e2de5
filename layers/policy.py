"""The options that every solve takes, and what happens to the elements of a batch that failed."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from layers.errors import LayerError
from layers.solution import Point, Status

POLICIES = ("raise", "nan", "ignore")

ADVICE = {
    Status.ITERATION_LIMIT: "raise max_iterations, or tol",
    Status.INFEASIBLE: "no point satisfies its constraints: relax them with a penalised slack",
    Status.UNBOUNDED: "its objective has no lower bound: bound the variables or add a quadratic term",
    Status.NUMERICAL_FAILURE: "rescale its data, or raise tol",
}

#: a certificate of an undecided element is worth a word if it is violated by less than this
DOUBTFUL = 1e-6


def check_options(
    adjoint: str, adjoints: Collection[str], tol: float, max_iterations: int, on_failure: str
) -> None:
    """Refuse a word or a number that no solve takes.

    Raises
    ------
    LayerError
        Naming the option, what was found and what there is.
    """
    for name, value, choices in (("adjoint", adjoint, adjoints), ("on_failure", on_failure, POLICIES)):
        require_choice(name, value, choices)
    if not tol > 0:
        raise LayerError(f"tol must be positive; found {tol!r}")
    if max_iterations < 1:
        raise LayerError(f"max_iterations must be at least 1; found {max_iterations!r}")


def require_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Refuse a word that is none of the choices."""
    if value not in choices:
        raise LayerError(f"{name} must be one of {', '.join(map(repr, choices))}; found {value!r}")


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


def describe_failures(point: Point, batch: torch.Size) -> str:
    """Which elements failed, how, by how much, and what to try."""
    failed = (point.status != Status.OPTIMAL).nonzero().squeeze(-1)
    worst = point.residuals.largest
    lines: list[str] = []
    for flat_index in failed[:5].tolist():
        status = Status(int(point.status[flat_index]))
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat_index), batch)) if batch else ()
        name = f"element {place}" if batch else "the problem"
        lines.append(
            f"{name}: {status.name}, relative KKT residual {worst[flat_index].item():.1e} after "
            f"{int(point.iterations[flat_index])} iterations{_doubt(point, flat_index)}; {ADVICE[status]}"
        )
    more = f"\n  … and {failed.numel() - 5} more" if failed.numel() > 5 else ""
    return (
        f"{failed.numel()} of {point.status.numel()} problems not solved:\n  "
        + "\n  ".join(lines)
        + more
        + "\n"
        'Pass on_failure="nan" to get NaN for them and the exact answer for the others.'
    )


def _doubt(point: Point, index: int) -> str:
    """What speaks for a certificate of an element that is undecided, and does not prove it."""
    if point.nearest is None or point.status[index] != Status.NUMERICAL_FAILURE:
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
