"""ADMM: it converges to what the other engines find, its fixed points are the solutions, and its status is honest."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from layers import QPLayer, SolverError, Status, adjoint, solve_qp
from layers.problem import QP
from layers.qp import admm
from layers.qp.gradients import Triple
from layers.qp.scaling import scale_problem
from tests.layers.catalogue import INFEASIBLE, SOLVABLE
from tests.layers.instances import NAMES, Data, assert_close, leaves, random_qp, stack, weigh


def flat(data: Data) -> QP:
    """With one batch axis."""
    problem = QP(*data)
    return problem.flatten() if problem.batch_shape else QP(*(t.unsqueeze(0) for t in data)).flatten()


@pytest.mark.parametrize("kind", SOLVABLE)
def test_it_solves_whatever_can_be_solved(kind: str) -> None:
    problem = flat(SOLVABLE[kind](np.random.default_rng(3)))
    point = admm.solve(problem, 1e-8, 2000, 1.0)
    assert point.status.tolist() == [Status.OPTIMAL]
    assert 0 < int(point.iterations) < 1000
    assert float(point.residuals.largest) <= 1e-8


def test_it_finds_what_the_interior_point_finds(rng) -> None:
    data = random_qp(rng, 6, 8, 2, batch=(5,))
    right = solve_qp(*data, tol=1e-12)
    point = admm.solve(flat(data), 1e-11, 3000, 1.0)
    for x, y in zip((point.z, point.lam, point.nu), (right.z, right.lam, right.nu), strict=True):
        assert_close(x, y, 1e-8)


@pytest.mark.parametrize(
    "kind", ["strictly_convex", "linear", "rows_of_many_sizes", "variables_of_many_sizes"]
)
def test_a_solution_is_a_fixed_point_and_another_point_is_none(kind: str) -> None:
    data = SOLVABLE[kind](np.random.default_rng(3))
    problem, found = flat(data), solve_qp(*data, tol=1e-12)
    scaled = scale_problem(problem)
    split = admm.Splitting.of(scaled.weighted(), problem.q.new_ones(1, 1))
    inside = Triple(*scaled.scale(found.z[None], found.lam[None], found.nu[None]))
    state = split.state(inside)
    for before, after in zip(state, split.step(*state), strict=True):
        assert_close(after, before, 1e-11)
    for x, y in zip(split.point(*state), inside, strict=True):
        assert_close(x, y, 1e-11)
    moved = split.step(state[0] + 0.1, state[1])
    assert (moved[0] - state[0]).abs().max() > 1e-3


def test_the_elements_of_a_batch_do_not_know_of_each_other(rng) -> None:
    problems = [random_qp(rng, 5, 6, 1) for _ in range(4)]
    whole = admm.solve(flat(stack(problems)), 1e-9, 2000, 1.0)
    assert len(set(whole.iterations.tolist())) > 1
    for i, data in enumerate(problems):
        alone = admm.solve(flat(data), 1e-9, 2000, 1.0)
        assert int(alone.iterations) == int(whole.iterations[i])
        assert_close(whole.z[i], alone.z[0], 1e-12)


def test_what_has_no_solution_is_not_called_optimal() -> None:
    for build in INFEASIBLE.values():
        point = admm.solve(flat(build(np.random.default_rng(0))), 1e-8, 200, 1.0)
        assert point.status.tolist() == [Status.ITERATION_LIMIT]


def test_the_answer_is_the_iterate_and_the_status_says_what_it_is(rng) -> None:
    data = random_qp(rng, 5, 6, 2)
    few = adjoint("unrolled", k=7)
    with pytest.raises(
        SolverError,
        match=r"ITERATION_LIMIT(.|\n)*answer of its own iterations: raise k, or tol; .*adjoint=\"implicit\"",
    ):
        solve_qp(*data, adjoint=few)
    loose = solve_qp(*data, adjoint=few, tol=1e3)
    never = admm.iterate(flat(data), 7, 1.0, lambda at: torch.zeros(1, dtype=torch.bool))
    assert_close(loose.z, never.point.z[0], 1e-14)
    assert int(loose.status) == Status.OPTIMAL
    assert (loose.z - solve_qp(*data).z).abs().max() > 1e-4
    unsolved = solve_qp(*data, adjoint=few, on_failure="ignore")
    assert int(unsolved.status) == Status.ITERATION_LIMIT


@pytest.mark.parametrize(("name", "parts"), [("unrolled", "QqGhAb"), ("alternating", "qhb")])
def test_forward_and_backward_belong_together(rng, name: str, parts: str) -> None:
    """At a tolerance that is met early, the derivative is that of the iterate that came back, not of the solution."""
    data = random_qp(rng, 5, 6, 2)
    given = leaves(data)
    found = solve_qp(*given, adjoint=name, tol=1e-3)
    got = torch.autograd.grad(weigh(found.z), given)
    again = leaves(data)
    problem = QP(*(t.unsqueeze(0) for t in again))
    steps = int(found.iterations)
    assert steps < 100
    walk = admm.iterate(problem, steps, 1.0, lambda at: torch.zeros(1, dtype=torch.bool))
    right = torch.autograd.grad(weigh(walk.point.z[0]), again)
    solution = torch.autograd.grad(weigh(solve_qp(*given, tol=1e-12).z), given)
    for label, x, y, z in zip(NAMES, got, right, solution, strict=True):
        if label in parts:
            assert_close(x, 0.5 * (y + y.mT) if label == "Q" else y, 1e-10, label)
            assert (x - z).abs().max() > 1e-6 * z.abs().max()


def test_a_layer_keeps_its_settings_through_a_copy() -> None:
    layer = QPLayer(adjoint=adjoint("truncated", k=7))
    assert copy.deepcopy(layer).adjoint == layer.adjoint == pickle.loads(pickle.dumps(layer)).adjoint
