r"""Argmin differentiation, several variables, without constraints and with linear equality constraints.

Let f : Rᵈ × Rⁿ → R be twice continuously differentiable, g(x) = argmin_y f(x, y), H = f_YY, B = f_XY (n × d),
both at (x, g(x)).

Unconstrained, H nonsingular:                                g′(x) = −H⁻¹ B.
Subject to Ay = b, the columns of F a basis of the null space of A, FᵀHF nonsingular:
                                                             g′(x) = −F (FᵀHF)⁻¹ Fᵀ B.
The same, if A has full row rank and H itself is nonsingular:
                                                             g′(x) = (H⁻¹Aᵀ(AH⁻¹Aᵀ)⁻¹AH⁻¹ − H⁻¹) B.

Gould et al. 2016 (arXiv 1607.05447). The two constrained forms agree where both apply. The second needs H⁻¹,
which a strict minimum on {Ay = b} does not give: only FᵀHF ≻ 0 follows from the second-order condition. With
a singular H the null-space form still holds, and the other, even with a pseudo-inverse, does not.

The random f is a sum of softplus functions and a quadratic; brute force solves the stationarity conditions by
Powell's hybrid method at neighbouring x and takes differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import sympy as sp
from scipy.linalg import null_space
from scipy.optimize import root

from proofs.common import central_difference, generator, relative_error
from proofs.common.differences import Array
from proofs.ledger import check

Inverse = Callable[..., Any]
N, D, ROWS = 4, 2, 2


class Smooth(NamedTuple):
    """f(x, y) = Σ log(1 + exp(Cy + Ex)) + ½yᵀPy + yᵀSx."""

    C: Array
    E: Array
    P: Array
    S: Array

    def gradient(self, x: Array, y: Array) -> Array:
        """f_Y."""
        return self.C.T @ _logistic(self.C @ y + self.E @ x) + self.P @ y + self.S @ x

    def second(self, x: Array, y: Array) -> tuple[Array, Array]:
        """H = f_YY and B = f_XY."""
        u = _logistic(self.C @ y + self.E @ x)
        weights = np.diag(u * (1 - u))
        return self.C.T @ weights @ self.C + self.P, self.C.T @ weights @ self.E + self.S


def _logistic(u: Array) -> Array:
    return 1 / (1 + np.exp(-u))


def random_smooth(rng: np.random.Generator, P: Array) -> Smooth:
    """Softplus terms in three random directions, with the quadratic term P."""
    C, E, S = rng.standard_normal((3, N)), rng.standard_normal((3, D)), rng.standard_normal((N, D))
    return Smooth(C, E, P, S)


def minimiser(f: Smooth, x: Array, A: Array, b: Array) -> Array:
    """Solve for y from f_Y + Aᵀν = 0, Ay = b by Powell's hybrid method."""

    def conditions(u: Array) -> Array:
        return np.concatenate([f.gradient(x, u[:N]) + A.T @ u[N:], A @ u[:N] - b])

    found = root(conditions, np.zeros(N + len(b)), tol=1e-14)
    if np.max(np.abs(conditions(found.x))) > 1e-11:
        raise ArithmeticError(f"the stationarity conditions were not solved: {found.message}")
    return found.x[:N]


def unconstrained(H: Array, B: Array, _: Array) -> Array:
    """−H⁻¹B."""
    return -np.linalg.solve(H, B)


def null_space_form(H: Array, B: Array, A: Array) -> Array:
    """−F(FᵀHF)⁻¹FᵀB."""
    F = null_space(A)
    return -F @ np.linalg.solve(F.T @ H @ F, F.T @ B)


def range_space_form(inverse: Inverse) -> Callable[[Array, Array, Array], Array]:
    """(H⁻¹Aᵀ(AH⁻¹Aᵀ)⁻¹AH⁻¹ − H⁻¹)B, with `inverse` for the inverses."""

    def form(H: Array, B: Array, A: Array) -> Array:
        W = inverse(H)
        return (W @ A.T @ inverse(A @ W @ A.T) @ A @ W - W) @ B

    return form


