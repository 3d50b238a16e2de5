r"""What the backward pass costs: one solve with the forward's factor.

Statement. An interior-point method on a QP with N = n + m + p rows in its KKT matrix K factors K once in
each of its k iterations and solves twice with it. (a) The gradient for a cotangent is one solve with the
transpose of the factor of the last iteration: no further factorisation, 2N² − N operations. (b) Forward
over backward is k (LU + 2 solves)/solve, which tends to k(N/3 + 2): the backward pass is the cheaper the
larger the problem. (c) An iteration of the forward pass grows with the cube of N, the backward pass with
its square.

Literature. OptNet (Amos & Kolter 2017), §3.1, on the reuse of the factorisation, and its limits, cubic in
the number of variables and constraints.

Check. Factorisations, solves and operations are counted in real runs; the gradient from the last factor is
compared with differences of the optimum by enumeration. `cost_counts` and `cost_scaling` (measured times,
rewritten only on request) are the tables of the figure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from proofs.common import central_difference, generator, relative_error
from proofs.common.quadratic import Quadratic, optimum, random_quadratic
from proofs.ledger import Rows, check, table
from proofs.operation_counts import lu_operations, solve_operations

SOURCE = "OptNet (Amos & Kolter 2017), §3.1"


class Linear:
    """LU factors of a matrix; counts factorisations, solves and their operations by the formulas above."""

    factorisations = solves = operations = 0

    def __init__(self, matrix: np.ndarray) -> None:
        self.factors: Any = lu_factor(matrix)
        self.size = len(matrix)
        Linear.factorisations += 1
        Linear.operations += lu_operations(self.size)

    def solve(self, rhs: np.ndarray, transposed: bool = False) -> np.ndarray:
        """K⁻¹ rhs, or K⁻ᵀ rhs."""
        Linear.solves += 1
        Linear.operations += solve_operations(self.size)
        return lu_solve(self.factors, rhs, trans=int(transposed))

    @classmethod
    def reset(cls) -> None:
        """Start counting again."""
        cls.factorisations = cls.solves = cls.operations = 0


def interior_point(problem: Quadratic, iterations: int = 60) -> tuple[np.ndarray, Linear]:
    """Predictor–corrector method with one factor and two solves in each iteration; z and the last factor.

    K = [Q Gᵀ Aᵀ; D(λ)G −D(s) 0; A 0 0] acts on (dz, dλ, dν), with s = h − Gz kept as a variable.
    """
    Q, q, G, h, A, b = problem
    n, m, p = len(q), len(h), len(b)
    z, s, lam, nu = np.zeros(n), np.ones(m), np.ones(m), np.zeros(p)
    factor = None
    for _ in range(iterations):
        dual = Q @ z + q + G.T @ lam + A.T @ nu
        primal, equal, gap = G @ z + s - h, A @ z - b, float(s @ lam) / m
        if max(gap, *np.abs(dual), *np.abs(primal), *np.abs(equal), 0.0) < 1e-13 and factor is not None:
            break
        factor = Linear(_kkt(problem, lam, s))
        complement = s * lam
        for target in (0.0, 1.0):
            # s dλ + λ ds = −complement with ds = −primal − G dz gives the middle row.
            right = np.concatenate([-dual, complement - lam * primal, -equal])
            step = factor.solve(right)
            dz, dlam, dnu = np.split(step, [n, n + m])
            ds = -primal - G @ dz
            length = min(
                1.0, *(-0.995 * v / d for v, d in zip([*s, *lam], [*ds, *dlam], strict=True) if d < 0)
            )
            if target == 0.0:
                after = float((s + length * ds) @ (lam + length * dlam)) / m
                complement = s * lam + ds * dlam - (after / gap) ** 3 * gap
        z, s, lam, nu = z + length * dz, s + length * ds, lam + length * dlam, nu + length * dnu
    assert factor is not None
    return z, factor


def _kkt(problem: Quadratic, lam: np.ndarray, s: np.ndarray) -> np.ndarray:
    m, p = len(problem.h), len(problem.b)
    return np.block(
        [
            [problem.Q, problem.G.T, problem.A.T],
            [lam[:, None] * problem.G, -np.diag(s), np.zeros((m, p))],
            [problem.A, np.zeros((p, m + p))],
        ]
    )


def gradient_in_q(factor: Linear, cotangent: np.ndarray) -> np.ndarray:
    """∇_q ℓ = d_z, from one solve with the transpose of the factor."""
    right = np.zeros(factor.size)
    right[: len(cotangent)] = -cotangent
    return factor.solve(right, transposed=True)[: len(cotangent)]


def _problem(name: str, k: int, n: int) -> Quadratic:
    return random_quadratic(generator(name, k), n, n, n // 4, active=n // 4)


def _backward_errors(instances: int, iterations: int) -> Iterator[float]:
    for k in range(instances):
        problem = _problem("one solve", k, 4)
        cotangent = generator("one solve cotangent", k).normal(size=4)
        _, factor = interior_point(problem, iterations)

        def loss(q: np.ndarray, problem: Quadratic = problem, cotangent: np.ndarray = cotangent) -> float:
            return float(
                cotangent @ np.asarray(optimum(problem._replace(q=q), tolerance=1e-9).z, dtype=float)
            )

        Linear.reset()
        computed = gradient_in_q(factor, cotangent)
        # The claim is about the count as much as about the value.
        yield float(Linear.factorisations != 0 or Linear.solves != 1)
        yield relative_error(computed, central_difference(loss, problem.q))


@check(
    item=10,
    statement="backward = one transposed solve with the forward's last factor; it gives ∇_q ℓ",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-6,
)
def one_solve(instances: int) -> Iterator[float]:
    """Interior-point method to 1e-13, gradient against differences of the enumerated optimum."""
    yield from _backward_errors(instances, 60)


@one_solve.negative("the factor of the third iteration, before the method has converged")
def _early_factor(instances: int) -> Iterator[float]:
    yield from _backward_errors(instances, 3)


@cache
def measured_ratio(size: int) -> tuple[int, int, int, int]:
    """N, iterations, operations of the forward and of the backward pass, for a QP of `size` variables."""
    problem = _problem("ratio", size, size)
    Linear.reset()
    _, factor = interior_point(problem)
    forward, iterations = Linear.operations, Linear.factorisations
    Linear.reset()
    gradient_in_q(factor, np.ones(size))
    return factor.size, iterations, forward, Linear.operations


def _growth_errors(instances: int, power: int) -> Iterator[float]:
    sizes = [16 * 2**j for j in range(5)]
    rows = [measured_ratio(size) for size in sizes]
    N = np.log([row[0] for row in rows])
    forward = np.polyfit(N, np.log([row[2] / row[1] for row in rows]), 1)[0]
    backward = np.polyfit(N, np.log([row[3] for row in rows]), 1)[0]
    yield from (abs(float(forward) - power), abs(float(backward) - 2))


@check(
    item=10,
    statement="counted operations: an iteration forward grows as N³, the backward pass as N²",
    source=SOURCE,
    strength="numeric",
    tolerance=0.1,
)
def cubic_growth(instances: int) -> Iterator[float]:
    """Distance of the log–log slopes from 3 and 2 over N = 36 … 576, counted in real runs."""
    yield from _growth_errors(instances, 3)


@cubic_growth.negative("quadratic growth of the forward pass")
def _quadratic(instances: int) -> Iterator[float]:
    yield from _growth_errors(instances, 2)


@check(
    item=10,
    statement="forward over backward = k (LU + 2 solves) / solve, which tends to kN/3",
    source=SOURCE,
    strength="numeric",
    tolerance=0.15,
)
def ratio(instances: int) -> Iterator[float]:
    """Relative distance of the counted ratio from kN/3 + 2k for growing problems."""
    for j in range(min(instances, 5)):
        N, iterations, forward, backward = measured_ratio(16 * 2**j)
        yield abs(forward / backward / (iterations * (N / 3 + 2)) - 1)


@ratio.negative("a backward pass that factors the matrix again")
def _refactored(instances: int) -> Iterator[float]:
    for j in range(min(instances, 5)):
        N, iterations, forward, backward = measured_ratio(16 * 2**j)
        yield abs(forward / (backward + lu_operations(N)) / (iterations * (N / 3 + 2)) - 1)


@table("proofs/cost_counts")
def cost_counts() -> Rows:
    """Counted operations of the forward and backward pass for growing problems."""
    rows: Rows = []
    for j in range(5):
        N, iterations, forward, backward = measured_ratio(16 * 2**j)
        rows.append({"kkt_rows": N, "iterations": iterations, "forward": forward, "backward": backward})
    return rows


@table("proofs/cost_scaling", timed=True)
def cost_scaling() -> Rows:
    """Median seconds of forward and backward pass over five runs on one core."""
    rows: Rows = []
    for size in (16, 32, 64, 128, 256):
        problem, times = _problem("ratio", size, size), []
        _, factor = interior_point(problem)
        for _ in range(5):
            start = time.perf_counter()
            _, factor = interior_point(problem)
            middle = time.perf_counter()
            gradient_in_q(factor, np.ones(size))
            times.append((middle - start, time.perf_counter() - middle))
        forward, backward = np.median(np.array(times), axis=0)
        rows.append({"kkt_rows": factor.size, "forward_s": float(forward), "backward_s": float(backward)})
    return rows
