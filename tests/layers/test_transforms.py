"""The layer under torch's transforms: batching, both modes of differentiation, compilation, copying."""

import copy
import io
import itertools
import pickle

import pytest
import torch
from torch import Tensor, nn

from layers import QPLayer, solve_qp
from tests.layers.instances import NAMES, Data, assert_close, random_qp, weigh


def z_of(*data: Tensor) -> Tensor:
    return solve_qp(*data).z


def family(rng, size: int) -> Data:
    """One problem and small changes of it along a leading axis: any mixture of them has a feasible point."""
    one = random_qp(rng, 3, 3, 1)
    Q, *rest = (t * (1 + 0.01 * torch.tensor(rng.normal(size=(size, *t.shape)))) for t in one)
    return (0.5 * (Q + Q.mT), *rest)


SUBSETS = [mapped for mapped in itertools.product([True, False], repeat=6) if any(mapped)]


def test_vmap_over_every_subset_of_the_arguments_is_a_loop(rng) -> None:
    many = family(rng, 2)
    for mapped in SUBSETS:
        data = tuple(t if m else t[0] for t, m in zip(many, mapped, strict=True))
        found = torch.func.vmap(z_of, in_dims=tuple(0 if m else None for m in mapped))(*data)
        loop = [z_of(*(t[i] if m else t[0] for t, m in zip(many, mapped, strict=True))) for i in range(2)]
        assert_close(found, torch.stack(loop), 1e-10, str(mapped))


def test_gradients_under_vmap_over_every_single_argument(rng) -> None:
    many = family(rng, 2)
    gradient = torch.func.grad(lambda *d: weigh(z_of(*d)), argnums=tuple(range(6)))
    for k in range(6):
        data = tuple(t if i == k else t[0] for i, t in enumerate(many))
        found = torch.func.vmap(gradient, in_dims=tuple(0 if i == k else None for i in range(6)))(*data)
        loop = [gradient(*(t[i] if j == k else t[0] for j, t in enumerate(many))) for i in range(2)]
        for name, x, y in zip(NAMES, found, zip(*loop, strict=True), strict=True):
            assert_close(x, torch.stack(y), 1e-9, f"{NAMES[k]} mapped, d{name}")


def test_nested_vmap_and_axes_in_other_places(rng) -> None:
    Q, _, G, h, A, b = random_qp(rng, 3, 3, 1)
    q, shift = torch.tensor(rng.normal(size=(3, 4))), torch.tensor(rng.uniform(0, 0.1, size=(3, 2)))

    def one(q: Tensor, shift: Tensor) -> Tensor:
        return z_of(Q, q, G, h + shift, A, b)

    found = torch.func.vmap(torch.func.vmap(one, in_dims=(1, None)), in_dims=(None, 1), out_dims=2)(q, shift)
    loop = torch.stack([torch.stack([one(q[:, j], shift[:, i]) for j in range(4)]) for i in range(2)], dim=2)
    assert_close(found, loop, 1e-10)


def test_vmap_over_problems_that_have_batch_axes_themselves(rng) -> None:
    data = random_qp(rng, 3, 3, 1, batch=(2, 4))
    found = torch.func.vmap(z_of, in_dims=1, out_dims=1)(*data)
    assert_close(found, z_of(*data), 1e-10)


def test_per_sample_gradients(rng) -> None:
    Q, _, G, h, A, b = random_qp(rng, 3, 3, 1)
    q = torch.tensor(rng.normal(size=(5, 3)))
    gradient = torch.func.grad(lambda G, q: weigh(z_of(Q, q, G, h, A, b)))
    found = torch.func.vmap(gradient, in_dims=(None, 0))(G, q)
    assert_close(found, torch.stack([gradient(G, sample) for sample in q]), 1e-10)
    shared = torch.func.grad(lambda G: sum(weigh(z) for z in z_of(Q, q, G, h, A, b)))(G)
    assert_close(found.sum(0), shared, 1e-10)


