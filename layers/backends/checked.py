"""A third-party layer under our checks: what it calls solved is measured as our own answers are."""

from __future__ import annotations

import torch
from torch import Tensor

from layers.backends import BACKENDS
from layers.errors import SolverError, UnavailableError, refuse_inference
from layers.linalg.products import dot, mv
from layers.modes.opaque import opaque, refuse_export
from layers.policy import describe_failures
from layers.problem import QP, check_values
from layers.qp.engines import Request
from layers.qp.function import Outputs, under_policy
from layers.qp.kkt import residuals, slack
from layers.solution import Point, Status


@opaque
def solve_with_backend(problem: QP, request: Request) -> Outputs:
    """The answer of the layer `request.solver`: OPTIMAL only if it satisfies the KKT conditions.

    Raises
    ------
    UnavailableError
        If its package is not installed.
    SolverError
        With ``on_failure="raise"``, naming the elements that failed.
    """
    name, tol, on_failure = request.solver, request.tol, request.on_failure
    backend = BACKENDS[name]
    refuse_export(f"solver={name!r}, a package of others", 'solver="auto"')
    reason = backend.unavailable()
    if reason is not None:
        raise UnavailableError(f"solver={name!r} cannot be used: {reason}")
    detached = QP(*(t.detach() for t in problem.tensors))
    check_values(detached, request.precision)
    batch, flat = problem.batch_shape, detached.flatten()
    z, lam, nu = backend.solve(problem, tol, request.max_iterations)
    point = [v.detach().reshape(batch.numel(), v.shape[-1]) for v in (z, lam, nu)]
    error = residuals(flat, point[0], point[1], point[2])
    status = torch.full(error.gap.shape, Status.ITERATION_LIMIT, dtype=torch.int64, device=z.device)
    # In norm: a layer that does not refine leaves noise where a zero should be, and its rows are not measured by that.
    status = torch.where(error.relative.amax(-1) <= tol, int(Status.OPTIMAL), status)
    status = torch.where(torch.isnan(point[0]).any(-1), int(Status.NUMERICAL_FAILURE), status)
    iterations = torch.full_like(status, -1)
    if on_failure == "raise" and (status != Status.OPTIMAL).any():
        answer = Point.without_certificate(point[0], point[1], point[2], status, error, iterations)
        text = describe_failures(answer, batch, problem.h, request.precision)
        raise SolverError(
            f'{name}: {text}\nThe package does not say why: solver="auto" tells what has no solution.'
        )
    good = _finite(z, (status == Status.OPTIMAL).reshape(batch))
    try:
        value = 0.5 * dot(mv(problem.Q, good), good) + dot(problem.q, good)
        s = slack(problem, good)
    except RuntimeError as error_of_torch:
        refuse_inference(error_of_torch, problem.named)
        raise
    relative = error.values.reshape(*batch, 6)
    kind = status.new_zeros((*batch, problem.m), dtype=torch.int8)  # its derivative is its own
    outputs = Outputs(z, lam, nu, value, s, kind, status.reshape(batch), relative, iterations.reshape(batch))
    return under_policy(outputs, on_failure)


def _finite(z: Tensor, solved: Tensor) -> Tensor:
    """z with finite constants where an element failed: 0 · NaN in a backward pass would spoil shared arguments."""
    return torch.where(solved.unsqueeze(-1), z, z.detach().nan_to_num())
