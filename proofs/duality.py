r"""Strong duality and complementary slackness for quadratic programs, and where they end.

With Q ≻ 0 the dual of min ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b is

    max over λ ≥ 0, ν of  −½ rᵀQ⁻¹r − hᵀλ − bᵀν,   r = q + Gᵀλ + Aᵀν.

* p* = d* and λᵢ(h − Gz)ᵢ = 0. Slater's condition is sufficient (Boyd & Vandenberghe, section 5.2.3); for
  affine constraints a feasible point is enough, with an empty interior too.
* For other convex programs it cannot be dropped: min e^(−x) subject to x²/y ≤ 0, y > 0 has p* = 1 and d* =
  0 (Boyd & Vandenberghe, exercise 5.21).

Primal and dual are two different quadratic programs, each solved by enumeration in rational arithmetic, so
that the gap is computed exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import sympy as sp
from flint import fmpq

from proofs.common import generator
from proofs.common.linear import Numbers, eliminate
from proofs.common.quadratic import Quadratic, optimum, rational_quadratic
from proofs.ledger import check
from proofs.theorem1_hypotheses import floated

SOURCE = "Boyd & Vandenberghe 2004, section 5.2.3"


def value(problem: Quadratic, z: Numbers) -> fmpq:
    """½zᵀQz + qᵀz."""
    return (z @ problem.Q @ z) / fmpq(2) + problem.q @ z


def dual_program(problem: Quadratic, *, signed: bool) -> Quadratic:
    """The dual as a minimisation over y = (λ, ν): ½yᵀHy + cᵀy, with −λ ≤ 0 if `signed`; d* = −its value −
    ½qᵀQ⁻¹q.
    """
    Q, q, G, h, A, b = problem
    C, d = np.concatenate([G, A]), np.concatenate([h, b])
    solved = eliminate(Q, np.concatenate([C.T, q[:, None]], axis=1))
    H, c = C @ solved[:, :-1], d + C @ solved[:, -1]
    rows = len(h) if signed else 0
    bounds = np.array([[fmpq(-int(i == j)) for j in range(len(d))] for i in range(rows)], dtype=object)
    empty = np.zeros((0, len(d)), dtype=object)
    zero = np.array([fmpq(0)] * rows, dtype=object)
    return Quadratic(H, c, bounds.reshape(rows, len(d)), zero, empty, np.zeros(0, dtype=object))


def dual_optimum(problem: Quadratic, *, signed: bool = True) -> tuple[fmpq, Numbers]:
    """d* and its maximiser (λ, ν)."""
    program = dual_program(problem, signed=signed)
    y = optimum(program).z
    half = problem.q @ eliminate(problem.Q, problem.q) / fmpq(2)
    return -value(program, y) - half, y


def instance(k: int, *, interior: bool) -> Quadratic:
    """A rational QP; without `interior` its first row appears with both signs, as an equality in disguise."""
    problem = rational_quadratic(generator("duality", k), 5, 3, 1, active=2)
    if interior:
        return problem
    G, h = np.concatenate([problem.G, -problem.G[:1]]), np.concatenate([problem.h, -problem.h[:1]])
    return problem._replace(G=G, h=h)


def gap_errors(instances: int, *, interior: bool, signed: bool) -> Iterator[float]:
    """|p* − d*|, exactly."""
    for k in range(instances):
        problem = instance(k, interior=interior)
        yield floated(abs(value(problem, optimum(problem).z) - dual_optimum(problem, signed=signed)[0]))


@check(
    item=5,
    statement="p* = d* under Slater's condition (|gap|, exact)",
    source=SOURCE,
    strength="certified",
    tolerance=0,
)
def strong_duality(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from gap_errors(instances, interior=True, signed=True)


@strong_duality.negative("λ ≥ 0 dropped from the dual")
def strong_duality_unsigned(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from gap_errors(instances, interior=True, signed=False)


@check(
    item=5,
    statement="p* = d* without Slater's condition too if the constraints are affine: feasible set with empty "
    "interior",
    source=SOURCE + ", refined Slater condition",
    strength="certified",
    tolerance=0,
)
def polyhedral_duality(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from gap_errors(instances, interior=False, signed=True)


@polyhedral_duality.negative("λ ≥ 0 dropped from the dual of the problem without the twin row")
def polyhedral_duality_unsigned(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from gap_errors(instances, interior=True, signed=False)


def slackness_errors(shift: fmpq, instances: int) -> Iterator[float]:
    """Largest |λᵢ sᵢ| with λ from the dual program and s from the primal one; `shift` is added to each λᵢ."""
    for k in range(instances):
        problem = instance(k, interior=True)
        slack = problem.h - problem.G @ optimum(problem).z
        lam = dual_optimum(problem)[1][: len(slack)] + shift
        yield max(floated(abs(v)) for v in lam * slack)


@check(
    item=5,
    statement="λᵢ(h − Gz)ᵢ = 0 for z from the primal and λ from the dual program (exact)",
    source="Boyd & Vandenberghe 2004, section 5.5.2",
    strength="certified",
    tolerance=0,
)
def complementary_slackness(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from slackness_errors(fmpq(0), instances)


@complementary_slackness.negative("a dual feasible point that is not optimal: λ + 1")
def complementary_slackness_suboptimal(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from slackness_errors(fmpq(1), instances)


def exponential_errors(epsilon: int) -> Iterator[float]:
    """p* and d* of min e^(−x) subject to x²/y ≤ ε, y > 0, against 1 and 0."""
    x, y, lam, t = sp.symbols("x y lam t", positive=True)
    # ε = 0 forces x = 0; for ε > 0 the point (t, t²/ε) is feasible for every t, and its value tends to 0.
    feasible = {x: 0} if epsilon == 0 else {x: t}
    primal = sp.limit(sp.exp(-x).subs(feasible), t, sp.oo)
    yield float(abs(primal - 1))
    # The dual function is at least 0, since both terms are, and tends to 0 along (t, t³).
    yield float(abs(sp.limit((sp.exp(-x) + lam * x**2 / y).subs({x: t, y: t**3}), t, sp.oo)))


@check(
    item=5,
    statement="a convex program without Slater's condition has a gap: min e^(−x), x²/y ≤ 0, y > 0, has p* = "
    "1, d* = 0",
    source="Boyd & Vandenberghe 2004, exercise 5.21",
    strength="symbolic",
    tolerance=0,
    instances=2,
)
def duality_gap(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from exponential_errors(0)


@duality_gap.negative("Slater's condition restored, x²/y ≤ 1: p* = 0 = d*")
def duality_gap_closed(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from exponential_errors(1)
