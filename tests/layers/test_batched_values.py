"""Parts of a batch: what is taken out is what stands there, what is put back replaces that and nothing else."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from layers.cone.kkt import Norms as ConeNorms
from layers.linalg.batched import Batched, join, put, take
from layers.problem import QP
from layers.qp.interior_point.embedding import Iterate
from layers.qp.kkt import Norms
from layers.solution import Point, Residuals

INDEX = torch.tensor([3, 1])


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def a_point(batch: int, offset: float = 0.0) -> Point:
    count = torch.arange(batch)
    values = random(batch, 6) + offset
    z, lam, nu = (random(batch, k) + offset for k in (3, 2, 1))
    return Point.without_certificate(z, lam, nu, count, Residuals(values), count + 7)


def leaves(value: Batched) -> list[torch.Tensor]:
    own = [getattr(value, field.name) for field in fields(value)]  # pyright: ignore[reportArgumentType]
    return [t for v in own for t in (leaves(v) if isinstance(v, Batched) else [v])]


def test_what_is_taken_is_what_stands_there_at_every_depth() -> None:
    point = a_point(5)
    for whole, part in zip(leaves(point), leaves(point.take(INDEX)), strict=True):
        assert torch.equal(part, whole[INDEX])


def test_what_is_put_replaces_those_elements_and_no_other() -> None:
    point, other = a_point(5), a_point(2, offset=10.0)
    changed = point.put(INDEX, other)
    for before, new, after in zip(leaves(point), leaves(other), leaves(changed), strict=True):
        assert torch.equal(after[INDEX], new)
        assert torch.equal(after[[0, 2, 4]], before[[0, 2, 4]])


def test_taking_and_putting_back_changes_nothing() -> None:
    six = Iterate(*(random(4, k) for k in (3, 2, 1, 2, 1, 1)))
    again = six.put(INDEX, six.take(INDEX))
    assert all(torch.equal(a, b) for a, b in zip(leaves(six), leaves(again), strict=True))


@pytest.mark.parametrize("shared", [(), ("Q",), ("G", "A"), ("Q", "G", "A")])
def test_a_matrix_that_the_batch_shares_stays_shared(shared: tuple[str, ...]) -> None:
    shapes = {"Q": (3, 3), "q": (3,), "G": (2, 3), "h": (2,), "A": (1, 3), "b": (1,)}
    data = {k: random(*shape) if k in shared else random(5, *shape) for k, shape in shapes.items()}
    part = QP(**data).take(INDEX)
    for name, value in part.named.items():
        expected = data[name] if name in shared else data[name][INDEX]
        assert torch.equal(value, expected)


def test_norms_of_shared_data_stay_shared() -> None:
    problem = QP(random(3, 3), random(5, 3), random(2, 3), random(5, 2), random(0, 3), random(5, 0))
    norms = Norms.of(problem).take(INDEX)
    assert norms.Q_row.shape == (3,)
    assert norms.q.shape == (2, 3)
    of_one = ConeNorms(random(1, 3), random(5, 2), random(1, 3)).take(INDEX)
    assert [v.shape for v in leaves(of_one)] == [(1, 3), (2, 2), (1, 3)]


def test_a_slice_copies_nothing() -> None:
    point = a_point(5)
    assert point.take(slice(1, 3)).z.data_ptr() == point.z[1:].data_ptr()


def test_tuples_are_taken_and_put_entry_by_entry() -> None:
    pair = (random(5, 2), a_point(5))
    z, point = take(pair, INDEX)
    assert torch.equal(z, pair[0][INDEX])
    assert torch.equal(point.z, pair[1].z[INDEX])
    z, point = put(pair, INDEX, (torch.zeros(2, 2, dtype=torch.float64), a_point(2, offset=3.0)))
    assert (z[INDEX] == 0).all()
    assert torch.equal(point.lam[INDEX], a_point(2, offset=3.0).lam)


def test_joined_parts_are_the_whole() -> None:
    point = a_point(5)
    again = join([point.take(slice(0, 2)), point.take(slice(2, 5))])
    assert all(torch.equal(a, b) for a, b in zip(leaves(point), leaves(again), strict=True))
