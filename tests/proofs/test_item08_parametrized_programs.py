"""Item 8: every check of the affine–solver–affine form passes on a few instances."""

import pytest

from proofs import affine_solver_affine, dpp_canonicalization
from proofs.common.parametrized_programs import DPP, not_dpp, with_parameters
from proofs.ledger import CHECKS, Check
from proofs.runner import load

MODULES = (
    dpp_canonicalization,
    affine_solver_affine,
)
load()
MINE = [c for c in CHECKS if c.item == 8]


@pytest.mark.parametrize("entry", MINE, ids=lambda c: c.name)
def test_check_holds_and_its_negative_fails(entry: Check):
    verdict = entry.run(instances=4)
    assert verdict.passed, verdict.reason


def test_every_module_registers_under_item_eight():
    assert {c.errors.__module__ for c in MINE} >= {module.__name__ for module in MODULES}


def test_the_programs_are_what_they_claim():
    assert all(with_parameters(build)[0].is_dpp() for build in DPP)
    assert with_parameters(not_dpp)[0].is_dcp()
    assert not with_parameters(not_dpp)[0].is_dpp()
