r"""Projection on the positive semidefinite cone and its derivative, at smooth points and at kinks.

Statement. Let X = U diag(ω) Uᵀ. Then Π(X) = U diag(max(ω, 0)) Uᵀ. If no ω_i is 0,
DΠ(X)[H] = U (B ∘ UᵀHU) Uᵀ with B_ij = 1 where ω_i, ω_j > 0, ω_i/(ω_i − ω_j) where ω_i > 0 > ω_j, and 0 where
both are negative. If some are 0, index set β, the directional derivative is the same with B_ij = 1 for i > 0,
j ∈ β, B_ij = 0 for j ∈ β, i < 0, and the block ββ of UᵀHU replaced by its projection on the cone.

Literature. Malick & Sendov (2006); Busseti, Moursi & Boyd (2019); at kinks
Sun & Sun (2002).

Check. 50 digits against (X + |X|)/2 with |X| = X sign(X) and sign(X) by Newton's iteration
S ← (S + S⁻¹)/2, which knows no eigenvalue.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs.common import generator
from proofs.common.high_precision import array, error, exact, matrix, mp
from proofs.ledger import check

SIZE = 4
SOURCE = "Malick & Sendov (2006); Busseti, Moursi & Boyd (2019)"


def spectrum(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and orthonormal eigenvectors at 50 digits."""
    omega, U = mp.eigsy(matrix(X))
    return np.array(list(omega), dtype=object), array(U)


def project(X: np.ndarray) -> np.ndarray:
    """The printed U diag(max(ω, 0)) Uᵀ."""
    omega, U = spectrum(X)
    return (U * np.array([max(w, mp.mpf(0)) for w in omega], dtype=object)) @ U.T


def derivative(omega: np.ndarray, U: np.ndarray, H: np.ndarray, curved: bool = True) -> np.ndarray:
    """The printed derivative in the direction H; `curved` = False puts ½ for the mixed entries of B."""
    turned = U.T @ H @ U
    B = np.empty(turned.shape, dtype=object)
    for i, j in np.ndindex(*B.shape):
        high, low = max(omega[i], omega[j]), min(omega[i], omega[j])
        if low < 0 < high:
            B[i, j] = high / (high - low) if curved else mp.mpf(1) / 2
        else:
            B[i, j] = mp.mpf(int(low > 0))
    return U @ (B * turned) @ U.T


def directional_at_kink(
    omega: np.ndarray, U: np.ndarray, H: np.ndarray, project_block: bool = True
) -> np.ndarray:
    """The printed directional derivative for some ω_i = 0."""
    turned = U.T @ H @ U
    result = np.empty(turned.shape, dtype=object)
    for i, j in np.ndindex(*result.shape):
        high, low = max(omega[i], omega[j]), min(omega[i], omega[j])
        # For a zero eigenvalue the quotient gives 1 next to a positive one and 0 next to a negative one.
        result[i, j] = turned[i, j] * (
            mp.mpf(0) if high <= 0 else high / (high - low) if low < 0 else mp.mpf(1)
        )
    beta = [i for i in range(len(omega)) if omega[i] == 0]
    block = turned[np.ix_(beta, beta)]
    result[np.ix_(beta, beta)] = project(block) if project_block else 0 * block
    return U @ result @ U.T


def by_sign_iteration(X: np.ndarray) -> np.ndarray:
    """(X + X sign X)/2, with sign X the limit of S ← (S + S⁻¹)/2 from X."""
    given = matrix(X)
    S = given / mp.norm(given)
    for _ in range(120):
        S, before = (S + S**-1) / 2, S
        if mp.norm(S - before) < mp.mpf("1e-40"):
            break
    return array((given + given * S) / 2)


def _symmetric(name: str, k: int) -> np.ndarray:
    M = np.array(exact(generator(name, k).normal(size=SIZE * SIZE)), dtype=object).reshape(SIZE, SIZE)
    return M + M.T


def _kink(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, U = spectrum(_symmetric("semidefinite basis", k))
    rng = generator("semidefinite kink", k)
    omega = np.array(
        [mp.mpf(rng.uniform(1, 2)), mp.mpf(0), mp.mpf(0), -mp.mpf(rng.uniform(1, 2))], dtype=object
    )
    return omega, U, _symmetric("semidefinite direction", k)


@check(
    item=6,
    statement="semidefinite cone: Π(X) = U max(ω, 0) Uᵀ and DΠ(X)[H] = U (B ∘ UᵀHU) Uᵀ",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def semidefinite_projection(instances: int) -> Iterator[float]:
    """Value and directional differences at 50 digits."""
    yield from _smooth_errors(instances, curved=True)


@semidefinite_projection.negative("B = ½ for eigenvalues of opposite sign")
def _flat(instances: int) -> Iterator[float]:
    yield from _smooth_errors(instances, curved=False)


def _smooth_errors(instances: int, curved: bool) -> Iterator[float]:
    h = mp.mpf("1e-13")
    for k in range(instances):
        X, H = _symmetric("semidefinite", k), _symmetric("semidefinite direction", k)
        yield error(project(X), by_sign_iteration(X))
        quotient = (by_sign_iteration(X + h * H) - by_sign_iteration(X - h * H)) / (2 * h)
        yield error(derivative(*spectrum(X), H, curved), quotient)


@check(
    item=6,
    statement="semidefinite cone: directional derivative at a singular X (projection of the zero block)",
    source="Sun & Sun (2002)",
    strength="numeric",
    tolerance=1e-8,
)
def semidefinite_kink(instances: int) -> Iterator[float]:
    """One-sided differences with a step of 1e-10, whose error is of the order of the step."""
    yield from _kink_errors(instances, project_block=True)


@semidefinite_kink.negative("the zero block left out, as a rule B_ij = 0 at ω_i = ω_j = 0 does")
def _dropped_block(instances: int) -> Iterator[float]:
    yield from _kink_errors(instances, project_block=False)


def _kink_errors(instances: int, project_block: bool) -> Iterator[float]:
    t = mp.mpf("1e-10")
    for k in range(instances):
        omega, U, H = _kink(k)
        X = (U * omega) @ U.T
        projected = (U * np.array([max(w, mp.mpf(0)) for w in omega], dtype=object)) @ U.T
        quotient = (by_sign_iteration(X + t * H) - projected) / t
        yield error(directional_at_kink(omega, U, H, project_block), quotient)
