"""Lagrangian proximal gradients of a cone program: a second solve, no linear system (Paulus et al. 2024).

As for quadratic programs (:mod:`layers.qp.adjoints.lpgd`): with L = ½xᵀPx + qᵀx + yᵀ(Ax − b) and the cotangents x̄, ȳ,

    (x, y)(τ) solves the program with q + τx̄, b − τȳ,                                                        (1)
    d = ((x, y)(τ) − (x, y)(σ)) / (τ − σ),  at the middle of both points,                                    (2)

where σ is 0 or −τ. The change of the gradient of L in the data between both points is what the reverse derivative of
:mod:`layers.cone.adjoint` makes of d there. Nothing of a projection is differentiated, so a solution at a kink, or at
the vertex of a cone, is as good as any other: the answer is a difference between points and not a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layers.cone import apart as solver_
from layers.cone.engines import Engine, Limits
from layers.cone_program import ConeProgram, ConeStructure, flat_program
from layers.errors import DifferentiationError
from layers.linalg.batched import align
from layers.solution import Status

Gradients = Callable[..., list[Tensor | None]]

#: core axes of (P, q, A, b, x, y, Π_K(s), solved, x̄, ȳ)
AXES = (1, 1, 1, 1, 1, 1, 1, 0, 1, 1)

ORDER = "adjoint='lpgd' has first derivatives in reverse mode alone, and more was asked for; choose adjoint='implicit'"


@dataclass(frozen=True)
class Perturbation:
    """τ, and of which points the difference is, in multiples of it: (1, 0), (0, −1) or (1, −1)."""

    tau: float
    weights: tuple[float, float]


@dataclass(frozen=True)
class Again:
    """How to solve once more."""

    structure: ConeStructure
    engines: list[Engine]
    limits: Limits
    tol: float
    perturbation: Perturbation


class Perturbed(torch.autograd.Function):
    """(again, P, q, A, b, x, y, Π_K(s), solved, x̄, ȳ) -> x and y at the middle of (2), d_x and d_y."""

    @staticmethod
    def forward(again: Again, *tensors: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *data, x, y, s, solved, x_bar, y_bar = tensors
        program, batch = flat_program(again.structure, data[0], data[1], data[2], data[3])
        vectors = [v.expand(*batch, -1).reshape(program.batch, v.shape[-1]) for v in (x, y, s, x_bar, y_bar)]
        index = (solved.expand(batch).reshape(-1) > 0).nonzero().squeeze(-1)
        part, own = program.take(index), [v[index] for v in vectors]
        (x1, y1), (x2, y2) = (
            _moved(part, again, weight * again.perturbation.tau, own) for weight in again.perturbation.weights
        )
        width = again.perturbation.tau * (again.perturbation.weights[0] - again.perturbation.weights[1])
        found = (0.5 * (x1 + x2), 0.5 * (y1 + y2), (x1 - x2) / width, (y1 - y2) / width)
        base = (vectors[0], vectors[1], torch.zeros_like(vectors[0]), torch.zeros_like(vectors[1]))
        whole = (v.index_copy(0, index, new) for v, new in zip(base, found, strict=True))
        return tuple(v.reshape(*batch, v.shape[-1]).clone() for v in whole)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise DifferentiationError(ORDER)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        raise DifferentiationError(ORDER)

    @staticmethod
    def vmap(  # pyright: ignore[reportIncompatibleMethodOverride]
        info: Any, in_dims: tuple[int | None, ...], again: Again, *tensors: Tensor
    ) -> tuple[Any, Any]:
        outputs = Perturbed.apply(again, *align(in_dims[1:], tensors, AXES))
        return outputs, (0,) * len(outputs)


def _moved(program: ConeProgram, again: Again, tau: float, own: list[Tensor]) -> tuple[Tensor, Tensor]:
    """(x, y)(τ) of (1), from (x, y, Π_K(s), x̄, ȳ).

    Raises
    ------
    DifferentiationError
        If the program that was moved has no solution.
    """
    x, y, s, x_bar, y_bar = own
    if tau == 0 or not program.batch:
        return x, y
    moved = ConeProgram(
        program.structure, program.P, program.q + tau * x_bar, program.A, program.b - tau * y_bar
    )
    point = solver_.solve(moved, again.engines, again.limits, again.tol, (x, y, s))
    failed = (point.status != Status.OPTIMAL).nonzero().squeeze(-1)
    if failed.numel():
        raise DifferentiationError(
            f"the program of the derivative is {Status(int(point.status[failed[0]])).name} in {failed.numel()} of "
            f"{program.batch} solved problems: the loss moves it out of its domain; take a smaller tau or the other "
            "side, bound its variables, or take adjoint='implicit'"
        )
    return point.x, point.y


def with_quotient(
    found: list[Tensor | None], gradients: Gradients, between: tuple[Tensor, ...]
) -> list[Tensor | None]:
    """Gradients that are known, plus those of (2), by :func:`layers.cone.adjoint.gradients` of the program."""
    x, y, d_x, d_y = between
    more = gradients((x, y), (d_x, d_y), torch.zeros_like(y), torch.zeros_like(x[..., :1]))
    return [None if u is None or v is None else u + v for u, v in zip(found, more, strict=True)]
