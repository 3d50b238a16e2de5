r"""OptNet, Theorem 1: each hypothesis dropped in turn, the printed ones and the ones that are missing.

Theorem 1 (Amos & Kolter, ICML 2017): if Q ≻ 0 and A has full row rank, then z*(θ), θ = (Q, q, A, b, G, h), is
subdifferentiable everywhere in the sense of Clarke, with a single element but for a null set of θ. Its proof
(thesis of B. Amos, 2019) infers this from continuity and takes it that [G_Iᵀ Aᵀ] has full column rank.

* Without Q ≻ 0: min −θz subject to −1 ≤ z ≤ 1 jumps from −1 to 1 at θ = 0.
* Without full row rank of A: z₁ = θ, z₁ = 0 has no solution for any θ ≠ 0.
* Slater's condition is missing: min ½‖z − (1, 0)‖² subject to z₂ ≤ 0, θz₁ ≤ z₂, 0 ≤ z₁ ≤ 1 is feasible for
  all θ near 0, has Q = I, no equality and no zero row, and z* jumps from (1, 0) to (0, 0) at θ = 0⁺.
* Independence of the active rows is missing even with Slater's condition: min ½‖z − (1, 1)‖² subject to z₂
  ≤ 0, θz₁ + z₂ ≤ ε has z₁*(θ, θ) = 1 and z₁*(θ, θ − θ²) = 1 − θ for small θ > 0. So z* moves by θ while
  the data move by θ²: it is not Lipschitz near θ = ε = 0, and Clarke's generalized Jacobian is not defined
  there.
* Two active copies of one row: the matrix of equation 6 is singular although complementarity is strict.

With Slater's condition and independent active rows z* is locally Lipschitz, and the theorem holds (page of
this item). All the examples are solved in exact rational arithmetic, which certifies them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from flint import fmpq, fmpq_mat

from proofs.common import generator
from proofs.common.linear import Numbers
from proofs.common.quadratic import Quadratic, optimum, rational_quadratic
from proofs.ledger import check, erratum
from proofs.qp_differential import printed_matrix

SOURCE = "OptNet (Amos & Kolter 2017), Theorem 1"


def exact(Q: list, q: list, G: list, h: list, A: list | None = None, b: list | None = None) -> Quadratic:
    """A QP with rational data from nested lists."""
    n = len(q)
    parts = [np.array(part, dtype=object) for part in (Q, q)]
    parts += [np.array(G, dtype=object).reshape(len(h), n), np.array(h, dtype=object)]
    parts += [np.array(A or [], dtype=object).reshape(len(b or []), n), np.array(b or [], dtype=object)]
    return Quadratic(*parts).convert(fmpq)


def small(k: int) -> fmpq:
    """2^−(3 + k)."""
    return fmpq(1, 2 ** (3 + k))


def floated(value: fmpq) -> float:
    """A rational as a float."""
    return int(fmpq(value).p) / int(fmpq(value).q)


def linear_program(theta: fmpq, curvature: int) -> Numbers:
    """z* of min ½·curvature·z² − θz subject to −1 ≤ z ≤ 1."""
    return optimum(exact([[curvature]], [-theta], [[1], [-1]], [1, 1])).z


@check(
    item=3,
    statement="Q ≻ 0 cannot be dropped: min −θz, −1 ≤ z ≤ 1, jumps by 2 at θ = 0 (|jump − 2|)",
    source=SOURCE,
    strength="certified",
    tolerance=0,
)
def definiteness(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    for k in range(instances):
        yield floated(abs((linear_program(small(k), 0) - linear_program(-small(k), 0))[0] - 2))


@definiteness.negative("Q = 1 restored: no jump")
def definiteness_restored(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    for k in range(instances):
        yield floated(abs((linear_program(small(k), 1) - linear_program(-small(k), 1))[0] - 2))


def feasible(rows: list[list[int]], theta: fmpq) -> bool:
    """Whether min ½‖z‖² subject to Az = (θ, 0) has a solution: [A b] has the rank of A."""
    augmented = [fmpq(v) for row, value in zip(rows, (theta, 0), strict=True) for v in (*row, value)]
    left = [fmpq(v) for row in rows for v in row]
    return fmpq_mat(2, 3, augmented).rank() == fmpq_mat(2, 2, left).rank()


@check(
    item=3,
    statement="full row rank of A cannot be dropped: z₁ = θ, z₁ = 0 is infeasible at every θ ≠ 0 (1 where "
    "feasible)",
    source=SOURCE,
    strength="certified",
    tolerance=0,
)
def row_rank(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    for k in range(instances):
        yield float(feasible([[1, 0], [1, 0]], small(k)))


@row_rank.negative("independent rows restored: z₁ = θ, z₂ = 0")
def row_rank_restored(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    for k in range(instances):
        yield float(feasible([[1, 0], [0, 1]], small(k)))


def without_interior(theta: fmpq, room: fmpq) -> Numbers:
    """z* of min ½‖z − (1, 0)‖² subject to z₂ ≤ room, θz₁ − z₂ ≤ 0, 0 ≤ z₁ ≤ 1: no interior where room = 0
    ≤ θ.
    """
    return optimum(
        exact([[1, 0], [0, 1]], [-1, 0], [[0, 1], [theta, -1], [1, 0], [-1, 0]], [room, 0, 1, 0])
    ).z


@check(
    item=3,
    statement="Slater's condition is needed: with Q = I, no equality, feasible for all θ near 0, z* jumps by "
    "1 (|jump − 1|)",
    source=SOURCE + ", a hypothesis that is not printed",
    strength="certified",
    tolerance=0,
)
def slater(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    for k in range(instances):
        jump = without_interior(fmpq(0), fmpq(0)) - without_interior(small(k), fmpq(0))
        yield floated(abs(jump[0] - 1) + abs(jump[1]))


@slater.negative("an interior restored: z₂ ≤ 1")
def slater_restored(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    for k in range(instances):
        jump = without_interior(fmpq(0), fmpq(1)) - without_interior(small(k), fmpq(1))
        yield floated(abs(jump[0] - 1) + abs(jump[1]))


def nearly_parallel(theta: fmpq, epsilon: fmpq, tilt: fmpq) -> Numbers:
    """z* of min ½‖z − (1, 1)‖² subject to z₂ ≤ 0 and (tilt + θ)z₁ + z₂ ≤ ε + tilt."""
    return optimum(exact([[1, 0], [0, 1]], [-1, -1], [[0, 1], [tilt + theta, 1]], [0, epsilon + tilt])).z


def ratio_errors(tilt: fmpq, instances: int) -> Iterator[float]:
    """|θ · (z₁(θ, θ) − z₁(θ, θ − θ²))/θ² − 1|, and the strict feasibility of (0, −1)."""
    for k in range(instances):
        theta = small(k)
        change = (nearly_parallel(theta, theta, tilt) - nearly_parallel(theta, theta - theta * theta, tilt))[
            0
        ]
        yield floated(abs(change / theta - 1))


@check(
    item=3,
    statement="independent active rows are needed: (0, −1) is strictly feasible, yet |Δz*|/|Δh| = 1/θ near "
    "two parallel active rows (|θ·ratio − 1|)",
    source=SOURCE + ", a hypothesis that is not printed",
    strength="certified",
    tolerance=0,
)
def independence(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from ratio_errors(fmpq(0), instances)


@independence.negative("independent rows restored: (1 + θ, 1) instead of (θ, 1)")
def independence_restored(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from ratio_errors(fmpq(1), instances)


def singular_errors(second: fmpq, instances: int) -> Iterator[float]:
    """|det| of the matrix of equation 6 where rows g and 2g are both active with positive multipliers.

    `second` is added to one entry of the second row, which makes the rows independent unless it is 0.
    """
    for k in range(instances):
        base = rational_quadratic(generator("theorem1_hypotheses.twins", k), 3, 1, 1, active=1)
        point = optimum(base)
        twin = 2 * base.G[0]
        twin[k % 3] = twin[k % 3] + second
        G = np.stack([base.G[0], twin])
        lam = np.array([point.lam[0] / 2, point.lam[0] / 4], dtype=object)
        # q is chosen so that z stays optimal with these multipliers.
        q = -(base.Q @ point.z + G.T @ lam + base.A.T @ point.nu)
        problem = base._replace(G=G, h=G @ point.z, q=q)
        matrix = printed_matrix(problem, point._replace(lam=lam))
        size = len(matrix)
        yield floated(abs(fmpq_mat(size, size, [fmpq(v) for v in matrix.flat]).det()))


@check(
    item=3,
    statement="strict complementarity, Q ≻ 0 and full row rank of A leave equation 6 singular at two active "
    "parallel rows (|det|)",
    source="OptNet, Theorem 1, proof in the thesis of B. Amos (2019)",
    strength="certified",
    tolerance=0,
)
def parallel_rows(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from singular_errors(fmpq(0), instances)


@parallel_rows.negative("independent rows restored: the determinant is not 0")
def parallel_rows_restored(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from singular_errors(fmpq(1), instances)


erratum(
    item=3,
    where="OptNet, Theorem 1",
    printed="assuming Q ≻ 0 and that A has full row rank, z*(θ) is subdifferentiable everywhere",
    correct="a constraint qualification is missing: independence of the active rows of G and A suffices. "
    "Without Slater's condition z* can jump, and with it but without independence z* need not be "
    "Lipschitz, so that Clarke's generalized Jacobian is not defined. For almost all θ in the "
    "interior of the feasible data the statement stands",
    checks=(slater, independence),
)
erratum(
    item=3,
    where="OptNet, Theorem 1, proof in the thesis of B. Amos (2019), nondegenerate case",
    printed="[G_Iᵀ Aᵀ] has full column rank because A has and because fewer than n constraints are tight",
    correct="this is a hypothesis (linear independence of the active rows), not a consequence: two parallel "
    "active rows make the matrix of equation 6 singular with strict complementarity",
    checks=(parallel_rows,),
)
