"""Devices that work ahead of the host: the same answers, and nobody waits between two looks.

On the CPU the engine is told to behave as if it worked ahead; on CUDA it does, where there is a device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from layers import ConvexLayer, Solution, solve_qp
from layers.linalg import saddle
from layers.problem import QP
from layers.qp.function import SolutionMap
from layers.qp.interior_point import iteration
from layers.qp.interior_point.embedding import advance, initial
from layers.qp.scaling import scale_problem
from layers.solution import Status
from tests.layers.catalogue import INFEASIBLE, SOLVABLE, UNBOUNDED
from tests.layers.instances import NAMES, Data, assert_close, leaves, padded, random_qp, stack, weigh

SIZES = (6, 16, 2)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
#: operations that hand a number from the device to the host
LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal")


@pytest.fixture(autouse=True)
def _engine() -> None:
    """Not the matrix over both engines: these tests name theirs."""


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_cuda)])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cpu":
        for module in (iteration, saddle):
            monkeypatch.setattr(module, "works_ahead", lambda _: True)
    return request.param


def on(device: str, data: Data) -> Data:
    Q, q, G, h, A, b = (t.to(device) for t in data)
    return Q, q, G, h, A, b


def solve(data: Data, on_failure: str = "nan") -> Solution:
    return solve_qp(*data, solver="interior_point", on_failure=on_failure)


def everything(rng: np.random.Generator) -> Data:
    builders = {**SOLVABLE, **INFEASIBLE, **UNBOUNDED}
    return stack([padded(build(rng), *SIZES) for build in builders.values()])


def expected_of_everything() -> list[Status]:
    kinds = ((SOLVABLE, Status.OPTIMAL), (INFEASIBLE, Status.INFEASIBLE), (UNBOUNDED, Status.UNBOUNDED))
    return [status for builders, status in kinds for _ in builders]


def test_every_kind_of_program_in_one_batch_gets_its_status_and_its_accuracy(rng, device: str) -> None:
    solution = solve(on(device, everything(rng)))
    assert solution.status.tolist() == expected_of_everything()
    assert solution.z.device.type == device
    solved = solution.status == Status.OPTIMAL
    assert solution.residuals.largest[solved].max() <= 1e-8


def test_solution_and_gradients_are_those_of_the_careful_path(rng, device: str) -> None:
    data = random_qp(rng, *SIZES, batch=(20,))
    there, here = leaves(on(device, data)), leaves(data)
    found, expected = solve(there, "raise"), solve_qp(*here, tol=1e-12)
    for name in ("z", "lam", "nu", "s", "objective"):
        assert_close(getattr(found, name).cpu(), getattr(expected, name), 1e-9, name)

    def of(solution: Solution, inputs: Data) -> tuple[Tensor, ...]:
        return torch.autograd.grad(weigh(solution.z.cpu()) + weigh(solution.lam.cpu()), inputs)

    for name, g, e in zip(NAMES, of(found, there), of(expected, here), strict=True):
        assert_close(g.cpu(), e, 1e-8, name)


def test_an_element_whose_factorisation_stumbles_waits_and_is_solved(rng, device: str, monkeypatch) -> None:
    """Element 3 has no factor until the host has looked."""
    data = on(device, random_qp(rng, *SIZES, batch=(8,)))
    expected = solve(data, "raise")
    real, failures = saddle._Cholesky.__init__, Counter[bool]()

    def stumbling(self: saddle._Cholesky, M: Tensor, shift: float, looks: bool) -> None:
        real(self, M, shift, looks)
        if not looks:
            failures[looks] += 1
            self.failed = self.failed | (torch.arange(len(self.failed), device=M.device) == 3)

    monkeypatch.setattr(saddle._Cholesky, "__init__", stumbling)
    found = solve(data, "raise")
    assert failures[False] == 2 * iteration.AHEAD
    assert found.iterations[3] == expected.iterations[3] + iteration.AHEAD
    assert_close(found.z, expected.z, 1e-9, "z")


class Looks(TorchDispatchMode):
    """Counts how often the host asks for a number."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ in LOOKS
        return func(*args, **(kwargs or {}))


