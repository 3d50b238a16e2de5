r"""OptNet, Theorem 1, at a kink: the set of limiting Jacobians, and what a least-squares solve selects.

Let the active rows be independent and W be the set of weakly active inequalities. For S ⊂ W let J_S be the
Jacobian of the equality-constrained problem in which S and the strongly active rows hold with equality.

* The limits of Jacobians of z* at nearby points are exactly the 2^|W| matrices J_S: their convex hull is
  Clarke's generalized Jacobian, the ∂z* of Theorem 1 (Amos & Kolter, ICML 2017).
* At such a point the matrix of equation 6 is singular. Its solution of least norm, which a least-squares
  backward pass returns, is in general not in that hull. For one inequality gᵀz ≤ h and nothing else it is

      J = −Q⁻¹ (I − g gᵀQ⁻² / (1 + gᵀQ⁻²g)),    between   −Q⁻¹   and   −Q⁻¹ (I − g gᵀQ⁻¹ / (gᵀQ⁻¹g)),

  and it lies in the hull if and only if g is an eigenvector of Q; the scaling of g then moves it from end
  to end.
* With z* = θ from min ½(z − θ)² subject to z ≤ θ, every J_S gives dz*/dθ = 1, which is right; least squares
  gives 1/2 for every θ.

Brute force: Jacobians by differences at sampled nearby data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
import sympy as sp

from proofs.common import central_difference, generator, relative_error
from proofs.common.differences import Array
from proofs.common.linear import zeros
from proofs.common.quadratic import Optimum, Quadratic, optimum, random_quadratic
from proofs.ledger import Rows, check, erratum, table
from proofs.qp_differential import printed_differential

SOURCE = "OptNet (Amos & Kolter 2017), Theorem 1"
WEAK = (1, 2)


def piece_jacobian(problem: Quadratic, rows: tuple[int, ...]) -> Array:
    """∂z/∂q of the problem with the inequalities `rows` as equalities: −Q⁻¹ + Q⁻¹Cᵀ(CQ⁻¹Cᵀ)⁻¹CQ⁻¹."""
    C = np.concatenate([problem.G[list(rows)], problem.A])
    W = np.linalg.inv(problem.Q)
    return W @ C.T @ np.linalg.solve(C @ W @ C.T, C @ W) - W if len(C) else -W


def subsets(items: tuple[int, ...]) -> list[tuple[int, ...]]:
    """All subsets."""
    return list(chain.from_iterable(combinations(items, k) for k in range(len(items) + 1)))


def least_squares_jacobian(problem: Quadratic, point: Optimum) -> Array:
    """∂z/∂q from the least-norm solution of equation 6."""
    columns = [printed_differential(problem, point, "q", (j,), _least_norm)[0] for j in range(len(problem.q))]
    return np.stack(columns, axis=1).astype(float)


def _least_norm(matrix, rhs):
    return np.linalg.lstsq(matrix.astype(float), rhs.astype(float), rcond=1e-10)[0]


def sampled_jacobians(rng: np.random.Generator, problem: Quadratic, count: int) -> list[Array]:
    """∂z*/∂q by differences at random data near the kink."""
    found = []
    for _ in range(count):
        near = problem._replace(
            q=problem.q + 1e-3 * rng.standard_normal(5), h=problem.h + 1e-3 * rng.standard_normal(5)
        )

        active = optimum(near, tolerance=1e-12).active

        def solution(q: Array, near: Quadratic = near, active: tuple[int, ...] = active) -> Array:
            return optimum(near._replace(q=q), first=active, tolerance=1e-12).z.astype(float)

        found.append(central_difference(solution, near.q, step=1e-7))
    return found


def set_errors(extra: bool, instances: int) -> Iterator[float]:
    """Distance between the sampled set of Jacobians and {J_S}, in both directions (Hausdorff)."""
    for k in range(instances):
        rng = generator("theorem1_limiting", k)
        problem = random_quadratic(rng, 5, 5, 1, active=3, weak=2)
        printed = [piece_jacobian(problem, (0, *S)) for S in subsets(WEAK)]
        if extra:
            point = optimum(problem, first=(0, *WEAK), tolerance=1e-9)
            printed.append(
                least_squares_jacobian(problem, point._replace(lam=np.where(point.lam > 1e-9, point.lam, 0)))
            )
        sampled = sampled_jacobians(rng, problem, 30)
        gaps = np.array([[relative_error(a, b) for b in sampled] for a in printed])
        yield float(max(gaps.min(axis=0).max(), gaps.min(axis=1).max()))


@check(
    item=3,
    statement="the limits of ∂z*/∂q at a kink with two weakly active rows are exactly the four J_S "
    "(Hausdorff distance)",
    source=SOURCE + "; Clarke's generalized Jacobian",
    strength="numeric",
    tolerance=1e-6,
)
def limiting_set(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from set_errors(False, instances)


@limiting_set.negative("the least-squares answer counted among them")
def limiting_set_with_least_squares(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from set_errors(True, min(instances, 5))


def one_row(k: int, *, eigenvector: bool) -> tuple[Quadratic, Optimum]:
    """Problem min ½zᵀQz + qᵀz subject to gᵀz ≤ 0 with q = 0: z = 0 and λ = 0."""
    rng = generator("theorem1_limiting.row", k)
    half, g = rng.standard_normal((3, 3)), rng.standard_normal((1, 3))
    Q = half @ half.T / 3 + 0.5 * np.eye(3)
    if eigenvector:
        along = np.outer(g, g) / np.sum(g * g)
        off = np.eye(3) - along
        Q = off @ Q @ off + rng.uniform(0.5, 2) * along
    problem = Quadratic(Q, np.zeros(3), g, np.zeros(1), np.zeros((0, 3)), np.zeros(0))
    return problem, Optimum(np.zeros(3), np.zeros(1), np.zeros(0), ())


def printed_least_squares(problem: Quadratic) -> Array:
    """−Q⁻¹(I − ggᵀQ⁻²/(1 + gᵀQ⁻²g))."""
    W, g = np.linalg.inv(problem.Q), problem.G[0]
    return -W @ (np.eye(3) - np.outer(g, g @ W @ W) / (1 + g @ W @ W @ g))


def closed_form_errors(constant: float, instances: int) -> Iterator[float]:
    """The closed form against the least-norm solution."""
    for k in range(instances):
        problem, point = one_row(k, eigenvector=False)
        formula = printed_least_squares(problem._replace(G=constant * problem.G))
        yield relative_error(formula, least_squares_jacobian(problem, point))


@check(
    item=3,
    statement="at one weakly active row least squares selects −Q⁻¹(I − ggᵀQ⁻²/(1 + gᵀQ⁻²g))",
    source="equation 6 of OptNet at a degenerate point",
    strength="numeric",
    tolerance=1e-12,
)
def least_squares_selection(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from closed_form_errors(1.0, instances)


@least_squares_selection.negative("the same form with the row scaled by 2: the selection is not invariant")
def least_squares_rescaled(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from closed_form_errors(2.0, instances)


def hull_errors(eigenvector: bool, instances: int) -> Iterator[float]:
    """Distance of the least-squares answer from the segment between the two limiting Jacobians."""
    for k in range(instances):
        problem, point = one_row(k, eigenvector=eigenvector)
        ends = piece_jacobian(problem, ()), piece_jacobian(problem, (0,))
        answer, span = least_squares_jacobian(problem, point) - ends[0], ends[1] - ends[0]
        weight = np.clip(np.sum(answer * span) / np.sum(span * span), 0, 1)
        yield float(np.linalg.norm(answer - weight * span) / np.linalg.norm(span))


@check(
    item=3,
    statement="if g is an eigenvector of Q, the least-squares answer lies in Clarke's generalized Jacobian",
    source="equation 6 of OptNet at a degenerate point",
    strength="numeric",
    tolerance=1e-12,
)
def least_squares_in_hull(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from hull_errors(True, instances)


@least_squares_in_hull.negative("the hypothesis Qg ∥ g dropped: it lies outside")
def least_squares_outside_hull(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from hull_errors(False, instances)


def composition_errors(selected: str) -> Iterator[float]:
    """dz*/dθ for min ½(z − θ)², z ≤ θ, by the chain rule with (∂z/∂q, ∂z/∂h) from J_∅, J_{1} or least
    squares.
    """
    theta, z = sp.symbols("theta z", real=True)
    truth = sp.diff(sp.solve(sp.diff((z - theta) ** 2 / 2, z), z)[0], theta)
    for rows in ((), (0,)):
        if selected == "pieces":
            one = np.array([[sp.Integer(1)]])
            problem = Quadratic(one, np.array([-theta]), one, np.array([theta]), zeros(0, 1), zeros(1, 0)[0])
            answer = sp.diff(equality_constrained_symbolic(problem, rows), theta)
        else:
            # Equation 6 at λ = 0 = s: one row dz + dλ = dθ and one row of zeros.
            answer = (sp.Matrix([[1, 1], [0, 0]]).pinv() * sp.Matrix([1, 0]))[0]
        yield float(sp.simplify(answer - truth) != 0)


def equality_constrained_symbolic(problem: Quadratic, rows: tuple[int, ...]) -> sp.Expr:
    """The scalar solution of a piece: h/g where the row is active, −q/Q where it is not."""
    return problem.h[0] / problem.G[0, 0] if rows else -problem.q[0] / problem.Q[0, 0]


@check(
    item=3,
    statement="min ½(z − θ)², z ≤ θ, is degenerate at every θ, and each limiting Jacobian gives dz*/dθ = 1",
    source=SOURCE + " composed with a smooth map of θ",
    strength="symbolic",
    tolerance=0,
    instances=2,
)
def degenerate_for_every_theta(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from composition_errors("pieces")


@degenerate_for_every_theta.negative("the least-squares answer: 1/2")
def degenerate_least_squares(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from composition_errors("least squares")


erratum(
    item=3,
    where="OptNet, Theorem 1, proof in the thesis of B. Amos (2019), degenerate case",
    printed="where λᵢ = 0 and (Gz − h)ᵢ = 0 the singular system (6) still has solutions, which is the "
    "subdifferentiable case",
    correct="the solutions of the singular system are not the elements of the subdifferential: Clarke's "
    "generalized Jacobian is the hull of the J_S, and the least-norm solution lies outside it unless "
    "g is an eigenvector of Q, and moves with the scaling of the degenerate row",
    checks=(limiting_set, least_squares_selection, least_squares_in_hull),
)
erratum(
    item=3,
    where="OptNet, Theorem 1, read for a network whose layer data depend on a shared parameter θ",
    printed="a single unique element (the Jacobian) for all but a measure zero set of points",
    correct="the null set is one in the space of all data (Q, q, A, b, G, h). Along a curve of data every "
    "point can be degenerate, the system (6) singular for every θ, although z* is smooth in θ",
    checks=(degenerate_for_every_theta,),
)


@table("proofs/limiting_jacobians")
def selection_rows() -> Rows:
    """Row dz₁/dq at a kink in the plane against the scaling c of the degenerate row: limits, midpoint, least
    squares.
    """
    Q, g = np.array([[1.0, 0.6], [0.6, 1.5]]), np.array([[1.0, 0.3]])
    rows: Rows = []
    for c in np.logspace(-2, 2, 81):
        problem = Quadratic(Q, np.zeros(2), c * g, np.zeros(1), np.zeros((0, 2)), np.zeros(0))
        free, held = piece_jacobian(problem, ()), piece_jacobian(problem, (0,))
        chosen = least_squares_jacobian(problem, Optimum(np.zeros(2), np.zeros(1), np.zeros(0), ()))
        for column in range(2):
            entries = {
                "inactive": free,
                "active": held,
                "midpoint": (free + held) / 2,
                "least_squares": chosen,
            }
            picked = {name: float(matrix[0, column]) for name, matrix in entries.items()}
            rows.append({"scale": float(c), "entry": f"dz1/dq{column + 1}", **picked})
    return rows
