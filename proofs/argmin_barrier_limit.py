r"""The limit t → ∞ of the barrier derivative g_t′ of `proofs.argmin_barrier`, for quadratic programs.

Let x move q along dq and h along dh, with the active rows independent.

* Strict complementarity: g_t′ → g′ and the error is of order 1/t.
* Exactly one weakly active inequality (λ_i = 0 = s_i): g has no derivative, and g_t′ tends to the mean of the
  right and the left derivative with an error of order 1/√t, however that inequality is scaled.
* Scalar case, min ½(y − x)² subject to y ≥ 0: g_t′(x) = ½(1 + x/√(x² + 4/t)), which is 1/2 at x = 0.

The first is the claim of Gould et al. 2016 (arXiv 1607.05447) for the log barrier with its hypothesis made
explicit; the second is proved on the page of this item. All at 60 digits; brute force enumerates active sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from proofs.argmin_barrier import SOURCE, printed
from proofs.common import generator
from proofs.common.linear import Numbers, block, eliminate, zeros
from proofs.common.quadratic import Quadratic, optimum, random_quadratic
from proofs.ledger import Rows, check, table

DIGITS = 60
N, M = 4, 4


class Path:
    """Points of the central path Qz + q + Gᵀλ = 0, Gz + s = h, λ_i s_i = 1/t, for growing t."""

    def __init__(self, problem: Quadratic) -> None:
        self.problem = problem
        one = mpmath.mpf(1)
        self.z = np.array([0 * one] * len(problem.q), dtype=object)
        self.lam, self.s = (np.array([one] * len(problem.h), dtype=object) for _ in range(2))

    def follow(self, t: Any) -> Numbers:
        """Point z on the path at t, by damped Newton steps from the last point."""
        Q, q, G, h, _, _ = self.problem
        n, m = len(q), len(h)
        for _ in range(200):
            force, gap, product = (
                Q @ self.z + q + G.T @ self.lam,
                G @ self.z + self.s - h,
                self.lam * self.s - 1 / t,
            )
            if max(abs(v) for v in [*force, *gap, *(t * product)]) < mpmath.mpf("1e-45"):
                return self.z
            eye = zeros(m, m) + np.eye(m, dtype=int)
            matrix = block([
                [Q, G.T, zeros(n, m)],
                [G, zeros(m, m), eye],
                [zeros(m, n), np.diag(self.s), np.diag(self.lam)],
            ])  # fmt: skip
            step = eliminate(matrix, -np.concatenate([force, gap, product]))
            pairs = zip([*self.lam, *self.s], step[n:], strict=True)
            # Multipliers and slacks keep a twentieth of their size, which keeps the path inside.
            length = min([mpmath.mpf(1)] + [mpmath.mpf("-0.95") * v / d for v, d in pairs if d < 0])
            self.z, self.lam, self.s = (
                v + length * d
                for v, d in zip((self.z, self.lam, self.s), np.split(step, [n, n + m]), strict=True)
            )
        raise ArithmeticError(f"Newton's iteration did not reach the central path at t = {mpmath.nstr(t, 3)}")

    def derivative(self, t: Any, dq: Numbers, dh: Numbers) -> Numbers:
        """The barrier formula on the path at t."""
        Q, _, G, h, _, _ = self.problem
        f = G @ self.follow(t) - h
        return printed(t, f, G, [0 * Q] * len(f), -dh, 0 * G, Q, dq, eliminate)


def instance(name: str, k: int, weak: int) -> tuple[Quadratic, Numbers, Numbers]:
    """A QP at 60 digits with two active inequalities, `weak` of them weakly, and a direction of its data."""
    rng = generator(name, k)
    drawn = random_quadratic(rng, N, M, 0, active=2, weak=weak)
    problem = drawn.convert(lambda v: mpmath.mpf(float(v)))
    z = np.array(
        [mpmath.mpf(float(v)) for v in np.linalg.lstsq(drawn.G[:2], drawn.h[:2], rcond=None)[0]], dtype=object
    )
    # Rounded data are not exactly at the kink: q and h are made so at full precision.
    lam = np.array([mpmath.mpf(float(v)) for v in [1.25, 0.75, 0, 0]], dtype=object)
    lam[2 - weak : 2] = mpmath.mpf(0)
    slack = np.array([mpmath.mpf(v) for v in ("0", "0", "1.5", "0.75")], dtype=object)
    problem = problem._replace(q=-(problem.Q @ z + problem.G.T @ lam), h=problem.G @ z + slack)
    dq, dh = (
        np.array([mpmath.mpf(float(v)) for v in rng.standard_normal(size)], dtype=object) for size in (N, M)
    )
    return problem, dq, dh


def difference(problem: Quadratic, dq: Numbers, dh: Numbers) -> Numbers:
    """Central difference of the enumerated optimum along the direction."""
    step = mpmath.mpf("1e-20")
    ends = [
        optimum(problem._replace(q=problem.q + v * dq, h=problem.h + v * dh), tolerance=mpmath.mpf("1e-50")).z
        for v in (step, -step)
    ]
    return (ends[0] - ends[1]) / (2 * step)


def distance(a: Numbers, b: Numbers) -> Any:
    """Largest entry of the difference."""
    return max(abs(v) for v in a - b)


def order_errors(weak: int, instances: int) -> Iterator[float]:
    """|measured order of convergence in t − 1| between t = 1e10 and 1e12."""
    for k in range(instances):
        with mpmath.workdps(DIGITS):
            problem, dq, dh = instance("argmin_barrier_limit.order", k, weak)
            path, reference = Path(problem), difference(problem, dq, dh)
            gaps = [
                distance(path.derivative(mpmath.mpf(10) ** e, dq, dh), reference) for e in (2, 5, 8, 10, 12)
            ]
            yield float(abs(mpmath.log10(gaps[-2] / gaps[-1]) / 2 - 1))


@check(
    item=1,
    statement="g_t′ → g′ with an error of order 1/t, under strict complementarity (|order − 1|)",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-4,
)
def barrier_limit(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from order_errors(0, instances)


@barrier_limit.negative("strict complementarity dropped: one λ_i = 0")
def barrier_limit_at_a_kink(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from order_errors(1, min(instances, 5))


def kink_errors(weak: int, scale: float, instances: int) -> Iterator[float]:
    """Barrier derivative at t = 1e26 against the central difference at a kink, which is the mean of both
    sides.
    """
    for k in range(instances):
        with mpmath.workdps(DIGITS):
            problem, dq, dh = instance("argmin_barrier_limit.kink", k, weak)
            factor = np.array([mpmath.mpf(1), mpmath.mpf(scale), mpmath.mpf(1), mpmath.mpf(1)], dtype=object)
            scaled = problem._replace(G=problem.G * factor[:, None], h=problem.h * factor)
            path = Path(scaled)
            for exponent in range(2, 26, 4):
                path.follow(mpmath.mpf(10) ** exponent)
            reference = difference(problem, dq, dh)
            yield float(distance(path.derivative(mpmath.mpf(10) ** 26, dq, dh * factor), reference))


@check(
    item=1,
    statement="at one weakly active inequality, scaled by 7, g_t′ tends to the mean of the one-sided "
    "derivatives",
    source="this repository, docs/proofs/01",
    strength="numeric",
    tolerance=1e-10,
)
def barrier_midpoint(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from kink_errors(1, 7.0, instances)


@barrier_midpoint.negative("two weakly active inequalities instead of one")
def barrier_two_weak(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from kink_errors(2, 7.0, min(instances, 5))


def scalar_errors(offset: int) -> Iterator[float]:
    """The scalar case in symbols: stationarity, derivative, value at the kink, expansion away from it."""
    x, t, y = sp.symbols("x t y", positive=True)
    branch = (x + sp.sqrt(x**2 + 4 / t)) / 2
    slope = (1 + x / sp.sqrt(x**2 + 4 / t)) / 2 + sp.Rational(offset, 2)
    yield float(sp.simplify((t * (y - x) - 1 / y).subs(y, branch)) != 0)
    phi_yy = 1 / branch**2
    yield float(sp.simplify(t / (t + phi_yy) - slope) != 0)
    yield float(sp.simplify(sp.diff(branch, x) - slope) != 0)
    yield float(slope.subs(x, 0) != sp.Rational(1, 2))
    yield float(sp.limit(t * (slope - 1), t, sp.oo) + 1 / x**2 != 0)


@check(
    item=1,
    statement="min ½(y − x)², y ≥ 0: g_t′ = ½(1 + x/√(x² + 4/t)), equal to ½ at 0 and 1 − 1/(tx²) + o(1/t) "
    "for x > 0",
    source=SOURCE,
    strength="symbolic",
    tolerance=0,
    instances=5,
)
def barrier_scalar(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from scalar_errors(0)


@barrier_scalar.negative("½ added: the derivative of another branch")
def barrier_scalar_shifted(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from scalar_errors(1)


@table("proofs/barrier_limit")
def barrier_rows() -> Rows:
    """Scalar case: solution and derivative over x for several t, and the limit (t = 0 stands for no
    barrier).
    """
    rows: Rows = []
    for t in (1.0, 10.0, 100.0, 1000.0):
        for x in np.linspace(-3, 3, 121):
            root = np.sqrt(x**2 + 4 / t)
            rows.append(
                {"t": t, "x": float(x), "y": float((x + root) / 2), "slope": float((1 + x / root) / 2)}
            )
    for x in np.linspace(-3, 3, 121):
        rows.append(
            {
                "t": "limit",
                "x": float(x),
                "y": float(max(x, 0)),
                "slope": float((np.sign(round(x, 9)) + 1) / 2),
            }
        )
    return rows


@table("proofs/barrier_order")
def barrier_order_rows() -> Rows:
    """Distance of the barrier derivative from its limit against t, at a regular point and at a kink."""
    rows: Rows = []
    with mpmath.workdps(DIGITS):
        for weak, point in ((0, "strictly complementary"), (1, "one weakly active")):
            problem, dq, dh = instance("argmin_barrier_limit.order", 0, weak)
            path, reference = Path(problem), difference(problem, dq, dh)
            for exponent in range(13):
                gap = distance(path.derivative(mpmath.mpf(10) ** exponent, dq, dh), reference)
                rows.append({"point": point, "t": 10.0**exponent, "distance": float(gap)})
    return rows
