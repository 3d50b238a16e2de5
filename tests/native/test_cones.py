"""Cone programs in the core: the door, the lanes, threads, and what is left to the other engines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from layers import ConvexLayer, Status
from layers.cone.function import solve_cone_program
from layers.cone_program import ConeProgram, Cones
from layers.native import _core
from layers.native import cone as native_cones
from tests.layers.conic_instances import from_dense, random_program
from tests.layers.instances import assert_close
from tests.native.conftest import Child
from tests.native.test_door import WRONG_KIND, WRONG_SHAPE

Array = NDArray[np.generic]

B, N, CONES = 3, 9, Cones(zero=1, nonneg=2, soc=(3, 2))
DATA = ("P", "q", "A", "b")
SYSTEM = ("P", "A", "y", "s", "r1", "r2")
#: as in test_kernels: every instruction set answers the same program, in a process of its own
PROGRAM = """
import json, sys
import numpy as np
import torch
from layers.native import _core
from layers.cone_program import Cones
from tests.layers.conic_instances import random_program

answers, statuses = {}, []
shapes = [(1, (0, 1, ())), (5, (1, 2, (2,))), (14, (2, 5, (3, 4))), (24, (3, 8, (9, 2, 2))), (90, (5, 40, (30, 12)))]
for n, (zero, nonneg, soc) in shapes:
    for batch in (1, 2, 7, 9, 17):
        program, x, y, s = random_program(Cones(zero, nonneg, soc=soc), n, batch)
        S = program.structure
        cones, places = (zero, nonneg, soc), (S.P_rows, S.P_cols, S.A_rows, S.A_cols)
        r = [torch.randn(v.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) for v in (x, y)]
        runs = [_core.solve_cones(cones, places, *program.data, 50, threads) for threads in (1, 2)]
        assert all(np.array_equal(u, v) for u, v in zip(*runs)), ("threads", n, batch)
        given = (program.P, program.A, y, s, *r)
        moved = [_core.solve_cones_linearised(cones, places, *given, threads) for threads in (1, 2)]
        assert all(np.array_equal(u, v) for u, v in zip(*moved)), ("threads", n, batch)
        statuses.append(runs[0][3].tolist())
        assert np.abs(runs[0][0] - x.numpy()).max() < 1e-11, (n, batch)
        answers |= {f"{n},{batch},{i}": v for i, v in enumerate((*runs[0][:3], *moved[0][:2]))}
