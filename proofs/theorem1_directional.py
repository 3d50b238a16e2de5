r"""OptNet, Theorem 1, at the points where the solution map has a kink: one-sided derivatives.

Let Q ≻ 0, let the rows of A and of the active G be independent, and split the active inequalities into the
strongly active I (λ_i > 0) and the weakly active W (λ_i = 0 = s_i). Then z* has a derivative in every
direction d = (dQ, dq, dG, dh, dA, db) of the data, and it is the optimum of another quadratic program:

    z*′(d) = argmin_v ½ vᵀQv + (dQ z + dq + dGᵀλ + dAᵀν)ᵀv
             subject to  G_i v = dh_i − dG_i z (i ∈ I),  G_i v ≤ dh_i − dG_i z (i ∈ W),  A v = db − dA z.

It is linear in d if W is empty, and then it is equation 6 of OptNet. Theorem 1 (Amos & Kolter, ICML 2017)
says that z* is differentiable but for a null set of data; that set is where W is not empty. The formula is
Jittorntrum (1984) and Robinson (1980). Clarabel solves the printed program; brute force takes one-sided
differences of an optimum found by enumeration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import clarabel
import numpy as np
from flint import fmpq
from scipy import sparse

from proofs.common import generator, relative_error
from proofs.common.balls import NotProved, certified_root, krawczyk, precision, square
from proofs.common.certified_quadratic import BITS, certified_optimum
from proofs.common.differences import Array
from proofs.common.linear import Numbers
from proofs.common.quadratic import Optimum, Quadratic, optimum, rational_quadratic
from proofs.ledger import check

SOURCE = "OptNet (Amos & Kolter 2017), Theorem 1"
RADIUS = 2.0**-40
# Clarabel's compiled module does not declare its names.
SOLVER: Any = clarabel


def printed_derivative(problem: Quadratic, point: Optimum, d: Quadratic, *, weak: tuple[int, ...]) -> Array:
    """The program for z*′(d), solved by Clarabel; the active inequalities outside `weak` are strongly
    active.
    """
    z, lam, nu = (np.asarray(part, dtype=float) for part in point[:3])
    strong = [i for i in range(len(lam)) if lam[i] > 1e-9 and i not in weak]
    bound = d.h - d.G @ z
    rows = np.concatenate([problem.G[strong], problem.A, problem.G[list(weak)]])
    rhs = np.concatenate([bound[strong], d.b - d.A @ z, bound[list(weak)]])
    cones = [SOLVER.ZeroConeT(len(strong) + len(nu)), SOLVER.NonnegativeConeT(len(weak))]
    settings = SOLVER.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    linear = d.Q @ z + d.q + d.G.T @ lam + d.A.T @ nu
    P = sparse.csc_matrix(np.triu(problem.Q))
    return np.array(SOLVER.DefaultSolver(P, linear, sparse.csc_matrix(rows), rhs, cones, settings).solve().x)


def random_direction(rng: np.random.Generator, problem: Quadratic) -> Quadratic:
    """A rational direction of the data, with a symmetric dQ."""
    parts = (
        np.array([fmpq(int(v), 4) for v in rng.integers(-8, 9, part.size)], dtype=object) for part in problem
    )
    d = Quadratic(*(flat.reshape(part.shape) for flat, part in zip(parts, problem, strict=True)))
    return d._replace(Q=(d.Q + d.Q.T) / fmpq(2))


def one_sided(problem: Quadratic, point: Optimum, d: Quadratic) -> Array:
    """z*′(d) by a one-sided difference with step 1e-15, in exact arithmetic until the end."""
    step = fmpq(1, 10**15)
    moved = Quadratic(*(part + step * change for part, change in zip(problem, d, strict=True)))
    return as_floats((optimum(moved).z - point.z) / step)


def as_floats(values: Numbers) -> Array:
    """Rationals rounded to floats."""
    return np.array([int(fmpq(v).p) / int(fmpq(v).q) for v in values.flat], dtype=float).reshape(values.shape)


def instance(name: str, k: int, weak: int) -> tuple[Quadratic, Optimum, Quadratic, Quadratic]:
    """A rational QP with three active inequalities, its optimum, a direction and the opposite one."""
    rng = generator(name, k)
    problem = rational_quadratic(rng, 5, 4, 1, active=3, weak=weak)
    d = random_direction(rng, problem)
    return problem, optimum(problem), d, Quadratic(*(-part for part in d))


def errors(instances: int, *, linear: bool) -> Iterator[float]:
    """Both sides of a kink with two weakly active inequalities; `linear` lets one side speak for the
    other.
    """
    for k in range(instances):
        problem, point, d, back = instance("theorem1_directional", k, 2)
        floats = [Quadratic(*map(as_floats, data)) for data in (problem, d, back)]
        at = Optimum(as_floats(point.z), as_floats(point.lam), as_floats(point.nu), point.active)
        forward = printed_derivative(floats[0], at, floats[1], weak=(1, 2))
        backward = -forward if linear else printed_derivative(floats[0], at, floats[2], weak=(1, 2))
        yield max(
            relative_error(forward, one_sided(problem, point, d)),
            relative_error(backward, one_sided(problem, point, back)),
        )


@check(
    item=3,
    statement="at weakly active points z* has every directional derivative, the optimum of a QP over the "
    "critical cone",
    source=SOURCE + "; formula of Jittorntrum 1984",
    strength="numeric",
    tolerance=1e-9,
)
def directional_derivative(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(instances, linear=False)


@directional_derivative.negative("linearity assumed: z*′(−d) = −z*′(d)")
def directional_derivative_linear(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(instances, linear=True)


def gap_errors(instances: int, weak: int) -> Iterator[float]:
    """Difference between the right and the left derivative at random data, by brute force alone."""
    for k in range(instances):
        problem, point, d, back = instance("theorem1_directional.gap", k, weak)
        yield relative_error(one_sided(problem, point, d), -one_sided(problem, point, back))


@check(
    item=3,
    statement="off the degenerate set the right and the left derivative agree in every direction tried",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-9,
)
def differentiable_off_kinks(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from gap_errors(instances, weak=0)


@differentiable_off_kinks.negative("data on the degenerate set: two weakly active inequalities")
def not_differentiable_on_kinks(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from gap_errors(instances, weak=2)


def neighbourhood_errors(instances: int, weak: int) -> Iterator[float]:
    """0 if one box certifies the optimum for all data within 2⁻⁴⁰ of the given ones, infinite if not."""
    for k in range(instances):
        problem = rational_quadratic(generator("theorem1_directional.ball", k), 3, 3, 1, active=2, weak=weak)
        with precision(BITS):
            try:
                certify_neighbourhood(problem, RADIUS)
            except NotProved:
                yield float("inf")
            else:
                yield 0.0


def certify_neighbourhood(problem: Quadratic, radius: float) -> None:
    """Prove that z* is analytic in all of the data within `radius`, entry by entry, of the given ones.

    Raises
    ------
    NotProved
        If Krawczyk's test or strict complementarity fails somewhere in that set.
    """
    point = certified_optimum(problem)
    blurred = problem.convert(lambda v: _ball(v) + square(radius))
    n, m = len(problem.q), len(problem.h)

    def conditions(x: Numbers, data: Quadratic) -> Numbers:
        z, lam, nu = x[:n], x[n : n + m], x[n + m :]
        return np.concatenate([
            data.Q @ z + data.q + data.G.T @ lam + data.A.T @ nu,
            lam * (data.G @ z - data.h),
            data.A @ z - data.b,
        ])  # fmt: skip

    exact = problem.convert(_ball)
    root = certified_root(
        lambda x: conditions(x, exact), np.concatenate([point.z, point.lam, point.nu]), bits=BITS
    )
    x = krawczyk(lambda x: conditions(x, blurred), root, 2.0**-20)
    slack = blurred.h - blurred.G @ x[:n]
    if not all(x[n + i].real > 0 or slack[i].real > 0 for i in range(m)):
        raise NotProved("strict complementarity does not hold on all of the box")


def _ball(value):
    return square(0) + value


@check(
    item=3,
    statement="z* is analytic in all data within 2⁻⁴⁰ of a strictly complementary rational point (0 where "
    "proved)",
    source=SOURCE,
    strength="certified",
    tolerance=0,
)
def analytic_neighbourhood(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from neighbourhood_errors(instances, weak=0)


@analytic_neighbourhood.negative("one weakly active inequality: Krawczyk's test refuses")
def analytic_neighbourhood_at_a_kink(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from neighbourhood_errors(min(instances, 5), weak=1)
