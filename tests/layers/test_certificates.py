"""Programs of small integers without a solution on which the iteration ends beside a certificate, not at one."""

import pytest
import torch
from torch import Tensor

from layers import Status, solve_qp
from tests.layers.instances import Data, as_data


def ray_between_bounds() -> Data:
    """x₁ → −∞, while two equal rows and one opposite hold x₂ in [½, 1]."""
    return as_data(
        [[0, 0], [0, 2]],
        [1, 0],
        [[0, -1], [0, -1], [1, 0], [0, 1]],
        [-0.5, -0.5, 1, 1],
        torch.zeros(0, 2),
        [],
    )


def flat_quadratic() -> Data:
    """A quadratic of rank three in five variables, one row."""
    Q = [
        [3, -1, -1, -3, 3],
        [-1, 10, -2, 7, 3],
        [-1, -2, 13, 1, -12],
        [-3, 7, 1, 10, -2],
        [3, 3, -12, -2, 13],
    ]
    return as_data(Q, [-1, -2, 1, 2, 1], [[-1, 0, 0, 0, 2]], [0], torch.zeros(0, 5), [])


def quadratic_of_rank_one() -> Data:
    """Far out, rounding alone satisfies conditions that are relative to z: at ‖z‖ = 10¹¹ the residual is 4·10⁻¹²."""
    v = torch.tensor([1.0, 0, -2, -1, -2])
    return as_data(torch.outer(v, v), [1, -1, -1, 0, 0], [[0, 2, 0, 0, 0]], [1], torch.zeros(0, 5), [])


def opposite_rows() -> Data:
    """The second and the sixth row ask for opposite things, among five others."""
    G = [
        *([-2, 0, -1, -1, -1], [-2, 2, 1, 2, -1], [0, 1, 1, 0, 2], [0, -1, -1, -1, 2]),
        *([2, 1, 2, 2, -1], [2, -2, -1, -2, 1], [2, -2, 1, -2, 0]),
    ]
    Q = torch.diag(torch.tensor([0.0, 0, 0, 0, 1]))
    return as_data(Q, [-1, 1, 0, 2, -1], G, [0, 0.5, 0.5, 0, -0.5, -1.5, 0.5], torch.zeros(0, 5), [])


def opposite_rows_of_four() -> Data:
    """The first and the last row contradict each other."""
    v = torch.tensor([2.0, 0, 0, -1, -2])
    G = [[0, -2, 0, -2, 1], [-2, 0, 1, 2, 0], [0, 0, -2, 0, 1], [-2, 0, 0, 0, 2], [0, 2, 0, 2, -1]]
    return as_data(torch.outer(v, v), [2, -2, 2, 2, -1], G, [-0.5, -1, 0.5, 0, -0.5], torch.zeros(0, 5), [])


RAYS = [ray_between_bounds, flat_quadratic, quadratic_of_rank_one]
CONTRADICTIONS = [opposite_rows, opposite_rows_of_four]


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("build", RAYS)
def test_a_ray_of_descent_is_found_and_is_one(build, batch: tuple[int, ...]) -> None:
    Q, q, G, h, A, b = build()
    solution = solve_qp(Q.expand(*batch, *Q.shape), q, G, h, A, b, on_failure="ignore")
    assert (solution.status == Status.UNBOUNDED).all()
    d = solution.z
    assert_small(d @ q + 1)
    assert_small(d @ Q)
    assert_small((d @ G.mT).clamp(min=0))


@pytest.mark.parametrize("build", RAYS)
def test_a_far_point_of_an_unbounded_program_is_never_taken_for_its_solution(build, rng) -> None:
    """Exact copies, variables in another order and objectives in other units, differ by rounding alone."""
    Q, q, G, h, A, b = build()
    units = 2.0 ** torch.arange(-6, 7).double().unsqueeze(-1)
    for _ in range(30):
        order = torch.from_numpy(rng.permutation(len(q)))
        objective = (Q[order][:, order] * units.unsqueeze(-1), q[order] * units)
        solution = solve_qp(*objective, G[:, order], h, A, b, on_failure="ignore")
        assert solution.status.tolist() == [Status.UNBOUNDED] * len(units)


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("build", CONTRADICTIONS)
def test_multipliers_of_a_contradiction_are_found_and_prove_it(build, batch: tuple[int, ...]) -> None:
    Q, q, G, h, A, b = build()
    solution = solve_qp(Q.expand(*batch, *Q.shape), q, G, h, A, b, on_failure="ignore")
    assert (solution.status == Status.INFEASIBLE).all()
    lam = solution.lam
    assert (lam >= 0).all()
    assert_small(lam @ h + 1)
    assert_small(lam @ G)


@pytest.mark.parametrize("build", [*RAYS, *CONTRADICTIONS])
def test_a_neighbour_with_a_solution_is_still_solved(build) -> None:
    # with curvature everywhere and rows that all hold at zero there is nothing to certify
    Q, q, G, _, A, b = build()
    solution = solve_qp(Q + torch.eye(q.numel()).double(), q, G, torch.ones(G.shape[0]).double(), A, b)
    assert solution.status == Status.OPTIMAL
    assert solution.residuals.largest <= 1e-12


def assert_small(v: Tensor) -> None:
    assert v.abs().max() <= 1e-8
