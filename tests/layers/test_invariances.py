"""Changes of the data that must not change the answer, or must change it in a known way; and warm starts."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layers import Status, solve_qp
from layers.qp.interior_point import iteration
from tests.layers.catalogue import SOLVABLE
from tests.layers.instances import NAMES, Data, assert_close, leaves, random_qp, weigh

EXAMPLES = settings(max_examples=12, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)
EXPONENTS = st.floats(-4, 4)


def problem(seed: int) -> Data:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    return random_qp(rng, n, int(rng.integers(0, 9)), int(rng.integers(0, 2)))


@EXAMPLES
@given(SEEDS, EXPONENTS)
def test_scaling_the_objective_scales_the_multipliers_only(seed: int, exponent: float) -> None:
    Q, q, *constraints = problem(seed)
    c = 10.0**exponent
    one, other = solve_qp(Q, q, *constraints), solve_qp(c * Q, c * q, *constraints)
    assert_close(other.z, one.z, 1e-7)
    assert_close(other.lam / c, one.lam, 1e-7)
    assert_close(other.nu / c, one.nu, 1e-7)
    assert_close(other.objective / c, one.objective, 1e-7)


@EXAMPLES
@given(SEEDS, st.lists(EXPONENTS, min_size=9, max_size=9))
def test_scaling_a_row_divides_its_multiplier(seed: int, exponents: list[float]) -> None:
    Q, q, G, h, A, b = problem(seed)
    scale = 10.0 ** torch.tensor(exponents, dtype=torch.float64)
    g, a = scale[: h.numel()], scale[9 - b.numel() :]
    one = solve_qp(Q, q, G, h, A, b)
    other = solve_qp(Q, q, g.unsqueeze(-1) * G, g * h, a.unsqueeze(-1) * A, a * b)
    assert_close(other.z, one.z, 1e-7)
    assert_close(other.lam * g, one.lam, 1e-7)
    assert_close(other.nu * a, one.nu, 1e-7)


@EXAMPLES
@given(SEEDS, st.randoms(use_true_random=False))
def test_permuting_rows_permutes_multipliers_and_gradients(seed: int, random) -> None:
    Q, q, G, h, A, b = problem(seed)
    order = list(range(h.numel()))
    random.shuffle(order)
    one, other = leaves((Q, q, G, h, A, b)), leaves((Q, q, G[order], h[order], A, b))
    solution, permuted = solve_qp(*one), solve_qp(*other)
    assert_close(permuted.z, solution.z, 1e-9)
    assert_close(permuted.lam, solution.lam[order], 1e-8)
    found, expected = (torch.autograd.grad(weigh(s.z), d) for s, d in ((permuted, other), (solution, one)))
    for i, (x, y) in enumerate(zip(found, expected, strict=True)):
        assert_close(x, y[order] if i in (2, 3) else y, 1e-8)


@EXAMPLES
@given(SEEDS, st.floats(0.0, 2.0))
def test_a_redundant_row_changes_neither_answer_nor_gradient(seed: int, gap: float) -> None:
    Q, q, G, h, A, b = problem(seed)
    # implied by the rows that it sums, strictly so
    row, bound = G.sum(0, keepdim=True), h.sum(0, keepdim=True) + 0.1 + gap
    one, other = leaves((Q, q, G, h, A, b)), leaves((Q, q, torch.cat([G, row]), torch.cat([h, bound]), A, b))
    solution, more = solve_qp(*one), solve_qp(*other)
    assert_close(more.z, solution.z, 1e-8)
    assert_close(more.lam[:-1], solution.lam, 1e-8)
    found, expected = (torch.autograd.grad(weigh(s.z), d) for s, d in ((more, other), (solution, one)))
    for x, y in zip(found, expected, strict=True):
        assert_close(x[: y.shape[0]], y, 1e-8)


@EXAMPLES
@given(SEEDS, st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_scaling_the_variables_scales_the_answer_back(seed: int, exponents: list[float]) -> None:
    Q, q, G, h, A, b = problem(seed)
    d = 10.0 ** torch.tensor(exponents[: q.numel()], dtype=torch.float64)
    one = solve_qp(Q, q, G, h, A, b, tol=1e-11)
    other = solve_qp(d.unsqueeze(-1) * Q * d, d * q, G * d, h, A * d, b, tol=1e-11)
    assert_close(d * other.z, one.z, 1e-7)
    assert_close(other.lam, one.lam, 1e-7)
    assert_close(other.objective, one.objective, 1e-7)


@EXAMPLES
@given(SEEDS)
def test_gradients_follow_rows_variables_and_objective_of_sizes_from_1e_minus_6_to_1e6(seed: int) -> None:
    Q, q, G, h, A, b = problem(seed)
    rng = np.random.default_rng(seed + 1)

    def sizes(count: int, reach: float) -> Tensor:
        return torch.tensor(10.0 ** rng.uniform(-reach, reach, size=count))

    c, d, g, a = sizes(1, 4), sizes(q.numel(), 3), sizes(h.numel(), 6), sizes(b.numel(), 6)
    D, E, F = d.unsqueeze(-2), g.unsqueeze(-1), a.unsqueeze(-1)
    one = leaves((Q, q, G, h, A, b))
    other = leaves((c * d.unsqueeze(-1) * Q * D, c * d * q, E * G * D, g * h, F * A * D, a * b))
    expected = torch.autograd.grad(weigh(solve_qp(*one).z), one)
    found = torch.autograd.grad(weigh(d * solve_qp(*other).z), other)
    units = (c * d.unsqueeze(-1) * D, c * d, E * D, g, F * D, a)
    for name, x, y, unit in zip(NAMES, found, expected, units, strict=True):
        assert_close(unit * x, y, 1e-8, name)


@EXAMPLES
@given(SEEDS)
def test_moving_the_origin_moves_the_answer(seed: int) -> None:
    Q, q, G, h, A, b = problem(seed)
    shift = torch.tensor(np.random.default_rng(seed + 1).normal(size=q.numel()))
    one = solve_qp(Q, q, G, h, A, b)
    other = solve_qp(Q, q + Q @ shift, G, h - G @ shift, A, b - A @ shift)
    assert_close(other.z + shift, one.z, 1e-7)
    assert_close(other.lam, one.lam, 1e-7)


@pytest.mark.parametrize("name", SOLVABLE)
def test_warm_start_with_the_same_data_takes_no_iteration(rng, name: str) -> None:
    data = SOLVABLE[name](rng)
    cold = solve_qp(*data)
    warm = solve_qp(*data, warm_start=cold)
    assert warm.iterations.item() == 0
    assert warm.residuals.largest.item() <= 1e-8
    assert_close(warm.objective, cold.objective, 1e-7)


def test_warm_start_after_a_small_change_needs_no_engine_and_has_the_same_gradient(rng, monkeypatch) -> None:
    Q, q, *constraints = random_qp(rng, 5, 6, 1, batch=(3,))
    earlier = solve_qp(Q, q, *constraints)
    moved = leaves((Q, q + 1e-3 * torch.tensor(rng.normal(size=q.shape)), *constraints))
    cold = solve_qp(*moved)
    expected = torch.autograd.grad(weigh(cold.z), moved)
    monkeypatch.setattr(iteration, "advance", None)
    warm = solve_qp(*moved, warm_start=earlier)
    assert_close(warm.z, cold.z, 1e-9)
    for x, y in zip(torch.autograd.grad(weigh(warm.z), moved), expected, strict=True):
        assert_close(x, y, 1e-9)


@pytest.mark.parametrize("nonsense", [0.0, -1e9, float("nan"), float("inf")])
def test_warm_start_from_nonsense_gives_the_right_answer(rng, nonsense: float) -> None:
    data = random_qp(rng, 5, 6, 1, batch=(3,))
    cold = solve_qp(*data)
    fields = {name: torch.full_like(getattr(cold, name), nonsense) for name in ("z", "lam", "nu", "s")}
    warm = solve_qp(*data, warm_start=dataclasses.replace(cold, **fields))
    assert warm.status.tolist() == [Status.OPTIMAL] * 3
    assert_close(warm.z, cold.z, 1e-7)
    assert_close(warm.lam, cold.lam, 1e-7)


def test_warm_start_with_the_wrong_active_set_gives_the_right_answer(rng) -> None:
    data = random_qp(rng, 5, 6, 1)
    cold = solve_qp(*data)
    swapped = dataclasses.replace(cold, lam=cold.s.clamp(min=0) + 0.1, s=cold.lam)
    assert_close(solve_qp(*data, warm_start=swapped).z, cold.z, 1e-8)


def test_one_warm_start_serves_a_batch(rng) -> None:
    Q, q, *constraints = random_qp(rng, 5, 6, 1)
    many = q + 1e-3 * torch.tensor(rng.normal(size=(4, 5)))
    warm = solve_qp(Q, many, *constraints, warm_start=solve_qp(Q, q, *constraints))
    assert warm.iterations.tolist() == [0] * 4
    assert_close(warm.z, solve_qp(Q, many, *constraints).z, 1e-8)
