r"""OptNet, equations 7 and 8: the gradients of a loss through a quadratic program.

Let Q ≻ 0, let (z, λ, ν) be the optimum of min ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b, with strict
complementarity and with the rows of A and of the active G linearly independent, and let ℓ depend on z.
With g = ∂ℓ/∂z,

    [d_z; d_λ; d_ν] = −[Q, GᵀD(λ), Aᵀ; G, D(Gz − h), 0; A, 0, 0]⁻¹ [g; 0; 0]                        (7)

    ∇_Q = ½(d_z zᵀ + z d_zᵀ)          ∇_q = d_z
    ∇_G = D(λ) d_λ zᵀ + λ d_zᵀ        ∇_h = −D(λ) d_λ                                               (8)
    ∇_A = d_ν zᵀ + ν d_zᵀ             ∇_b = −d_ν

Amos & Kolter, ICML 2017 (arXiv 1703.00443). The thesis of B. Amos (2019) prints
∇_G = D(λ)(d_λ zᵀ + λ d_zᵀ), which multiplies the second term by λ once too often.

The brute force enumerates active sets and takes central differences in every entry of the data; it never
sees a KKT matrix with D(λ) in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from sympy.polys.matrices import DomainMatrix

from proofs.common import central_difference, generator, relative_error
from proofs.common.linear import Numbers, block, zeros
from proofs.common.quadratic import Optimum, Quadratic, optimum, random_quadratic
from proofs.ledger import Check, Errors, check, erratum

Solve = Callable[[Numbers, Numbers], Numbers]
SOURCE = "OptNet (Amos & Kolter 2017), eq. 7–8"


def printed_system(problem: Quadratic, point: Optimum) -> Numbers:
    """The matrix of equation 7."""
    Q, _, G, h, A, _ = problem
    m, p = len(G), len(A)
    return block([
        [Q, G.T @ np.diag(point.lam), A.T],
        [G, np.diag(G @ point.z - h), zeros(m, p)],
        [A, zeros(p, m), zeros(p, p)],
    ])  # fmt: skip


def printed_gradients(problem: Quadratic, point: Optimum, g: Numbers, solve: Solve) -> dict[str, Numbers]:
    """Equations 7 and 8, as printed in the paper."""
    n, m, p = len(problem.q), len(problem.h), len(problem.b)
    z, lam, nu = point.z, point.lam, point.nu
    d = -solve(printed_system(problem, point), np.concatenate([g, zeros(1, m + p)[0]]))
    dz, dlam, dnu = d[:n], d[n : n + m], d[n + m :]
    return {
        "Q": (np.outer(dz, z) + np.outer(z, dz)) / 2,
        "q": dz,
        "G": np.outer(lam * dlam, z) + np.outer(lam, dz),
        "h": -lam * dlam,
        "A": np.outer(dnu, z) + np.outer(nu, dz),
        "b": -dnu,
    }


def misprinted_gradients(problem: Quadratic, point: Optimum, g: Numbers, solve: Solve) -> dict[str, Numbers]:
    """The form of the thesis: D(λ) in front of both terms of ∇_G."""
    gradients = printed_gradients(problem, point, g, solve)
    lam, dz = point.lam, gradients["q"]
    gradients["G"] = gradients["G"] + np.outer(lam * lam, dz) - np.outer(lam, dz)
    return gradients


def one_sided_gradients(problem: Quadratic, point: Optimum, g: Numbers, solve: Solve) -> dict[str, Numbers]:
    """∇_Q = d_z zᵀ, which differentiates Qz as if Q were not symmetrised by the objective."""
    gradients = printed_gradients(problem, point, g, solve)
    return gradients | {"Q": np.outer(gradients["q"], point.z)}


def symmetrised(problem: Quadratic) -> Quadratic:
    """The same objective with a symmetric Q: zᵀQz sees no other part."""
    return problem._replace(Q=(problem.Q + problem.Q.T) / 2)


def float_solve(matrix: Numbers, rhs: Numbers) -> Numbers:
    """Double-precision solve."""
    return np.linalg.solve(matrix.astype(float), rhs.astype(float))


def high_solve(matrix: Numbers, rhs: Numbers) -> Numbers:
    """Solve with mpmath's own elimination, at its present precision."""
    solution = mpmath.lu_solve(mpmath.matrix(matrix.tolist()), mpmath.matrix(rhs.tolist()))
    return np.array(list(solution), dtype=object)


