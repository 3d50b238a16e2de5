r"""Homogeneous self-dual embedding of a cone program and its normalised residual map.

Statement. For minimise cᵀx s.t. Ax + s = b, s ∈ K, with dual variable y ∈ K*, let

    Q = [0 Aᵀ c; −A 0 b; −cᵀ −bᵀ 0],   Π = projection on Rⁿ × K* × R₊,
    R(z) = ((Q − I)Π + I) z,           N(z) = R(z)/|w|,   z = (x, y − s, w).

(a) N(z) = 0 with w > 0 if and only if Π(z)/w = (x, y, 1) and (Π(z) − z)/w = (0, s, 0) with (x, y, s) primal
and dual optimal. (b) Where Π is differentiable, DN(z) = ((Q − I)DΠ(z) + I)/|w| − sign(w) R(z) eᵀ/w², with e
the last unit vector; at a solution the second term vanishes. (c) At a solution the square matrix M = (Q −
I)DΠ(z) + I is *always singular*: M z = 0 and Π(z)ᵀM = 0, because R is positively homogeneous and Q is skew.
The right-hand sides of the derivative are nevertheless consistent (see `cone_program_derivative`).

Literature. Busseti, Moursi & Boyd (2019), whose abstract calls a solution regular if the derivative
there is nonsingular; Agrawal, Barratt, Boyd, Busseti & Moursi (2019). By (c) no solution is regular in
that reading: one has to fix the scale, for instance w = 1, or to take the pseudo-inverse.

Check. 50 digits on random programs over a zero, a nonnegative, a second-order and an exponential cone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from proofs import exponential_cone, second_order_cone
from proofs.common import generator
from proofs.common.high_precision import array, difference, error, exact, matrix, mp
from proofs.ledger import check, erratum

# Rows of each cone in the order zero, nonnegative, second order, exponential; and the number of variables.
ZERO, POSITIVE, LORENTZ, EXPONENTIAL = slice(0, 1), slice(1, 3), slice(3, 6), slice(6, 9)
ROWS, VARIABLES = 9, 4
SOURCE = "Busseti, Moursi & Boyd (2019); Agrawal, Barratt et al. (2019)"


class ConeProgram(NamedTuple):
    """Data of a cone program with a primal–dual solution, at 50 digits."""

    A: np.ndarray
    b: np.ndarray
    c: np.ndarray
    x: np.ndarray
    y: np.ndarray
    s: np.ndarray

    @property
    def z(self) -> np.ndarray:
        """The zero of the residual map with w = 1."""
        return np.concatenate([self.x, self.y - self.s, [mp.mpf(1)]])


def numbers(values: np.ndarray) -> np.ndarray:
    """An array of 50-digit numbers with the shape and the exact values of an array of doubles."""
    return np.array(exact(values.ravel()), dtype=object).reshape(values.shape)


def project_cone(v: np.ndarray) -> np.ndarray:
    """Π_K, from the formulas of item 6."""
    positive = [max(value, mp.mpf(0)) for value in v[POSITIVE]]
    return np.concatenate(
        [
            0 * v[ZERO],
            positive,
            second_order_cone.project(v[LORENTZ]),
            _exponential_projection(v[EXPONENTIAL]),
        ]
    )


def cone_jacobian(v: np.ndarray) -> np.ndarray:
    """DΠ_K, from the formulas of item 6."""
    J = np.full((ROWS, ROWS), mp.mpf(0), dtype=object)
    J[POSITIVE, POSITIVE] = np.diag([mp.mpf(int(value > 0)) for value in v[POSITIVE]])
    J[LORENTZ, LORENTZ] = second_order_cone.jacobian(v[LORENTZ])
    J[EXPONENTIAL, EXPONENTIAL] = exponential_cone.jacobian(list(v[EXPONENTIAL]))
    return J


def random_program(name: str, k: int) -> ConeProgram:
    """Draw v and put s = Π_K(v), y = s − v, so that (x, y, s) is optimal for b = Ax + s, c = −Aᵀy.

    One nonnegative row is active and one is not; both curved cones are met on their boundary.
    """
    rng = generator(name, k)
    A, x = numbers(rng.normal(size=(ROWS, VARIABLES))), numbers(rng.normal(size=VARIABLES))
    u = rng.normal(size=2)
    lorentz = np.concatenate([[rng.uniform(-0.5, 0.5) * np.linalg.norm(u)], u])
    signs = np.array([rng.uniform(0.5, 1.5), -rng.uniform(0.5, 1.5)])
    v = numbers(np.concatenate([rng.normal(size=1), signs, lorentz, exponential_cone.outside_point(name, k)]))
    s = project_cone(v)
    return ConeProgram(A, A @ x + s, -A.T @ (s - v), x, s - v, s)


def skew_matrix(A: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The printed Q."""
    m, n = A.shape
    Q = np.full((n + m + 1, n + m + 1), mp.mpf(0), dtype=object)
    Q[:n, n:-1], Q[:n, -1] = A.T, c
    Q[n:-1, :n], Q[n:-1, -1] = -A, b
    Q[-1, :n], Q[-1, n:-1] = -c, -b
    return Q


def project(z: np.ndarray) -> np.ndarray:
    """Π on Rⁿ × K* × R₊, with Π_{K*}(w) = w + Π_K(−w)."""
    n = VARIABLES
    return np.concatenate([z[:n], z[n:-1] + project_cone(-z[n:-1]), [max(z[-1], mp.mpf(0))]])


