"""Leading axes: broadcasting, empty batches, large batches in parts; and nothing of the caller's is changed."""

import dataclasses

import pytest
import torch

from layers import solve_qp
from layers.problem import QP
from tests.layers.instances import NAMES, assert_close, leaves, random_qp, weigh

OUTPUTS = ("z", "lam", "nu", "s", "objective")


def test_two_batch_axes_broadcast_between_the_tensors(rng) -> None:
    Q, _, G, h, A, b = random_qp(rng, 4, 3, 1)
    q = torch.tensor(rng.normal(size=(3, 1, 4)))
    h = h + torch.tensor(rng.uniform(0, 0.1, size=(2, 3)))
    Q = torch.stack([Q, 2 * Q])
    solution = solve_qp(Q, q, G, h, A.expand(1, 1, 1, 4), b)
    assert solution.z.shape == (3, 2, 4)
    assert solution.lam.shape == solution.s.shape == (3, 2, 3)
    assert solution.nu.shape == (3, 2, 1)
    for value in (solution.objective, solution.status, solution.iterations, solution.residuals.primal):
        assert value.shape == (3, 2)
    assert solution.degeneracy.margin.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            assert_close(solution.z[i, j], solve_qp(Q[j], q[i, 0], G, h[j], A, b).z, 1e-10)


def test_gradients_have_the_shape_of_their_argument_and_sum_over_axes_of_size_one(rng) -> None:
    Q, _, G, h, A, b = random_qp(rng, 4, 3, 1)
    data = (
        Q,
        torch.tensor(rng.normal(size=(3, 1, 4))),
        G.expand(1, 3, 4),
        h.expand(2, 3),
        A.expand(1, 1, 1, 4),
        b,
    )
    variables = leaves(data)
    found = torch.autograd.grad(weigh(solve_qp(*variables).z), variables)
    full = leaves(
        tuple(t.expand(3, 2, *t.shape[t.dim() - k :]) for t, k in zip(data, (2, 1) * 3, strict=True))
    )
    expected = torch.autograd.grad(weigh(solve_qp(*full).z), full)
    for name, x, y, variable in zip(NAMES, found, expected, variables, strict=True):
        assert x.shape == variable.shape, name
        assert_close(x, y.sum_to_size(variable.shape), 1e-10, name)


@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)])
@pytest.mark.parametrize("sizes", [(4, 3, 1), (4, 0, 0)], ids=["constrained", "free"])
def test_empty_batch_returns_an_empty_batch(rng, batch: tuple[int, ...], sizes: tuple[int, int, int]) -> None:
    Q, q, *constraints = random_qp(rng, *sizes)
    variables = leaves((Q, q.expand(*batch, 4), *constraints))
    solution = solve_qp(*variables)
    assert solution.z.shape == (*batch, 4)
    assert solution.lam.shape == (*batch, sizes[1])
    assert solution.status.shape == solution.residuals.largest.shape == batch
    for gradient, variable in zip(torch.autograd.grad(solution.z.sum(), variables), variables, strict=True):
        assert torch.equal(gradient, torch.zeros_like(variable))


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_a_batch_solved_in_parts_is_the_batch(rng, monkeypatch, shared: bool) -> None:
    data = random_qp(rng, 4, 3, 1, batch=(10,))
    if shared:
        Q, _, G, h, A, b = (t[0] for t in data)
        data = (Q, data[1], G, h, A, b)

    def answer() -> list[torch.Tensor]:
        variables = leaves(data)
        solution = solve_qp(*variables)
        return [solution.z.detach(), *torch.autograd.grad(weigh(solution.z), variables)]

    whole = answer()
    monkeypatch.setattr(QP, "chunks", lambda self: [slice(0, 4), slice(4, 8), slice(8, 10)])
    for x, y in zip(answer(), whole, strict=True):
        assert_close(x, y, 1e-11)


def test_absent_constraints_are_those_with_zero_rows(rng) -> None:
    Q, q, G, h, A, b = random_qp(rng, 4, 0, 0, batch=(2,))
    for name in OUTPUTS:
        assert torch.equal(getattr(solve_qp(Q, q), name), getattr(solve_qp(Q, q, G, h, A, b), name)), name
    G, h, A, b = random_qp(rng, 4, 3, 1, batch=(2,))[2:]
    assert_close(solve_qp(Q, q, G, h).z, solve_qp(Q, q, G, h, A[:, :0], b[:, :0]).z, 0.0)
    assert_close(solve_qp(Q, q, A=A, b=b).z, solve_qp(Q, q, G[:, :0], h[:, :0], A, b).z, 0.0)


def test_inputs_stay_as_they_were_and_outputs_are_no_views_of_them(rng) -> None:
    data = leaves(random_qp(rng, 4, 3, 1, batch=(2,)))
    copies = [t.detach().clone() for t in data]
    warm = solve_qp(*data)
    kept = [getattr(warm, name).detach().clone() for name in OUTPUTS]
    again = solve_qp(*data, warm_start=warm)
    weigh(again.z).backward()
    for name, before, after in zip(NAMES, copies, data, strict=True):
        assert torch.equal(before, after), name
    for name, before in zip(OUTPUTS, kept, strict=True):
        assert torch.equal(before, getattr(warm, name)), name
    storages = {t.untyped_storage().data_ptr() for t in data}
    assert all(
        getattr(again, f.name).untyped_storage().data_ptr() not in storages
        for f in dataclasses.fields(again)[:6]
    )


def test_tensors_that_are_not_contiguous_give_the_same_answer(rng) -> None:
    data = random_qp(rng, 4, 3, 1, batch=(2,))
    turned = tuple(t.transpose(0, -1).contiguous().transpose(0, -1) for t in data)
    assert not turned[2].is_contiguous()
    assert_close(solve_qp(*turned).z, solve_qp(*data).z, 1e-12)
