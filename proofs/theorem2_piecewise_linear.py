r"""OptNet, Theorem 2: elementwise piecewise-linear functions and ReLU layers as quadratic programs.

A continuous piecewise-linear f : R → R with k linear regions is a sum of K hinges wᵢ max(aᵢx + bᵢ, 0), and

    min over z, t of ‖t‖² + (z − wᵀt)²   subject to   aᵢx + bᵢ ≤ tᵢ

has the optimum tᵢ = max(aᵢx + bᵢ, 0), z = wᵀt = f(x). Applied to n coordinates that costs O(nk) parameters.
The ReLU layer max(Wx + b, 0), W ∈ R^{n×m}, is argmin ‖z − Wx − b‖² subject to z ≥ 0: mn + n parameters.

Amos & Kolter, ICML 2017, Theorem 2; proof in the thesis of B. Amos (2019), which takes K = k hinges with wᵢ
∈ {−1, 1}. One more is needed in general: K = k + 1. For k = 1, f(x) = x needs max(x, 0) − max(−x, 0); for k
= 2 two hinges that share their only kink vanish there, so that |x| + 1 needs a third. The construction here
takes the k − 1 kinks, the first with a hinge to either side, and one constant hinge (a = 0); a single region
takes two.

Brute force: f itself, region by region, and enumeration of active sets for the programs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
import sympy as sp

from proofs.common import central_difference, generator, relative_error
from proofs.common.differences import Array
from proofs.common.quadratic import Quadratic, optimum
from proofs.ledger import check, erratum

SOURCE = "OptNet (Amos & Kolter 2017), Theorem 2"


class PiecewiseLinear(NamedTuple):
    """f through (kinks[0], value), with slopes[j] on region j from left to right."""

    kinks: Array
    slopes: Array
    value: float

    def __call__(self, x: float) -> float:
        """f(x), region by region."""
        edges = np.concatenate([self.kinks, [np.inf]])
        if x <= self.kinks[0]:
            return float(self.value + self.slopes[0] * (x - self.kinks[0]))
        total = self.value
        for slope, left, right in zip(self.slopes[1:], edges[:-1], edges[1:], strict=True):
            total += slope * (np.clip(x, left, right) - left)
        return float(total)


def random_piecewise(rng: np.random.Generator, k: int) -> PiecewiseLinear:
    """Draw an f with k ≥ 2 regions."""
    return PiecewiseLinear(
        np.sort(rng.uniform(-2, 2, k - 1)), rng.standard_normal(k), float(rng.standard_normal())
    )


def hinges(f: PiecewiseLinear) -> tuple[Array, Array, Array]:
    """(w, a, b) with f = Σ wᵢ max(aᵢx + bᵢ, 0), wᵢ = ±1, and k + 1 terms for k regions."""
    first = f.kinks[0]
    # To the left of the first kink, to its right, the changes of slope at the others, and the constant.
    terms = [(-f.slopes[0], -1.0, first), (f.slopes[1], 1.0, -first)]
    terms += [
        (after - before, 1.0, -c)
        for before, after, c in zip(f.slopes[1:-1], f.slopes[2:], f.kinks[1:], strict=True)
    ]
    terms += [(f.value, 0.0, 1.0)]
    c, a, b = (np.array(column) for column in zip(*terms, strict=True))
    return np.sign(c), np.abs(c) * a, np.abs(c) * b


def printed_program(w: Array, a: Array, b: Array, x: float) -> float:
    """Optimal z of the program in the proof of Theorem 2, by enumeration; variables (z, t)."""
    K = len(w)
    row = np.concatenate([[1.0], -w])
    Q = 2 * np.outer(row, row) + 2 * np.diag(np.concatenate([[0.0], np.ones(K)]))
    G = np.hstack([np.zeros((K, 1)), -np.eye(K)])
    problem = Quadratic(Q, np.zeros(K + 1), G, -(a * x + b), np.zeros((0, K + 1)), np.zeros(0))
    return float(optimum(problem, tolerance=1e-12).z[0])


def program_errors(instances: int, *, dropped: int) -> Iterator[float]:
    """The program against f at three points; `dropped` hinges are left out."""
    for k in range(instances):
        rng = generator("theorem2", k)
        f = random_piecewise(rng, 2 + k % 3)
        w, a, b = (part[: len(part) - dropped] for part in hinges(f))
        points = rng.uniform(-3, 3, 3)
        yield relative_error([printed_program(w, a, b, x) for x in points], [f(x) for x in points])


@check(
    item=4,
    statement="the QP with k + 1 hinges, wᵢ = ±1, equals a piecewise-linear function with k regions (k = 2, "
    "3, 4)",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-12,
)
def piecewise_program(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from program_errors(instances, dropped=0)


@piecewise_program.negative("k hinges: the constant one left out")
def piecewise_program_short(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from program_errors(instances, dropped=1)


def fewest_hinges(f: PiecewiseLinear) -> int:
    """Fewest hinges that represent f exactly, by search over sets of candidate hinges.

    The candidates are both hinges at each kink, and the constant. With at most k hinges no other can take
    part: hinges elsewhere would have to cancel in pairs, which leaves fewer than one for each of the k − 1
    kinks.
    """
    grid = np.linspace(-6, 6, 61)
    columns = [np.maximum(sign * (grid - c), 0) for c in f.kinks for sign in (1, -1)] + [np.ones_like(grid)]
    target = np.array([f(x) for x in grid])
    for size in range(len(columns) + 1):
        for chosen in combinations(columns, size):
            basis = np.array(chosen).reshape(size, len(grid)).T
            fitted = basis @ np.linalg.lstsq(basis, target, rcond=None)[0] if size else np.zeros_like(target)
            if np.max(np.abs(fitted - target)) < 1e-9:
                return size
    raise ArithmeticError("no set of candidate hinges represents the function")


def count_errors(surplus: int, instances: int) -> Iterator[float]:
    """|fewest hinges − (k + surplus)| for random f with k = 2 or 3 regions."""
    for i in range(instances):
        k = 2 + i % 2
        yield float(abs(fewest_hinges(random_piecewise(generator("theorem2.count", i), k)) - k - surplus))


@check(
    item=4,
    statement="a generic piecewise-linear function with k regions needs k + 1 hinges (search; k = 2, 3)",
    source=SOURCE + ", proof",
    strength="numeric",
    tolerance=0,
)
def hinge_count(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from count_errors(1, instances)


@hinge_count.negative("k hinges, as printed")
def hinge_count_printed(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from count_errors(0, instances)


def relu_errors(instances: int, *, coupled: bool) -> Iterator[float]:
    """Value and Jacobian of argmin over z ≥ 0 against max(Wx + b, 0); `coupled` weighs by a matrix."""
    for k in range(instances):
        rng = generator("theorem2.relu", k)
        W, b, x, half = (
            rng.standard_normal((4, 3)),
            rng.standard_normal(4),
            rng.standard_normal(3),
            rng.standard_normal((4, 4)),
        )
        weight = half @ half.T + np.eye(4) if coupled else 2 * np.eye(4)

        def layer(x: Array, W: Array = W, b: Array = b, weight: Array = weight) -> Array:
            problem = Quadratic(
                weight, -weight @ (W @ x + b), -np.eye(4), np.zeros(4), np.zeros((0, 4)), np.zeros(0)
            )
            return optimum(problem, tolerance=1e-12).z.astype(float)

        preactivation = W @ x + b
        yield max(
            relative_error(layer(x), np.maximum(preactivation, 0)),
            relative_error(central_difference(layer, x, step=1e-6), np.diag(1.0 * (preactivation > 0)) @ W),
        )


@check(
    item=4,
    statement="max(Wx + b, 0) = argmin ‖z − Wx − b‖², z ≥ 0, with Jacobian D(1[Wx + b > 0]) W",
    source=SOURCE,
    strength="numeric",
    tolerance=1e-8,
)
def relu_layer(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from relu_errors(instances, coupled=False)


@relu_layer.negative("the norm weighed by a matrix that is not diagonal")
def relu_layer_coupled(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from relu_errors(instances, coupled=True)


def symbolic_errors(offset: int) -> Iterator[float]:
    """Optimality of t = max(u, 0), z = wᵀt in symbols (K = 2, signs (+, −) of u), with λ = 2t on active
    rows.
    """
    u1, u2 = sp.symbols("u1 u2", positive=True)
    w1, w2, z, t1, t2 = sp.symbols("w1 w2 z t1 t2", real=True)
    objective = t1**2 + t2**2 + (z - w1 * t1 - w2 * t2) ** 2
    for u in ((u1, u2), (u1, -u2), (-u1, u2), (-u1, -u2)):
        t = [v if v in (u1, u2) else sp.Integer(0) for v in u]
        at = {t1: t[0], t2: t[1], z: w1 * t[0] + w2 * t[1] + offset}
        # The multiplier of uᵢ ≤ tᵢ is ∂objective/∂tᵢ: zero where the row is slack, at least zero elsewhere.
        lam = [sp.diff(objective, v).subs(at) for v in (t1, t2)]
        stationary = sp.simplify(sp.diff(objective, z).subs(at)) == 0
        complementary = all(sp.simplify(m * (a - b)) == 0 for m, a, b in zip(lam, t, u, strict=True))
        dual = all(sp.simplify(m).is_nonnegative for m in lam)
        yield float(not (stationary and complementary and dual))


@check(
    item=4,
    statement="t = max(ax + b, 0), z = wᵀt satisfy the optimality conditions of the program, for all signs "
    "(K = 2)",
    source=SOURCE + ", proof",
    strength="symbolic",
    tolerance=0,
    instances=4,
)
def program_symbolic(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from symbolic_errors(0)


@program_symbolic.negative("z = wᵀt + 1")
def program_symbolic_shifted(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from symbolic_errors(1)


erratum(
    item=4,
    where="OptNet, Theorem 2, proof in the thesis of B. Amos (2019)",
    printed="any piecewise-linear function with k regions is Σᵢ₌₁ᵏ wᵢ max{aᵢx + b, 0}, wᵢ ∈ {−1, 1}",
    correct="k + 1 hinges are needed in general (and b carries the index i); the count O(nk) is not affected",
    checks=(piecewise_program, hinge_count),
)
