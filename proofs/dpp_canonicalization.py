r"""Disciplined parametrized programs: the cone data are affine in the parameters.

Statement. If a program obeys the DPP rules (DCP, with parameters counted as affine, and every product of a
parameter-affine with a parameter-free factor), canonicalisation maps its parameters θ to cone data by an
affine map, (A, b, c)(θ) = (A, b, c)(0) + Σ_i θ_i ((A, b, c)(e_i) − (A, b, c)(0)), on a domain that does not
depend on θ. A program that is DCP for each θ but not DPP need not have affine data.

Literature. Agrawal, Amos, Barratt, Boyd, Diamond & Kolter (2019), §4, affine–solver–affine form.

Check. The affine map is read off CVXPY's data at 0 and at the unit vectors; at random θ it is compared with
the data that CVXPY makes of the program with numbers written in place of the parameters. All values are
multiples of 1/8, so that the comparison is exact. In symbols: the second derivative of a product of affine
factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import sympy

from proofs.common import generator, relative_error
from proofs.common.parametrized_programs import (
    DPP,
    Values,
    cone_data,
    coordinates,
    data_at,
    not_dpp,
    random_values,
    unit,
    with_constants,
)
from proofs.ledger import check

SOURCE = "Agrawal, Amos et al. (2019), §4 (DPP and ASA form)"


def affine_map(build: Callable, values: Values, ignore_dpp: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The matrix C and the offset of θ ↦ stacked (A, b, c), from the data at 0 and at the unit vectors."""
    zero = {name: np.zeros(np.shape(value)) for name, value in values.items()}
    offset = data_at(build, zero, ignore_dpp).stacked
    columns = [
        data_at(build, unit(values, *place), ignore_dpp).stacked - offset for place in coordinates(values)
    ]
    return np.array(columns).T, offset


def prediction(build: Callable, values: Values, ignore_dpp: bool = False) -> np.ndarray:
    """The printed affine formula at `values`."""
    C, offset = affine_map(build, values, ignore_dpp)
    return C @ np.array([values[name][index] for name, index in coordinates(values)]) + offset


@check(
    item=8,
    statement="DPP: CVXPY's (A, b, c) at θ equal the affine map through its values at 0 and the unit vectors",
    source=SOURCE,
    strength="numeric",
    tolerance=0.0,
)
def data_are_affine(instances: int) -> Iterator[float]:
    """Four programs, exact equality with the program that has numbers in place of parameters."""
    for k in range(instances):
        build = DPP[k % len(DPP)]
        values = random_values(build, generator("dpp", k))
        yield relative_error(prediction(build, values), cone_data(with_constants(build, values)).stacked)


@data_are_affine.negative("a DCP program that is not DPP: F H x with two parameters, r²")
def _not_dpp(instances: int) -> Iterator[float]:
    for k in range(instances):
        values = random_values(not_dpp, generator("dpp", k))
        expected = cone_data(with_constants(not_dpp, values)).stacked
        yield relative_error(prediction(not_dpp, values, ignore_dpp=True), expected)


def _curvature(instances: int, both: bool) -> Iterator[float]:
    for size in range(2, 2 + instances):
        theta = sympy.symbols(f"theta:{size}")
        a, b = sympy.symbols(f"a:{size}"), sympy.symbols(f"b:{size}")
        x = sympy.Symbol("x")
        first = 1 + sum(c * t for c, t in zip(a, theta, strict=True))
        second = x + sum(c * t for c, t in zip(b, theta, strict=True)) * int(both)
        hessian = sympy.hessian(sympy.expand(first * second), theta)
        yield float(not hessian.is_zero_matrix)


@check(
    item=8,
    statement="a product is affine in θ if one factor is free of parameters: its Hessian in θ is 0",
    source=SOURCE,
    strength="symbolic",
    tolerance=0.0,
    instances=5,
)
def product_rule(instances: int) -> Iterator[float]:
    """For 2 to 6 parameters in symbols."""
    yield from _curvature(instances, both=False)


@product_rule.negative("both factors with parameters")
def _both(instances: int) -> Iterator[float]:
    yield from _curvature(instances, both=True)
