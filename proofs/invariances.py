r"""Invariances of a QP layer: changes of its data that no output can show.

For D diagonal and positive, T invertible, c > 0, any M, S, r, and any Y of the size of a layer's input, the
optimum of min ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b stays where it is under

    rows of the inequalities     (G, h) → (DG, Dh),                            λ → D⁻¹λ
    equalities                   (A, b) → (TA, Tb),                            ν → T⁻ᵀν
    objective                    (Q, q) → (cQ, cq),                            (λ, ν) → c(λ, ν)
    inequalities on the plane    (G, h) → (G + MA, h + Mb),                    λ → λ
    objective on the plane       (Q, q) → (Q + AᵀS + SᵀA, q − Sᵀb + Aᵀr),      λ → λ

because each leaves the feasible set as it is, and the objective up to a factor and a constant on {Az = b}.
OptNet (Amos & Kolter 2017, section 3.3) names the first. So the gradient of any loss of z is orthogonal to
each orbit.

For a layer z*(x) with q = Wx + q₀ and parameters θ = (Q, W, q₀, G, h, A, b), the objective's orbit includes
W, with W → cW and W → W + AᵀY. The null spaces of ∂z*(x)/∂θ over all inputs x have in common exactly the
tangent space of these orbits, of dimension

    m + p² + 1 + mp + (pn − p(p−1)/2 + p + p·dim x),

when each inequality is active at some inputs (numerically, at random layers): nothing else is unidentified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import sympy as sp
from flint import fmpq

from proofs.common import generator
from proofs.common.linear import Numbers, eliminate
from proofs.common.quadratic import Optimum, Quadratic, optimum, rational_quadratic
from proofs.ledger import check
from proofs.qp_gradients import misprinted_gradients, printed_gradients
from proofs.theorem1_hypotheses import floated

Gradients = Callable[..., dict[str, Numbers]]
SOURCE = "OptNet (Amos & Kolter 2017), section 3.3"


def draw(rng: np.random.Generator, *shape: int) -> Numbers:
    """Random multiples of 1/4."""
    return np.array(
        [fmpq(int(v), 4) for v in rng.integers(-8, 9, int(np.prod(shape)))], dtype=object
    ).reshape(shape)


def transformations(
    rng: np.random.Generator, problem: Quadratic, *, whole: bool
) -> Iterator[tuple[Quadratic, Optimum]]:
    """Each transformed problem with the optimum that it must have; without `whole`, h and q are left
    behind.
    """
    Q, q, G, h, A, b = problem
    z, lam, nu, active = optimum(problem)
    m, p = len(h), len(b)
    d, c = (
        np.array([fmpq(int(v), 3) for v in rng.integers(1, 9, m)], dtype=object),
        fmpq(int(rng.integers(2, 9)), 3),
    )
    T = draw(rng, p, p) + 5 * np.array(
        [[fmpq(int(i == j)) for j in range(p)] for i in range(p)], dtype=object
    )
    M, r = draw(rng, m, p), draw(rng, p)
    # S = AᵀA-like rows keep Q + AᵀS + SᵀA positive definite.
    S = A * fmpq(int(rng.integers(1, 5)), 4)
    yield problem._replace(G=d[:, None] * G, h=d * h if whole else h), Optimum(z, lam / d, nu, active)
    yield problem._replace(A=T @ A, b=T @ b), Optimum(z, lam, eliminate(T.T, nu), active)
    yield problem._replace(Q=c * Q, q=c * q if whole else q), Optimum(z, c * lam, c * nu, active)
    yield problem._replace(G=G + M @ A, h=h + M @ b), Optimum(z, lam, nu - M.T @ lam, active)
    shifted = problem._replace(Q=Q + A.T @ S + S.T @ A, q=(q - S.T @ b + A.T @ r) if whole else q)
    yield shifted, Optimum(z, lam, nu - S @ z - r, active)


def orbit_errors(instances: int, *, whole: bool) -> Iterator[float]:
    """Largest deviation of (z, λ, ν) from the prediction over the five families; exact."""
    for k in range(instances):
        rng = generator("invariances.orbit", k)
        problem = rational_quadratic(rng, 5, 3, 2, active=2)
        worst = fmpq(0)
        for changed, predicted in transformations(rng, problem, whole=whole):
            found = optimum(changed)
            for part in ("z", "lam", "nu"):
                worst = max([worst, *(abs(fmpq(v)) for v in getattr(found, part) - getattr(predicted, part))])
        yield floated(worst)


@check(
    item=11,
    statement="z* is invariant under the five families, and λ, ν move as predicted (exact)",
    source=SOURCE + ", extended",
    strength="certified",
    tolerance=0,
)
def orbits(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from orbit_errors(instances, whole=True)


@orbits.negative("h and q left behind when G and Q are transformed")
def orbits_broken(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from orbit_errors(instances, whole=False)


def contraction_errors(formula: Gradients, sign: int, instances: int) -> Iterator[float]:
    """Equation 8 contracted with the tangent of each orbit, in exact arithmetic; `sign` multiplies ∇_h and"
    " ∇_b.
    """
    for k in range(instances):
        rng = generator("invariances.contraction", k)
        problem = rational_quadratic(rng, 5, 3, 2, active=2)
        gradients = formula(problem, optimum(problem), draw(rng, 5), eliminate)
        Q, q, G, h, A, b = problem
        dQ, dq, dG, dh, dA, db = (gradients[name] for name in "QqGhAb")
        dh, db = sign * dh, sign * db
        tangents = [
            (dG * G).sum(axis=1) + dh * h,
            dA @ A.T + np.outer(db, b),
            np.array([(dQ * Q).sum() + dq @ q]),
            dG @ A.T + np.outer(dh, b),
            2 * A @ dQ - np.outer(b, dq),
            A @ dq,
        ]
        yield max(floated(abs(fmpq(v))) for part in tangents for v in part.flat)


@check(
    item=11,
    statement="the gradients of OptNet's eq. 8 are orthogonal to every orbit (exact)",
    source="OptNet (Amos & Kolter 2017), eq. 7–8",
    strength="certified",
    tolerance=0,
)
def gradients_orthogonal(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from contraction_errors(printed_gradients, 1, instances)


@gradients_orthogonal.negative("the signs of ∇_h and ∇_b changed")
def gradients_not_orthogonal(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from contraction_errors(printed_gradients, -1, instances)


@check(
    item=11,
    statement="the misprinted ∇_G is orthogonal to every orbit too: no test of invariance finds the misprint",
    source="thesis of B. Amos (2019), gradients of the QP layer",
    strength="certified",
    tolerance=0,
)
def misprint_orthogonal(instances: int) -> Iterator[float]:
    """Errors of the misprinted form, which this property does not show."""
    yield from contraction_errors(misprinted_gradients, 1, instances)


@misprint_orthogonal.negative("the signs of ∇_h and ∇_b changed")
def misprint_not_orthogonal(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from contraction_errors(misprinted_gradients, -1, instances)


def euler_errors(*, whole: bool) -> Iterator[float]:
    """Derivatives of z* in closed form (n = 2, one active row) as the row or the objective scales."""
    a, b, c, q1, q2, g1, g2, h = symbols = sp.symbols("a b c q1 q2 g1 g2 h")
    field = sp.QQ.frac_field(*symbols)
    matrix = sp.Matrix([[a, b, g1], [b, c, g2], [g1, g2, 0]])
    z = [entry / matrix.det() for entry in list(matrix.adjugate() * sp.Matrix([-q1, -q2, h]))[:2]]
    row = (g1, g2, h) if whole else (g1, g2)
    objective = (a, b, c, q1, q2) if whole else (a, b, c)
    for component in z:
        for moved in (row, objective):
            yield float(field.from_sympy(sum(symbol * sp.diff(component, symbol) for symbol in moved)) != 0)


@check(
    item=11,
    statement="∂z*·(G, h) = 0 as an active row scales, and ∂z*·(Q, q) = 0 as the objective scales",
    source=SOURCE,
    strength="symbolic",
    tolerance=0,
    instances=4,
)
def euler_identities(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from euler_errors(whole=True)


@euler_identities.negative("h and q left behind")
def euler_identities_broken(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from euler_errors(whole=False)