def errors(
    form: Callable[[Array, Array, Array], Array], rows: int, instances: int, *, singular: bool = False
) -> Iterator[float]:
    """A printed form against differences of the minimiser; `singular` makes H vanish in one direction."""
    for k in range(instances):
        rng = generator("argmin_vector", k)
        A, b, x = rng.standard_normal((rows, N)), rng.standard_normal(rows), rng.standard_normal(D)
        half = rng.standard_normal((N, N))
        f = random_smooth(rng, half @ half.T / N + 0.5 * np.eye(N))
        if singular:
            flat = rng.standard_normal(N)
            T = np.eye(N) - np.outer(flat, flat) / (flat @ flat)
            f = f._replace(C=f.C @ T, P=T @ f.P @ T)
        H, B = f.second(x, minimiser(f, x, A, b))
        reference = central_difference(lambda v, f=f, A=A, b=b: minimiser(f, v, A, b), x, step=1e-3)
        yield relative_error(form(H, B, A), reference)


@check(
    item=1,
    statement="g′(x) = −f_YY⁻¹ f_XY",
    source="Gould et al. 2016, unconstrained",
    strength="numeric",
    tolerance=1e-7,
)
def vector_unconstrained(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(unconstrained, 0, instances)


@vector_unconstrained.negative("the same formula although Ay = b binds")
def vector_constraint_ignored(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(unconstrained, ROWS, instances)


@check(
    item=1,
    statement="subject to Ay = b: g′(x) = −F(Fᵀf_YY F)⁻¹Fᵀ f_XY",
    source="Gould et al. 2016, equality constraints",
    strength="numeric",
    tolerance=1e-7,
)
def vector_null_space(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(null_space_form, ROWS, instances)


@vector_null_space.negative("F(FᵀF)⁻¹Fᵀ applied to the unconstrained derivative")
def vector_projected(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(
        lambda H, B, A: null_space(A) @ null_space(A).T @ unconstrained(H, B, A), ROWS, instances
    )


@check(
    item=1,
    statement="subject to Ay = b: g′(x) = (H⁻¹Aᵀ(AH⁻¹Aᵀ)⁻¹AH⁻¹ − H⁻¹) f_XY, if H = f_YY is nonsingular",
    source="Gould et al. 2016, equality constraints",
    strength="numeric",
    tolerance=1e-7,
)
def vector_range_space(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(range_space_form(np.linalg.inv), ROWS, instances)


@vector_range_space.negative(
    "the hypothesis dropped: H singular, positive definite on the null space of A; pseudo-inverse"
)
def vector_range_space_singular(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(range_space_form(np.linalg.pinv), ROWS, instances, singular=True)


@check(
    item=1,
    statement="the null-space form still holds if f_YY is singular but positive definite on the null space "
    "of A",
    source="hypotheses of the equality-constrained case, separated",
    strength="numeric",
    tolerance=1e-7,
)
def vector_null_space_singular(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from errors(null_space_form, ROWS, instances, singular=True)


@vector_null_space_singular.negative("A ignored: −H⁺ f_XY")
def vector_pseudo_inverse(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from errors(lambda H, B, A: -np.linalg.pinv(H) @ B, ROWS, instances)


def symbolic_errors(sign: int) -> Iterator[float]:
    """The two constrained forms in symbols: n = 2 with one row, H and B arbitrary."""
    h11, h12, h22, a1, a2, b1, b2 = sp.symbols("h11 h12 h22 a1 a2 b1 b2")
    H, A, B = sp.Matrix([[h11, h12], [h12, h22]]), sp.Matrix([[a1, a2]]), sp.Matrix([b1, b2])
    F = sp.Matrix([-a2, a1])
    left = -F * (F.T * H * F).inv() * F.T * B
    W = H.inv()
    right = (W * A.T * (A * W * A.T).inv() * A * W - sign * W) * B
    yield float((left - right).applyfunc(sp.cancel) != sp.zeros(2, 1))


@check(
    item=1,
    statement="the null-space form and the range-space form are the same matrix (n = 2, one row)",
    source="Gould et al. 2016, equality constraints",
    strength="symbolic",
    tolerance=0,
    instances=1,
)
def forms_agree(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from symbolic_errors(1)


@forms_agree.negative("the sign of the last H⁻¹ changed")
def forms_disagree(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from symbolic_errors(-1)