def double_errors(formula: Callable[..., dict[str, Numbers]], name: str, instances: int) -> Iterator[float]:
    """Formula against central differences of the enumerated optimum, in double precision."""
    for k in range(instances):
        rng = generator("qp_gradients.double", k)
        problem = random_quadratic(rng, 4, 4, 1, active=2)
        c = rng.standard_normal(4)

        def loss(part: Numbers, problem: Quadratic = problem, c: Numbers = c) -> float:
            changed = symmetrised(problem._replace(**{name: part}))
            return float(c @ optimum(changed, first=(0, 1), tolerance=1e-9).z)

        point = optimum(problem, first=(0, 1), tolerance=1e-9)
        value = formula(problem, point, c, float_solve)[name]
        yield relative_error(value, central_difference(loss, getattr(problem, name), step=3e-4))


def high_errors(formula: Callable[..., dict[str, Numbers]], instances: int) -> Iterator[float]:
    """All six at 50 digits: the largest error over the entries, relative to the largest entry."""
    for k in range(instances):
        rng = generator("qp_gradients.high", k)
        with mpmath.workdps(50):
            problem = random_quadratic(rng, 3, 3, 1, active=1).convert(lambda v: mpmath.mpf(float(v)))
            c = np.array([mpmath.mpf(float(v)) for v in rng.standard_normal(3)], dtype=object)
            point = optimum(symmetrised(problem), first=(0,), tolerance=mpmath.mpf("1e-30"))
            values = formula(problem, point, c, high_solve)
            yield max(
                _entry_error(problem, c, name, i, v)
                for name in values
                for i, v in np.ndenumerate(values[name])
            )


def _entry_error(problem: Quadratic, c: Numbers, name: str, index: tuple[int, ...], value: Any) -> float:
    step = mpmath.mpf("1e-14")
    ends = [
        c
        @ optimum(
            symmetrised(problem.perturbed(name, index, sign * step)),
            first=(0,),
            tolerance=mpmath.mpf("1e-30"),
        ).z
        for sign in (1, -1)
    ]
    reference = (ends[0] - ends[1]) / (2 * step)
    return float(abs(value - reference) / max(1, abs(reference)))


STATEMENTS = {
    "Q": "∇_Q ℓ = ½(d_z zᵀ + z d_zᵀ)",
    "q": "∇_q ℓ = d_z",
    "G": "∇_G ℓ = D(λ) d_λ zᵀ + λ d_zᵀ",
    "h": "∇_h ℓ = −D(λ) d_λ",
    "A": "∇_A ℓ = d_ν zᵀ + ν d_zᵀ",
    "b": "∇_b ℓ = −d_ν",
}


def numeric_check(name: str) -> Callable[[Errors], Check]:
    """Register the check of one of the six in double precision."""
    return check(item=2, statement=STATEMENTS[name], source=SOURCE, strength="numeric", tolerance=1e-8)


def wrong_sign(name: str) -> Callable[..., dict[str, Numbers]]:
    """Equation 8 with the sign of one gradient changed."""
    return lambda *arguments: {name: -printed_gradients(*arguments)[name]}


