"""Certified roots and derivatives: right where there is a root, silent where nothing is proved."""

import numpy as np
import pytest
from flint import acb, arb, fmpq

from proofs.common import generator
from proofs.common.balls import (
    NotProved,
    certified_derivative,
    certified_root,
    distance_above,
    distance_below,
    krawczyk,
    precision,
    quadratic_jacobian,
)
from proofs.common.certified_quadratic import BITS, certified_optimum, certified_sensitivities
from proofs.common.linear import SingularError, eliminate
from proofs.common.quadratic import optimum, rational_quadratic

BITS_HERE = 256


def vector(*values):
    return np.array([acb(v) for v in values], dtype=object)


def circle_and_line(x):
    return np.array([x[0] * x[0] + x[1] * x[1] - acb(2), x[0] - x[1]], dtype=object)


def test_krawczyk_encloses_a_known_root():
    with precision(BITS_HERE):
        box = krawczyk(lambda x: x * x - acb(2), vector(1.41), 0.01)
        assert box[0].real.contains(arb(2).sqrt())
        assert float(box[0].real.rad()) < 0.01


def test_krawczyk_in_two_variables():
    with precision(BITS_HERE):
        box = krawczyk(circle_and_line, vector(1.01, 0.99), 0.05)
        assert all(v.real.contains(1) for v in box)


@pytest.mark.parametrize(
    ("F", "start"),
    [
        (lambda x: x * x, 0.001),
        (lambda x: x * x + acb(1), 0.5),
        (lambda x: x * x - acb(2), 1.0),
        (lambda x: acb(0) * x, 0.0),
    ],
    ids=["double root", "no root near", "root outside the box", "singular"],
)
def test_krawczyk_refuses(F, start):
    with precision(BITS_HERE), pytest.raises(NotProved):
        krawczyk(F, vector(start), 0.01)


def test_two_roots_in_one_box_are_refused():
    with precision(BITS_HERE), pytest.raises(NotProved):
        krawczyk(lambda x: x * x - acb(1), vector(0.1), 2.0)


def test_certified_root_has_all_its_digits():
    with precision(BITS_HERE):
        root = certified_root(lambda x: x * x - acb(2), vector(1.4), bits=BITS_HERE)[0].real
        assert root.contains(arb(2).sqrt())
        assert float(root.rad()) < 1e-70


def test_derivative_of_a_square_root():
    with precision(BITS_HERE):
        _, slope = certified_derivative(lambda x, t: x * x - acb(2) - t, vector(1.4), bits=BITS_HERE)
        exact = 1 / (2 * arb(2).sqrt())
        assert distance_above(slope[0], exact) < 1e-30
        assert distance_below(slope[0], 2 * exact) > 0.3


def test_derivative_at_a_fold_is_refused():
    with precision(BITS_HERE), pytest.raises(NotProved):
        certified_derivative(lambda x, t: x * x - t, vector(0.0), bits=BITS_HERE)


def test_jacobian_of_a_quadratic_map_is_exact():
    with precision(BITS_HERE):
        jacobian = quadratic_jacobian(circle_and_line, vector(3, 5))
        assert [v.real for v in jacobian.flat] == [6, 10, 1, -1]


def test_certified_optimum_contains_the_exact_one():
    problem = rational_quadratic(generator("test_balls", 0), 3, 2, 1, active=1)
    exact = optimum(problem)
    with precision(BITS):
        found = certified_optimum(problem)
        for part in ("z", "lam", "nu"):
            pairs = zip(getattr(found, part), getattr(exact, part), strict=True)
            assert all(ball.contains(acb(value)) for ball, value in pairs)


def test_certified_sensitivity_contains_an_exact_difference():
    problem = rational_quadratic(generator("test_balls", 1), 2, 2, 0, active=1)
    step = fmpq(1, 10**9)
    with precision(BITS):
        for found in certified_sensitivities(problem):
            if found.name in ("q", "h"):
                ends = [optimum(problem.perturbed(found.name, found.place, s)).z for s in (step, -step)]
                exact = (ends[0] - ends[1]) / (2 * step)
                assert all(distance_above(a, b) < 1e-30 for a, b in zip(found.dz, exact, strict=True))


def test_weak_activity_and_indefinite_data_are_refused():
    weak = rational_quadratic(generator("test_balls", 2), 3, 2, 0, active=1, weak=1)
    with precision(BITS), pytest.raises(NotProved):
        certified_optimum(weak)
    with precision(BITS), pytest.raises(NotProved, match="leading minor"):
        certified_optimum(weak._replace(Q=-weak.Q))


def test_elimination_is_exact_over_the_rationals_and_refuses_singular_matrices():
    matrix = np.array([[fmpq(0), fmpq(2)], [fmpq(3), fmpq(1)]], dtype=object)
    assert list(eliminate(matrix, np.array([fmpq(4), fmpq(5)], dtype=object))) == [1, 2]
    with pytest.raises(SingularError):
        eliminate(np.array([[fmpq(1), fmpq(2)], [fmpq(2), fmpq(4)]], dtype=object), matrix[0])
