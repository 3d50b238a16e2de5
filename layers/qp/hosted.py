"""Problems on a device that the host solves sooner: the core on the CPU, with the copies there and back.

A graphics processor takes thousands of short kernels for a solve and its derivative, whose number does not depend on
the batch: below some amount of work it waits for launches, while the core would be done. Copies are differentiable to
every order, so nothing else changes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch._C._functorch import is_functorch_wrapped_tensor

from layers.native import qp as native
from layers.problem import QP
from layers.solution import Degeneracy, Residuals, Solution

#: measured (docs/benchmarks.md): seconds of a solve and its derivative in the core for each multiply-add of one
#: factorisation and thread; of a number going to the host and its gradient coming back; and of the launches of a device
PER_OPERATION, PER_NUMBER, OF_LAUNCHES = 1e-9, 7e-9, 0.15


def pays(problem: QP) -> bool:
    """Whether the core and the copies take less time than the launches of the engine on the device.

    Inside transforms and compiled graphs, where the size of a batch is hidden, the answer is no.
    """
    if problem.q.device.type == "cpu" or native.refusal_of_copy(problem):
        return False
    if torch.compiler.is_compiling() or any(map(is_functorch_wrapped_tensor, problem.tensors)):
        return False
    n, m = problem.n, problem.m
    operations = problem.batch_shape.numel() * n * n * (m / 2 + n / 6) / torch.get_num_threads()
    numbers = sum(t.numel() for t in problem.tensors)
    return PER_OPERATION * operations + PER_NUMBER * numbers < OF_LAUNCHES


def brought(problem: QP) -> QP:
    """The problem on the host; what is shared stays shared."""
    return QP(*(t.cpu() for t in problem.tensors))


def returned(solution: Solution, device: torch.device) -> Solution:
    """The solution on the device of its problem."""

    def inspect() -> Degeneracy:
        return solution.degeneracy.to(device)

    names = ("z", "lam", "nu", "s", "objective", "status", "iterations")
    moved = {name: getattr(solution, name).to(device) for name in names}
    return replace(
        solution, **moved, residuals=Residuals(solution.residuals.values.to(device)), inspect=inspect
    )
