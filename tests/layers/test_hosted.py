"""Problems on a device that the host solves: which they are, and that nothing but the time tells.

Tensors on the device "meta" have sizes and no numbers: enough for the choice. The rest wants CUDA.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from layers import Status, solve_qp
from layers.native import qp as native
from layers.problem import QP
from layers.qp import hosted
from layers.solution import Solution
from tests.layers.catalogue import INFEASIBLE, SOLVABLE, UNBOUNDED
from tests.layers.instances import NAMES, assert_close, leaves, padded, random_qp, stack, weigh
from tests.layers.test_devices import needs_cuda, on

FIELDS = ("z", "lam", "nu", "s", "objective", "status", "iterations")
needs_core = pytest.mark.skipif(native.unavailable() is not None, reason="the core is not built")


def of_sizes(batch: int, n: int, m: int, device: str) -> QP:
    sizes = ((batch, n, n), (batch, n), (batch, m, n), (batch, m), (batch, 0, n), (batch, 0))
    return QP(*(torch.empty(size, dtype=torch.float64, device=device) for size in sizes))


@pytest.fixture(autouse=True)
def _engine() -> None:
    """Not the matrix over both engines: these tests are about the choice."""


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)


@needs_core
@pytest.mark.parametrize(("batch", "n", "pays"), [(128, 10, True), (1, 100, True), (1024, 500, False)])
def test_little_work_goes_to_the_host_and_much_stays(batch: int, n: int, pays: bool) -> None:
    assert hosted.pays(of_sizes(batch, n, n, "meta")) is pays


@needs_core
def test_more_threads_take_more_work() -> None:
    problem = of_sizes(64, 300, 300, "meta")
    assert not hosted.pays(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 32)
        assert hosted.pays(problem)


@needs_core
def test_many_numbers_with_little_work_stay() -> None:
    """The copies count: rows cost n/2 operations a number, and n is small here."""
    assert hosted.pays(of_sizes(10_000, 2, 2, "meta"))
    assert not hosted.pays(of_sizes(10_000_000, 2, 2, "meta"))


def test_what_is_on_the_host_or_hidden_by_a_transform_stays() -> None:
    assert not hosted.pays(of_sizes(2, 3, 3, "cpu"))
    problem = of_sizes(2, 3, 3, "meta")
    answers: list[bool] = []

    def look(q: Tensor) -> Tensor:
        answers.append(hosted.pays(replace(problem, q=q)))
        return q

    torch.func.vmap(look)(problem.q)
    assert answers == [False]


def test_without_the_core_everything_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_core", None)
    monkeypatch.setattr(native, "_reason", "not built")
    assert not hosted.pays(of_sizes(2, 3, 3, "meta"))


def devices(solution: Solution) -> set[str]:
    degeneracy = solution.degeneracy
    tensors = [getattr(solution, name) for name in FIELDS]
    tensors += [solution.residuals.relative, degeneracy.margin, degeneracy.rank_deficiency]
    return {t.device.type for t in tensors}


def test_every_field_comes_back(rng) -> None:
    solution = solve_qp(*random_qp(rng, 4, 5, 1, batch=(3,)))
    assert devices(hosted.returned(solution, torch.device("meta"))) == {"meta"}


@needs_cuda
@needs_core
def test_the_host_gives_the_answers_and_statuses_of_the_device(rng) -> None:
    kinds = {**SOLVABLE, **INFEASIBLE, **UNBOUNDED}
    data = stack([padded(build(rng), 6, 16, 2) for build in kinds.values()])
    given = on("cuda", data)
    found = solve_qp(*given, on_failure="nan")
    expected = solve_qp(*given, solver="interior_point", on_failure="nan")
    assert devices(found) == {"cuda"}
    assert found.status.tolist() == expected.status.tolist()
    solved = found.status == Status.OPTIMAL
    assert_close(found.objective[solved], expected.objective[solved], 1e-8, "objective")


@needs_cuda
@needs_core
def test_gradients_and_warm_starts_cross_devices(rng) -> None:
    data = random_qp(rng, 6, 9, 2, batch=(20,))
    here, there = leaves(data), leaves(on("cuda", data))
    expected, found = solve_qp(*here, tol=1e-11), solve_qp(*there, tol=1e-11)
    weigh(expected.z).backward()
    weigh(found.z.cpu()).backward()
    for name, g, e in zip(NAMES, there, here, strict=True):
        assert g.grad is not None
        assert e.grad is not None
        assert_close(g.grad.cpu(), e.grad, 1e-9, name)
    warm = solve_qp(*there, warm_start=found)
    assert warm.iterations.max() == 0
    assert_close(warm.z, found.z, 1e-9, "z")
