r"""OptNet, equations 6 to 8, certified: the exact derivative lies within 1e-20 of the formula.

Statement and hypotheses as in `proofs.qp_gradients`. For rational data the optimum is enclosed by Krawczyk's
test, which proves that it exists and is unique; its derivative in each entry of the data is enclosed by a
central difference of certified optima plus Cauchy's bound on the remainder (`proofs.common.balls`). No
derivative formula enters. The printed formula is then evaluated in ball arithmetic at the enclosed optimum,
and the largest distance that the two balls allow is a rigorous bound on the error of the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from flint import acb

from proofs.common import generator
from proofs.common.balls import distance_above, distance_below, precision
from proofs.common.certified_quadratic import BITS, certified_optimum, certified_sensitivities
from proofs.common.linear import Numbers, eliminate
from proofs.common.quadratic import rational_quadratic
from proofs.ledger import check
from proofs.qp_differential import printed_differential
from proofs.qp_gradients import SOURCE, misprinted_gradients, printed_gradients

Gradients = Callable[..., dict[str, Numbers]]
Distance = Callable[[object, object], float]


def gradient_errors(formula: Gradients, distance: Distance, instances: int) -> Iterator[float]:
    """Largest certified distance between the formula and the true gradient, over all entries of the data."""
    for k in range(instances):
        with precision(BITS):
            problem = rational_quadratic(generator("qp_gradients_certified", k), 3, 2, 1, active=1)
            c = np.array([acb(v) for v in (1, -2, 3)], dtype=object)
            values = formula(problem.convert(acb), certified_optimum(problem), c, eliminate)
            yield max(distance(values[s.name][s.place], c @ s.dz) for s in certified_sensitivities(problem))


@check(
    item=2,
    statement="all six gradients lie in certified enclosures of the true ones",
    source=SOURCE,
    strength="certified",
    tolerance=1e-20,
)
def gradients_certified(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from gradient_errors(printed_gradients, distance_above, instances)


@gradients_certified.negative("the misprinted ∇_G; a lower bound of its distance")
def gradients_certified_misprinted(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from gradient_errors(misprinted_gradients, distance_below, min(instances, 5))


def differential_errors(sign: int, distance: Distance, instances: int) -> Iterator[float]:
    """The same for (dz, dλ, dν) from equation 6; `sign` multiplies dλ."""
    for k in range(instances):
        with precision(BITS):
            problem = rational_quadratic(generator("qp_differential_certified", k), 2, 2, 0, active=1)
            point = certified_optimum(problem)
            worst = 0.0
            for s in certified_sensitivities(problem):
                dz, dlam, _ = printed_differential(problem.convert(acb), point, s.name, s.place, eliminate)
                pairs = [*zip(dz, s.dz, strict=True), *zip(sign * dlam, s.dlam, strict=True)]
                worst = max(worst, *(distance(a, b) for a, b in pairs))
            yield worst


@check(
    item=2,
    statement="dz and dλ of the differential system lie in certified enclosures, for every entry of the data",
    source="OptNet (Amos & Kolter 2017), eq. 6",
    strength="certified",
    tolerance=1e-20,
)
def differential_certified(instances: int) -> Iterator[float]:
    """Errors of the printed form."""
    yield from differential_errors(1, distance_above, instances)


@differential_certified.negative("the sign of dλ changed; a lower bound of its distance")
def differential_certified_flipped(instances: int) -> Iterator[float]:
    """Errors of the wrong form, which have to exceed the tolerance."""
    yield from differential_errors(-1, distance_below, min(instances, 5))
