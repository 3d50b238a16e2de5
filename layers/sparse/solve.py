"""From sparse data to a solution of a quadratic program, by the room of cones."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from layers.cone.degeneracy import degeneracy
from layers.cone.function import solve_cone_program
from layers.cone_program import ConeProgram, ConeSolution
from layers.errors import SolverError
from layers.linalg.memory import require_memory
from layers.linalg.progress import Progress
from layers.policy import EPSILON, with_rounding
from layers.qp.engines import Guess, Request
from layers.solution import Degeneracy, Residuals, Solution
from layers.sparse.adjoint import derivative_of_cones
from layers.sparse.program import COPIES, SparseQP


def solve(problem: SparseQP, request: Request) -> Solution:
    """The solution, float64, in the batch axes of the problem.

    y = (ν, λ), and of s the rows of G.

    Raises
    ------
    ProblemError
        If the data are not a convex program.
    SolverError
        With ``on_failure="raise"``, naming the elements that failed.
    """
    progress = Progress(request.verbose)
    problem.check(request.precision)
    program, batch, p = problem.cones(), problem.given.batch_shape, problem.given.p
    try:
        found = solve_cone_program(
            program,
            adjoint=derivative_of_cones(request.adjoint),
            tol=request.tol,
            max_iterations=request.max_iterations,
            on_failure=request.on_failure,
            warm_start=None if request.guess is None else _warm(program, request.guess),
            verbose=request.verbose,
        )
    except SolverError as error:
        if request.precision <= EPSILON:
            raise
        raise SolverError(with_rounding(str(error))) from error

    def shaped(value: Tensor) -> Tensor:
        return value.reshape((*batch, *value.shape[1:]))

    progress.tell(f"{program.batch} done", last=True)
    y, s = shaped(found.y), shaped(found.s)
    point = found.x.detach(), found.y.detach(), found.s.detach()
    return Solution(
        z=shaped(found.x),
        lam=y[..., p:],
        nu=y[..., :p],
        s=s[..., p:],
        objective=shaped(found.objective),
        status=shaped(found.status),
        residuals=Residuals(shaped(found.residuals.values)),
        iterations=shaped(found.iterations),
        inspect=partial(_degeneracy, program, batch, *point),
    )


def _warm(program: ConeProgram, guess: Guess) -> ConeSolution:
    z, lam, nu, s = guess
    status = torch.zeros(program.batch, dtype=torch.int64, device=z.device)
    return ConeSolution(
        x=z,
        y=torch.cat([nu, lam], -1),
        s=torch.cat([torch.zeros_like(nu), s], -1),
        objective=program.q.new_zeros(program.batch),
        status=status,
        residuals=Residuals(program.q.new_zeros(program.batch, 6)),
        iterations=status,
    )


def _degeneracy(program: ConeProgram, batch: torch.Size, x: Tensor, y: Tensor, s: Tensor) -> Degeneracy:
    shape = program.structure
    require_memory(
        COPIES * 8 * shape.n * (shape.n + shape.m),
        "the ranks behind `degeneracy`, which are told on dense matrices,",
        "ask for it on a smaller problem of the kind",
    )
    P, q, A, b = (v.detach() for v in program.data)
    return degeneracy(ConeProgram(shape, P, q, A, b), x, y, s, np.arange(shape.n)).reshape(batch)
