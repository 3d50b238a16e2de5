"""What we wrote behind bare solvers: gradients are those of the layer, bounds come back as the rows they were."""

import numpy as np
import pytest
import torch

from benchmarks.peers.active_set import attach
from benchmarks.peers.daqp_ import FREE, Rows, _multipliers, _told, as_bounds
from benchmarks.problems import Data, control, portfolio, random_programs
from benchmarks.reference import cotangent, gradient_error, make_reference
from layers import solve_qp


def attached(data: Data, wrong: bool = False) -> torch.Tensor:
    """The solution of the layer, attached by the backward pass of the bare solvers; `wrong`: with a row too many."""
    with torch.no_grad():
        known = solve_qp(*(t.detach() for t in data.tensors), tol=1e-11)
    active = known.lam > 1e-7
    if wrong:
        active = active | (torch.arange(active.shape[1]) == int((~active[0]).nonzero()[0]))
    return attach((known.z, known.lam, known.nu, active), data.tensors)[0]


@pytest.mark.parametrize(
    "data",
    [
        random_programs(0, 5, 4, 6, 2),
        random_programs(0, 3, 4, 6, 0),
        portfolio(0, batch=6),
        control(0, batch=5),
    ],
    ids=["nothing shared", "no equality", "shared, one learned", "shared and learned"],
)
def test_the_backward_pass_on_the_active_rows_is_exact(data: Data):
    reference, leaves = make_reference(data), data.leaves()
    asked = [getattr(leaves, name) for name in data.learned]
    found = torch.autograd.grad(attached(leaves), asked, cotangent(data))
    assert gradient_error(dict(zip(data.learned, found, strict=True)), reference) < 1e-9


def test_with_a_row_too_many_it_is_wrong():
    data = random_programs(0, 5, 4, 6, 2)
    leaves = data.leaves()
    asked = [getattr(leaves, name) for name in data.learned]
    found = torch.autograd.grad(attached(leaves, wrong=True), asked, cotangent(data))
    assert gradient_error(dict(zip(data.learned, found, strict=True)), make_reference(data)) > 1e-2


def test_a_shared_argument_gets_the_sum_over_the_batch():
    data = random_programs(0, 1, 3, 5, 1)
    Q, q, G, h, A, b = (t[0] for t in data.tensors)
    together = Data(Q, q.repeat(4, 1), G, h, A, b)
    one, four = data.leaves(), together.leaves()
    (alone,) = torch.autograd.grad(attached(one).sum(), [one.G])
    (summed,) = torch.autograd.grad(attached(four).sum(), [four.G])
    torch.testing.assert_close(summed, 4 * alone[0], rtol=1e-9, atol=1e-12)


def test_unit_rows_are_bounds_and_their_multipliers_come_back_to_their_rows():
    G = np.array([[0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    bounds = as_bounds(G)
    assert isinstance(bounds, Rows)
    h, A, b = np.array([3.0, 4.0, 5.0]), np.ones((1, 2)), np.array([[7.0], [8.0]])
    rows, upper, lower, sense = _told(G, h, A, b, bounds)
    assert rows is A
    assert upper.tolist() == [[-FREE, 3.0, 7.0], [-FREE, 3.0, 8.0]]
    assert lower.tolist() == [[-4.0, -5.0, 7.0], [-4.0, -5.0, 8.0]]
    assert sense.tolist() == [0, 0, 5]
    lam, nu = _multipliers(np.array([[-2.0, 0.5, -6.0]]), 3, 1, bounds)
    assert lam.tolist() == [[0.5, 2.0, 0.0]]
    assert nu.tolist() == [[-6.0]]


@pytest.mark.parametrize("rows", [[[1.0, 1.0]], [[2.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0]]])
def test_other_rows_are_no_bounds(rows: list[list[float]]):
    assert as_bounds(np.array(rows)) is None