def test_forward_and_reverse_jacobians_agree(rng) -> None:
    data = random_qp(rng, 3, 3, 1, batch=(2,))

    def outputs(*d: Tensor) -> tuple[Tensor, ...]:
        solution = solve_qp(*d)
        return solution.z, solution.lam, solution.nu, solution.s, solution.objective

    every = tuple(range(6))
    forward, reverse = (jac(outputs, argnums=every)(*data) for jac in (torch.func.jacfwd, torch.func.jacrev))
    for rows in zip(forward, reverse, strict=True):
        for name, x, y in zip(NAMES, *rows, strict=True):
            # forward mode sees one entry of Q change, and so does reverse mode: both through ½(Q + Qᵀ)
            assert_close(x, y, 1e-9, name)


def test_hessians_in_every_mode_agree(rng) -> None:
    data = random_qp(rng, 3, 3, 1)

    def value(*d: Tensor) -> Tensor:
        solution = solve_qp(*d)
        return weigh(solution.z**2) + weigh(solution.lam * solution.lam) + weigh(torch.sin(solution.nu))

    every = tuple(range(6))
    expected = torch.autograd.functional.hessian(value, data)
    modes = (
        torch.func.hessian(value, argnums=every)(*data),
        torch.func.jacrev(torch.func.jacrev(value, argnums=every), argnums=every)(*data),
        torch.func.jacrev(torch.func.jacfwd(value, argnums=every), argnums=every)(*data),
    )
    for i, j in itertools.product(every, every):
        for found in modes:
            assert_close(found[i][j], expected[i][j], 1e-8, f"d²/d{NAMES[i]} d{NAMES[j]}")
        assert_close(expected[i][j].flatten(data[i].dim()).flatten(0, data[i].dim() - 1),
                     expected[j][i].flatten(data[j].dim()).flatten(0, data[j].dim() - 1).mT, 1e-8)  # fmt: skip


class Net(nn.Module):
    """A layer between two linear maps, with learned constraints."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 3).double(), nn.Linear(3, 1).double()
        self.root = nn.Parameter(torch.eye(3, dtype=torch.float64))
        self.G = nn.Parameter(torch.eye(3, dtype=torch.float64))
        self.layer = QPLayer(tol=1e-10)

    def forward(self, x: Tensor) -> Tensor:
        Q = self.root @ self.root.mT + torch.eye(3, dtype=torch.float64)
        return self.last(self.layer(Q, self.first(x), self.G, torch.full_like(x[0, :3], 0.05)))


def loss_and_gradients(net: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    loss = net(x).square().sum()
    return loss.detach(), list(torch.autograd.grad(loss, list(net.parameters())))


def by_pickle(net: nn.Module) -> nn.Module:
    return pickle.loads(pickle.dumps(net))


def by_file(net: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(net, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def by_compile(net: nn.Module) -> nn.Module:
    return torch.compile(net, backend="aot_eager", fullgraph=True)  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("transform", [copy.deepcopy, by_pickle, by_file, by_compile])
def test_a_module_that_contains_the_layer_survives(rng, transform) -> None:
    net, x = Net(), torch.tensor(rng.normal(size=(6, 4)))
    found, found_gradients = loss_and_gradients(transform(net), x)
    expected, expected_gradients = loss_and_gradients(net, x)
    assert_close(found, expected, 1e-12)
    for y, z in zip(found_gradients, expected_gradients, strict=True):
        assert_close(y, z, 1e-10)


def test_double_backward_after_an_optimiser_step(rng) -> None:
    net, x = Net(), torch.tensor(rng.normal(size=(6, 4)))
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-2)
    net(x).square().sum().backward()
    optimiser.step()
    parameters = dict(net.named_parameters())

    def squared_gradient() -> Tensor:
        gradient = torch.autograd.grad(net(x).square().sum(), list(parameters.values()), create_graph=True)
        return sum((g**2).sum() for g in gradient)

    second = torch.autograd.grad(squared_gradient(), net.G)[0]
    step, direction = 1e-5, torch.tensor(rng.normal(size=(3, 3)))
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            net.G += sign * step * direction
        sides.append(squared_gradient().item())
        with torch.no_grad():
            net.G -= sign * step * direction
    slope = torch.tensor((sides[0] - sides[1]) / (2 * step), dtype=torch.float64)
    assert_close((second * direction).sum(), slope, 1e-6)
