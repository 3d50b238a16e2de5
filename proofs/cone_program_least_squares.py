r"""What least squares returns where a cone program has no derivative.

Statement. Consider minimise x s.t. x ≥ b_i for i = 1, …, k, whose solution is max_i b_i. Where all b_i
coincide the solution has no derivative; its directional derivative is max_i db_i, and its limiting
Jacobians are the k unit vectors. There the system of the embedding with w = 1,

    Aᵀ DΠ_{K*} dv = −(dAᵀ y + dc),    A dx + (DΠ_{K*} − I) dv = db − dA x,

reads dx = db_i for all i, which is inconsistent. Least squares answers with the mean of the db_i: the
average of the limiting Jacobians, an element of Clarke's Jacobian. If row i of the same constraints is
multiplied by σ_i > 0, which changes neither the feasible set nor the solution, it answers with the weighted
mean Σσ_i² db_i/Σσ_i². At a kink the least-squares derivative therefore depends on how the program is
written.

Literature. Agrawal, Barratt et al. (2019), propose least squares there as a heuristic.

Check. The system is built from the embedding and solved by the SVD, against differences of the maximum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs.common import generator, relative_error
from proofs.ledger import check, erratum

SOURCE = "Agrawal, Barratt et al. (2019) (heuristic at singular M)"


def least_squares_derivative(sigma: np.ndarray, db: np.ndarray) -> float:
    """Dx by least squares on the embedding of min x s.t. −σ_i x + s_i = −σ_i b, s ≥ 0, with w = 1."""
    k = len(sigma)
    # y solves Aᵀy + c = 0 with equal σ_i y_i; all are positive, so that DΠ_{K*} = I and DΠ_K = 0.
    A, y = -sigma[:, None], 1 / (k * sigma)
    s = np.zeros(k)
    J = np.diag((y - s > 0).astype(float))
    # Unknown (dx, dv) with v = y − s: rows Aᵀ J dv = 0 and A dx + (J − I) dv = d(−σ b), ds = (J − I) dv.
    system = np.block([[np.zeros((1, 1)), A.T @ J], [A, J - np.eye(k)]])
    return float(np.linalg.lstsq(system, np.concatenate([[0.0], -sigma * db]), rcond=1e-12)[0][0])


def weighted_mean(sigma: np.ndarray, db: np.ndarray) -> float:
    """The printed Σσ_i² db_i/Σσ_i²."""
    return float(sigma**2 @ db / np.sum(sigma**2))


def limiting_jacobians(k: int) -> np.ndarray:
    """Rows: gradients of max(b) at differentiable points near the tie, by differences."""
    step, rows = 1e-6, []
    for i in range(k):
        b = np.zeros(k)
        b[i] = 1e-3
        rows.append([(np.max(b + step * e) - np.max(b - step * e)) / (2 * step) for e in np.eye(k)])
    return np.array(rows)


def _instance(k: int) -> tuple[np.ndarray, np.ndarray, float]:
    rng, count = generator("tie", k), 2 + k % 4
    return rng.uniform(0.2, 5.0, size=count), rng.normal(size=count), float(rng.normal())


@check(
    item=7,
    statement="least squares at a k-fold tie: dx = mean of db_i, the average of the limiting Jacobians",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-9,
)
def tie_average(instances: int) -> Iterator[float]:
    """Unscaled rows, against the mean of the measured limiting Jacobians."""
    for k in range(instances):
        _, db, _ = _instance(k)
        averaged = limiting_jacobians(len(db)).mean(axis=0) @ db
        yield relative_error(least_squares_derivative(np.ones(len(db)), db), averaged)


@tie_average.negative("the directional derivative max db_i of the solution")
def _directional(instances: int) -> Iterator[float]:
    step = 1e-6
    for k in range(instances):
        _, db, b = _instance(k)
        quotient = (np.max(b + step * db) - b) / step
        yield relative_error(least_squares_derivative(np.ones(len(db)), db), quotient)


@check(
    item=7,
    statement="rows scaled by σ_i: the same program, but least squares answers Σσ_i² db_i/Σσ_i²",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-12,
)
def tie_depends_on_scaling(instances: int) -> Iterator[float]:
    """Scaled rows against the printed weighted mean."""
    for k in range(instances):
        sigma, db, _ = _instance(k)
        yield relative_error(least_squares_derivative(sigma, db), weighted_mean(sigma, db))


@tie_depends_on_scaling.negative("the plain mean, as if the answer did not depend on the scaling")
def _plain_mean(instances: int) -> Iterator[float]:
    for k in range(instances):
        sigma, db, _ = _instance(k)
        yield relative_error(least_squares_derivative(sigma, db), np.mean(db))


erratum(
    item=7,
    where="Agrawal, Barratt et al. (2019), least squares where M has no inverse",
    printed="the least-squares solution takes the place of the derivative",
    correct=(
        "at a kink the answer is not a function of the program: rows scaled by σ_i give another element of "
        "Clarke's Jacobian, Σσ_i² db_i/Σσ_i² in place of the mean, and never the directional derivative"
    ),
    checks=(tie_average, tie_depends_on_scaling),
)
