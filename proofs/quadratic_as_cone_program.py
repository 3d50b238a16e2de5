r"""On a quadratic program written as a cone program both derivatives are the same.

Statement. With Q = L Lᵀ ≻ 0, minimise ½zᵀQz + qᵀz s.t. Gz ≤ h, Az = b is the cone program

    minimise qᵀz + t   s.t.   b − Az ∈ {0},   h − Gz ∈ R₊ᵐ,   (1 + t, 1 − t, √2 Lᵀz) ∈ second-order cone,

because (1 + t)² − (1 − t)² − 2‖Lᵀz‖² = 4(t − ½zᵀQz). At the optimum t = ½zᵀQz and the dual of the last
block is ½(1 + t, −(1 − t), −√2 Lᵀz). The derivative of its solution by the embedding (item 7) has in its z
part the derivative of the QP by the KKT system (item 2): with dQ = dL Lᵀ + L dLᵀ,

    [Q Gᵀ Aᵀ; D(λ)G D(Gz − h) 0; A 0 0] (dz, dλ, dν)
        = (−dQ z − dq − dGᵀλ − dAᵀν,  −D(λ)(dG z − dh),  −dA z + db).

Literature. Lobo, Vandenberghe, Boyd & Lebret (1998); OptNet (Amos & Kolter 2017), eq. 6; Agrawal, Barratt
et al. (2019).

Check. Double precision on random QPs whose optimum is found by trying every active set.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs import second_order_cone
from proofs.common import generator, relative_error
from proofs.common.quadratic import Optimum, Quadratic, optimum, random_quadratic
from proofs.ledger import check

VARIABLES, INEQUALITIES, EQUALITIES = 4, 4, 1
SOURCE = "Lobo et al. (1998); OptNet (Amos & Kolter 2017), eq. 6; Agrawal, Barratt et al. (2019)"


def cone_data(L: np.ndarray, problem: Quadratic) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The printed (A, b, c) in the variables (z, t)."""
    n, m, p = VARIABLES, INEQUALITIES, EQUALITIES
    A = np.zeros((p + m + n + 2, n + 1))
    A[:p, :n], A[p : p + m, :n] = problem.A, problem.G
    A[p + m, n], A[p + m + 1, n] = -1.0, 1.0
    A[p + m + 2 :, :n] = -np.sqrt(2) * L.T
    b = np.concatenate([problem.b, problem.h, [1.0, 1.0], np.zeros(n)])
    return A, b, np.concatenate([problem.q, [1.0]])


def cone_solution(L: np.ndarray, problem: Quadratic, point: Optimum) -> tuple[np.ndarray, ...]:
    """The printed (x, y, s) from the optimum of the QP."""
    z, lam, nu = (np.asarray(part, dtype=float) for part in point[:3])
    t, bent = z @ L @ L.T @ z / 2, np.sqrt(2) * L.T @ z
    s = np.concatenate([0 * nu, problem.h - problem.G @ z, [1 + t, 1 - t], bent])
    y = np.concatenate([nu, lam, [(1 + t) / 2, -(1 - t) / 2], -bent / 2])
    return np.concatenate([z, [t]]), y, s


def embedding_derivative(
    data: tuple[np.ndarray, ...],
    change: tuple[np.ndarray, ...],
    point: tuple[np.ndarray, ...],
    sizes: tuple[int, int],
) -> np.ndarray:
    """Dx of the embedding: least squares for M dz = −dQ Π(z), then φ.

    `sizes` are the rows of the zero and of the nonnegative cone; one second-order cone takes the others.
    """
    (x, y, s), n, (zero, positive) = point, len(point[0]), sizes
    J = np.zeros((len(y), len(y)))
    J[:zero, :zero] = np.eye(zero)
    block = slice(zero, zero + positive)
    J[block, block] = np.diag((y[block] > s[block]).astype(float))
    lorentz = slice(zero + positive, len(y))
    J[lorentz, lorentz] = second_order_cone.jacobian((y - s)[lorentz])
    projection = np.eye(n + len(y) + 1)
    projection[n:-1, n:-1] = J
    M = (_skew(*data) - np.eye(len(projection))) @ projection + np.eye(len(projection))
    u = np.concatenate([x, y, [1.0]])
    moved = np.linalg.lstsq(M, -_skew(*change) @ u, rcond=1e-12)[0]
    return moved[:n] - x * moved[-1]


def kkt_derivative(problem: Quadratic, change: Quadratic, point: Optimum) -> np.ndarray:
    """Dz of the printed KKT system."""
    n, m, p = VARIABLES, INEQUALITIES, EQUALITIES
    z, lam, nu = (np.asarray(part, dtype=float) for part in point[:3])
    K = np.block(
        [
            [problem.Q, problem.G.T, problem.A.T],
            [lam[:, None] * problem.G, np.diag(problem.G @ z - problem.h), np.zeros((m, p))],
            [problem.A, np.zeros((p, m + p))],
        ]
    )
    stationarity = -change.Q @ z - change.q - change.G.T @ lam - change.A.T @ nu
    right = [stationarity, -lam * (change.G @ z - change.h), change.b - change.A @ z]
    return np.linalg.solve(K, np.concatenate(right))[:n]


def _skew(A: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    zero = np.zeros
    m, n = A.shape
    rows = [
        [zero((n, n)), A.T, c[:, None]],
        [-A, zero((m, m)), b[:, None]],
        [-c[None], -b[None], zero((1, 1))],
    ]
    return np.block(rows)


def _errors(instances: int, exact_square: bool) -> Iterator[float]:
    for k in range(instances):
        rng = generator("quadratic as cone", k)
        problem = random_quadratic(rng, VARIABLES, INEQUALITIES, EQUALITIES, active=k % 3)
        point, L = optimum(problem, tolerance=1e-10), np.linalg.cholesky(problem.Q)
        dL = np.tril(rng.normal(size=L.shape))
        change = Quadratic(*(rng.normal(size=part.shape) for part in problem))
        change = change._replace(Q=dL @ L.T + (L @ dL.T if exact_square else 0))
        # The constants 1 of the second-order block and of the cost of t do not change with the QP.
        dA, db, dc = cone_data(dL, change)
        fixed = EQUALITIES + INEQUALITIES
        dA[fixed : fixed + 2], db[fixed : fixed + 2], dc[-1] = 0.0, 0.0, 0.0
        solution, sizes = cone_solution(L, problem, point), (EQUALITIES, INEQUALITIES)
        dx = embedding_derivative(cone_data(L, problem), (dA, db, dc), solution, sizes)
        yield relative_error(dx[:VARIABLES], kkt_derivative(problem, change, point))


@check(
    item=7,
    statement="a QP as a second-order cone program: same derivative by the embedding and by the KKT system",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-9,
)
def quadratic_agrees(instances: int) -> Iterator[float]:
    """Random changes of L, q, G, h, A, b at once; no, one or two active inequalities."""
    yield from _errors(instances, exact_square=True)


@quadratic_agrees.negative("dQ = dL Lᵀ in place of dL Lᵀ + L dLᵀ")
def _half(instances: int) -> Iterator[float]:
    yield from _errors(instances, exact_square=False)
