"""The measure that every engine is held to is right, and a wrong answer does not pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import oracle
from benchmarks.problems import Data, control, portfolio, random_programs
from benchmarks.reference import (
    RESIDUAL,
    Reference,
    cotangent,
    gradient_error,
    kkt_residual,
    make_reference,
)
from layers import solve_qp

NAMES = ("Q", "q", "G", "h", "A", "b")


def _arrays(data: Data) -> dict[str, np.ndarray]:
    return {name: getattr(data.expanded(), name)[0].numpy() for name in NAMES}


def test_gradients_of_the_oracle_are_differences_of_its_solutions():
    arrays, w = _arrays(random_programs(0, 1, 6, 8, 2)), np.random.default_rng(1).standard_normal(6)
    found = oracle.gradients(oracle.solve(**arrays), w)
    rng, step = np.random.default_rng(2), 1e-5
    for name in NAMES:
        direction = rng.standard_normal(arrays[name].shape)
        direction = (direction + direction.T) / 2 if name == "Q" else direction
        ends = [
            w @ oracle.solve(**(arrays | {name: arrays[name] + k * step * direction}))["z"] for k in (1, -1)
        ]
        assert float((found[name] * direction).sum()) == pytest.approx(
            (ends[0] - ends[1]) / (2 * step), rel=1e-6
        )


def test_oracle_tells_a_program_without_a_solution():
    arrays = _arrays(random_programs(0, 1, 3, 4, 0))
    arrays |= {"G": np.array([[1.0, 0, 0], [-1.0, 0, 0]]), "h": np.array([-1.0, -1.0])}
    with pytest.raises(ArithmeticError, match="active set"):
        oracle.solve(**arrays)


@pytest.mark.parametrize("data", [random_programs(0, 4, 6, 8, 2), portfolio(1, batch=3), control(0, 2)])
def test_the_layer_meets_the_demand_and_a_perturbed_answer_does_not(data: Data):
    reference, leaves = make_reference(data), data.leaves()
    solution = solve_qp(*leaves.tensors)
    learned = [getattr(leaves, name) for name in data.learned]
    gradients = torch.autograd.grad(solution.z, learned, reference.cotangent)
    found = dict(zip(data.learned, gradients, strict=True))
    assert kkt_residual(data, (solution.z, solution.lam, solution.nu)) < RESIDUAL
    assert gradient_error(found, reference) < 1e-9
    assert kkt_residual(data, (solution.z + 1e-6, solution.lam, solution.nu)) > RESIDUAL
    assert kkt_residual(data, (solution.z, solution.lam - 1e-6, solution.nu)) > RESIDUAL
    doubled = {name: 2 * g for name, g in found.items()}
    assert gradient_error(doubled, reference) == pytest.approx(1.0, rel=1e-6)


def test_shared_arguments_get_the_sum_and_the_mean_does_not_pass():
    data = portfolio(0, batch=4)
    data = replace(data, learned=("Q", "q"))
    reference, leaves = make_reference(data), data.leaves()
    z = solve_qp(*leaves.tensors).z
    dQ, dq = torch.autograd.grad(z, [leaves.Q, leaves.q], reference.cotangent)
    assert gradient_error({"Q": dQ, "q": dq}, reference) < 1e-9
    assert gradient_error({"Q": dQ / 4, "q": dq}, reference) > 0.5


def test_only_the_symmetric_part_of_the_gradient_of_Q_is_compared():
    gradient = torch.tensor([[1.0, 2.0], [2.0, 3.0]], dtype=torch.float64)
    reference = Reference(torch.ones(1, 2), {"Q": gradient})
    assert gradient_error({"Q": torch.tensor([[1.0, 4.0], [0.0, 3.0]])}, reference) == 0.0
    assert gradient_error({"Q": torch.tensor([[1.0, 4.0], [4.0, 3.0]])}, reference) > 0.5


def test_an_answer_that_is_not_finite_is_infinitely_wrong():
    data = random_programs(0, 1, 3, 4, 0)
    z = torch.full((1, 3), torch.nan, dtype=torch.float64)
    nothing = torch.zeros(1, 0, dtype=torch.float64)
    assert kkt_residual(data, (z, torch.zeros(1, 4, dtype=torch.float64), nothing)) == float("inf")
    reference = Reference(cotangent(data), {"q": torch.ones(1, 3)})
    assert gradient_error({"q": z}, reference) == float("inf")


def test_a_layer_without_a_gradient_is_refused_as_a_row():
    pinned = random_programs(0, 2, 2, 4, 0)
    box = torch.eye(2, dtype=torch.float64)
    G = torch.cat([box, -box]).expand(2, 4, 2)
    # q so large that z sits in a corner of the box, where it does not move with q.
    with pytest.raises(ArithmeticError, match="vanishes"):
        make_reference(replace(pinned, G=G, h=torch.ones(2, 4).double(), q=50 * torch.ones(2, 2).double()))
