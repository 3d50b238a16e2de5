"""Warm starts of quadratic programs, by each of our engines: the same digits as a cold start, whatever is handed in."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import Solution, solve_qp
from tests.layers.catalogue import INFEASIBLE, UNBOUNDED
from tests.layers.instances import assert_close, padded, random_qp, stack

FOUND = ("z", "lam", "nu", "s", "objective")


def assert_same(found: Solution, expected: Solution) -> None:
    assert not found.status.any()
    for name in FOUND:
        assert_close(getattr(found, name), getattr(expected, name), 1e-12, name)


def test_a_warm_start_at_the_solution_takes_no_iteration(rng) -> None:
    data = random_qp(rng, 12, 20, 3, batch=(13,))
    cold = solve_qp(*data)
    assert cold.iterations.min() > 0
    warm = solve_qp(*data, warm_start=cold)
    assert not warm.iterations.any()
    assert_same(warm, cold)


def test_a_warm_start_follows_data_that_move_little(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 12, 20, 3, batch=(13,))
    earlier = solve_qp(Q, q + 1e-3 * torch.randn_like(q), G, h, A, b)
    warm = solve_qp(Q, q, G, h, A, b, warm_start=earlier)
    assert not warm.iterations.any()
    assert_same(warm, solve_qp(Q, q, G, h, A, b))


WRONG: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "not a number": lambda v: torch.full_like(v, torch.nan),
    "infinite": lambda v: torch.full_like(v, torch.inf),
    "opposite": lambda v: -v,
    "enormous": lambda v: 1e30 * torch.ones_like(v),
    "another element's": lambda v: v.roll(1, 0),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_warm_start_costs_iterations_and_no_digit(rng, wrong: str) -> None:
    data = random_qp(rng, 12, 20, 3, batch=(13,))
    cold = solve_qp(*data)
    values = {name: WRONG[wrong](getattr(cold, name)) for name in ("z", "lam", "nu", "s")}
    assert_same(solve_qp(*data, warm_start=replace(cold, **values)), cold)
    # and where one element alone is wrong
    for name in values:
        values[name] = torch.cat([getattr(cold, name)[:5], values[name][5:6], getattr(cold, name)[6:]])
    assert_same(solve_qp(*data, warm_start=replace(cold, **values)), cold)


def test_a_solution_without_solved_elements_is_a_warm_start_too(rng) -> None:
    data = stack([padded(b(np.random.default_rng(7)), 6, 8, 2) for b in (INFEASIBLE | UNBOUNDED).values()])
    failed = solve_qp(*data, on_failure="nan")
    again = solve_qp(*data, on_failure="nan", warm_start=failed)
    assert torch.equal(again.status, failed.status)
    assert all(torch.isnan(getattr(again, f.name)).all() for f in fields(again) if f.name in ("z", "lam"))
