"""What Clarabel and HiGHS say of a program that the layer gave up."""

from __future__ import annotations

from collections.abc import Iterator

import clarabel
import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linprog

from layers.problem import QP
from layers.qp.kkt import residuals
from tests.adversary.blocks import Case
from tests.adversary.doors import NO_DERIVATIVE, Answer
from tests.adversary.judge import GIVEN_UP, PEER, Verdict, judge
from tests.adversary.program import OPTIMAL, Program

#: the layer's own measure of an answer, and its default for what is OPTIMAL
TOLERANCE = 1e-8

Point = tuple[np.ndarray, np.ndarray, np.ndarray]


def judge_with_peers(case: Case, answer: Answer) -> Verdict:
    """The verdict of the judge; what is given up of a program that has a solution is a finding if a peer has it.

    No peer has a derivative: one that is refused is given up, and no finding.
    """
    verdict = judge(case, answer)
    gave_up = verdict.outcome.startswith(GIVEN_UP) and answer.status != NO_DERIVATIVE
    if not gave_up or case.truth.status != OPTIMAL:
        return verdict
    peer = solved_by(case.program)
    return verdict if peer is None else Verdict(PEER, f"{verdict.outcome}; {peer}", verdict.outcome)


def solved_by(program: Program) -> str | None:
    """The first peer whose answer passes the layer's own check, or None."""
    data = QP(*(torch.from_numpy(v)[None] for v in program.arrays))
    for name, point in _answers(program):
        z, lam, nu = (torch.from_numpy(np.asarray(v, dtype=float))[None] for v in point)
        if all(bool(v.isfinite().all()) for v in (z, lam, nu)):
            error = residuals(data, z, lam, nu).largest.item()
            if error <= TOLERANCE:
                return f"{name}, residual {error:.1e}"
    return None


def _answers(program: Program) -> Iterator[tuple[str, Point]]:
    if not program.Q.any():
        found = _highs(program)
        if found is not None:
            yield "HiGHS", found
    yield "Clarabel", _clarabel(program)


def _highs(program: Program) -> Point | None:
    _, m, p = program.sizes
    found = linprog(
        program.q, program.G if m else None, program.h if m else None,
        program.A if p else None, program.b if p else None, bounds=(None, None),
    )  # fmt: skip
    if found.status != 0:
        return None
    lam = -found.ineqlin.marginals if m else np.zeros(0)
    return found.x, lam, -found.eqlin.marginals if p else np.zeros(0)


def _clarabel(program: Program) -> Point:
    _, m, p = program.sizes
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    rows = sparse.csc_matrix(np.vstack([program.A, program.G]))
    cones = [clarabel.ZeroConeT(p)] * bool(p) + [clarabel.NonnegativeConeT(m)] * bool(m)
    right = np.concatenate([program.b, program.h])
    Q = sparse.csc_matrix(np.triu(program.Q))
    found = clarabel.DefaultSolver(Q, program.q, rows, right, cones, settings).solve()
    y = np.array(found.z)
    return np.array(found.x), y[p:], y[:p]