def jacobian(z: np.ndarray) -> np.ndarray:
    """DΠ(z)."""
    n = VARIABLES
    J = np.full((len(z), len(z)), mp.mpf(0), dtype=object)
    J[:n, :n] = np.diag([mp.mpf(1)] * n)
    J[n:-1, n:-1] = np.diag([mp.mpf(1)] * ROWS) - cone_jacobian(-z[n:-1])
    J[-1, -1] = mp.mpf(int(z[-1] > 0))
    return J


def residual(Q: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The printed N(z) = ((Q − I)Π + I) z / |w|."""
    p = project(z)
    return (Q @ p - p + z) / abs(z[-1])


def residual_jacobian(Q: np.ndarray, z: np.ndarray, normalised: bool = True) -> np.ndarray:
    """The printed DN(z); `normalised` = False leaves out the derivative of 1/|w|."""
    J, w = jacobian(z), z[-1]
    D = (Q @ J - J + np.diag([mp.mpf(1)] * len(z))) / abs(w)
    if normalised:
        # R/w² = N/|w|: the printed second term, written with the normalised residual.
        D[:, -1] = D[:, -1] - mp.sign(w) * residual(Q, z) / abs(w)
    return D


def _exponential_projection(v: np.ndarray) -> np.ndarray:
    return exponential_cone.project(list(v))


def _moved(k: int) -> tuple[np.ndarray, np.ndarray]:
    """A point near a solution but not a solution, with w ≠ 1."""
    program = random_program("embedding", k)
    step = numbers(0.02 * generator("embedding step", k).normal(size=len(program.z)))
    return skew_matrix(program.A, program.b, program.c), (program.z + step) * mp.mpf(1.5)


@check(
    item=7,
    statement="N(z) = 0 at z = (x, y − s, 1) for optimal (x, y, s); Π(z) and Π(z) − z return them",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def embedding_zero(instances: int) -> Iterator[float]:
    """Optimal by construction: s ∈ K, y ∈ K*, sᵀy = 0, Ax + s = b, Aᵀy + c = 0."""
    for k in range(instances):
        P = random_program("embedding", k)
        yield error(residual(skew_matrix(P.A, P.b, P.c), P.z), 0 * P.z)
        yield error(project(P.z), np.concatenate([P.x, P.y, [mp.mpf(1)]]))


@embedding_zero.negative("feasible x and s with a dual y that is not complementary to s")
def _not_complementary(instances: int) -> Iterator[float]:
    for k in range(instances):
        P = random_program("embedding", k)
        y = P.y.copy()
        y[POSITIVE] = mp.mpf(1)
        z = np.concatenate([P.x, y - P.s, [mp.mpf(1)]])
        yield error(residual(skew_matrix(P.A, P.b, -P.A.T @ y), z), 0 * z)


@check(
    item=7,
    statement="DN(z) = ((Q − I)DΠ(z) + I)/|w| − sign(w) R(z) eᵀ/w², also away from solutions",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def residual_derivative(instances: int) -> Iterator[float]:
    """Central differences of N at 50 digits."""
    for k in range(instances):
        Q, z = _moved(k)
        measured = difference(lambda p, Q=Q: list(residual(Q, np.array(p, dtype=object))), list(z))
        yield error(residual_jacobian(Q, z), measured)


@residual_derivative.negative("without the second term, which may be dropped at a solution only")
def _without_second_term(instances: int) -> Iterator[float]:
    for k in range(instances):
        Q, z = _moved(k)
        measured = difference(lambda p, Q=Q: list(residual(Q, np.array(p, dtype=object))), list(z))
        yield error(residual_jacobian(Q, z, normalised=False), measured)


def null_vectors_error(Q: np.ndarray, z: np.ndarray) -> float:
    """Size of M z and of Π(z)ᵀM."""
    M = residual_jacobian(Q, z, normalised=False)
    return max(error(M @ z, 0 * z), error(project(z) @ M, 0 * z))


@check(
    item=7,
    statement="M = (Q − I)DΠ(z) + I is singular at every solution: M z = 0, Π(z)ᵀM = 0; its rank is N − 1",
    source="homogeneity of R and skewness of Q; against “regular” in Busseti, Moursi & Boyd (2019)",
    strength="numeric",
    tolerance=1e-20,
)
def always_singular(instances: int) -> Iterator[float]:
    """Both null vectors; the rank is seen from the bordered matrix [M, u; zᵀ, 0], which is invertible."""
    for k in range(instances):
        P = random_program("embedding", k)
        Q = skew_matrix(P.A, P.b, P.c)
        yield null_vectors_error(Q, P.z)
        M = residual_jacobian(Q, P.z, normalised=False)
        bordered = np.block([[M, project(P.z)[:, None]], [P.z[None, :], np.array([[mp.mpf(0)]])]])
        inverse: Any = matrix(bordered) ** -1
        yield error(array(inverse) @ bordered, np.diag([mp.mpf(1)] * len(bordered)))


@always_singular.negative("at a point that is not a solution")
def _not_a_solution(instances: int) -> Iterator[float]:
    for k in range(instances):
        yield null_vectors_error(*_moved(k))


erratum(
    item=7,
    where="Busseti, Moursi & Boyd (2019), abstract, and −M⁻¹ wherever M is the full square matrix",
    printed="the derivative matrix of the residual map is nonsingular at a regular solution",
    correct=(
        "the square matrix M is singular at every solution (M z = 0, Π(z)ᵀM = 0); fix w = 1 or apply the "
        "pseudo-inverse, which is exact: the right-hand side is consistent and φ is blind to the null vector"
    ),
    checks=(always_singular,),
)
