r"""The derivative of the solution map of a cone program, and its adjoint.

Statement. Let (x, y, s) solve the program with data (A, b, c), let Π be differentiable at z = (x, y − s, 1)
and let M = (Q − I)DΠ(z) + I have rank one less than full. Then the solution map is differentiable, and

    dz = −M⁺ dQ Π(z),  dx = d_x z − x d_w z,  dy = DΠ_{K*} d_v z − y d_w z,  ds = dy + (y − s) d_w z − d_v z,

with any solution of M dz = −dQ Π(z) in place of the one by the pseudo-inverse M⁺. The adjoint takes a
cotangent (ẋ, ẏ, ṡ) to

    g = −M^{+ᵀ} Dφᵀ(ẋ, ẏ, ṡ),  G = g Π(z)ᵀ,  dA = G₁₂ᵀ − G₂₁,  db = G₂₃ − G₃₂ᵀ,  dc = G₁₃ − G₃₁ᵀ.

Literature. Agrawal, Barratt, Boyd, Busseti & Moursi (2019), with M⁻¹ for M⁺ (see
`self_dual_embedding`).

Check. 50 digits against the differences of a Newton solution of the Lagrange system with the curved
constraints as equations, which knows neither Π nor Q; and diffcp in double precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import diffcp
import numpy as np
from scipy import sparse

from proofs import exponential_cone, second_order_cone
from proofs.common import generator, relative_error
from proofs.common.high_precision import error, matrix, mp, root
from proofs.ledger import check
from proofs.self_dual_embedding import (
    EXPONENTIAL,
    LORENTZ,
    POSITIVE,
    ROWS,
    VARIABLES,
    ZERO,
    ConeProgram,
    cone_jacobian,
    numbers,
    project,
    random_program,
    residual_jacobian,
    skew_matrix,
)

SOURCE = "Agrawal, Barratt, Boyd, Busseti & Moursi (2019)"
Triple = tuple[np.ndarray, np.ndarray, np.ndarray]


def solve_singular(M: np.ndarray, left: np.ndarray, right: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """The minimum-norm solution of M t = rhs for Mᵀleft = 0, M right = 0, by bordering."""
    bordered = np.block([[M, left[:, None]], [right[None, :], np.array([[mp.mpf(0)]])]])
    solution = mp.lu_solve(matrix(bordered), mp.matrix([*rhs, mp.mpf(0)]))
    return np.array(list(solution), dtype=object)[:-1]


def solution_map_jacobian(P: ConeProgram) -> np.ndarray:
    """Dφ at w = 1, from (d_x z, d_v z, d_w z) to (dx, dy, ds)."""
    n, m, J = VARIABLES, ROWS, np.diag([mp.mpf(1)] * ROWS) - cone_jacobian(P.s - P.y)
    D = np.full((n + 2 * m, n + m + 1), mp.mpf(0), dtype=object)
    D[:n, :n], D[n : n + m, n:-1] = np.diag([mp.mpf(1)] * n), J
    D[n + m :, n:-1] = J - np.diag([mp.mpf(1)] * m)
    D[:, -1] = -np.concatenate([P.x, P.y, P.s])
    return D


def derivative(P: ConeProgram, change: Triple, sign: int = -1) -> np.ndarray:
    """The printed (dx, dy, ds), stacked; `sign` = +1 drops the minus of −M⁺."""
    Q, u = skew_matrix(P.A, P.b, P.c), project(P.z)
    M = residual_jacobian(Q, P.z, normalised=False)
    dz = sign * solve_singular(M, u, P.z, skew_matrix(*change) @ u)
    return solution_map_jacobian(P) @ dz


def adjoint(P: ConeProgram, cotangent: np.ndarray, transpose: bool = True) -> Triple:
    """The printed (dA, db, dc); `transpose` = False solves with M where Mᵀ is meant."""
    Q, u, n = skew_matrix(P.A, P.b, P.c), project(P.z), VARIABLES
    M = residual_jacobian(Q, P.z, normalised=False)
    pulled = solution_map_jacobian(P).T @ cotangent
    g = -(solve_singular(M.T, P.z, u, pulled) if transpose else solve_singular(M, u, P.z, pulled))
    G = np.outer(g, u)
    dA = G[:n, n:-1].T - G[n:-1, :n]
    return dA, G[n:-1, -1] - G[-1, n:-1], G[:n, -1] - G[-1, :n]


def lagrange_solution(A: np.ndarray, b: np.ndarray, c: np.ndarray, near: ConeProgram) -> np.ndarray:
    """(x, y, s), stacked, as a root of Lagrange's equations with the constraints active at `near`."""
    # `random_program` makes the last nonnegative row the active one.
    zero, active = ZERO.start, POSITIVE.stop - 1
    curved = ((LORENTZ, second_order_cone), (EXPONENTIAL, exponential_cone))

    def dual(s: np.ndarray, multipliers: list[Any]) -> np.ndarray:
        y = np.full(ROWS, mp.mpf(0), dtype=object)
        y[zero], y[active] = multipliers[0], multipliers[1]
        for mu, (rows, cone) in zip(multipliers[2:], curved, strict=True):
            y[rows] = [-mu * value for value in cone.gradient(list(s[rows]))]
        return y

    def equations(*unknown: Any) -> list[Any]:
        s = b - A @ np.array(unknown[:VARIABLES], dtype=object)
        stationarity = c + A.T @ dual(s, list(unknown[VARIABLES:]))
        surfaces = [cone.surface(list(s[rows])) for rows, cone in curved]
        return [*stationarity, s[zero], s[active], *surfaces]

    # y = −μ∇g(s): the multiplier of each curved constraint at `near` starts the iteration.
    slopes = [np.array(cone.gradient(list(near.s[rows])), dtype=object) for rows, cone in curved]
    mu = [-(near.y[rows] @ d) / (d @ d) for (rows, _), d in zip(curved, slopes, strict=True)]
    found = root(equations, [*near.x, near.y[zero], near.y[active], *mu])
    x = np.array(found[:VARIABLES], dtype=object)
    s = b - A @ x
    return np.concatenate([x, dual(s, found[VARIABLES:]), s])


