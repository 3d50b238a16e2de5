"""Certified roots of one real variable and certified bordered inverses, in ball arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flint import arb, arb_mat

from proofs.common.balls import NotProved

Scalar = Callable[[arb], arb]


def enclose_root(f: Scalar, slope: Scalar, near: float, radius: float = 1e-9) -> arb:
    """Enclosure of the only root of f within `radius` of `near`, by interval Newton steps.

    N(I) = m − f(m)/f′(I) in the interior of I proves that I contains exactly one root, and that N(I) does.

    Parameters
    ----------
    f, slope : callable
        The function and an enclosure of its derivative over a ball.
    near : float
        Approximate root.
    radius : float
        Half the length of the first interval.

    Raises
    ------
    NotProved
        If the step does not map the interval into its interior.
    """
    interval = arb(near, radius)
    for step in range(6):
        middle = interval.mid()
        image = middle - f(middle) / slope(interval)
        if step == 0 and not interval.contains_interior(image):
            raise NotProved(f"no root of f was proved within {radius:.0e} of {near}")
        interval = interval.intersection(image)
    return interval


def bordered_inverse(upper: Sequence[Sequence[arb]], border: Sequence[arb]) -> list[list[arb]]:
    """Enclosure of the upper left block of [H, s; sᵀ, 0]⁻¹.

    Raises
    ------
    ZeroDivisionError
        If the matrix may be singular.
    """
    n = len(border)
    rows = [[*upper[i], border[i]] for i in range(n)] + [[*border, arb(0)]]
    inverse = arb_mat(rows).inv()
    return [[inverse[i, j] for j in range(n)] for i in range(n)]


def distance_above(computed: Iterable[float], enclosed: Sequence[arb]) -> float:
    """Rigorous upper bound of the largest |computed − true| for true values inside the balls."""
    return max(float((arb(float(a)) - b).abs_upper()) for a, b in zip(computed, enclosed, strict=True))
