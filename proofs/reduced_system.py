r"""The full KKT system and the system of the active constraints give the same gradients.

Statement. At a strictly complementary optimum with active set a (|a| = r) the solution of the full system

    [Q GᵀD(λ) Aᵀ; G D(Gz − h) 0; A 0 0] (d_z, d_λ, d_ν) = −(g, 0, 0)          n + m + p rows

is given by that of the reduced one [Q G_aᵀ Aᵀ; G_a 0 0; A 0 0] (d_z, t, d_ν) = −(g, 0, 0), n + r + p rows:
d_λ = t/λ on a, and d_λ = −G d_z/(Gz − h) off it, where it enters every gradient with the factor λ = 0. In
operations the full one costs ((n + m + p)/(n + r + p))³ as much, in the limit of large sizes; the reduced
matrix is symmetric besides. The hypothesis is needed: a weakly active row makes the full matrix singular.

Literature. OptNet (Amos & Kolter 2017), eq. 7; the active-set view is that of dQP (Magoon et al. 2024).

Check. Exact rational arithmetic on rational optima; operations by the formulas of `operation_counts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flint import fmpq

from proofs.common import generator, relative_error
from proofs.common.linear import SingularError, block, eliminate, zeros
from proofs.common.quadratic import Optimum, Quadratic, optimum, rational_quadratic
from proofs.ledger import check
from proofs.operation_counts import counted_factor_and_solve, lu_operations

N, M, P, ACTIVE = 4, 6, 1, 2
SOURCE = "OptNet (Amos & Kolter 2017), eq. 7; dQP (Magoon et al. 2024)"


def full_system(problem: Quadratic, point: Optimum, g: np.ndarray) -> np.ndarray:
    """(d_z, d_λ, d_ν) of the printed full system."""
    Q, _, G, h, A, _ = problem
    D = [[point.lam[j] * G[j, i] for j in range(M)] for i in range(N)]
    residual = G @ point.z - h
    diagonal = np.array(
        [[residual[i] if i == j else fmpq(0) for j in range(M)] for i in range(M)], dtype=object
    )
    rows = [[Q, np.array(D, dtype=object), A.T], [G, diagonal, zeros(M, P)], [A, zeros(P, M), zeros(P, P)]]
    return eliminate(block(rows), np.concatenate([-g, _nothing(M + P)]))


def reduced_system(problem: Quadratic, point: Optimum, g: np.ndarray, active: list[int]) -> np.ndarray:
    """(d_z, d_λ, d_ν) from the printed reduced system over `active`."""
    Q, _, G, h, A, _ = problem
    r, inactive = len(active), [i for i in range(M) if i not in active]
    rows = [[Q, G[active].T, A.T], [G[active], zeros(r, r), zeros(r, P)], [A, zeros(P, r), zeros(P, P)]]
    found = eliminate(block(rows), np.concatenate([-g, _nothing(r + P)]))
    d_z, d_lam = found[:N], _nothing(M)
    d_lam[active] = [t / point.lam[i] for t, i in zip(found[N : N + r], active, strict=True)]
    d_lam[inactive] = [-(G[i] @ d_z) / (G[i] @ point.z - h[i]) for i in inactive]
    return np.concatenate([d_z, d_lam, found[N + r :]])


def _nothing(size: int) -> np.ndarray:
    return np.array([fmpq(0)] * size, dtype=object)


def _floats(values: np.ndarray) -> np.ndarray:
    return np.array([float(value.p) / float(value.q) for value in values])


def _instance(k: int, weak: int = 0) -> tuple[Quadratic, Optimum, np.ndarray]:
    rng = generator("reduced system", k)
    problem = rational_quadratic(rng, N, M, P, active=ACTIVE, weak=weak)
    g = np.array([fmpq(int(value), 4) for value in rng.integers(-8, 9, N)], dtype=object)
    return problem, optimum(problem, first=range(ACTIVE)), g


def _difference(left: np.ndarray, right: np.ndarray) -> float:
    """0.0 if the rational vectors are equal, else their distance."""
    gaps: list[Any] = [a - b for a, b in zip(left, right, strict=True)]
    return float(np.max(np.abs(_floats(np.array(gaps, dtype=object)))))


@check(
    item=10,
    statement="full KKT system and reduced active-set system: the same (d_z, d_λ, d_ν)",
    source=SOURCE,
    strength="certified",
    tolerance=0.0,
)
def same_adjoint(instances: int) -> Iterator[float]:
    """Exact equality over the rationals."""
    for k in range(instances):
        problem, point, g = _instance(k)
        yield _difference(
            reduced_system(problem, point, g, list(range(ACTIVE))), full_system(problem, point, g)
        )


@same_adjoint.negative("one active row forgotten")
def _row_forgotten(instances: int) -> Iterator[float]:
    for k in range(instances):
        problem, point, g = _instance(k)
        d_z = reduced_system(problem, point, g, list(range(ACTIVE)))[:N]
        Q, _, G, _, A, _ = problem
        rows = [[Q, G[1:ACTIVE].T, A.T], [G[1:ACTIVE], zeros(ACTIVE - 1, ACTIVE - 1 + P)]]
        rows.append([A, zeros(P, ACTIVE - 1 + P)])
        forgotten = eliminate(block(rows), np.concatenate([-g, _nothing(ACTIVE - 1 + P)]))[:N]
        yield _difference(forgotten, d_z)


def _singular_errors(instances: int, weak: int) -> Iterator[float]:
    for k in range(instances):
        problem, point, g = _instance(k, weak)
        try:
            full_system(problem, point, g)
        except SingularError:
            yield 0.0
        else:
            yield 1.0


@check(
    item=10,
    statement="with a weakly active row the full KKT matrix is singular",
    source=SOURCE,
    strength="certified",
    tolerance=0.0,
)
def weak_is_singular(instances: int) -> Iterator[float]:
    """Exact elimination finds no pivot."""
    yield from _singular_errors(instances, weak=1)


@weak_is_singular.negative("strict complementarity, where it is regular")
def _strict(instances: int) -> Iterator[float]:
    yield from _singular_errors(instances, weak=0)


def _ratio_errors(instances: int, active_share: float) -> Iterator[float]:
    for k in range(instances):
        n = 6 + k
        sizes = 2 * n, n + n // 2
        rng = generator("reduced counts", k)
        counted = []
        for size in sizes:
            matrix = rng.normal(size=(size, size)) + 4 * size * np.eye(size)
            counted.append(counted_factor_and_solve(matrix, np.ones(size))[0])
        claimed = lu_operations(2 * n) / lu_operations(n + int(active_share * n))
        yield relative_error(claimed, counted[0] / counted[1])


@check(
    item=10,
    statement="with m = n and half of the rows active, the full system costs LU(2n)/LU(3n/2) → 64/27 as much",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-12,
    instances=8,
)
def cost_of_full(instances: int) -> Iterator[float]:
    """Counted operations of both factorisations."""
    yield from _ratio_errors(instances, 0.5)


@cost_of_full.negative("a quarter of the rows")
def _quarter(instances: int) -> Iterator[float]:
    yield from _ratio_errors(instances, 0.25)
