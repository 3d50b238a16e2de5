"""What other engines leave, one element at a time: others propose, their active set polished is judged as any answer.

Clarabel proposes, and of a linear program the simplex method of HiGHS: where multipliers of 1e-10 stand beside some of
one, an interior point ends before it tells which rows bind.

The core leaves vertices with dependent or weakly active rows. There the interior point in torch took up to a hundred
times as long as a sparse solver; it stays for what is not solved here. What it gives up in its turn, or rounding has
spoilt, is asked for here as well, and the better one is the answer; then the core is asked for a proof that there is no
solution, which it finds in twice the working precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from layers.linalg import complementarity
from layers.linalg.batched import put
from layers.linalg.complementarity import Point as Arrays
from layers.linalg.semidefinite import CURVATURE
from layers.linalg.sparse_saddle import Array
from layers.native import qp as native
from layers.problem import QP
from layers.qp.kkt import Norms, residuals
from layers.qp.polish import SHARP, improves
from layers.qp.proposal import FEW, TOLERANCES, proposed, vertex
from layers.solution import ROWS_SHARP, Point, Status


def solve(
    problem: QP, *, cold: Callable[[QP], Point], tol: float, max_iterations: int, first: bool = False
) -> Point:
    """Solve a flat problem by ``cold``, and what is not sharp by a proposal; with ``first``, a few by that first.

    On the host alone, which has the proposals.
    """
    if problem.q.device.type != "cpu" or not problem.m + problem.p:
        return cold(problem)
    problem = QP(*(t.detach() for t in problem.tensors))
    ways = [cold, partial(proposals, tol=tol, max_iterations=max_iterations)]
    proposed_first = first and len(problem.q) <= FEW
    here, there = reversed(ways) if proposed_first else ways
    point = here(problem)
    blunt = ((point.status == Status.OPTIMAL) & ~_sharp(point) | _given_up(point)).nonzero().squeeze(-1)
    if not blunt.numel():
        return point
    own, other = point.take(blunt), there(problem.take(blunt))
    best = _better(other, own) if proposed_first else _better(own, other)
    return _with_proofs(problem, point.put(blunt, best), tol)


def _sharp(point: Point) -> Tensor:
    """What is not sharp, rounding has spoilt: the other way has other units to try."""
    error = point.residuals
    return (error.relative.amax(-1) <= 10 * SHARP) & (error.rowwise.amax(-1) <= ROWS_SHARP)


def _given_up(point: Point) -> Tensor:
    return (point.status == Status.NUMERICAL_FAILURE) | (point.status == Status.ITERATION_LIMIT)


def _better(point: Point, proposal: Point) -> Point:
    """The point, with elements of the proposal where that is OPTIMAL, and it is given up or no better."""
    solved, worse = (p.status == Status.OPTIMAL for p in (proposal, point))
    worse = worse & ~improves(point.residuals, proposal.residuals)
    index = (solved & (worse | _given_up(point))).nonzero().squeeze(-1)
    return point.put(index, proposal.take(index))


def _with_proofs(problem: QP, point: Point, tol: float) -> Point:
    """The point with the certificates of the core, where it is built, for what stays given up."""
    left = _given_up(point).nonzero().squeeze(-1)
    if not left.numel() or native.refusal(problem):
        return point
    few = QP(*(t.contiguous() for t in problem.take(left).tensors))
    found = native.Arrays.of(native.solve(few, left.numel(), tol, CURVATURE, 1))
    proved = found.status > Status.OPTIMAL
    certificates = replace(
        point.take(left), z=found.z, lam=found.lam, nu=found.nu, status=found.status,
        residuals=residuals(few, found.z, found.lam, found.nu),
    )  # fmt: skip
    return point.put(left[proved], certificates.take(proved))


def proposals(problem: QP, tol: float, max_iterations: int) -> Point:
    """Proposals, one element at a time; OPTIMAL within ``tol``, else ITERATION_LIMIT."""
    norms = Norms.of(problem)
    z, lam, nu = (torch.zeros_like(v) for v in (problem.q, problem.h, problem.b))
    iterations = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for i in range(len(z)):
        index = torch.tensor([i], device=z.device)
        found, iterations[i] = _solved(problem.take(index), norms.take(index), tol, max_iterations)
        z, lam, nu = put((z, lam, nu), index, tuple(torch.from_numpy(v).unsqueeze(0) for v in found))
    error = residuals(problem, z, lam, nu, norms)
    status = torch.where(error.within(tol), int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
    return Point.without_certificate(z, lam, nu, status, error, iterations)


def _solved(one: QP, norms: Norms, tol: float, max_iterations: int) -> tuple[Arrays, int]:
    """z, λ and ν of one element, polished, and the iterations of Clarabel."""
    Q, G, A = (sp.csc_matrix((M if M.dim() == 2 else M[0]).numpy()) for M in (one.Q, one.G, one.A))
    q, h, b = (v[0].numpy() for v in (one.q, one.h, one.b))
    rows, sides = sp.csc_matrix(sp.vstack([A, G])), np.concatenate([b, h])
    upper = sp.csc_matrix(sp.triu(Q))

    def parted(point: Arrays) -> Arrays:
        return point[0], point[1][b.size :], point[1][: b.size]

    def judge(point: Arrays) -> float:
        z, lam, nu = (torch.from_numpy(v).unsqueeze(0) for v in parted(point))
        return float(residuals(one, z, lam, nu, norms).largest)

    best: tuple[Arrays, int] = ((np.zeros_like(q), np.zeros_like(h), np.zeros_like(b)), 0)
    least = np.inf
    for x, y, s, taken in _starts((upper, q, rows, sides, b.size), max_iterations):
        point, error = complementarity.polish((Q, q, rows, sides), b.size, (x, y, s), judge)
        if error > tol:  # rounding of the polish may be more than what an interior point leaves
            inside = x, np.concatenate([y[: b.size], y[b.size :].clip(min=0.0)]), s
            point, error = min(((point, error), (inside, judge(inside))), key=lambda found: found[1])
        if error < least:
            best, least = (parted(point), taken), error
        if least <= tol:
            break
    return best


def _starts(
    data: tuple[Any, Array, Any, Array, int], max_iterations: int
) -> Iterator[tuple[Array, Array, Array, int]]:
    """Proposals one after the other: of Clarabel, sharper where it came to an end; of a linear program a vertex."""
    for asked in TOLERANCES:
        *point, taken, told = proposed(data, asked, max_iterations)
        yield (*point, taken)
        if not told:
            break
    if not data[0].nnz and (corner := vertex(data)) is not None:
        yield corner
