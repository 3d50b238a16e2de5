"""The layer that a configuration chooses, for any program: ours, or cvxpylayers at its best setting."""

from collections.abc import Callable
from functools import partial
from typing import Any

import cvxpy as cp
import torch
from torch import Tensor

from experiments.common.config import LayerConfig
from experiments.common.errors import require
from experiments.programs.notebook import Build, Layer
from layers import ConvexLayer

# Engines of quadratic programs alone.
QUADRATIC = ("admm", "interior_point", "native", "qpth")
Interface = Callable[..., Any]


def builder(config: LayerConfig) -> Build:
    """What makes a layer of a problem, its parameters and the variables wanted."""
    if config.solver == "cvxpylayers":
        return partial(build_cvxpylayers, tol=config.tol)

    def build(problem: cp.Problem, parameters: list[cp.Parameter], variables: list[cp.Variable]) -> Layer:
        return ConvexLayer(
            problem, parameters, variables, solver=config.solver, adjoint=config.derivative(), tol=config.tol,
            max_iterations=config.max_iterations,
        )  # fmt: skip

    return build


def build_cvxpylayers(
    problem: cp.Problem, parameters: list[cp.Parameter], variables: list[cp.Variable], tol: float
) -> Layer:
    """cvxpylayers on diffcp: solved by SCS to tol / 10, differentiated by a dense factorisation.

    SCS at a tight tolerance gives better answers here than Clarabel, which meets its tolerance in the objective: on the
    elastic net, derivatives within 4e-7 of differences against 2e-3. The default derivative, LSQR, can stop at its
    limit without a word.
    """
    from cvxpylayers.torch.cvxpylayer import CvxpyLayer

    layer: Interface = CvxpyLayer(problem, parameters, variables)
    accurate = {"solve_method": "SCS", "eps_abs": tol / 10, "eps_rel": tol / 10, "max_iters": 100_000}

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        differentiate = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        return layer(*tensors, solver_args=accurate | ({"mode": "dense"} if differentiate else {}))

    return call


def beyond(solver: str, program: Any) -> str | None:
    """Why the engine `solver` cannot solve `program`, a module that declares CONES and DEFINITE; None if it can."""
    if program.CONES is not None and solver in QUADRATIC:
        return f"it has {program.CONES}, and layer.solver={solver} solves quadratic programs only"
    if solver == "qpth" and not program.DEFINITE:
        return "its quadratic objective is not positive definite, as layer.solver=qpth asks"
    return None


def require_solvable(solver: str, method: str, program: Any) -> None:
    """Raise a `ConfigError` unless the engine `solver` can solve `program`, called `method`."""
    reason = beyond(solver, program)
    require(reason is None, "methods", method, f"a program that the layer can solve: {reason}")
