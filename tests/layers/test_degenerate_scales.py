"""Degenerate derivatives in any units: blocks that nothing connects do not see each other, and ranks are right."""

import cvxpy as cp
import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, DifferentiationError, solve_qp
from layers.linalg.shortest import null_space, rank, shortest
from layers.problem import QP
from layers.qp import activity
from layers.qp.adjoints import implicit
from tests.layers.exact import KINDS, Block, assembled, draw_block, pseudo_inverse_times

DOUBLE = torch.float64


def right_hand_sides(
    rng: np.random.Generator, blocks: list[Block], whole: bool
) -> list[tuple[np.ndarray, ...]]:
    """For the variables alone, or for everything in the units of its rows."""
    found = []
    for b in blocks:
        r = [rng.normal(size=len(v)) for v in (b.Q, b.G, b.A)]
        units = (b.cost / b.variable, b.rows, b.equalities) if whole else (1 / b.variable, 0.0, 0.0)
        found.append(tuple(v * unit for v, unit in zip(r, units, strict=True)))
    return found


def expected(b: Block, r: tuple[np.ndarray, ...], transpose: bool) -> tuple[np.ndarray, ...]:
    """K⁺ r or K⁺ᵀ r of a block, parted."""
    K, strong, touched = b.matrix()
    into, out = (touched, strong) if transpose else (strong, touched)
    x = pseudo_inverse_times(K.T if transpose else K, np.concatenate([r[0], r[1][into], r[2]]))
    lam = np.zeros(len(b.G))
    lam[out] = x[len(b.Q) : len(b.Q) + len(out)]
    return x[: len(b.Q)], lam, x[len(b.Q) + len(out) :]


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("spread", [0, 6, 12])
def test_the_derivative_of_unrelated_blocks_is_that_of_each(spread: int, batch: int, transpose: bool) -> None:
    """Against exact rational arithmetic: every kind of degeneracy beside three others, in units of its own, up to
    2^±spread for variables, cost and every row."""
    for seed in range(2 * len(KINDS)):
        rng = np.random.default_rng((seed, spread))
        kinds = [KINDS[seed % len(KINDS)], *rng.choice(KINDS, 3)]
        blocks = [draw_block(rng, kind, spread) for kind in kinds]
        sides = right_hand_sides(rng, blocks, seed % 2 == 1)
        Q, G, A = (torch.tensor(M) for M in assembled(blocks))
        r = [torch.tensor(np.concatenate(part)).expand(batch, -1) for part in zip(*sides, strict=True)]
        told = [
            np.where(b.slack > 0, activity.INACTIVE, np.where(b.lam > 0, activity.ACTIVE, activity.WEAK))
            for b in blocks
        ]
        kind = torch.tensor(np.concatenate(told), dtype=torch.int8).expand(batch, -1)
        flat = QP(Q, r[0], G, r[1], A, r[2])
        found = implicit.solve_accurately(
            flat, kind, torch.ones(batch, dtype=torch.bool), transpose=transpose
        )
        starts = [0, 0, 0]
        for b, side, name in zip(blocks, sides, kinds, strict=True):
            for k, right in enumerate(expected(b, side, transpose)):
                part = found[k][-1, starts[k] : starts[k] + right.size].numpy()
                starts[k] += right.size
                size = abs(right).max(initial=0.0)
                if size > 0:
                    assert abs(part - right).max() <= 1e-6 * size, (seed, name, ["z", "λ", "ν"][k])


