"""What the core leaves, one element at a time: Clarabel proposes, its active set polished is judged as any answer.

The core leaves vertices with dependent or weakly active rows. There the interior point in torch took up to a hundred
times as long as a sparse solver; it stays for what is not solved here, and for proofs that there is no solution.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch

from layers.linalg import complementarity
from layers.linalg.batched import put
from layers.linalg.complementarity import Point as Arrays
from layers.problem import QP
from layers.qp.kkt import Norms, residuals
from layers.qp.polish import ROWS_SHARP, SHARP
from layers.qp.proposal import FEW, TOLERANCES, proposed
from layers.solution import Point, Status


def solve_few(problem: QP, *, cold: Callable[[QP], Point], tol: float, max_iterations: int) -> Point:
    """Solve a flat problem of few elements; those that do not come out sharp, and all of many, by ``cold``."""
    count = problem.q.shape[0]
    if not 0 < count <= FEW or problem.q.device.type != "cpu" or not problem.m + problem.p:
        return cold(problem)
    problem = QP(*(v.detach() for v in problem.tensors))
    norms = Norms.of(problem)
    z, lam, nu = (torch.zeros_like(v) for v in (problem.q, problem.h, problem.b))
    iterations = torch.zeros(count, dtype=torch.int64, device=problem.q.device)
    for i in range(count):
        index = torch.tensor([i], device=problem.q.device)
        one, own = problem.take(index), norms.take(index)
        found, iterations[i] = _solved(one, own, tol, max_iterations)
        z, lam, nu = put((z, lam, nu), index, tuple(torch.from_numpy(v).unsqueeze(0) for v in found))
    error = residuals(problem, z, lam, nu, norms)
    # what is not, rounding has spoilt: the other engine has several units to try
    sharp = (error.relative.amax(-1) <= 10 * SHARP) & (error.rowwise.amax(-1) <= ROWS_SHARP)
    status = torch.where(sharp & error.within(tol), int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
    point = Point.without_certificate(z, lam, nu, status, error, iterations)
    left = (status != Status.OPTIMAL).nonzero().squeeze(-1)
    return point if not left.numel() else point.put(left, cold(problem.take(left)))


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
    for asked in TOLERANCES:
        x, y, s, taken, told = proposed((upper, q, rows, sides, b.size), asked, max_iterations)
        point, error = complementarity.polish((Q, q, rows, sides), b.size, (x, y, s), judge)
        if error < least:
            best, least = (parted(point), taken), error
        if least <= tol or not told:
            break
    return best
