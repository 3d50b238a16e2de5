"""Item 9: every check of unrolling and alternating differentiation passes on a few instances."""

import pytest

from proofs import alternating_differentiation, unrolling
from proofs.ledger import CHECKS, Check
from proofs.runner import load

MODULES = (
    unrolling,
    alternating_differentiation,
)
load()
MINE = [c for c in CHECKS if c.item == 9]


@pytest.mark.parametrize("entry", MINE, ids=lambda c: c.name)
def test_check_holds_and_its_negative_fails(entry: Check):
    verdict = entry.run(instances=4)
    assert verdict.passed, verdict.reason


def test_every_module_registers_under_item_nine():
    assert {c.errors.__module__ for c in MINE} >= {module.__name__ for module in MODULES}


def test_table_of_the_truncation_slope_has_decaying_errors():
    rows = [row for row in alternating_differentiation.truncation_slope() if row["instance"] == 0]
    assert set(rows[0]) == {"instance", "sweep", "iterate_error", "gradient_error"}
    assert rows[-1]["gradient_error"] < 1e-6 * rows[0]["gradient_error"]
