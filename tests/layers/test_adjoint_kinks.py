"""At a kink each adjoint selects what its file says."""

from __future__ import annotations

from typing import Any

import pytest

from layers import DifferentiationError
from layers.qp.adjoints import ADJOINTS
from layers.qp.admm import ALPHA
from layers.qp.gradients import Triple
from tests.layers.adjoint_cases import scalar

# min ½z² + qz subject to z ≥ 0 at q = 0: dz/dq is −1 while z > 0, and 0 while the row holds.

KINKS: dict[str, tuple[dict[str, Any], float]] = {
    "implicit": ({}, -0.5),
    "active_set": ({}, 0.0),
    "qp_backward": ({}, 0.0),
    "conic": ({}, -0.5),
    "first_order": ({}, 0.0),
    "penalty": ({}, -1 / (1 + 10 / 4e-4)),
    "smoothed": ({"kappa": 1e-6}, -0.5),
    "truncated": ({"k": 200}, -0.5),
    "alternating": ({}, 0.0),
    "unrolled": ({}, -0.5),
    "one_step": ({}, -ALPHA / 2),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_each_selects_what_its_file_says(name: str) -> None:
    settings, expected = KINKS[name]
    case = scalar(0.0) if ADJOINTS[name].iteration is None else scalar(0.0).without_arrival()
    assert case.by(name, **settings)[1].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("side", "pull", "expected"), [
    ("lower", 1.0, 0.0), ("upper", 1.0, -1.0), ("mean", 1.0, -0.5), ("lower", -1.0, 1.0), ("upper", -1.0, 0.0)
])  # fmt: skip
def test_at_a_kink_lpgd_selects_the_side_to_which_the_loss_moves(
    side: str, pull: float, expected: float
) -> None:
    case = scalar(0.0)
    case.bars = Triple(pull * case.bars.z, case.bars.lam, case.bars.nu)
    assert case.by("lpgd", side=side)[1].item() == pytest.approx(expected, abs=1e-9)


def test_optnet_refuses_a_kink_and_every_adjoint_is_accounted_for() -> None:
    with pytest.raises(DifferentiationError, match='adjoint="implicit"'):
        scalar(0.0).by("optnet")
    assert {*KINKS, "optnet", "lpgd"} <= set(ADJOINTS)


@pytest.mark.parametrize("name", ADJOINTS)
def test_at_a_kink_each_selects_something_between_both_sides_or_refuses(name: str) -> None:
    case = scalar(0.0) if ADJOINTS[name].iteration is None else scalar(0.0).without_arrival()
    try:
        selected = case.by(name)[1].item()
    except DifferentiationError as error:
        assert 'adjoint="implicit"' in str(error)  # noqa: PT017
    else:
        assert -1.0 - 1e-6 <= selected <= 1e-6
