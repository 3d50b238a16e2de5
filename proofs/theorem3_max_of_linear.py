r"""OptNet, Theorem 3: a maximum of three linear functions as a QP, and as a ReLU network.

f(x) = max(a₁ᵀx, a₂ᵀx, a₃ᵀx). The thesis of B. Amos (2019) represents it by

    min_z z²   subject to   aᵢᵀx ≤ z,

whose optimum is max(0, f(x)). That is f for all x if and only if 0 lies in the convex hull of the aᵢ: f ≥ 0
everywhere is equivalent to it by separation. A form without this hypothesis is min (z − a₁ᵀx)² under the same
constraints, whose optimum is f(x) for all aᵢ.

No network Σ wᵢ max(cᵢᵀx + dᵢ, 0) equals f on Rⁿ if the aᵢ are affinely independent, which needs n ≥ 2.
Proof: such a network N has lim (N(rx) − N(−rx))/r = Σ wᵢcᵢᵀx as r → ∞, linear in x; for f the same limit is
f(x) − f(−x) = maxᵢ aᵢᵀx + minᵢ aᵢᵀx, which is not linear. On R every such f is a network, so that «over all
of R» in the printed theorem has to read «over all of Rⁿ, n ≥ 2». Two hidden layers suffice: max(u, v) = u +
max(v − u, 0), applied twice. With two linear functions one hidden layer is enough.

Amos & Kolter, ICML 2017, Theorem 3. The exponential number of units that it claims for an approximation on a
bounded set is not checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import sympy as sp
from scipy.optimize import linprog

from proofs.common import generator, relative_error
from proofs.common.differences import Array
from proofs.common.quadratic import Quadratic, optimum
from proofs.ledger import check, erratum

SOURCE = "OptNet (Amos & Kolter 2017), Theorem 3"


def maximum(a: Array, x: Array) -> float:
    """f(x), read off."""
    return float(np.max(a @ x))


def program(a: Array, x: Array, centre: float) -> float:
    """Solve min (z − centre)² subject to aᵢᵀx ≤ z, by enumeration of active sets."""
    rows = -np.ones((len(a), 1))
    problem = Quadratic(
        np.array([[2.0]]), np.array([-2 * centre]), rows, -(a @ x), np.zeros((0, 1)), np.zeros(0)
    )
    return float(optimum(problem, tolerance=1e-12).z[0])


def hull_contains_origin(a: Array) -> bool:
    """Whether 0 = Σ μᵢaᵢ with μ ≥ 0, Σ μᵢ = 1, by linear programming."""
    system = np.vstack([a.T, np.ones(len(a))])
    return linprog(np.zeros(len(a)), A_eq=system, b_eq=np.append(np.zeros(a.shape[1]), 1.0)).status == 0


def functions(k: int, *, around: bool) -> Array:
    """Three linear functions on R²; `around` puts 0 inside the hull of their slopes, otherwise outside."""
    rng = generator("theorem3", k)
    a = rng.standard_normal((3, 2))
    a = a - a.mean(axis=0)
    return (
        a
        if around
        else a + 2 * rng.choice([-1, 1]) * np.max(np.linalg.norm(a, axis=1)) * np.array([0.6, 0.8])
    )


def program_errors(instances: int, *, around: bool, clipped: bool, shifted: bool = False) -> Iterator[float]:
    """The program at ten points against f, or against max(0, f)."""
    for k in range(instances):
        a = functions(k, around=around)
        if hull_contains_origin(a) != around:
            raise ArithmeticError("the instance does not have the hull that was asked for")
        points = generator("theorem3.points", k).standard_normal((10, 2))
        found = [program(a, x, float(a[0] @ x) if shifted else 0.0) for x in points]
        yield relative_error(found, [max(0.0, maximum(a, x)) if clipped else maximum(a, x) for x in points])


@check(
    item=4,
    statement="min z², aᵢᵀx ≤ z, has the optimum max(0, maxᵢ aᵢᵀx), for aᵢ with 0 outside their hull",
    source=SOURCE + ", proof; corrected",
    strength="numeric",
    tolerance=1e-12,
)
def clipped_maximum(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from program_errors(instances, around=False, clipped=True)


@clipped_maximum.negative("maxᵢ aᵢᵀx, as printed")
def printed_maximum(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from program_errors(instances, around=False, clipped=False)


@check(
    item=4,
    statement="min z², aᵢᵀx ≤ z, has the optimum maxᵢ aᵢᵀx if 0 lies in the hull of the aᵢ",
    source=SOURCE + ", proof, with its hypothesis",
    strength="numeric",
    tolerance=1e-12,
)
def maximum_around_origin(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from program_errors(instances, around=True, clipped=False)


@maximum_around_origin.negative("the hypothesis dropped: 0 outside the hull")
def maximum_off_origin(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from program_errors(instances, around=False, clipped=False)


@check(
    item=4,
    statement="min (z − a₁ᵀx)², aᵢᵀx ≤ z, has the optimum maxᵢ aᵢᵀx for all aᵢ",
    source=SOURCE + ", proof; a form without the hypothesis",
    strength="numeric",
    tolerance=1e-12,
)
def maximum_shifted(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from program_errors(instances, around=False, clipped=False, shifted=True)


@maximum_shifted.negative("the objective z² instead")
def maximum_not_shifted(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from program_errors(instances, around=False, clipped=False)


def odd_curvature(f: Callable[[Array], float], u: Array, v: Array, radius: float) -> float:
    """How far x ↦ (f(rx) − f(−rx))/r is from additive at (u, v), for a large r."""

    def odd(x: Array) -> float:
        return (f(radius * x) - f(-radius * x)) / radius

    return abs(odd(u + v) - odd(u) - odd(v))


def network(rng: np.random.Generator, units: int) -> Callable[[Array], float]:
    """A random ReLU network with one hidden layer."""
    w, c, d = rng.standard_normal(units), rng.standard_normal((units, 2)), rng.standard_normal(units)
    return lambda x: float(w @ np.maximum(c @ x + d, 0))


def odd_part_errors(of_maximum: bool, instances: int) -> Iterator[float]:
    """The odd part at infinity of networks, or of maxima of three linear functions."""
    for k in range(instances):
        rng = generator("theorem3.odd", k)
        a = functions(k, around=bool(k % 2))
        f = (lambda x, a=a: maximum(a, x)) if of_maximum else network(rng, 5 + 10 * k)
        pairs = rng.standard_normal((20, 2, 2))
        yield max(odd_curvature(f, u, v, 1e9) for u, v in pairs)


@check(
    item=4,
    statement="(N(rx) − N(−rx))/r becomes linear in x as r → ∞ for every network N with one hidden ReLU "
    "layer (r = 1e9)",
    source=SOURCE + ", proof on the page of this item",
    strength="numeric",
    tolerance=1e-5,
)
def network_odd_part(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from odd_part_errors(False, instances)


@network_odd_part.negative(
    "maxima of three linear functions on R²: not linear, so no such network equals one"
)
def maximum_odd_part(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from odd_part_errors(True, instances)


def layered_errors(instances: int, *, layers: int, dimension: int) -> Iterator[float]:
    """Networks written down for f: two hidden layers, or one that merges only two of the functions."""
    for k in range(instances):
        rng = generator("theorem3.layers", k)
        a, points = rng.standard_normal((3, dimension)), rng.standard_normal((10, dimension))

        def relu(v: float) -> float:
            return max(v, 0.0)

        def deep(x: Array, a: Array = a) -> float:
            u, v, w = a @ x
            inner = u + relu(v - u)
            return inner + (relu(w - inner) if layers == 2 else relu(w - u) - relu(v - u))

        yield relative_error([deep(x) for x in points], [maximum(a, x) for x in points])


@check(
    item=4,
    statement="two hidden ReLU layers represent the maximum of three linear functions exactly: u + (v−u)⁺, "
    "then again",
    source=SOURCE + ", remark",
    strength="numeric",
    tolerance=1e-14,
)
def two_hidden_layers(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from layered_errors(instances, layers=2, dimension=3)


@two_hidden_layers.negative("one hidden layer with the same differences")
def one_hidden_layer(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from layered_errors(instances, layers=1, dimension=3)


def line_errors(dimension: int, instances: int) -> Iterator[float]:
    """Best fit of f by hinges through 0 in many directions, in R¹ exact, in R² not, however many."""
    for k in range(instances):
        rng = generator("theorem3.line", k)
        a = rng.standard_normal((3, dimension))
        directions = np.array([[1.0], [-1.0]]) if dimension == 1 else _circle(360)
        points = rng.standard_normal((400, dimension))
        basis, target = np.maximum(points @ directions.T, 0), np.max(points @ a.T, axis=1)
        fitted = basis @ np.linalg.lstsq(basis, target, rcond=None)[0]
        yield relative_error(fitted, target)


def _circle(count: int) -> Array:
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@check(
    item=4,
    statement="on R a maximum of three linear functions is a network of two hinges, so Theorem 3 needs n ≥ 2",
    source=SOURCE + ": «over all of R»",
    strength="numeric",
    tolerance=1e-12,
)
def one_dimension(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from line_errors(1, instances)


@one_dimension.negative("on R², with hinges in 360 directions through the origin")
def two_dimensions(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from line_errors(2, min(instances, 5))


def symbolic_errors(centred: bool) -> Iterator[float]:
    """max(0, f) is optimal for the printed program in each region: z = max(0, f), λ = 2z on the active
    row.
    """
    f = sp.Symbol("f", positive=True)
    cases = [(f, f), (sp.Integer(0), -f)]
    for z, largest in cases:
        z = largest if centred else z
        # L = z² + λ(largest − z): stationarity gives λ = 2z, which has to be ≥ 0 and complementary.
        lam = 2 * z
        yield float(
            not (
                lam.is_nonnegative and sp.simplify(lam * (largest - z)) == 0 and (z - largest).is_nonnegative
            )
        )


@check(
    item=4,
    statement="z = max(0, f) satisfies the optimality conditions of the printed program for f > 0 and for f "
    "< 0",
    source=SOURCE + ", proof; corrected",
    strength="symbolic",
    tolerance=0,
    instances=2,
)
def clipped_symbolic(_: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from symbolic_errors(False)


@clipped_symbolic.negative("z = f where f < 0: the multiplier is negative")
def printed_symbolic(_: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from symbolic_errors(True)


erratum(
    item=4,
    where="OptNet, Theorem 3, proof in the thesis of B. Amos (2019)",
    printed="max{a₁ᵀx, a₂ᵀx, a₃ᵀx} is the OptNet layer min z² subject to aᵢᵀx ≤ z",
    correct="the layer is max(0, maxᵢ aᵢᵀx), which is the maximum for all x exactly if 0 lies in the convex "
    "hull of the aᵢ; min (z − a₁ᵀx)² under the same constraints needs no hypothesis",
    checks=(clipped_maximum, maximum_around_origin, maximum_shifted, clipped_symbolic),
)
erratum(
    item=4,
    where="OptNet, Theorem 3",
    printed="functions that the ReLU network cannot represent exactly over all of R",
    correct="over all of Rⁿ with n ≥ 2: on R every continuous piecewise-linear function is such a network",
    checks=(one_dimension, network_odd_part),
)
