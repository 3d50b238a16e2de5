"""Certified roots and certified derivatives in complex ball arithmetic (python-flint's Arb).

Krawczyk's test. Let F be holomorphic near a box X = x₀ + Y, where Y is a product of squares centred at 0,
let C be any matrix and let [M] enclose F′ over X. If −C F(x₀) + (I − C[M]) Y lies in the interior of Y,
then F has exactly one root in X. Proof: x ↦ x − C F(x) maps X into its interior by the mean value theorem.
Y is symmetric and convex, so E Y ⊂ int Y for every E in I − C[M]: such an E is a contraction in the norm
whose unit ball is Y, and Banach's theorem gives the one fixed point. CM = I − E is then invertible, so C
is, and the fixed point is a root.

Cauchy's estimate. If this succeeds for F(·, t) with t a ball that contains the disc |t| ≤ r, then the root
x(t) is holomorphic on the disc and stays within M of x₀ there, and its central difference with step τ < r
differs from x′(0) by at most (M/r) ρ² / (1 − ρ²), where ρ = τ/r. Nothing is differentiated by a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from flint import acb, acb_mat, arb, ctx

from proofs.common.linear import Numbers

Map = Callable[[Numbers], Numbers]
Family = Callable[[Numbers, Any], Numbers]


class NotProved(ArithmeticError):
    """The test was inconclusive: nothing is claimed about the root."""


@contextmanager
def precision(bits: int) -> Generator[None]:
    """Ball arithmetic with `bits` bits inside the block."""
    before, ctx.prec = ctx.prec, bits
    try:
        yield
    finally:
        ctx.prec = before


def square(radius: arb | float) -> acb:
    """The complex square |Re|, |Im| ≤ radius."""
    return acb(arb(0, radius), arb(0, radius))


def centre(x: Numbers) -> Numbers:
    """Midpoints of complex balls, as exact numbers."""
    return np.array([acb(v.real.mid(), v.imag.mid()) for v in x], dtype=object)


def quadratic_jacobian(F: Map, X: Numbers) -> Numbers:
    """Enclosure of F′ over X for a map of degree at most two.

    For such a map (F(x + e) − F(x − e))/2 = F′(x)e exactly, so no derivative has to be written.
    """
    columns = []
    for j in range(len(X)):
        e = np.array([acb(int(i == j)) for i in range(len(X))], dtype=object)
        columns.append((F(X + e) - F(X - e)) / acb(2))
    return np.stack(columns, axis=1)


def krawczyk(F: Map, x0: Numbers, radius: arb | float) -> Numbers:
    """Enclosure of the only root of F in the box of the given radius about x₀.

    Parameters
    ----------
    F : callable
        A polynomial map of degree at most two, from N complex balls to N complex balls.
    x0 : array of acb, shape (N,)
        Centre of the box; its radii are ignored.
    radius : arb or float
        Half of the side of the box.

    Raises
    ------
    NotProved
        If the box is not mapped into its own interior: too large, or no root, or a multiple one.
    """
    x0 = centre(x0)
    Y = np.array([square(radius)] * len(x0), dtype=object)
    C = _inverse(quadratic_jacobian(F, x0))
    contraction = np.array([[acb(int(i == j)) for j in range(len(x0))] for i in range(len(x0))], dtype=object)
    contraction = contraction - C @ quadratic_jacobian(F, x0 + Y)
    image = contraction @ Y - C @ F(x0)
    inside = all(
        y.real.contains_interior(v.real) and y.imag.contains_interior(v.imag)
        for v, y in zip(image, Y, strict=True)
    )
    if not inside:
        raise NotProved(f"the box of radius {float(arb(radius)):.1e} is not mapped into its interior")
    return x0 + image


def certified_root(F: Map, x0: Numbers, *, bits: int) -> Numbers:
    """Newton's iteration from x₀, then Krawczyk's test in a box of radius about 2^(−bits/2).

    Raises
    ------
    NotProved
        If the test fails at the point that the iteration reached.
    """
    x = centre(x0)
    for _ in range(8):
        x = centre(x - _inverse(quadratic_jacobian(F, x)) @ F(x))
    return krawczyk(F, x, arb(2) ** (-bits // 2))


def certified_derivative(
    F: Family, x0: Numbers, *, bits: int, largest: float = 0.25
) -> tuple[Numbers, Numbers]:
    """Enclosures of the root x(0) of F(·, t) at t = 0 and of its derivative x′(0).

    Parameters
    ----------
    F : callable
        ``F(x, t)``, of degree at most two in x and holomorphic in the complex ball t.
    x0 : array of acb, shape (N,)
        A root at t = 0, or close to one.
    bits : int
        Working precision.
    largest : float
        Largest radius of the disc in t to try; it is halved until the test succeeds.

    Returns
    -------
    root, derivative : arrays of acb, shape (N,)

    Raises
    ------
    NotProved
        If no disc and box pass Krawczyk's test.
    """
    root = certified_root(lambda x: F(x, acb(0)), x0, bits=bits)
    r, box = _disc(F, root, largest)
    # A step of 2^(−bits/4) r leaves a truncation error near 2^(−bits/2), above the rounding error.
    tau = r * arb(2) ** (-bits // 4)
    ends = []
    for t in (tau, -tau):
        x = certified_root(lambda x, t=t: F(x, acb(t)), root, bits=bits)
        if not all(v.abs_upper() < box for v in x - centre(root)):
            raise NotProved("the root at the end of the step left the box of the disc")
        ends.append(x)
    ratio = (tau / r) ** 2
    # The corner of a square is √2 times its half side away: that is M.
    error = (box * arb(2).sqrt() / r * ratio / (1 - ratio)).upper()
    return root, (ends[0] - ends[1]) / acb(2 * tau) + np.array([square(error)] * len(root), dtype=object)


def distance_above(a: Any, b: Any) -> float:
    """Rigorous upper bound of |a − b| for balls a and b."""
    return float((acb(a) - acb(b)).abs_upper())


def distance_below(a: Any, b: Any) -> float:
    """Rigorous lower bound of |a − b| for balls a and b."""
    return float((acb(a) - acb(b)).abs_lower())


def _disc(F: Family, root: Numbers, largest: float) -> tuple[arb, arb]:
    """Radius of a disc in t on which the root stays in one box, and half of the side of that box."""
    C = _inverse(quadratic_jacobian(lambda x: F(x, acb(0)), centre(root)))
    r = arb(largest)
    for _ in range(40):
        drift = C @ F(centre(root), square(r))
        # Twice the first-order drift of the root leaves room for the contraction to do its part; the
        # multiple of r gives the box a size where the root does not move at all.
        radius = (2 * max((v.abs_upper() for v in drift), key=float) + r / 16).upper()
        try:
            krawczyk(lambda x, r=r: F(x, square(r)), root, radius)
        except NotProved:
            r = r / 2
            continue
        return r, radius
    raise NotProved("no disc about the parameter keeps the root in one box")


def _inverse(matrix: Numbers) -> Numbers:
    """Midpoints of the inverse of the midpoints: any matrix will do, so nothing is enclosed."""
    size = len(matrix)
    exact = acb_mat(size, size, [acb(v.real.mid(), v.imag.mid()) for v in matrix.flat])
    try:
        inverse = exact.inv()
    except ZeroDivisionError as error:
        raise NotProved("the Jacobian at the centre is singular") from error
    entries = [acb(v.real.mid(), v.imag.mid()) for v in inverse.entries()]
    return np.array(entries, dtype=object).reshape(size, size)
