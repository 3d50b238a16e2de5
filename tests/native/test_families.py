"""A family of programs in the core, there and back; what does not fit together is refused by its name."""

from typing import Any

import numpy as np
import pytest

from layers.native import _core


def family(**changes: Any) -> Any:
    """minimise ½|z|² + θ'z subject to z <= 1, with two entries in θ, and its variable."""
    index, none = np.arange(2), np.zeros(0)
    given: dict[str, Any] = {
        "sizes": (2, 2, 0, 0),
        "widths": [2],
        "parts": [
            (2, 2, np.eye(2), []),
            (2, 1, np.zeros(2), [(0, index, 0 * index, index, np.ones(2))]),
            (2, 2, np.eye(2), []),
            (2, 1, np.ones(2), []),
            (0, 2, none, []),
            (0, 1, none, []),
            (0, 2, none, []),
            (0, 1, none, []),
        ],
        "variables": [(0 * index, index, np.ones(2))],
    }
    return _core.Family(**{**given, **changes})


def answered(made: Any, values: list[Any], shapes: list[tuple[int, ...]], batch: int = 1) -> Any:
    return made.solve(values, shapes, batch, 1e-9, 1e-9, 50, 1)


def test_a_family_of_programs_there_and_back() -> None:
    (z,), solved = answered(family(), [np.array([[3.0, -4.0], [0.5, 0.0]])], [(2, 2)], 2)
    np.testing.assert_allclose(z, [[-3.0, 1.0], [-0.5, 0.0]], atol=1e-12)
    (gradient,) = solved.pull_back([np.array([[1.0, 2.0], [3.0, 4.0]])], [True], [(2, 2)], 1e-9, 1)
    np.testing.assert_allclose(gradient, [[-1.0, 0.0], [-3.0, -4.0]], atol=1e-12)
    assert solved.pull_back([np.ones((2, 2))], [False], [(2, 2)], 1e-9, 1) == (None,)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": (0, 2, 0, 0)},
        {"sizes": (2, 3, 0, 0)},
        {"sizes": (2, 2, 0, -1)},
        {"widths": [1]},
        {"widths": []},
        {"parts": []},
        {"parts": [(2, 2, np.eye(3), [])] * 8},
        {"variables": [(np.array([3]), np.array([0]), np.ones(1))]},
        {"variables": [(np.array([0]), np.array([2]), np.ones(1))]},
        {"variables": [(np.array([0]), np.array([-1]), np.ones(1))]},
        {"variables": [(np.array([0]), np.array([0, 1]), np.ones(1))]},
    ],
)
def test_a_family_that_does_not_fit_together(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="do not fit each other"):
        family(**changes)


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("wrong", [-1, 2])
def test_an_entry_outside_of_its_part(place: int, wrong: int) -> None:
    entry = [0, np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1)]
    entry[place] = wrong if place == 0 else np.array([wrong])
    plain = [(2, 2, np.eye(2), []), (2, 1, np.zeros(2), []), (2, 2, np.eye(2), []), (2, 1, np.ones(2), [])]
    empty = [(0, width, np.zeros(0), []) for width in (2, 1, 2, 1)]
    plain[0] = (2, 2, np.eye(2), [tuple(entry)])
    with pytest.raises(ValueError, match="do not fit each other"):
        family(parts=plain + empty)


@pytest.mark.parametrize(
    ("values", "shapes", "batch", "error"),
    [
        ([], [(2,)], 1, ValueError),
        ([np.zeros(3)], [(2,)], 1, ValueError),
        ([np.zeros(2)], [(3,)], 1, ValueError),
        ([np.zeros(2)], [], 1, ValueError),
        ([np.zeros(2)], [(0,)], 0, ValueError),
        ([np.zeros((3, 2))], [(2, 2)], 2, ValueError),
        ([np.zeros(2, np.float32)], [(2,)], 1, TypeError),
        ([np.zeros(4)[::2]], [(2,)], 1, ValueError),
        (["θ"], [(2,)], 1, TypeError),
    ],
)
def test_values_that_a_family_does_not_take(
    values: list[Any], shapes: list[tuple[int, ...]], batch: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        answered(family(), values, shapes, batch)


@pytest.mark.parametrize(
    ("bars", "needed", "shapes"),
    [
        ([], [True], [(2,)]),
        ([np.zeros(3)], [True], [(2,)]),
        ([np.zeros(2)], [True, True], [(2,)]),
        ([np.zeros(2)], [True], [(3,)]),
        ([np.zeros(2)], [True], []),
    ],
)
def test_cotangents_that_a_family_does_not_take(
    bars: list[Any], needed: list[bool], shapes: list[Any]
) -> None:
    _, solved = answered(family(), [np.zeros(2)], [(2,)])
    with pytest.raises(ValueError, match="do not fit each other"):
        solved.pull_back(bars, needed, shapes, 1e-9, 1)


def test_a_family_whose_element_is_in_doubt_is_not_answered() -> None:
    assert answered(family(), [np.array([np.nan, 0.0])], [(2,)]) is None