def looks_within(problem: QP, iterations: int, monkeypatch) -> tuple[int, int]:
    """How often the engine looks at the batch, and what the iterations between two looks ask for."""
    within, calls = Looks(), Counter[str]()

    def counted(name: str, function: Callable[..., Any], mode: Any) -> None:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            with mode:
                return function(*arguments, **options)

        patch.setattr(iteration, name, call)

    with monkeypatch.context() as patch:
        counted("_look", iteration._look, nullcontext())
        counted("_moved", iteration._moved, within)
        iteration.walk(iteration.Programs.of(problem), 1e-300, iterations)
    assert calls["_moved"] == iterations
    return calls["_look"], within.count


def test_the_host_looks_once_in_several_iterations(rng, device: str, monkeypatch) -> None:
    problem = QP(*on(device, random_qp(rng, *SIZES, batch=(5,)))).flatten()
    ahead = iteration.AHEAD
    assert looks_within(problem, 3 * ahead, monkeypatch) == (1 + 3, 0)
    for module in (iteration, saddle):
        monkeypatch.setattr(module, "works_ahead", lambda _: False)
    looks, within = looks_within(problem, 3 * ahead, monkeypatch)
    assert looks == 1 + 3 * ahead
    assert within >= 3 * ahead


@needs_cuda
def test_cuda_does_not_wait_for_the_host_within_an_iteration(rng) -> None:
    problem = QP(*on("cuda", random_qp(rng, *SIZES, batch=(50,)))).flatten()
    scaled = scale_problem(problem)
    point = initial(scaled)
    advance(scaled, point, looks=False)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        advance(scaled, point, looks=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
@pytest.mark.parametrize("solver", ["auto", "interior_point"])
def test_second_derivatives_transforms_and_single_precision_on_cuda(rng, solver: str) -> None:
    Q, q, G, h, A, b = on("cuda", random_qp(rng, 4, 5, 1))

    def z_of(q: Tensor) -> Tensor:
        return solve_qp(Q, q, G, h, A, b, solver=solver).z

    q = q.requires_grad_()
    assert torch.autograd.gradcheck(z_of, q)
    assert torch.autograd.gradgradcheck(
        lambda Q: solve_qp(0.5 * (Q + Q.mT), q, G, h, A, b, solver=solver).z, Q.requires_grad_()
    )
    forward, reverse = torch.func.jacfwd(z_of)(q), torch.func.jacrev(z_of)(q)
    assert_close(forward, reverse, 1e-10, "Jacobian")
    single = solve_qp(*(t.float() for t in (Q, q, G, h, A, b)), solver=solver)
    assert single.z.dtype == torch.float32
    assert_close(single.z.double(), z_of(q), 1e-5, "z")


@needs_cuda
@pytest.mark.parametrize("cone", ["quadratic", "second_order"])
def test_convex_layers_take_cuda_tensors_and_return_them(rng, cone: str) -> None:
    x, c = cp.Variable(4), cp.Parameter(4)
    cost = cp.sum_squares(x - c) if cone == "quadratic" else cp.norm(x - c) + 0.1 * cp.sum_squares(x)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost), [x >= 0, cp.sum(x) == 1]), [c], [x])
    values = torch.from_numpy(rng.normal(size=(6, 4)))
    here, there = values.clone().requires_grad_(), values.cuda().requires_grad_()
    (expected,), (found,) = layer(here), layer(there)
    assert found.device.type == "cuda"
    assert_close(found.cpu(), expected, 1e-7, "x")
    weight = torch.linspace(1, 2, 4).double()
    ((expected * weight).sum() + (found.cpu() * weight).sum()).backward()
    assert there.grad is not None
    assert here.grad is not None
    assert_close(there.grad.cpu(), here.grad, 1e-6, "gradient")


def test_without_cotangents_the_core_is_not_handed_the_tensors_of_a_device(rng) -> None:
    """Nothing to pull back says nothing of the device: that is told by what the call has saved."""
    Q, q, G, h, A, b = (t.to("meta") for t in random_qp(rng, *SIZES, batch=(3,)))
    kind, status = h.to(torch.int8), torch.zeros(3, dtype=torch.int64, device="meta")
    saved = (Q, q, G, h, A, b, q, h, b, kind, status)
    call = SimpleNamespace(saved_tensors=saved, needs_input_grad=(False, *[True] * 6), adjoint="implicit")
    with torch.no_grad():
        assert SolutionMap.backward(call, *[None] * 9) == (None,) * 7


@needs_cuda
def test_tensors_on_two_devices_are_refused(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, *SIZES)
    with pytest.raises(ValueError, match="share one device"):
        solve_qp(Q, q.cuda(), G, h, A, b)
