"""Certificates prove what they say: found where the iteration ends beside one, refused where only a norm is small."""

import pytest
import torch
from torch import Tensor

from layers import SolverError, Status, solve_qp
from layers.qp import vertex
from layers.qp.interior_point import attempts, iteration
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


def growing(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """The identity, ones, and the matrix that moves by one place and multiplies by ten."""
    one = torch.ones(length + 1).double()
    return torch.diag(one), one, torch.diag(10 * one[:-1], -1)


def bounded_growth(length: int) -> tuple[Data, Tensor]:
    """Minimise Σz, z₀ ≥ 1, z_k ≥ 10 z_{k−1}: z_k = 10ᵏ. In norm (−10⁻ᴺ, …, −1) is a ray of descent up to 10⁻ᴺ."""
    eye, one, step = growing(length)
    data = as_data(0 * eye, one, step - eye, -1.0 * (one.cumsum(0) == 1), torch.zeros(0, length + 1), [])
    return data, 10.0 ** (one.cumsum(0) - 1)


def soft_chain(start: float, length: int = 10) -> tuple[Data, Tensor]:
    """x₀ = start, x_k = 2x_{k−1}, x ≤ 1 + e, e ≥ 0, both in the objective: e = x − 1 has room for everything."""
    eye, one = torch.eye(length + 1).double(), torch.ones(length + 1).double()
    A = torch.cat([eye - torch.diag(2 * one[:-1], -1), 0 * eye], dim=-1)
    G = torch.cat([torch.cat([eye, -eye], dim=-1), torch.cat([0 * eye, -eye], dim=-1)])
    Q = torch.diag(torch.cat([2 * one, 2e4 * one]))
    x = start * 2.0 ** (one.cumsum(0) - 1)
    data = as_data(
        Q, torch.zeros(2 * length + 2), G, torch.cat([one, 0 * one]), A, start * (one.cumsum(0) == 1)
    )
    return data, torch.cat([x, x - 1])


def reachable(length: int) -> tuple[Data, Tensor]:
    """Minimise ‖z‖², z₀ ≤ 1, z_k ≤ 10 z_{k−1}, z_N ≥ ½10ᴺ: z_k = ½10ᵏ, and with 2·10ᴺ there is none."""
    eye, one, step = growing(length)
    h = torch.cat([1.0 * (one.cumsum(0) == 1), torch.tensor([-0.5 * 10.0**length])])
    data = as_data(eye, 0 * one, torch.cat([eye - step, -eye[-1:]]), h, torch.zeros(0, length + 1), [])
    return data, 0.5 * 10.0 ** (one.cumsum(0) - 1)


SOLVED = {
    **{f"growth to 1e{n}": bounded_growth(n) for n in (2, 8, 10, 12, 14)},
    **{f"soft from {start:g}": soft_chain(start) for start in (1e3, 1e5, 1e7)},
    **{f"reachable 1e{n}": reachable(n) for n in (2, 8, 10)},
}


@pytest.mark.parametrize("name", SOLVED)
def test_a_program_whose_variables_grow_is_solved_and_not_called_impossible(name: str) -> None:
    data, right = SOLVED[name]
    solution = solve_qp(*data)
    assert (solution.z / right - 1).abs().max() <= 1e-9


@pytest.mark.parametrize("length", [2, 8, 12])
def test_a_program_whose_variables_would_have_to_grow_without_bound_is_told_apart(length: int) -> None:
    """The neighbours of the programs above by one number, whose certificates hold exactly."""
    (Q, q, G, h, A, b), _ = reachable(length)
    out_of_reach = solve_qp(Q, q, G, torch.cat([h[:-1], 4 * h[-1:]]), A, b, on_failure="ignore")
    assert out_of_reach.status == Status.INFEASIBLE
    lam, terms = out_of_reach.lam, G.abs().mT @ out_of_reach.lam
    assert abs(lam @ torch.cat([h[:-1], 4 * h[-1:]]) + 1) <= 1e-9
    assert ((lam @ G).abs() <= 1e-9 * terms).all()
    (Q, q, G, h, A, b), _ = bounded_growth(length)
    falls = -(q.cumsum(0) == 1).double()  # maximise z₀, which takes all others along
    endless = solve_qp(Q, falls, G, h, A, b, on_failure="ignore")
    assert endless.status == Status.UNBOUNDED
    assert ((G @ endless.z).clamp(min=0) <= 1e-9 * (G.abs() @ endless.z.abs())).all()


def far_apart_from_its_rows() -> Data:
    """Curvatures of 10⁻²⁰ beside an equality of entries 10⁻⁸, which leaves out a variable: no scales make both one."""
    Q = 2.0**-70 * torch.tensor([[7.0, -3, -3, 7], [-3, 5, -1, -2], [-3, -1, 5, -4], [7, -2, -4, 13]])
    return as_data(
        Q,
        [1e-13, 3e-13, 2e-13, -9e-13],
        torch.zeros(0, 4),
        [],
        2.0**-27 * torch.tensor([[2.0, -1, -3, 0]]),
        [2.5],
    )


def test_a_walk_that_lost_its_way_is_walked_again_in_other_units() -> None:
    data = far_apart_from_its_rows()
    for solver in ("auto", "interior_point"):
        solution = solve_qp(*data, solver=solver)
        K = torch.cat([torch.cat([data[0], data[4].mT], 1), torch.cat([data[4], torch.zeros(1, 1)], 1)])
        left = K @ torch.cat([solution.z, solution.nu]) - torch.cat([-data[1], data[5]])
        assert (left.abs() <= 1e-12 * torch.cat([data[1].abs().max().expand(4), data[5]])).all()
    cut_short = solve_qp(*data, max_iterations=5, on_failure="ignore")
    assert cut_short.status == Status.ITERATION_LIMIT


def test_programs_that_take_several_attempts_leave_the_others_of_their_batch_alone() -> None:
    hard, right = bounded_growth(10)
    easy, _ = bounded_growth(10)
    G = torch.stack([hard[2], 0.1 * hard[2] - 0.9 * torch.eye(11).double(), hard[2]])
    together = solve_qp(hard[0], hard[1], G, hard[3], hard[4], hard[5])
    alone = solve_qp(easy[0], easy[1], G[1], easy[3], easy[4], easy[5])
    assert torch.equal(together.z[1], alone.z)
    assert (together.z[[0, 2]] / right - 1).abs().max() <= 1e-9
    assert torch.equal(together.z[0], together.z[2])


def test_what_is_in_doubt_is_told_with_what_is_known_of_both(monkeypatch) -> None:
    data, _ = bounded_growth(10)
    monkeypatch.setattr(attempts, "ATTEMPTS", 0)
    monkeypatch.setattr(iteration, "STALE", 2)
    monkeypatch.setattr(vertex, "solve", lambda problem, cold, **_: cold(problem))
    with pytest.raises(SolverError, match=r"NUMERICAL_FAILURE, .* and a certificate that it has no"):
        solve_qp(*data)
