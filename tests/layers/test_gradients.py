"""First and second derivatives of every output with respect to every argument, against independent ones."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import solve_qp
from layers.native import qp as native
from layers.qp.adjoints import implicit
from tests.layers.instances import (
    NAMES,
    Data,
    assert_close,
    clarabel_solution,
    leaves,
    random_qp,
    weigh,
)

OUTPUTS = ("z", "lam", "nu", "s", "objective")
SIZES = {"both": (5, 6, 2), "no inequalities": (5, 0, 2), "no equalities": (5, 6, 0), "neither": (5, 0, 0)}


def output(name: str, data: Data) -> Tensor:
    return getattr(solve_qp(*data, tol=1e-10), name)


def gradients(function: Callable[[Data], Tensor], data: Data) -> tuple[Tensor, ...]:
    variables = leaves(data)
    return torch.autograd.grad(function(variables), variables, materialize_grads=True)


def peer_output(name: str, data: Data) -> Tensor:
    """The same quantity computed by Clarabel."""
    z, lam, nu = (torch.tensor(v) for v in clarabel_solution(data))
    Q, q, G, h, _, _ = data
    return {"z": z, "lam": lam, "nu": nu, "s": h - G @ z, "objective": 0.5 * z @ Q @ z + q @ z}[name]


def central_differences(name: str, data: Data, step: float = 1e-4) -> list[Tensor]:
    """Fourth-order central differences of weigh(output); Q moves symmetrically, as only ½(Q + Qᵀ) counts."""

    def value(argument: int, change: Tensor) -> float:
        moved = [t + change if i == argument else t for i, t in enumerate(data)]
        return weigh(peer_output(name, tuple(moved))).item()

    result: list[Tensor] = []
    for argument, tensor in enumerate(data):
        slope = torch.zeros_like(tensor)
        for index in np.ndindex(tuple(tensor.shape)):
            unit = torch.zeros_like(tensor)
            unit[index] = step
            if argument == 0:
                unit = 0.5 * (unit + unit.mT)
            near, far = (value(argument, k * unit) - value(argument, -k * unit) for k in (1, 2))
            slope[index] = (8 * near - far) / (12 * step)
        result.append(slope)
    return result


@pytest.mark.parametrize("name", OUTPUTS)
def test_gradients_are_the_central_differences_of_an_independent_solver(rng, name: str) -> None:
    data = random_qp(rng, 4, 5, 1)
    found = gradients(lambda d: weigh(output(name, d)), data)
    for argument, x, y in zip(NAMES, found, central_differences(name, data), strict=True):
        assert_close(x, y, 1e-6, f"d{name}/d{argument}")


def test_the_gradient_of_G_as_it_is_misread_fails_the_same_comparison(rng) -> None:
    # OptNet's eq. 8 read as D(λ)(d_λ zᵀ + λ d_zᵀ) instead of D(λ) d_λ zᵀ + λ d_zᵀ.
    data = random_qp(rng, 4, 5, 1)
    right = central_differences("z", data)[2]
    Q, G, A = data[0], data[2], data[4]
    solution = solve_qp(*data)
    z, lam, s = solution.z, solution.lam, solution.s
    K = torch.zeros(10, 10, dtype=torch.float64)
    K[:4, :4], K[:4, 4:9], K[:4, 9:] = Q, G.mT * lam, A.mT
    K[4:9, :4], K[4:9, 4:9], K[9:, :4] = G, torch.diag(-s), A
    z_bar = torch.linspace(1.0, 2.0, 4, dtype=torch.float64)
    d = torch.linalg.solve(K, -torch.cat([z_bar, torch.zeros(6, dtype=torch.float64)]))
    d_z, d_lam = d[:4], d[4:9]
    printed = torch.outer(lam * d_lam, z) + torch.outer(lam, d_z)
    misread = lam.unsqueeze(-1) * (torch.outer(d_lam, z) + torch.outer(lam, d_z))
    assert_close(printed, right, 1e-6)
    assert_close(gradients(lambda d: weigh(output("z", d)), data)[2], right, 1e-6)
    with pytest.raises(AssertionError):
        assert_close(misread, right, 1e-2)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("name", OUTPUTS)
def test_forward_and_reverse_derivatives_are_adjoint(rng, name: str, sizes: tuple[int, int, int]) -> None:
    data = random_qp(rng, *sizes, batch=(3,))
    tangents = tuple(torch.tensor(rng.normal(size=t.shape)) for t in data)
    y, pushed = torch.func.jvp(lambda *d: output(name, d), data, tangents)
    w = torch.tensor(rng.normal(size=y.shape))
    pulled = torch.func.vjp(lambda *d: output(name, d), *data)[1](w)
    left = (pushed * w).sum()
    right = sum((x * t).sum() for x, t in zip(pulled, tangents, strict=True))
    size = sum((x * t).abs().sum() for x, t in zip(pulled, tangents, strict=True))
    assert abs(left - right) <= 1e-10 * max(size, 1e-3)


def parts(data: Data) -> Data:
    """Data whose first entry is a factor L of Q = LLᵀ + I, so that any perturbation is admissible."""
    return (torch.linalg.cholesky(data[0]), *data[1:])


def from_factor(*arguments: Tensor) -> tuple[Tensor, ...]:
    L = arguments[0]
    Q = L @ L.mT + torch.eye(L.shape[-1], dtype=L.dtype)
    solution = solve_qp(Q, *arguments[1:], tol=1e-11)
    return solution.z, solution.lam, solution.nu, solution.s, solution.objective


@pytest.mark.parametrize("sizes", [(3, 2, 1, ()), (3, 1, 1, (2,))], ids=["one", "batch"])
def test_gradcheck_in_reverse_and_forward_mode(rng, sizes: tuple[int, int, int, tuple[int, ...]]) -> None:
    variables = leaves(parts(random_qp(rng, *sizes)))
    assert torch.autograd.gradcheck(from_factor, variables, check_forward_ad=True, rtol=1e-6, atol=1e-7)


def test_gradgradcheck_in_reverse_over_reverse_and_forward_over_reverse(rng) -> None:
    variables = leaves(parts(random_qp(rng, 3, 2, 1)))
    assert torch.autograd.gradgradcheck(from_factor, variables, check_fwd_over_rev=True, rtol=1e-5, atol=1e-7)


def test_gradient_of_the_objective_is_the_envelope_and_costs_no_solve(rng, monkeypatch) -> None:
    data = random_qp(rng, 5, 6, 2, batch=(3,))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a linear system was solved")

    for module, name in ((implicit, "solve_accurately"), (native, "pull_back")):
        monkeypatch.setattr(module, name, refuse)
    variables = leaves(data)
    solution = solve_qp(*variables)
    found = torch.autograd.grad(solution.objective.sum(), variables, retain_graph=True)
    z, lam, nu = (v.detach().unsqueeze(-1) for v in (solution.z, solution.lam, solution.nu))
    outer = (0.5 * z @ z.mT, lam @ z.mT, nu @ z.mT)
    expected = (outer[0], z[..., 0], outer[1], -lam[..., 0], outer[2], -nu[..., 0])
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert_close(x, y, 1e-14, name)
    with pytest.raises(AssertionError, match="solved"):
        solution.z.sum().backward()


@pytest.mark.parametrize("shared", range(6), ids=NAMES)
def test_a_shared_argument_receives_the_sum_over_the_batch(rng, shared: int) -> None:
    # small changes of one problem, so that any mixture of them has a feasible point
    changed = [t * (1 + 0.01 * torch.tensor(rng.normal(size=(3, *t.shape)))) for t in random_qp(rng, 4, 5, 1)]
    changed[0] = 0.5 * (changed[0] + changed[0].mT)
    data = [t[0] if i == shared else t for i, t in enumerate(changed)]
    copies = [t.expand(3, *t.shape) if i == shared else t for i, t in enumerate(data)]
    found = gradients(lambda d: weigh(output("z", d)), tuple(data))
    single = gradients(lambda d: weigh(output("z", d)), tuple(copies))
    assert found[shared].shape == data[shared].shape
    assert_close(found[shared], single[shared].sum(0), 1e-10)


def test_gradient_of_Q_is_symmetric(rng) -> None:
    dQ = gradients(lambda d: weigh(output("z", d)), random_qp(rng, 5, 6, 2, batch=(3,)))[0]
    assert torch.equal(dQ, dQ.mT)


def test_float32_goes_in_and_out_with_float64_inside(rng) -> None:
    data = random_qp(rng, 5, 6, 2, batch=(3,))
    rounded = tuple(t.float() for t in data)
    solution = solve_qp(*rounded)
    for field in dataclasses.fields(solution)[:5]:
        assert getattr(solution, field.name).dtype == torch.float32, field.name
    found = gradients(lambda d: weigh(solve_qp(*d).z), rounded)
    expected = gradients(lambda d: weigh(solve_qp(*d).z), tuple(t.double() for t in rounded))
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert x.dtype == torch.float32
        assert_close(x.double(), y, 1e-6, name)
