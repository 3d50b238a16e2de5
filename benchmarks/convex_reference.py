"""What a layer of a convex program has to answer: CVXPY with SCS at 1e-13, and differences of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import torch
from torch import Tensor

from benchmarks.convex import Program
from benchmarks.timing import Sample

#: elements of the batch that are looked at, and directions of the parameters in each
LOOKED_AT, DIRECTIONS = 2, 2
#: step of the differences, on parameters of size one: no constraint should change sides on the way
STEP = 1e-4
#: a first-order solution may be off by so much, relatively, where residuals are 1e-8
SOLUTION = 1e-6


@dataclass(frozen=True)
class ConvexReference:
    """Solutions and derivatives of sum(w * x) along random directions, for the first elements of a batch."""

    cotangents: list[Tensor]
    solutions: list[list[np.ndarray]]
    directions: list[list[list[np.ndarray]]]
    slopes: np.ndarray


def make_reference(program: Program, tensors: Sequence[Tensor], draw: int) -> ConvexReference:
    """Solve the first elements and differentiate them by central differences of fourth order."""
    rng = np.random.default_rng(draw)
    batch, count = len(tensors[0]), min(LOOKED_AT, len(tensors[0]))
    w = [rng.standard_normal((batch, *variable.shape)) for variable in program.variables]
    solutions: list[list[np.ndarray]] = []
    directions: list[list[list[np.ndarray]]] = []
    slopes = np.zeros((count, DIRECTIONS))
    for i in range(count):
        at = [t[i].numpy() for t in tensors]
        solutions.append(_solve(program, at))
        directions.append([_direction(rng, at) for _ in range(DIRECTIONS)])
        for j, direction in enumerate(directions[i]):
            values = [
                sum(
                    float((v[i] * x).sum())
                    for v, x in zip(w, _solve(program, _move(at, direction, k)), strict=True)
                )
                for k in (-2, -1, 1, 2)
            ]
            slopes[i, j] = (8 * (values[2] - values[1]) - (values[3] - values[0])) / (12 * STEP)
    return ConvexReference([torch.from_numpy(x) for x in w], solutions, directions, slopes)


def errors(sample: Sample, reference: ConvexReference) -> tuple[float, float]:
    """Relative error of the solutions, scaled so that 1e-8 is the limit, and of the slopes."""
    worst = 0.0
    found = np.zeros_like(reference.slopes)
    for i, expected in enumerate(reference.solutions):
        for x, value in zip(sample.outputs, expected, strict=True):
            worst = max(worst, float(np.abs(x[i].numpy() - value).max() / max(1.0, np.abs(value).max())))
        for j, direction in enumerate(reference.directions[i]):
            found[i, j] = sum(
                float((g[i].numpy() * d).sum()) for g, d in zip(sample.gradients, direction, strict=True)
            )
    slope = float(np.abs(found - reference.slopes).max() / np.abs(reference.slopes).max())
    return worst * 1e-8 / SOLUTION, slope


def _direction(rng: np.random.Generator, at: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A random direction; symmetric where the value is, so that a symmetric parameter stays one."""
    steps = [rng.standard_normal(value.shape) / np.sqrt(value.size) for value in at]
    square = [x.ndim == 2 and np.array_equal(x, x.T) for x in at]
    return [(d + d.T) / 2 if s else d for d, s in zip(steps, square, strict=True)]


def _move(at: Sequence[np.ndarray], direction: Sequence[np.ndarray], k: int) -> list[np.ndarray]:
    return [value + k * STEP * d for value, d in zip(at, direction, strict=True)]


def _solve(program: Program, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    for parameter, value in zip(program.parameters, values, strict=True):
        parameter.value = value
    # A first-order method: interior points stop at half of the digits where a cone is curved.
    program.problem.solve(solver=cp.SCS, eps_abs=1e-13, eps_rel=1e-13, max_iters=1_000_000)
    return [np.asarray(variable.value) for variable in program.variables]