def _instance(k: int) -> tuple[ConeProgram, Triple, np.ndarray]:
    P, rng = random_program("cone program", k), generator("cone program change", k)
    change = tuple(numbers(rng.normal(size=part.shape)) for part in (P.A, P.b, P.c))
    return P, (change[0], change[1], change[2]), numbers(rng.normal(size=VARIABLES + 2 * ROWS))


def measured_derivative(P: ConeProgram, change: Triple) -> np.ndarray:
    """Central difference of `lagrange_solution` along `change`, with a step of 1e-15."""
    h = mp.mpf("1e-15")
    ends = [
        lagrange_solution(P.A + t * change[0], P.b + t * change[1], P.c + t * change[2], P) for t in (h, -h)
    ]
    return (ends[0] - ends[1]) / (2 * h)


@check(
    item=7,
    statement="dz = −M⁺ dQ Π(z) and Dφ give the derivative (dx, dy, ds) of the solution in (A, b, c)",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def solution_derivative(instances: int) -> Iterator[float]:
    """Random directions of change of all data at once."""
    for k in range(instances):
        P, change, _ = _instance(k)
        yield error(derivative(P, change), measured_derivative(P, change))


@solution_derivative.negative("the minus sign of −M⁺ dropped")
def _sign(instances: int) -> Iterator[float]:
    for k in range(instances):
        P, change, _ = _instance(k)
        yield error(derivative(P, change, sign=1), measured_derivative(P, change))


def _adjoint_errors(instances: int, transpose: bool) -> Iterator[float]:
    for k in range(instances):
        P, change, cotangent = _instance(k)
        pulled = adjoint(P, cotangent, transpose)
        paired = sum((left * right).sum() for left, right in zip(pulled, change, strict=True))
        yield error([paired], [cotangent @ measured_derivative(P, change)])


@check(
    item=7,
    statement="adjoint: dA = G₁₂ᵀ − G₂₁, db = G₂₃ − G₃₂ᵀ, dc = G₁₃ − G₃₁ᵀ with G = −M^{+ᵀ}Dφᵀ(ẋ, ẏ, ṡ) Π(z)ᵀ",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def solution_adjoint(instances: int) -> Iterator[float]:
    """Pairing of the adjoint with a random change against the measured derivative."""
    yield from _adjoint_errors(instances, transpose=True)


@solution_adjoint.negative("M in place of its transpose")
def _not_transposed(instances: int) -> Iterator[float]:
    yield from _adjoint_errors(instances, transpose=False)


def _fixed_scale_errors(instances: int, shift: str) -> Iterator[float]:
    for k in range(instances):
        P, change, _ = _instance(k)
        M = residual_jacobian(skew_matrix(P.A, P.b, P.c), P.z, normalised=False)
        right = -skew_matrix(*change) @ project(P.z)
        size = len(right) - (shift == "0")
        matrix_of_system = M[:size, :size] + mp.mpf(shift) * np.diag([mp.mpf(1)] * size)
        dz = list(mp.lu_solve(matrix(matrix_of_system), mp.matrix(list(right[:size]))))
        dz = np.array([*dz, *[mp.mpf(0)] * (len(right) - size)], dtype=object)
        yield error(solution_map_jacobian(P) @ dz, derivative(P, change))


@check(
    item=7,
    statement="w fixed at 1 (last row and column of M deleted): an invertible system, the same derivative",
    source="thesis of Amos (2019), chapter 7, where τ is fixed to 1",
    strength="numeric",
    tolerance=1e-20,
)
def fixed_scale(instances: int) -> Iterator[float]:
    """LU at 50 digits on the smaller system against M⁺."""
    yield from _fixed_scale_errors(instances, "0")


@fixed_scale.negative("the inverse of M + 1e-8 I, a usual way around the singularity")
def _regularised(instances: int) -> Iterator[float]:
    yield from _fixed_scale_errors(instances, "1e-8")


def _diffcp_errors(instances: int, sign: int) -> Iterator[float]:
    cones = {diffcp.ZERO: 1, diffcp.POS: 2, diffcp.SOC: [3], diffcp.EXP: 1}
    for k in range(instances):
        P, change, cotangent = _instance(k)
        A, b, c = (part.astype(float) for part in (P.A, P.b, P.c))
        dA, db, dc = (part.astype(float) for part in change)
        answer = diffcp.solve_and_derivative(
            sparse.csc_matrix(A), b, c, cones, mode="dense", solve_method="SCS", eps=1e-12, verbose=False
        )
        forward, backward = answer[3], answer[4]
        stacked = np.concatenate(forward(sparse.csc_matrix(dA), db, dc))
        yield relative_error(stacked, sign * -derivative(P, change).astype(float))
        parts = np.split(cotangent.astype(float), [VARIABLES, VARIABLES + ROWS])
        pulled = backward(*parts)
        yield relative_error(pulled[0].toarray(), sign * -adjoint(P, cotangent)[0].astype(float))


@check(
    item=7,
    statement="diffcp (dense mode) returns the same derivative and adjoint",
    source="diffcp; " + SOURCE,
    strength="numeric",
    tolerance=1e-5,
)
def agrees_with_diffcp(instances: int) -> Iterator[float]:
    """The solution by SCS and the dense solve inside diffcp set the tolerance."""
    yield from _diffcp_errors(instances, sign=-1)


@agrees_with_diffcp.negative("both with the sign flipped")
def _diffcp_flipped(instances: int) -> Iterator[float]:
    yield from _diffcp_errors(instances, sign=1)