@pytest.mark.parametrize("batch", [None, 3, 4])
@pytest.mark.parametrize(("rows", "side", "q3"), [(1, 1.0, 0.0), (1, 0.0, 5.0), (1, 0.0, 0.0), (2, 0.0, 5.0)])
def test_an_unrelated_row_changes_no_derivative(rows: int, side: float, q3: float, batch: int | None) -> None:
    # z2 = -1e8 q2, whatever holds z3: no row, an active one, a weakly active one, an active one twice
    Q = torch.diag(torch.tensor([1e8, 1e-8, 1.0], dtype=DOUBLE))
    q = torch.tensor([1.0, 1.0, q3], dtype=DOUBLE)
    q = (q if batch is None else q.expand(batch, 3)).clone().requires_grad_()
    G = torch.tensor([[0.0, 0.0, -1.0]] * rows, dtype=DOUBLE)
    z = solve_qp(Q, q, G, torch.full((rows,), side, dtype=DOUBLE)).z
    (gradient,) = torch.autograd.grad(1e-8 * z[..., 1].sum(), q)
    assert (gradient[..., 1] + 1).abs().max() <= 1e-12


@pytest.mark.parametrize("solver", ["auto", "interior_point", "clarabel"])
def test_a_controller_with_every_input_on_its_bound_does_not_move(solver: str) -> None:
    steps, box = 10, np.vstack([np.eye(2), -np.eye(2)])
    rng = np.random.RandomState(1)
    A = rng.randn(2, 2)
    A *= 2.0 / np.abs(np.linalg.eigvals(A)).max()
    B, start = rng.randn(2, 1), torch.tensor(rng.randn(2), requires_grad=True)
    u, x, e, x0 = (
        cp.Variable((steps, 1)),
        cp.Variable((steps + 1, 2)),
        cp.Variable((steps + 1, 4)),
        cp.Parameter(2),
    )
    rules = [x[0] == x0, e >= 0, u <= 1, u >= -1, x @ box.T <= 1 + e]
    rules += [x[k + 1] == A @ x[k] + B @ u[k] for k in range(steps)]
    cost = cp.sum_squares(x) + 0.01 * cp.sum_squares(u) + 1e4 * cp.sum_squares(e)
    layer = ConvexLayer(cp.Problem(cp.Minimize(cost), rules), [x0], [u], solver=solver, tol=1e-12)
    (inputs,) = layer(start)
    assert ((inputs.abs() - 1).abs() <= 1e-9).all()
    (gradient,) = torch.autograd.grad(inputs.sum(), start)
    assert gradient.abs().max() <= 1e-9


@pytest.mark.parametrize("solver", ["native", "interior_point"])
@pytest.mark.parametrize("rows", [3, 100])
def test_an_equality_that_is_the_sum_of_all_others_shares_as_the_minimum_norm_says(
    rng: np.random.Generator, solver: str, rows: int
) -> None:
    """The null vector has an entry for every row: no pivot of a factorisation is small enough to show it."""
    n = rows + 5
    A = rng.integers(-2, 3, (rows, n)).astype(float)
    A = np.vstack([A, A.sum(0)])
    b = torch.tensor(A @ rng.normal(size=n), requires_grad=True)
    z = solve_qp(
        torch.eye(n, dtype=DOUBLE), torch.zeros(n, dtype=DOUBLE), A=torch.tensor(A), b=b, solver=solver
    ).z
    weight = rng.normal(size=n)
    (gradient,) = torch.autograd.grad(torch.tensor(weight) @ z, b)
    # z = A⁺ b
    assert np.abs(gradient.numpy() - np.linalg.pinv(A, rcond=1e-10).T @ weight).max() <= 1e-10


