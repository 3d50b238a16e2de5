r"""The optimal value as a function of the data: shadow prices and the envelope theorem.

Let p*(Q, q, G, h, A, b) be the optimal value of min ½zᵀQz + qᵀz subject to Gz ≤ h, Az = b, Q ≻ 0, with
Lagrangian L = ½zᵀQz + qᵀz + λᵀ(Gz − h) + νᵀ(Az − b). If the multipliers are unique,

    ∂p*/∂Q = ½zzᵀ,   ∂p*/∂q = z,   ∂p*/∂G = λzᵀ,   ∂p*/∂h = −λ,   ∂p*/∂A = νzᵀ,   ∂p*/∂b = −ν :

each is the partial derivative of L. Strict complementarity is not needed: p* is differentiable at the kinks
of z*. If the multipliers are not unique, p*′(h; d) = max over the multipliers of −λᵀd.

Boyd & Vandenberghe 2004, section 5.6 (their sign); Danskin (1967) and Fiacco & McCormick (1968) in general.
Brute force: differences of the value of an optimum found by enumeration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from flint import acb, fmpq

from proofs.common import central_difference, generator, relative_error
from proofs.common.balls import distance_above, distance_below, precision
from proofs.common.certified_quadratic import BITS, certified_optimum, certified_sensitivities
from proofs.common.linear import Numbers
from proofs.common.quadratic import Optimum, Quadratic, optimum, random_quadratic, rational_quadratic
from proofs.ledger import check
from proofs.theorem1_hypotheses import floated

SOURCE = "Boyd & Vandenberghe 2004, section 5.6; envelope theorem"


def printed_gradients(point: Optimum, sign: int = 1) -> dict[str, Numbers]:
    """The six partial derivatives of L; `sign` = −1 is the Lagrangian with −λᵀ(Gz − h) − νᵀ(Az − b)."""
    z, lam, nu = point.z, sign * point.lam, sign * point.nu
    return {"Q": np.outer(z, z) / 2, "q": z, "G": np.outer(lam, z), "h": -lam, "A": np.outer(nu, z), "b": -nu}


def value(problem: Quadratic, **options: Any) -> Any:
    """p* by enumeration; a Q that is not symmetric enters through ½zᵀQz alone."""
    z = optimum(problem._replace(Q=(problem.Q + problem.Q.T) / 2), **options).z
    return (z @ problem.Q @ z) / 2 + problem.q @ z


def double_errors(sign: int, instances: int) -> Iterator[float]:
    """All six in double precision."""
    for k in range(instances):
        problem = random_quadratic(generator("value_sensitivity.double", k), 4, 4, 1, active=2)
        gradients = printed_gradients(optimum(problem, first=(0, 1), tolerance=1e-9), sign)
        worst = 0.0
        for name, gradient in gradients.items():

            def moved(part: Numbers, problem: Quadratic = problem, name: str = name) -> float:
                return float(value(problem._replace(**{name: part}), first=(0, 1), tolerance=1e-9))

            worst = max(
                worst, relative_error(gradient, central_difference(moved, getattr(problem, name), step=3e-4))
            )
        yield worst


@check(
    item=5,
    statement="the six derivatives of p* are those of the Lagrangian",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-8,
)
def envelope(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from double_errors(1, instances)


@envelope.negative("the other sign: ∂p*/∂h = +λ, ∂p*/∂b = +ν")
def envelope_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from double_errors(-1, instances)


def high_errors(sign: int, instances: int) -> Iterator[float]:
    """∂p*/∂h and ∂p*/∂b at 50 digits."""
    for k in range(instances):
        with mpmath.workdps(50):
            drawn = random_quadratic(generator("value_sensitivity.high", k), 4, 3, 1, active=2)
            problem = drawn.convert(lambda v: mpmath.mpf(float(v)))
            options = {"first": (0, 1), "tolerance": mpmath.mpf("1e-30")}
            gradients, step = printed_gradients(optimum(problem, **options), sign), mpmath.mpf("1e-14")
            worst = mpmath.mpf(0)
            for name in ("h", "b"):
                for index, gradient in np.ndenumerate(gradients[name]):
                    ends = [value(problem.perturbed(name, index, d), **options) for d in (step, -step)]
                    worst = max(worst, abs((ends[0] - ends[1]) / (2 * step) - gradient))
            yield float(worst)


@check(
    item=5,
    statement="∂p*/∂h = −λ and ∂p*/∂b = −ν, at 50 digits",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-20,
)
def shadow_prices(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from high_errors(1, instances)


@shadow_prices.negative("the other sign")
def shadow_prices_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from high_errors(-1, instances)


def certified_errors(sign: int, distance: Callable[[Any, Any], float], instances: int) -> Iterator[float]:
    """All six against certified enclosures of the derivatives of p*."""
    for k in range(instances):
        with precision(BITS):
            problem = rational_quadratic(generator("value_sensitivity.certified", k), 3, 2, 1, active=1)
            gradients = printed_gradients(certified_optimum(problem), sign)
            gradients["Q"] = gradients["Q"] * acb(1)
            yield max(
                distance(gradients[s.name][s.place], s.dvalue) for s in certified_sensitivities(problem)
            )


@check(
    item=5,
    statement="the six derivatives of p* lie in certified enclosures of the true ones",
    source=SOURCE,
    strength="certified",
    tolerance=1e-20,
)
def envelope_certified(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from certified_errors(1, distance_above, instances)


@envelope_certified.negative("the other sign; a lower bound of the distance")
def envelope_certified_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from certified_errors(-1, distance_below, min(instances, 5))


def kink_errors(of_value: bool, instances: int) -> Iterator[float]:
    """Right against left derivative along h at a weakly active row, of p* or of z*; steps of 1e-15, exact."""
    for k in range(instances):
        problem = rational_quadratic(generator("value_sensitivity.kink", k), 4, 3, 1, active=2, weak=1)
        base, step = optimum(problem), fmpq(1, 10**15)
        ends = [problem.perturbed("h", (1,), d) for d in (step, -step)]
        if of_value:
            start = value(problem)
            sides = [np.array([(value(end) - start) / d]) for end, d in zip(ends, (step, -step), strict=True)]
            yield max(floated(abs(side[0] + base.lam[1])) for side in sides)
        else:
            sides = [(optimum(end).z - base.z) / d for end, d in zip(ends, (step, -step), strict=True)]
            yield max(floated(abs(v)) for v in sides[0] - sides[1])


@check(
    item=5,
    statement="p* is differentiable at a weakly active row: both one-sided derivatives in h are −λ",
    source=SOURCE + "; no strict complementarity",
    strength="numeric",
    tolerance=1e-12,
)
def value_at_a_kink(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from kink_errors(True, instances)


@value_at_a_kink.negative("z* instead of p*: its one-sided derivatives differ")
def solution_at_a_kink(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from kink_errors(False, instances)


def twin_errors(single: bool, instances: int) -> Iterator[float]:
    """p*′(h; d) where one active row stands twice, against the maximum over the multipliers, or one of
    them.
    """
    for k in range(instances):
        rng = generator("value_sensitivity.twins", k)
        base = rational_quadratic(rng, 4, 1, 1, active=1)
        price = optimum(base).lam[0]
        problem = base._replace(G=np.concatenate([base.G, base.G]), h=np.concatenate([base.h, base.h]))
        d = np.array([fmpq(int(v), 4) for v in rng.integers(-8, 9, 2)], dtype=object)
        step = fmpq(1, 10**15)
        change = (value(problem._replace(h=problem.h + step * d)) - value(problem)) / step
        # The multipliers are (λ − μ, μ), 0 ≤ μ ≤ λ: a segment, whose ends bound every linear function.
        printed = -price * d[0] if single else max(-price * d[0], -price * d[1])
        yield floated(abs(change - printed))


@check(
    item=5,
    statement="with multipliers that are not unique p*′(h; d) = max over them of −λᵀd (one row twice)",
    source="Danskin 1967; Boyd & Vandenberghe 2004, section 5.6",
    strength="numeric",
    tolerance=1e-12,
)
def twin_rows(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from twin_errors(False, instances)


@twin_rows.negative("uniqueness assumed: −λᵀd for one multiplier")
def twin_rows_single(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from twin_errors(True, instances)


def symbolic_errors(sign: int) -> Iterator[float]:
    """p* in closed form (n = 2, one active row) differentiated in all of its symbols."""
    a, b, c, q1, q2, g1, g2, h = symbols = sp.symbols("a b c q1 q2 g1 g2 h")
    field = sp.QQ.frac_field(*symbols)
    matrix = sp.Matrix([[a, b, g1], [b, c, g2], [g1, g2, 0]])
    z1, z2, lam = (entry / matrix.det() for entry in matrix.adjugate() * sp.Matrix([-q1, -q2, h]))
    optimal = (a * z1**2 + 2 * b * z1 * z2 + c * z2**2) / 2 + q1 * z1 + q2 * z2
    lam = sign * lam
    printed = {a: z1**2 / 2, b: z1 * z2, c: z2**2 / 2, q1: z1, q2: z2, g1: lam * z1, g2: lam * z2, h: -lam}
    for symbol, expression in printed.items():
        yield float(field.from_sympy(sp.diff(optimal, symbol) - expression) != 0)


@check(
    item=5,
    statement="∂p*/∂(Q, q, G, h) in symbols (n = 2, one active row)",
    source=SOURCE,
    strength="symbolic",
    tolerance=0,
    instances=8,
)
def envelope_symbolic(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from symbolic_errors(1)


@envelope_symbolic.negative("the other sign of λ")
def envelope_symbolic_flipped(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from symbolic_errors(-1)