np.savez(sys.argv[1], **answers)
print(json.dumps([_core.lanes(), statuses]))
"""


def places(program: ConeProgram) -> tuple[Array, ...]:
    s = program.structure
    return s.P_rows, s.P_cols, s.A_rows, s.A_cols


def cones(program: ConeProgram) -> tuple[int, int, tuple[int, ...]]:
    c = program.structure.cones
    return c.zero, c.nonneg, c.soc


@pytest.fixture
def program() -> ConeProgram:
    return random_program(CONES, N, B)[0]


@pytest.fixture
def data(program: ConeProgram) -> dict[str, Array]:
    return {name: v.numpy() for name, v in zip(DATA, program.data, strict=True)}


@pytest.fixture
def system(rng, data) -> dict[str, Array]:
    free = {"y": (B, CONES.rows), "s": (B, CONES.rows), "r1": (B, N), "r2": (B, CONES.rows)}
    return {"P": data["P"], "A": data["A"]} | {k: rng.normal(size=shape) for k, shape in free.items()}


@pytest.mark.parametrize("kind", WRONG_KIND)
@pytest.mark.parametrize("name", DATA)
def test_data_of_a_wrong_dtype_or_layout(program, data, name: str, kind: str) -> None:
    change, error = WRONG_KIND[kind]
    changed = data | {name: change(data[name])}
    with pytest.raises(error, match=rf"^{name}\b"):
        _core.solve_cones(cones(program), places(program), *changed.values(), 50, 1)


@pytest.mark.parametrize("shape", WRONG_SHAPE)
@pytest.mark.parametrize("name", DATA)
def test_data_of_a_wrong_shape(program, data, name: str, shape: str) -> None:
    changed = data | {name: WRONG_SHAPE[shape](data[name])}
    with pytest.raises(ValueError, match=r"has shape|two axes|out of range|do not fit|outside"):
        _core.solve_cones(cones(program), places(program), *changed.values(), 50, 1)


@pytest.mark.parametrize("kind", WRONG_KIND)
@pytest.mark.parametrize("name", SYSTEM)
def test_linear_system_of_a_wrong_dtype_or_layout(program, system, name: str, kind: str) -> None:
    change, error = WRONG_KIND[kind]
    changed = system | {name: change(system[name])}
    with pytest.raises(error, match=rf"^{name}\b"):
        _core.solve_cones_linearised(cones(program), places(program), *changed.values(), 1)


@pytest.mark.parametrize("shape", WRONG_SHAPE)
@pytest.mark.parametrize("name", SYSTEM)
def test_linear_system_of_a_wrong_shape(program, system, name: str, shape: str) -> None:
    changed = system | {name: WRONG_SHAPE[shape](system[name])}
    with pytest.raises(ValueError, match=r"has shape|two axes|out of range|do not fit|outside"):
        _core.solve_cones_linearised(cones(program), places(program), *changed.values(), 1)


@pytest.mark.parametrize(
    "wrong",
    [(1, 2, (3, 3)), (2, 2, (3, 2)), (-1, 4, (3, 2)), (1, 3, (3, 1)), (1, 6, ()), (1, 4, (3, 0))],
)
def test_cones_that_do_not_fit(program, data, wrong: tuple[int, int, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="the cones do not fit b"):
        _core.solve_cones(wrong, places(program), *data.values(), 50, 1)


@pytest.mark.parametrize(("which", "name"), list(enumerate(("P_rows", "P_cols", "A_rows", "A_cols"))))
@pytest.mark.parametrize("value", [-1, 10**9])
def test_a_pattern_that_leaves_its_matrix(program, data, which: int, name: str, value: int) -> None:
    given = [p.copy() for p in places(program)]
    given[which][1] = value
    with pytest.raises(ValueError, match=f"{name} has an entry outside of its matrix"):
        _core.solve_cones(cones(program), tuple(given), *data.values(), 50, 1)


def test_every_instruction_set_and_number_of_threads_gives_the_same_answers(child: Child, tmp_path) -> None:
    found: dict[int, dict[str, NDArray[np.float64]]] = {}
    for asked in (2, 4, 8):
        file = tmp_path / f"{asked}.npz"
        lanes, statuses = json.loads(child(PROGRAM, str(file), CONVEX_LAYERS_LANES=str(asked)))
        assert not any(itertools.chain(*statuses)), "not solved"
        found[lanes] = dict(np.load(file))
    for lanes, answers in found.items():
        for name, value in answers.items():
            scale = np.abs(found[2][name]).max(initial=1e-3)
            assert np.abs(value - found[2][name]).max(initial=0.0) <= 1e-10 * scale, (lanes, name)


def test_an_element_does_not_feel_its_neighbours() -> None:
    """Lanes that are near the end wait for the others without a move of their own."""
    program, *_ = random_program(Cones(zero=1, nonneg=6, soc=(4, 3)), 15, 13)
    spoilt = ConeProgram(program.structure, program.P, program.q.clone(), program.A, program.b.clone())
    spoilt.b[1::2] = -1e3  # the nonnegative rows of these cannot hold: they run to the end
    whole = _core.solve_cones(cones(program), places(program), *program.data, 50, 1)
    beside = _core.solve_cones(cones(program), places(program), *spoilt.data, 50, 1)
    assert (whole[3] == 0).all()
    for x, y in zip(whole[:3], beside[:3], strict=True):
        np.testing.assert_allclose(x[::2], y[::2], rtol=1e-11, atol=1e-12)


def test_what_is_shared_is_answered_as_what_is_copied() -> None:
    program, *_ = random_program(CONES, N, 5)
    P, A = program.P[0], program.A[0]
    b = program.b.abs() + 1  # zero is feasible but for the first row
    alone = ConeProgram(program.structure, P, program.q, A, b)
    copied = ConeProgram(program.structure, P.expand(5, -1).clone(), program.q, A.expand(5, -1).clone(), b)
    for x, y in zip(
        *(_core.solve_cones(cones(p), places(p), *p.data, 50, 1) for p in (alone, copied)), strict=True
    ):
        np.testing.assert_array_equal(x, y)


def test_where_active_rows_are_dependent_no_step_of_newton_is_taken() -> None:
    """Two copies of one active row: a step may end at any of their multipliers, also where one of them is zero."""
    P = torch.eye(2, dtype=torch.float64)
    q = torch.tensor([[-2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    A = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    b = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    program = from_dense(P, q, A, b, Cones(nonneg=2))
    solution = solve_cone_program(program)
    assert solution.status.tolist() == [Status.OPTIMAL]
    assert (solution.x - torch.tensor([[1.0, 0.0]])).abs().max() < 1e-12
    assert (solution.y - 0.5).abs().max() < 1e-3
    (moved,) = torch.autograd.grad(solution.x[0, 0], b)
    assert abs(moved.sum().item() - 1) < 1e-9


def test_the_bound_on_a_norm_that_does_not_bind_leaves_nothing_to_others(monkeypatch) -> None:
    """‖x‖ ≤ t ≤ 9: with t free between them the system has a zero column, whose answer is 0."""
    B = torch.linspace(-1, 1, 2 * 15 * 4, dtype=torch.float64).reshape(2, 15, 4).sin().requires_grad_()
    x, M = cp.Variable(4), cp.Parameter((15, 4))
    cost = cp.norm(M @ x - np.arange(15.0)) + 0.1 * cp.sum_squares(x)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost), [cp.norm(x) <= 9, x >= -20]), [M], [x])
    asked: list[object] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            asked.append(answer := function(*arguments))
            return answer

        return call

    with monkeypatch.context() as patch:
        for name in ("solve", "solve_linearised"):
            patch.setattr(native_cones, name, watched(getattr(native_cones, name)))
        (found,) = layer(B)
        (gradient,) = torch.autograd.grad(found[:, 0].sum(), B)
    claim, (_, _, error) = asked
    assert claim[3].tolist() == [0, 0]
    assert error.max() < 1e-12
    assert found.norm(dim=1).max() < 8
    monkeypatch.setattr(native_cones, "MOST_WORK", -1)
    (expected,) = layer(B)
    (by_torch,) = torch.autograd.grad(expected[:, 0].sum(), B)
    assert_close(found, expected, 1e-9, "x")
    assert_close(gradient, by_torch, 1e-9, "gradient")


@pytest.mark.parametrize(("row", "answers"), [((1.0, 1.0), False), ((1.0, 0.0), True)])
def test_the_derivative_tells_a_system_that_may_be_singular(row: tuple[float, float], answers: bool) -> None:
    """minimise 0 over a'x ≤ 1: nothing determines how x moves along the row, and only a zero column is no riddle."""
    P, zero, one = torch.zeros(2, 2).double(), torch.zeros(1, 2).double(), torch.ones(1, 1).double()
    program = from_dense(P, zero, torch.tensor([row], dtype=torch.float64), one, Cones(nonneg=1))
    for r1, solvable in (
        (torch.tensor([row], dtype=torch.float64), answers),
        (torch.ones(1, 2).double() + 1, False),
    ):
        found = native_cones.solve_linearised(program, one, torch.zeros(1, 1).double(), r1, one)
        assert found is not None
        assert (found[2].item() < 1e-12) is solvable
        assert solvable or found[2].item() > 0.1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_element_that_is_not_finite_is_left(program, value: float) -> None:
    q = program.q.clone()
    q[1, 0] = value
    raw = _core.solve_cones(cones(program), places(program), program.P, q, program.A, program.b, 50, 1)
    assert raw[3].tolist() == [0, -1, 0]


def test_cones_that_the_core_does_not_know_and_large_programs_go_elsewhere() -> None:
    for other in (Cones(psd=(2,)), Cones(exp=1), Cones(power=(0.5,)), Cones(soc=(1,))):
        assert not native_cones.supports(random_program(other, 4)[0].structure)
    assert native_cones.supports(random_program(CONES, 4)[0].structure)
    assert not native_cones.supports(random_program(Cones(nonneg=300), 500, batch=1)[0].structure)
