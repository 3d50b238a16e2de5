r"""OptNet, equations 4 to 6: the differentials of the optimality conditions of a quadratic program.

At the optimum (z, λ, ν) of min ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b,

    Qz + q + Gᵀλ + Aᵀν = 0,    D(λ)(Gz − h) = 0,    Az − b = 0.

If Q ≻ 0, complementarity is strict and the rows of A and of the active G are independent, the implicit
function theorem gives (dz, dλ, dν) as the solution of

    [Q, Gᵀ, Aᵀ; D(λ)G, D(Gz − h), 0; A, 0, 0] [dz; dλ; dν]
        = −[dQ z + dq + dGᵀλ + dAᵀν; D(λ)dG z − D(λ)dh; dA z − db].                                    (6)

Amos & Kolter, ICML 2017 (arXiv 1703.00443); for nonlinear programs Fiacco & McCormick (1968). Brute force:
central differences of the optimum found by enumeration of active sets, in z, λ and ν.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from proofs.common import central_difference, generator, relative_error
from proofs.common.linear import Numbers, block, zeros
from proofs.common.quadratic import Optimum, Quadratic, optimum, random_quadratic
from proofs.ledger import check

Solve = Callable[[Numbers, Numbers], Numbers]
Triple = tuple[Numbers, Numbers, Numbers]


def printed_matrix(problem: Quadratic, point: Optimum) -> Numbers:
    """The matrix of equation 6."""
    Q, _, G, h, A, _ = problem
    m, p = len(G), len(A)
    return block([
        [Q, G.T, A.T],
        [np.diag(point.lam) @ G, np.diag(G @ point.z - h), zeros(m, p)],
        [A, zeros(p, m), zeros(p, p)],
    ])  # fmt: skip


def printed_differential(
    problem: Quadratic, point: Optimum, name: str, index: tuple[int, ...], solve: Solve
) -> Triple:
    """(dz, dλ, dν) of equation 6 when one entry of the data grows at unit rate."""
    z, lam, nu, _ = point
    n, m, p = len(problem.q), len(problem.h), len(problem.b)
    d = Quadratic(*(zeros(*part.shape) if part.ndim == 2 else zeros(1, len(part))[0] for part in problem))
    d = d.perturbed(name, index, 1)
    # dQ stands for the differential of a symmetric matrix.
    dQz = (d.Q @ z + d.Q.T @ z) / 2
    dAT_nu = d.A.T @ nu if p else 0
    rhs = np.concatenate([dQz + d.q + d.G.T @ lam + dAT_nu, lam * (d.G @ z) - lam * d.h, d.A @ z - d.b])
    solution = -solve(printed_matrix(problem, point), rhs)
    return solution[:n], solution[n : n + m], solution[n + m :]


def errors(instances: int, *, weak: int) -> Iterator[float]:
    """Equation 6 against central differences, over every entry of the six parts of the data."""
    for k in range(instances):
        problem = random_quadratic(generator("qp_differential", k), 4, 4, 1, active=2, weak=weak)
        point = optimum(problem, tolerance=1e-9)
        worst = 0.0
        for name, part in problem._asdict().items():
            reference = central_difference(
                lambda x, p=problem, name=name: _solution(p, name, x), part, step=3e-4
            )
            for index in np.ndindex(part.shape):
                printed = np.concatenate(printed_differential(problem, point, name, index, _least_squares))
                worst = max(worst, relative_error(printed, reference[(slice(None), *index)]))
        yield worst


def _solution(problem: Quadratic, name: str, part: Numbers) -> Numbers:
    changed = problem._replace(**{name: part})
    found = optimum(changed._replace(Q=(changed.Q + changed.Q.T) / 2), first=(0, 1), tolerance=1e-9)
    return np.concatenate([found.z, found.lam, found.nu]).astype(float)


def _least_squares(matrix: Numbers, rhs: Numbers) -> Numbers:
    """The solution where there is one, and the shortest one where the matrix is singular."""
    return np.linalg.lstsq(matrix.astype(float), rhs.astype(float), rcond=1e-10)[0]


@check(
    item=2,
    statement="(dz, dλ, dν) of the differential system are the derivatives of (z, λ, ν) in all of Q, q, G, "
    "h, A, b",
    source="OptNet (Amos & Kolter 2017), eq. 6",
    strength="numeric",
    tolerance=1e-8,
)
def differential(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(instances, weak=0)


@differential.negative("strict complementarity dropped: one active inequality has λᵢ = 0")
def differential_at_a_kink(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(instances, weak=1)