@numeric_check("Q")
def gradient_Q(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(printed_gradients, "Q", instances)


@gradient_Q.negative("∇_Q = d_z zᵀ, not symmetrised")
def gradient_Q_one_sided(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(one_sided_gradients, "Q", instances)


@numeric_check("q")
def gradient_q(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(printed_gradients, "q", instances)


@gradient_q.negative("the sign of d_z changed")
def gradient_q_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(wrong_sign("q"), "q", instances)


@numeric_check("G")
def gradient_G(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(printed_gradients, "G", instances)


@gradient_G.negative("the misprint D(λ)(d_λ zᵀ + λ d_zᵀ)")
def gradient_G_misprinted(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(misprinted_gradients, "G", instances)


@numeric_check("h")
def gradient_h(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(printed_gradients, "h", instances)


@gradient_h.negative("the sign of D(λ) d_λ changed")
def gradient_h_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(wrong_sign("h"), "h", instances)


@numeric_check("A")
def gradient_A(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(printed_gradients, "A", instances)


@gradient_A.negative("the sign of the whole changed")
def gradient_A_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(wrong_sign("A"), "A", instances)


@numeric_check("b")
def gradient_b(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(printed_gradients, "b", instances)


@gradient_b.negative("the sign of d_ν changed")
def gradient_b_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(wrong_sign("b"), "b", instances)


@check(
    item=2, statement="all six gradients, at 50 digits", source=SOURCE, strength="numeric", tolerance=1e-20
)
def gradients_high_precision(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from high_errors(printed_gradients, instances)


@gradients_high_precision.negative("the misprinted ∇_G")
def gradients_high_precision_misprinted(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from high_errors(misprinted_gradients, instances)


SYMBOLS = sp.symbols("a b c q1 q2 g1:5 h1 h2")
RATIONAL_FUNCTIONS = sp.QQ.frac_field(*SYMBOLS)


def symbolic_errors(formula: Callable[..., dict[str, Numbers]], instances: int) -> Iterator[float]:
    """∂z_j/∂θ from the closed form of the optimum against the formula, entry by entry, in symbols.

    Two variables, one active and one inactive inequality; Q is symmetric, so that its off-diagonal symbol
    stands in two places and collects both entries of ∇_Q. Instance j takes ℓ = z_j.
    """
    a, b, c, q1, q2, *rest = SYMBOLS
    empty = zeros(1, 0)[0]
    problem = Quadratic(
        np.array([[a, b], [b, c]]),
        np.array([q1, q2]),
        np.array(rest[:4]).reshape(2, 2),
        np.array(rest[4:]),
        zeros(0, 2),
        empty,
    )
    # The closed form: stationarity and the active row, solved by Cramer's rule.
    matrix = sp.Matrix([[a, b, rest[0]], [b, c, rest[1]], [rest[0], rest[1], 0]])
    adjugate = matrix.adjugate() * sp.Matrix([-q1, -q2, rest[4]])
    z1, z2, lam = (entry / matrix.det() for entry in adjugate)
    point = Optimum(np.array([z1, z2]), np.array([lam, sp.Integer(0)]), empty, (0,))
    for j in range(min(instances, 2)):
        values = formula(
            problem, point, np.array([sp.Integer(int(i == j)) for i in range(2)]), symbolic_solve
        )
        pairs = [
            (values[name][i], getattr(problem, name)[i])
            for name in "qGh"
            for i in np.ndindex(values[name].shape)
        ]
        Q = values["Q"]
        pairs += [(Q[0, 0], a), (Q[0, 1] + Q[1, 0], b), (Q[1, 1], c)]
        yield float(
            any(
                RATIONAL_FUNCTIONS.from_sympy(sp.diff(point.z[j], symbol) - value) != 0
                for value, symbol in pairs
            )
        )


def symbolic_solve(matrix: Numbers, rhs: Numbers) -> Numbers:
    """Exact solve over the field of rational functions of the data."""
    left, right = (
        DomainMatrix.from_Matrix(sp.Matrix(part.tolist())).convert_to(RATIONAL_FUNCTIONS)
        for part in (matrix, rhs)
    )
    return np.array(list(left.lu_solve(right).to_Matrix()), dtype=object)


@check(
    item=2,
    statement="∇_Q, ∇_q, ∇_G, ∇_h in symbols (n = 2, one active and one inactive row)",
    source=SOURCE,
    strength="symbolic",
    tolerance=0,
    instances=2,
)
def gradients_symbolic(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from symbolic_errors(printed_gradients, instances)


@gradients_symbolic.negative("the misprinted ∇_G")
def gradients_symbolic_misprinted(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from symbolic_errors(misprinted_gradients, instances)


erratum(
    item=2,
    where="B. Amos, Differentiable Optimization-Based Modeling for Machine Learning (2019), gradients of the "
    "QP layer",
    printed="∇_G ℓ = D(λ)(d_λ zᵀ + λ d_zᵀ)",
    correct="∇_G ℓ = D(λ) d_λ zᵀ + λ d_zᵀ, as in the paper of 2017; the two agree only where λᵢ is 0 or 1, "
    "or d_z = 0",
    checks=(gradient_G, gradients_high_precision, gradients_symbolic),
)
