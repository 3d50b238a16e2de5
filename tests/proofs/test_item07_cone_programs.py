"""Item 7: every check of the cone programs passes on a few instances."""

import pytest

from proofs import (
    certified_cone_program,
    cone_program_derivative,
    cone_program_least_squares,
    quadratic_as_cone_program,
    self_dual_embedding,
)
from proofs.common.balls import NotProved, precision
from proofs.ledger import CHECKS, Check
from proofs.runner import load

MODULES = (
    self_dual_embedding,
    certified_cone_program,
    cone_program_derivative,
    quadratic_as_cone_program,
    cone_program_least_squares,
)
load()
MINE = [c for c in CHECKS if c.item == 7]


@pytest.mark.parametrize("entry", MINE, ids=lambda c: c.name)
def test_check_holds_and_its_negative_fails(entry: Check):
    verdict = entry.run(instances=4)
    assert verdict.passed, verdict.reason


def test_every_module_registers_under_item_seven():
    assert {c.errors.__module__ for c in MINE} >= {module.__name__ for module in MODULES}


def test_nothing_is_certified_at_a_maximum(monkeypatch: pytest.MonkeyPatch):
    data, change, near = certified_cone_program.random_instance(0)
    # With the cost and all multipliers negated Lagrange's equations still hold: their root maximises.
    signs = [1.0] * certified_cone_program.VARIABLES + [-1.0] * 3
    negated = ((data[0], data[1], -data[2]), change, near * signs)
    monkeypatch.setattr(certified_cone_program, "random_instance", lambda k: negated)
    with precision(certified_cone_program.BITS), pytest.raises(NotProved, match="sign"):
        certified_cone_program.certify(0)