@pytest.mark.parametrize("n", [100, 600])
def test_a_redundant_equality_of_a_large_sparse_cone_program_changes_nothing(n: int) -> None:
    c = 1e-3 * np.random.default_rng(0).normal(size=n // 2)
    chain = np.diff(np.eye(n), axis=0)[: n // 2]
    value = 1e-2 * np.random.default_rng(2).normal(size=n)
    weight = torch.tensor(np.random.default_rng(1).normal(size=n))

    def answer(redundant: bool) -> tuple[Tensor, Tensor]:
        x, p = cp.Variable(n), cp.Parameter(n)
        rules = [chain @ x == c, cp.norm(x - p) <= 1, *([chain.sum(0) @ x == c.sum()] if redundant else [])]
        given = torch.tensor(value, requires_grad=True)
        layer = ConvexLayer(cp.Problem(cp.Minimize(cp.sum(x[n // 2 :]) + x[0]), rules), [p], [x])
        (found,) = layer(given)
        return found, torch.autograd.grad(weight @ found, given)[0]

    for found, right in zip(answer(True), answer(False), strict=True):
        assert (found - right).abs().max() <= 1e-11 * right.abs().max()


def test_shortest_is_the_pseudo_inverse_and_ranks_do_not_depend_on_units(rng: np.random.Generator) -> None:
    for _ in range(30):
        m, n, k = (int(v) for v in rng.integers(2, 9, 3))
        M = rng.integers(-3, 4, (m, k)).astype(float) @ rng.integers(-3, 4, (k, n))
        R, S = 2.0 ** rng.integers(-40, 41, m), 2.0 ** rng.integers(-40, 41, n)
        right = np.linalg.matrix_rank(M)
        assert rank(R[:, None] * M * S) == right
        assert null_space(R[:, None] * M * S).shape == (n, n - right)
        r = rng.normal(size=m)
        x, error = shortest(M, r)
        assert error <= 1e-12
        assert np.abs(x - pseudo_inverse_times(M, r)).max() <= 1e-10 * max(1.0, np.abs(x).max())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("corner", [1.0, 2.0])
def test_an_answer_beyond_the_range_of_numbers_is_refused_and_no_exception(corner: float) -> None:
    # x would be of size 10⁴⁰⁰
    x, error = shortest(1e-200 * np.array([[1.0, 1.0], [1.0, corner]]), np.array([1e200, 1e200]))
    assert not error < 1
    assert np.isfinite(x).all()


def test_a_rank_in_doubt_is_told_where_the_answer_hangs_on_it() -> None:
    near = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-13]])
    assert shortest(near, np.array([1.0, 0.0]))[1] >= 1
    columns = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 1e-13]], dtype=DOUBLE)
    b = torch.ones(2, dtype=DOUBLE, requires_grad=True)
    z = solve_qp(torch.eye(2, dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE), A=columns, b=b).z
    with pytest.raises(DifferentiationError, match="rank"):
        z.sum().backward()


@pytest.mark.parametrize("batch", [1, 3, 4])
def test_a_constraint_is_weak_by_its_own_terms_not_beside_a_larger_number_elsewhere(batch: int) -> None:
    """One variable on its bound with a slack of 7 elsewhere and a hair of curvature: dλ₁ = dq, dz = dh₁ = 0 there."""
    Q, q = torch.tensor([[1e-11]]).double(), torch.ones(batch, 1).double().requires_grad_()
    G, h = -torch.ones(2, 1).double(), torch.tensor([[0.0, 7.0]]).double().repeat(batch, 1).requires_grad_()
    found = solve_qp(Q, q, G, h)
    weight = torch.tensor([1.5, 1.0]).double()
    dq, dh = torch.autograd.grad(2 * found.z.sum() + (found.lam * weight).sum(), (q, h))
    # λ₁ = q + Qz with z = −h₁, λ₂ = 0
    assert (dq - 1.5).abs().max() < 1e-12
    assert (dh - torch.tensor([-2.0 - 1.5e-11, 0.0], dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("bound", [1.0, 7168.0, 1e9, 1e12])
def test_a_multiplier_is_weak_by_what_it_holds_up_not_beside_an_empty_row(bound: float) -> None:
    """z₂ is pressed on its bound by 1e-6; a row 0 ≤ bound has nothing to do with it: dz₂/dh₁ = 1, dλ₁/dq₂ = −1."""
    Q = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double()
    q = torch.tensor([0.0, -1e-6]).double().requires_grad_()
    G = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double()
    h = torch.tensor([0.0, bound]).double().requires_grad_()
    found = solve_qp(Q, q, G, h)
    value = (found.z * torch.tensor([1.5, 2.5]).double()).sum() + found.lam[0]
    dq, dh = torch.autograd.grad(value, (q, h))
    assert (dq - torch.tensor([-1.5, -1.0])).abs().max() < 1e-12
    assert (dh - torch.tensor([2.5, 0.0])).abs().max() < 1e-12


def test_rows_of_a_chain_that_grows_are_told_each_by_its_own_terms() -> None:
    """maximise z₅ over z₀ ≤ 1, z_{k+1} ≤ 8 z_k, z ≥ 0, nearly without curvature: z_k = 8ᵏ, ∂λ_k/∂q_j = −8^{j−k}, j ≥ k.

    The slack 1 of −z₀ ≤ 0 is nothing beside 32,768, and the row is no weakly active one.
    """
    n, tiny = 6, 2.0**-57
    powers = 8.0 ** torch.arange(n, dtype=DOUBLE)
    rise = torch.eye(n, dtype=DOUBLE) - 8 * torch.diag(torch.ones(n - 1, dtype=DOUBLE), -1)
    G = torch.cat([rise, -torch.eye(n, dtype=DOUBLE)[:3]])
    h = torch.zeros(n + 3, dtype=DOUBLE)
    h[0] = 1
    q = -tiny * powers
    q[-1] -= 1
    q.requires_grad_()
    found = solve_qp(tiny * torch.eye(n, dtype=DOUBLE), q, G, h)
    assert (found.z / powers - 1).abs().max() < 1e-14
    weights = torch.tensor([0.5, 1.0, 2.0, 0.5, 1.0, 2.0], dtype=DOUBLE)
    (weights @ found.lam[:n]).backward()
    right = [-sum(weights[k].item() * 8.0 ** (j - k) for k in range(j + 1)) for j in range(n)]
    assert q.grad is not None
    for j in range(n):
        assert abs(q.grad[j].item() / right[j] - 1) < 1e-9


#: (Q, q, G, h, A, b, z) in whole and half numbers: row 0 is weakly active at z, and the equalities leave one choice
ONE_CHOICE = (
    [[13, -3, -3, 3, -1, 6, -10], [-3, 23, 0, -15, 6, -12, -14], [-3, 0, 28, -8, 11, -2, 7],
     [3, -15, -8, 19, -7, 7, 10], [-1, 6, 11, -7, 15, 3, -5], [6, -12, -2, 7, 3, 27, -1],
     [-10, -14, 7, 10, -5, -1, 23]],
    [-24, 85, -5.5, -45.5, 14.5, -60, -38],
    [[-1, -2, 2, -3, 0, -2, 2], [-1, 0, 0, 0, 0, 3, 0], [2, 0, -1, 0, 2, 1, 1], [-2, -1, 0, 3, -3, 3, 3],
     [2, 1, 2, 0, 3, -2, -1]],
    [-3.5, 3, 4, 7, 3],
    [[3, 1, 0, -2, -1, 0, -2], [-3, 2, 2, 2, -3, 3, -2], [-1, 3, -3, 2, 3, 1, -2], [0, -2, 3, 2, 1, -2, 3],
     [-1, -2, -3, 2, -2, -2, 3], [2, 2, -1, 1, 1, -2, -1]],
    [-2, -0.5, -1.5, 6, 0.5, -1.5],
    [1, -1.5, 0.5, 1.5, 0.5, 1, 0],
)  # fmt: skip


@pytest.mark.parametrize("batch", [1, 8])
def test_the_point_at_a_weakly_active_row_is_that_of_the_equations_not_an_iterate(batch: int) -> None:
    """An iterate with a residual of 1e-14 is the root of that away, 1e-7, and the row looks active there."""
    *data, z = (torch.tensor(v, dtype=DOUBLE) for v in ONE_CHOICE)
    found = solve_qp(*(t.expand(batch, *t.shape) for t in data))
    assert (found.z - z).abs().max() < 1e-11
    assert found.lam.abs().max() < 1e-11
    assert found.s[..., 0].abs().max() < 1e-11


@pytest.mark.parametrize("batch", [1, 8])
def test_a_weakly_active_row_is_told_in_a_part_whose_units_are_tiny(batch: int) -> None:
    """z₀ = 2²⁷ = −q₀/Q₀₀ = h/G: left free it would move by 1/Q₀₀ = 2.7e23, held by its row not at all."""
    Q = torch.diag(torch.tensor([2.0**-78 * 1.125, 1.0], dtype=DOUBLE)).expand(batch, 2, 2)
    q = torch.tensor([-(2.0**-51) * 1.125, 0.0], dtype=DOUBLE).expand(batch, 2).clone().requires_grad_()
    G = torch.tensor([[7 * 2.0**-27, 0.0]], dtype=DOUBLE).expand(batch, 1, 2)
    h = torch.full((batch, 1), 7.0, dtype=DOUBLE)
    found = solve_qp(Q, q, G, h)
    assert (found.z[:, 0] / 2.0**27 - 1).abs().max() < 1e-14
    found.z.sum().backward()
    assert q.grad is not None
    assert q.grad[:, 0].abs().max() < 1e-6 * 2.0**78
    assert (q.grad[:, 1] + 1).abs().max() < 1e-12


def test_a_part_without_a_number_beside_its_equalities_is_solved() -> None:
    """z₀ = z₁ = z₂ at the least of z₀² + z₁², apart from z₃ = 1: no row of that part has a term at its solution."""
    Q = torch.diag(torch.tensor([2.0, 2.0, 0.0, 1.0], dtype=DOUBLE))
    q = torch.tensor([0.0, 0.0, 0.0, -1.0], dtype=DOUBLE)
    A = torch.tensor([[-1.0, 0.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0]], dtype=DOUBLE)
    found = solve_qp(Q, q, None, None, A, torch.zeros(2, dtype=DOUBLE))
    assert found.z.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert found.residuals.largest == 0


@pytest.mark.parametrize("n", [1, 2])
def test_many_dependent_rows_in_units_of_their_own_share_as_the_pseudo_inverse_says(n: int) -> None:
    """The answer is that of the largest rows; a basis of small ones would lose it to rounding."""
    for seed in range(4):
        rng = np.random.default_rng((n, seed))
        G = (
            rng.integers(1, 4, (20, n))
            * rng.choice([-1.0, 1.0], (20, n))
            * 2.0 ** rng.integers(-24, 25, (20, 1))
        )
        Q, w = np.eye(n), np.arange(1.0, n + 1)
        r = QP(*map(torch.tensor, (Q, w[None], G, np.zeros((1, 20)), np.zeros((0, n)), np.zeros((1, 0)))))
        kind = torch.full((1, 20), activity.ACTIVE, dtype=torch.int8)
        found = implicit.solve_accurately(r, kind, torch.ones(1, dtype=torch.bool), transpose=True)
        K = np.block([[Q, G.T], [G, np.zeros((20, 20))]])
        right = pseudo_inverse_times(K, np.concatenate([w, np.zeros(20)]))
        assert abs(found[0][0].numpy()).max() <= 1e-12 * abs(right).max()
        assert abs(found[1][0].numpy() - right[n:]).max() <= 1e-10 * abs(right).max()


def test_rows_of_small_terms_do_not_make_up_for_the_rounding_of_large_ones() -> None:
    """A weakly active row: K has more rows than columns, and what no x removes of r is rounding of large entries."""
    H = 2.0**-18 * np.array([[17.0, 4, 6], [4, 9, -3], [6, -3, 5]])
    rows = np.array([[-1.0, 2, 0], [-3, 2, -2], [1, 3, 0]])
    K = np.block([[H, rows[:2].T], [rows, np.zeros((3, 2))]])
    r = np.array([-2.5, -1, -2.5, 0, 0, 0])
    found, error = shortest(K, r)
    right = pseudo_inverse_times(K, r)
    assert error <= 1e-12
    for part in (slice(0, 3), slice(3, 5)):
        assert abs(found[part] - right[part]).max() <= 1e-9 * abs(right[part]).max()
