"""Item 10: every check of the cost claims passes on a few instances."""

import numpy as np
import pytest

from proofs import backward_cost, operation_counts, reduced_system
from proofs.common.quadratic import optimum, random_quadratic
from proofs.ledger import CHECKS, Check
from proofs.runner import load

MODULES = (
    operation_counts,
    backward_cost,
    reduced_system,
)
load()
MINE = [c for c in CHECKS if c.item == 10]


@pytest.mark.parametrize("entry", MINE, ids=lambda c: c.name)
def test_check_holds_and_its_negative_fails(entry: Check):
    verdict = entry.run(instances=4)
    assert verdict.passed, verdict.reason


def test_every_module_registers_under_item_ten():
    assert {c.errors.__module__ for c in MINE} >= {module.__name__ for module in MODULES}


def test_forward_factors_once_and_solves_twice_in_each_iteration():
    backward_cost.Linear.reset()
    problem = random_quadratic(np.random.default_rng(0), 5, 5, 1, active=2)
    backward_cost.interior_point(problem)
    assert backward_cost.Linear.solves == 2 * backward_cost.Linear.factorisations > 0


def test_interior_point_finds_the_optimum():
    problem = random_quadratic(np.random.default_rng(1), 5, 5, 1, active=2)
    z, _ = backward_cost.interior_point(problem)
    np.testing.assert_allclose(z, np.asarray(optimum(problem, tolerance=1e-9).z, dtype=float), atol=1e-10)
