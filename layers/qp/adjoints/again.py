"""A second solve, for the adjoints that ask an engine where others solve a linear system."""

from __future__ import annotations

import torch

from layers.errors import DifferentiationError
from layers.problem import QP
from layers.qp.engines import Request, answer_automatically
from layers.qp.gradients import Triple
from layers.qp.kkt import slack
from layers.solution import Status

#: an engine polishes what it brings to this, so that differences of solutions keep most of their digits
TOLERANCE, ITERATIONS = 1e-10, 200


def solved_again(problem: QP, otherwise: str, guess: Triple | None = None) -> Triple:
    """The solution of a flat problem by the engine that ``solver="auto"`` takes.

    Parameters
    ----------
    otherwise : str
        What an element that is not solved means, and what to do.
    guess : Triple, optional
        A solution of a problem nearby, whose active set is tried first.

    Raises
    ------
    DifferentiationError
        If an element is not solved.
    """
    start = None if guess is None else (guess.z, guess.lam, guess.nu, slack(problem, guess.z))
    precision = torch.finfo(problem.q.dtype).eps
    request = Request("auto", "implicit", TOLERANCE, ITERATIONS, "ignore", precision, start)
    point = answer_automatically(problem, request).point
    failed = (point.status != Status.OPTIMAL).nonzero().squeeze(-1)
    if failed.numel():
        verdict = Status(int(point.status[failed[0]])).name
        raise DifferentiationError(
            f"the program of the derivative is {verdict} in {failed.numel()} of {len(point.status)} solved problems: "
            f"{otherwise}"
        )
    return Triple(point.z, point.lam, point.nu)
