"""An exact solver for small programs: Lemke's method in rational numbers, for programs that nobody planted.

minimise ½zᵀQz + qᵀz over Gz ≤ h, Az = b is the complementarity problem w = Mx + r, w, x ≥ 0, wᵀx = 0 with
z = x⁺ − x⁻ and the equalities written twice. For Q ⪰ 0 the method ends with a solution, or there is none
(Cottle, Pang & Stone, The Linear Complementarity Problem, theorem 4.4.13); ties go to the lexicographic rule.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from flint import fmpq, fmpq_mat

from tests.adversary import exact
from tests.adversary.program import INFEASIBLE, OPTIMAL, UNBOUNDED, Claim, Program


def decide(program: Program) -> Claim:
    """The status of a program with its certificate."""
    d, (n, m, _) = program.rational, program.sizes
    found = _minimise(d["Q"], d["q"], d["G"], d["h"], d["A"], d["b"])
    if found is not None:
        return Claim(OPTIMAL, *found)
    # the least t with Gz ≤ h + t, |Az − b| ≤ t, t ≥ 0 has multipliers that are a Farkas certificate if t > 0
    rows = exact.stack([[d["G"]], [d["A"]], [-1 * d["A"]], [exact.zeros(1, n)]])
    ones = fmpq_mat(rows.nrows(), 1, [fmpq(-1)] * rows.nrows())
    right = exact.stack([[d["h"]], [d["b"]], [-1 * d["b"]], [exact.zeros(1, 1)]])
    cost = exact.zeros(n + 1, 1)
    cost[n, 0] = fmpq(1)
    wide = exact.stack([[rows, ones]])
    point, lam, _ = _certain(exact.zeros(n + 1, n + 1), cost, wide, right)
    z, p = exact.rows(point, range(n)), d["b"].nrows()
    if point[n, 0] > 0:
        nu = exact.rows(lam, range(m, m + p)) - exact.rows(lam, range(m + p, m + 2 * p))
        return Claim(INFEASIBLE, z, exact.rows(lam, range(m)), nu)
    ray = steepest(d)
    return Claim(UNBOUNDED, z, exact.zeros(m, 1), exact.zeros(p, 1), ray)


def steepest(d: dict[str, fmpq_mat]) -> fmpq_mat:
    """The ray of steepest descent in the unit box."""
    n, m = d["Q"].nrows(), d["h"].nrows()
    identity = exact.matrix(np.eye(n))
    rows = exact.stack([[d["G"]], [identity], [-1 * identity]])
    right = exact.stack([[exact.zeros(m, 1)], [fmpq_mat(2 * n, 1, [fmpq(1)] * (2 * n))]])
    still = exact.stack([[d["Q"]], [d["A"]]])
    ray, _, _ = _certain(exact.zeros(n, n), d["q"], rows, right, still, exact.zeros(still.nrows(), 1))
    return ray


def widened(program: Program, claim: Claim) -> Claim:
    """A claim of optimality with as many positive multipliers as there can be at once."""
    if claim.status != OPTIMAL:
        return claim
    d, (_, m, p) = program.rational, program.sizes
    slack = (d["h"] - d["G"] * claim.z).entries()
    active = [i for i in range(m) if slack[i] == 0]
    C = exact.stack([[exact.rows(d["G"], active)], [d["A"]]])
    if exact.rank(C) == C.nrows():
        return claim
    k, found = len(active), [(claim.lam, claim.nu)]
    gradient = -1 * (d["Q"] * claim.z + d["q"])
    identity = exact.matrix(np.hstack([np.eye(k), np.zeros((k, p))]))
    for place, row in enumerate(active):
        if any(lam[row, 0] > 0 for lam, _ in found):
            continue
        cost, top = exact.zeros(k + p, 1), exact.zeros(1, k + p)
        cost[place, 0], top[0, place] = fmpq(-1), fmpq(1)
        rows = exact.stack([[-1 * identity], [top]])
        right = exact.zeros(k + 1, 1)
        right[k, 0] = fmpq(1)
        y, _, _ = _certain(exact.zeros(k + p, k + p), cost, rows, right, C.transpose(), gradient)
        lam = exact.zeros(m, 1)
        for i, j in enumerate(active):
            lam[j, 0] = y[i, 0]
        found.append((lam, exact.rows(y, range(k, k + p))))
    share = fmpq(1, len(found))
    lam = share * sum((v for v, _ in found[1:]), found[0][0])
    nu = share * sum((v for _, v in found[1:]), found[0][1])
    return replace(claim, lam=lam, nu=nu)


def _certain(
    Q: fmpq_mat, q: fmpq_mat, G: fmpq_mat, h: fmpq_mat, A: fmpq_mat | None = None, b: fmpq_mat | None = None
) -> tuple[fmpq_mat, fmpq_mat, fmpq_mat]:
    found = _minimise(
        Q, q, G, h, exact.zeros(0, Q.nrows()) if A is None else A, exact.zeros(0, 1) if b is None else b
    )
    assert found is not None, "a program that has a solution was said to have none"
    return found


def _minimise(
    Q: fmpq_mat, q: fmpq_mat, G: fmpq_mat, h: fmpq_mat, A: fmpq_mat, b: fmpq_mat
) -> tuple[fmpq_mat, fmpq_mat, fmpq_mat] | None:
    """z, λ, ν of a program, or None if it has no solution."""
    n, m, p = Q.nrows(), h.nrows(), b.nrows()
    rows, right = exact.stack([[G], [A], [-1 * A]]), exact.stack([[h], [b], [-1 * b]])
    H = exact.stack([[Q, -1 * Q], [-1 * Q, Q]])
    C = exact.stack([[rows, -1 * rows]])
    M = exact.stack([[H, C.transpose()], [-1 * C, exact.zeros(C.nrows(), C.nrows())]])
    found = _complementary(M, exact.stack([[q], [-1 * q], [right]]))
    if found is None:
        return None
    z = [found[i] - found[n + i] for i in range(n)]
    y = found[2 * n :]
    nu = [y[m + i] - y[m + p + i] for i in range(p)]
    return fmpq_mat(n, 1, z), fmpq_mat(m, 1, y[:m]), fmpq_mat(p, 1, nu)


def _complementary(M: fmpq_mat, r: fmpq_mat) -> list[fmpq] | None:
    """x ≥ 0 with Mx + r ≥ 0 and xᵀ(Mx + r) = 0, or None.

    The columns of the tableau are w, x, the artificial variable, and the right-hand side.
    """
    size = M.nrows()
    right = r.entries()
    if all(v >= 0 for v in right):
        return [fmpq(0)] * size
    table = [
        [fmpq(int(i == j)) for j in range(size)] + [-v for v in line] + [fmpq(-1), right[i]]
        for i, line in enumerate(M.tolist())
    ]
    basis = list(range(size))
    artificial = entering = 2 * size
    row = min(range(size), key=lambda i: [table[i][-1], *table[i][:size]])
    while True:
        _pivot(table, row, entering)
        left, basis[row] = basis[row], entering
        if left == artificial:
            break
        entering = left + size if left < size else left - size
        rows = [i for i in range(size) if table[i][entering] > 0]
        if not rows:
            return None
        row = _first(table, rows, entering, size)
    x = [fmpq(0)] * size
    for i, name in enumerate(basis):
        if size <= name < artificial:
            x[name - size] = table[i][-1]
    return x


def _first(table: list[list[fmpq]], rows: list[int], column: int, size: int) -> int:
    """The row that is lexicographically first in (right-hand side, columns of w) / pivot."""
    for j in (2 * size + 1, *range(size)):
        ratios = {i: table[i][j] / table[i][column] for i in rows}
        least = min(ratios.values())
        rows = [i for i in rows if ratios[i] == least]
        if len(rows) == 1:
            return rows[0]
    return rows[0]


def _pivot(table: list[list[fmpq]], row: int, column: int) -> None:
    pivot = table[row][column]
    chosen = table[row] = [v / pivot for v in table[row]]
    busy = [j for j, v in enumerate(chosen) if v != 0]
    for i, line in enumerate(table):
        factor = line[column]
        if i != row and factor != 0:
            for j in busy:
                line[j] -= factor * chosen[j]
