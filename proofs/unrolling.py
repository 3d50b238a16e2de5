r"""Differentiating through the iterations converges to the implicit derivative.

Statement. Let z_{k+1} = T(z_k, θ) with T continuously differentiable near (z*, θ), z* = T(z*, θ), z_k → z*
and the spectral radius ρ of T_z(z*, θ) below 1. Then the unrolled derivative J_{k+1} = T_z(z_k, θ) J_k +
T_θ(z_k, θ) converges to J* = (I − T_z)⁻¹T_θ, the implicit derivative, from any J_0. If T_z is Lipschitz,
its error is O(k r^k) for every r > ρ at the rate of the iterates; for an affine T it is T_z^k (J_0 − J*)
exactly. Projected gradient on a QP has a T that is only piecewise smooth: with strict complementarity the
active set is identified after finitely many steps, and the same holds.

Literature. Gilbert (1992); Christianson (1994); the survey names unrolling as the alternative to the
implicit function theorem.

Check. Double precision: gradient descent on a smooth convex function against differences of its minimiser
(root of the gradient), projected gradient on QPs against differences of the optimum by enumeration.
Dropped hypotheses: a step of more than 2/L; a weakly active constraint.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import root
from scipy.special import expit

from proofs.common import central_difference, generator, relative_error
from proofs.common.quadratic import Quadratic, optimum
from proofs.ledger import check

SIZE = 3
SOURCE = "Gilbert (1992); Christianson (1994)"


def _matrix(k: int) -> np.ndarray:
    root_of_Q = generator("unrolling", k).normal(size=(SIZE, SIZE))
    return root_of_Q @ root_of_Q.T / SIZE + 0.5 * np.eye(SIZE)


def unrolled_descent(
    Q: np.ndarray, theta: np.ndarray, step: float, iterations: int
) -> tuple[np.ndarray, np.ndarray]:
    """z_K and J_K of gradient descent on ½zᵀQz + Σ log(1 + e^{z_i}) − θᵀz from z = 0."""
    z, J = np.zeros(SIZE), np.zeros((SIZE, SIZE))
    for _ in range(iterations):
        y = expit(z)
        J = J - step * ((Q + np.diag(y * (1 - y))) @ J - np.eye(SIZE))
        z = z - step * (Q @ z + y - theta)
    return z, J


def minimiser(Q: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The minimiser as a root of the gradient, by Powell's hybrid method."""
    return root(lambda z: Q @ z + expit(z) - theta, np.zeros(SIZE), tol=1e-14).x


def _descent_errors(instances: int, relative_step: float, iterations: int) -> Iterator[float]:
    for k in range(instances):
        Q, theta = _matrix(k), generator("unrolling", 1000 + k).normal(size=SIZE)
        # L = λ_max(Q) + ¼ bounds the Hessian.
        step = relative_step / (np.linalg.eigvalsh(Q)[-1] + 0.25)
        _, J = unrolled_descent(Q, theta, step, iterations)
        yield relative_error(J, central_difference(lambda t, Q=Q: minimiser(Q, t), theta, step=1e-3))


@check(
    item=9,
    statement="unrolled gradient descent: J_K → (∇²f)⁻¹, the implicit derivative, for a step below 2/L",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-8,
)
def unrolled_descent_converges(instances: int) -> Iterator[float]:
    """400 iterations with a step of 1/L."""
    yield from _descent_errors(instances, 1.0, 400)


@unrolled_descent_converges.negative("a step of 3/L: T is no contraction, and the iteration has no limit")
def _too_long_a_step(instances: int) -> Iterator[float]:
    yield from _descent_errors(instances, 3.0, 40)


def unrolled_projection(
    Q: np.ndarray, theta: np.ndarray, start: np.ndarray, iterations: int = 600
) -> tuple[np.ndarray, np.ndarray]:
    """z_K and J_K of projected gradient, z ← max(z − (Qz − θ)/L, 0)."""
    z, J, step = start, np.zeros((SIZE, SIZE)), 1 / np.linalg.eigvalsh(Q)[-1]
    for _ in range(iterations):
        moved = z - step * (Q @ z - theta)
        J = (moved > 0)[:, None] * (J - step * (Q @ J - np.eye(SIZE)))
        z = np.maximum(moved, 0)
    return z, J


def by_enumeration(Q: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """argmin_{z ≥ 0} ½zᵀQz − θᵀz by trying every active set."""
    none = np.zeros((0, SIZE))
    problem = Quadratic(Q, -theta, -np.eye(SIZE), np.zeros(SIZE), none, np.zeros(0))
    return np.asarray(optimum(problem, tolerance=1e-12).z, dtype=float)


def _theta(Q: np.ndarray, k: int, weak: bool) -> np.ndarray:
    """θ for which z* = (a, b, 0), with a multiplier of the third bound that is positive, or 0 if `weak`."""
    rng = generator("unrolling bound", k)
    z = np.array([*rng.uniform(0.5, 1.5, size=2), 0.0])
    return Q @ z - np.array([0.0, 0.0, 0.0 if weak else rng.uniform(0.5, 1.5)])


@check(
    item=9,
    statement="unrolled projected gradient on a QP: J_K → the implicit derivative, if strictly complementary",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-8,
)
def unrolled_projection_converges(instances: int) -> Iterator[float]:
    """One active bound with a positive multiplier."""
    for k in range(instances):
        Q = _matrix(k)
        theta = _theta(Q, k, weak=False)
        measured = central_difference(lambda t, Q=Q: by_enumeration(Q, t), theta)
        yield relative_error(unrolled_projection(Q, theta, np.ones(SIZE))[1], measured)


@unrolled_projection_converges.negative("a weakly active bound: from two starting points, two limits")
def _two_limits(instances: int) -> Iterator[float]:
    for k in range(instances):
        Q = _matrix(k)
        theta = _theta(Q, k, weak=True)
        from_inside = unrolled_projection(Q, theta, np.linalg.solve(Q, theta) + np.linalg.eigh(Q)[1][:, 0])[1]
        from_outside = unrolled_projection(Q, theta, np.linalg.solve(Q, theta) - np.linalg.eigh(Q)[1][:, 0])[
            1
        ]
        yield relative_error(from_inside, from_outside)


def _affine_errors(instances: int, iterations: int) -> Iterator[float]:
    for k in range(instances):
        Q = _matrix(k)
        T = np.eye(SIZE) - Q / np.linalg.eigvalsh(Q)[-1]
        J, offset = np.zeros((SIZE, SIZE)), np.eye(SIZE) / np.linalg.eigvalsh(Q)[-1]
        for _ in range(10):
            J = T @ J + offset
        J_star = np.linalg.inv(Q)
        yield relative_error(J - J_star, -np.linalg.matrix_power(T, iterations) @ J_star)


@check(
    item=9,
    statement="for an affine T the error of the unrolled derivative is T_z^k (J_0 − J*)",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-12,
)
def affine_error(instances: int) -> Iterator[float]:
    """Gradient descent on ½zᵀQz − θᵀz, ten iterations."""
    yield from _affine_errors(instances, 10)


@affine_error.negative("one power too few")
def _one_power_less(instances: int) -> Iterator[float]:
    yield from _affine_errors(instances, 9)
