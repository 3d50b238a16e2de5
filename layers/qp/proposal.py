"""What the iteration of the core leaves, a few elements at a time: Clarabel proposes, the core polishes and judges.

The core leaves vertices where large weights are on dependent rows: its Newton equations lose their digits there, and
those of a factor that is not squared do not. Its polish needs a point near the solution, not how that was found.
"""

from __future__ import annotations

from typing import Any

import clarabel
import numpy as np
import scipy.sparse as sp
import torch
from scipy.optimize import linprog
from torch import Tensor

from layers.linalg.batched import put
from layers.linalg.complementarity import presumably_active
from layers.native import qp as native
from layers.problem import QP
from layers.qp.polish import SHARP
from layers.solution import ROWS_SHARP, Status

#: elements up to which one after the other is faster than all at once in torch
FEW = 8
#: what is asked of Clarabel: the second costs a few iterations more and tells most active sets
TOLERANCES = (1e-8, 1e-12)
#: statuses of a point; the others need a proof
SOLVED = ("Solved", "AlmostSolved")

Array = Any


def answers(
    problem: QP, tol: float, rounding: float, max_iterations: int
) -> tuple[Tensor, native.Arrays] | None:
    """Which elements of a flat problem came out sharp, and what the core says of all; None if none is tried.

    Parameters
    ----------
    problem : QP
        On the host, of sizes that the core takes.
    rounding : float
        As in :func:`layers.native.qp.solve`.
    """
    count = len(problem.q)
    if not 0 < count <= FEW or not problem.m + problem.p:
        return None
    told, sharp, found = _polished(problem, TOLERANCES[1], tol, rounding, max_iterations)
    left = (~told).nonzero().squeeze(-1)
    if left.numel():
        again = _polished(problem.take(left), TOLERANCES[0], tol, rounding, max_iterations)
        told, sharp, found = put((told, sharp, found), left, again)
    return (told & sharp).nonzero().squeeze(-1), found


def _polished(
    problem: QP, asked: float, tol: float, rounding: float, max_iterations: int
) -> tuple[Tensor, Tensor, native.Arrays]:
    """Whether Clarabel reached what was asked, whether what came out is sharp, and what the core says."""
    count = len(problem.q)
    points = [_complementary(element(problem, i), asked, max_iterations) for i in range(count)]
    z, y, s = (torch.from_numpy(np.stack([point[k] for point in points])) for k in range(3))
    guess = z, y[:, problem.p :].contiguous(), y[:, : problem.p].contiguous(), s[:, problem.p :].contiguous()
    handle = native.solve(problem, count, tol, rounding, max_iterations, guess, interior=True)
    found = native.Arrays.of(handle)._replace(
        iterations=torch.tensor([point[3] for point in points], device=problem.q.device)
    )
    norms, rows = found.residuals[:, :3].amax(-1), found.residuals[:, 3:].amax(-1)
    told = torch.tensor([point[4] for point in points], device=problem.q.device)
    # what is not sharp, rounding has spoilt: the other engines have several units to try
    sharp = (found.status == Status.OPTIMAL) & (norms <= 10 * SHARP) & (rows <= ROWS_SHARP)
    return told, sharp, found


def _complementary(
    data: tuple[Any, Array, Any, Array, int], asked: float, max_iterations: int
) -> tuple[Array, Array, Array, int, bool]:
    """A proposal with y or s zero in every inequality."""
    x, y, s, taken, told = proposed(data, asked, max_iterations)
    rows, zero = data[2], data[4]
    largest = np.zeros(rows.shape[0])
    np.maximum.at(largest, rows.indices, abs(rows.data))
    active = presumably_active(largest, x, y, s) | (np.arange(s.size) < zero)
    return x, np.where(active, y, 0.0), np.where(active, 0.0, s), taken, told


def element(problem: QP, i: int) -> tuple[Any, Array, Any, Array, int]:
    """Upper triangle of Q, q, [A; G], (b, h) and the number of equalities of one element of a flat problem."""
    Q, G, A = ((M if M.dim() == 2 else M[i]).numpy() for M in (problem.Q, problem.G, problem.A))
    q, h, b = (v[i].numpy() for v in (problem.q, problem.h, problem.b))
    return sp.csc_matrix(np.triu(Q)), q, sp.csc_matrix(np.vstack([A, G])), np.concatenate([b, h]), b.size


def proposed(
    data: tuple[Any, Array, Any, Array, int], tol: float, max_iterations: int
) -> tuple[Array, Array, Array, int, bool]:
    """x, y and s of Clarabel, finite, its iterations, and whether it calls that a solution."""
    kinds: Any = clarabel
    *arrays, zero = data
    settings = kinds.DefaultSettings()
    settings.verbose, settings.max_threads, settings.max_iter = False, 1, max_iterations
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    nonneg = arrays[3].size - zero
    cones = [kinds.ZeroConeT(zero)] * (zero > 0) + [kinds.NonnegativeConeT(nonneg)] * (nonneg > 0)
    claim = kinds.DefaultSolver(*arrays, cones, settings).solve()
    x, y, s = (np.nan_to_num(np.array(v, dtype=np.float64)) for v in (claim.x, claim.z, claim.s))
    return x, y, s, int(claim.iterations), str(claim.status) in SOLVED


def vertex(data: tuple[Any, Array, Any, Array, int]) -> tuple[Array, Array, Array, int] | None:
    """x, y and s of a vertex of a linear program by the dual simplex of HiGHS, and its iterations, if there is one."""
    _, q, rows, sides, zero = data
    below = {"A_ub": rows[zero:], "b_ub": sides[zero:]} if sides.size > zero else {}
    equal = {"A_eq": rows[:zero], "b_eq": sides[:zero]} if zero else {}
    found: Any = linprog(q, **below, **equal, bounds=(None, None), method="highs-ds")
    if found.x is None or found.status != 0:
        return None
    y = -np.concatenate([found.eqlin.marginals, found.ineqlin.marginals])
    return found.x, y, sides - rows @ found.x, int(found.nit)
