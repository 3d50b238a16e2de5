"""Item 6: every check of the projections passes on a few instances, and its helpers refuse bad input."""

from fractions import Fraction

import numpy as np
import pytest
from flint import arb

from proofs import (
    capped_simplex,
    certified_projections,
    entropic_layers,
    exponential_cone,
    exponential_cone_cases,
    limited_multi_label,
    moreau_decomposition,
    power_cone,
    relu_projection,
    second_order_cone,
    semidefinite_cone,
    sparsemax_projection,
)
from proofs.common.balls import NotProved
from proofs.common.enumeration import projection, rational
from proofs.common.interval_newton import enclose_root
from proofs.common.oracle import project, solve_cone_program
from proofs.ledger import CHECKS, Check
from proofs.runner import load

MODULES = (
    capped_simplex,
    certified_projections,
    entropic_layers,
    exponential_cone,
    exponential_cone_cases,
    limited_multi_label,
    moreau_decomposition,
    power_cone,
    relu_projection,
    second_order_cone,
    semidefinite_cone,
    sparsemax_projection,
)
load()
MINE = [c for c in CHECKS if c.item == 6]


@pytest.mark.parametrize("entry", MINE, ids=lambda c: c.name)
def test_check_holds_and_its_negative_fails(entry: Check):
    verdict = entry.run(instances=6)
    assert verdict.passed, verdict.reason


def test_every_module_registers_under_item_six():
    assert {c.errors.__module__ for c in MINE} >= {module.__name__ for module in MODULES}


def test_enumeration_finds_the_projection_on_the_simplex_exactly():
    none, one = rational(np.zeros(2)), rational([1.0])
    z, lam = projection(rational([0.75, -0.5]), rational(-np.eye(2)), none, rational(np.ones((1, 2))), one)
    assert list(z) == [Fraction(1), Fraction(0)]
    assert list(lam) == [Fraction(0), Fraction(1, 4)]


def test_enumeration_refuses_an_empty_polyhedron():
    G, h = rational([[1.0], [-1.0]]), rational([-1.0, -1.0])
    with pytest.raises(ValueError, match="empty"):
        projection(rational([0.0]), G, h, rational(np.zeros((0, 1))), rational(np.zeros(0)))


def test_interval_newton_proves_a_root_and_refuses_where_there_is_none():
    root = enclose_root(lambda x: x * x - 2, lambda x: 2 * x, 1.41421356237)
    assert root.contains(arb(2).sqrt())
    with pytest.raises(NotProved):
        enclose_root(lambda x: x * x - 2, lambda x: 2 * x, 1.5)


def test_oracle_projects_on_the_second_order_cone():
    np.testing.assert_allclose(project(np.array([0.0, 2.0]), [("second_order", 2)]), [1.0, 1.0], atol=1e-8)


def test_oracle_names_the_status_of_an_infeasible_program():
    with pytest.raises(RuntimeError, match="Infeasible"):
        solve_cone_program(np.array([[1.0], [-1.0]]), -np.ones(2), np.zeros(1), [("nonnegative", 2)])
