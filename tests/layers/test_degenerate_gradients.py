"""Where the derivative does not exist: the minimum-norm least-squares answer, finite, and reported."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import DifferentiationError, solve_qp
from tests.layers.instances import NAMES, Array, Data, as_data, assert_close, leaves, random_qp, weigh

CASES = (
    "weakly active", "duplicated active row", "opposite bounds that meet", "degenerate vertex",
    "dependent equalities", "flat face of solutions", "linear program", "zero row, zero bound",
)  # fmt: skip


def degenerate(case: str, rng: np.random.Generator) -> tuple[Data, list[int], list[int], int]:
    """Data, the strongly and the weakly active rows, and the rank deficiency of the active rows with A."""
    none = (np.zeros((0, 2)), np.zeros(0))
    if case == "weakly active":
        # the unconstrained minimum (1, −1) lies on the first row; the second is active, the third is not
        Q = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]])
        z = np.array([1.0, -1.0, 0.5])
        G = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, -1.0], [1.0, 1.0, 1.0]])
        q = -(Q @ z) - 0.7 * G[1]
        h = G @ z + np.array([0.0, 0.0, 1.0])
        return as_data(Q, q, G, h, np.zeros((0, 3)), np.zeros(0)), [1], [0], 0
    if case == "duplicated active row":
        G = np.array([[1.0, 1.0], [2.0, 2.0], [-1.0, 0.0]])
        return as_data(np.diag([1.0, 2.0]), [-4.0, -3.0], G, [1.0, 2.0, 5.0], *none), [0, 1], [], 1
    if case == "opposite bounds that meet":
        G = np.array([[1.0, 1.0], [-1.0, -1.0]])
        return as_data(np.diag([1.0, 2.0]), [-4.0, -3.0], G, [1.0, -1.0], *none), [0, 1], [], 1
    if case == "degenerate vertex":
        # three constraints meet in (0, 0) of the plane, all of them pushing
        G = np.array([[-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]])
        return as_data(np.eye(2), [3.0, 2.0], G, np.zeros(3), *none), [0, 1, 2], [], 1
    if case == "dependent equalities":
        Q, q, G, h, A, b = (t.numpy() for t in random_qp(rng, 4, 3, 1))
        return as_data(Q, q, G, h, np.vstack([A, -2 * A]), np.concatenate([b, -2 * b])), [0, 1], [], 1
    if case == "flat face of solutions":
        # z₂ is free in [−1, 1]; the third row is far away
        G = np.array([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
        return as_data(np.diag([2.0, 0.0]), [-1.0, 0.0], G, [1.0, 1.0, 3.0], *none), [], [], 0
    if case == "linear program":
        G = np.vstack([-np.eye(3), [[1.0, 1.0, 1.0]]])
        data = as_data(np.zeros((3, 3)), [-3, -2, -1.0], G, [0, 0, 0, 1.0], np.zeros((0, 3)), np.zeros(0))
        return data, [1, 2, 3], [], 0
    # any multiplier of a row 0 ≤ 0 is right; an interior point method returns a positive one
    G = np.array([[1.0, 1.0], [0.0, 0.0]])
    return as_data(np.diag([1.0, 2.0]), [-4.0, -3.0], G, [1.0, 0.0], *none), [0, 1], [], 1


def kkt_matrix(data: Data, strong: list[int], weak: list[int]) -> tuple[Array, list[int]]:
    """K with the rows of the strongly active and the columns of all active constraints; the latter in order."""
    Q, _, G, _, A, _ = (t.numpy() for t in data)
    touched = sorted(strong + weak)
    k, p = len(strong), A.shape[0]
    top = np.hstack([Q, G[touched].T, A.T])
    middle = np.hstack([G[strong], np.zeros((k, len(touched) + p))])
    low = np.hstack([A, np.zeros((p, len(touched) + p))])
    return np.vstack([top, middle, low]), touched


@pytest.mark.parametrize("case", CASES)
def test_reverse_derivative_is_the_pseudo_inverse_of_the_written_out_system(rng, case: str) -> None:
    data, strong, weak, _ = degenerate(case, rng)
    variables = leaves(data)
    solution = solve_qp(*variables, tol=1e-10)
    outputs = (solution.z, solution.lam, solution.nu)
    # with cotangents of all outputs a dependent system is inconsistent too
    bars = [torch.tensor(rng.normal(size=v.shape)) for v in outputs]
    found = torch.autograd.grad(outputs, variables, bars)
    K, touched = kkt_matrix(data, strong, weak)
    n, m = data[1].numel(), data[3].numel()
    rhs = np.concatenate([bars[0], bars[1][touched], bars[2]])
    d = -np.linalg.pinv(K.T, rcond=1e-12) @ rhs
    d_z, d_lam, d_nu = torch.tensor(d[:n]), torch.zeros(m).double(), torch.tensor(d[n + len(strong) :])
    d_lam[strong] = torch.tensor(d[n : n + len(strong)])
    z, lam, nu = (v.detach() for v in outputs)
    outer = torch.outer
    expected = (
        0.5 * (outer(d_z, z) + outer(z, d_z)), d_z,
        outer(lam, d_z) + outer(d_lam, z), -d_lam,
        outer(nu, d_z) + outer(d_nu, z), -d_nu,
    )  # fmt: skip
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert x.isfinite().all(), name
        assert_close(x, y, 1e-8, name)


@pytest.mark.parametrize("case", CASES)
def test_forward_derivative_is_the_pseudo_inverse_too(rng, case: str) -> None:
    data, strong, weak, _ = degenerate(case, rng)
    dq, dh = (torch.tensor(rng.normal(size=data[i].shape)) for i in (1, 3))

    def answer(q: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        solution = solve_qp(data[0], q, data[2], h, *data[4:], tol=1e-10)
        return solution.z, solution.lam

    _, (dz, dlam) = torch.func.jvp(answer, (data[1], data[3]), (dq, dh))
    K, touched = kkt_matrix(data, strong, weak)
    n, p = data[1].numel(), data[5].numel()
    x = np.linalg.pinv(K, rcond=1e-12) @ np.concatenate([-dq.numpy(), dh.numpy()[strong], np.zeros(p)])
    expected = torch.zeros_like(dlam)
    expected[touched] = torch.tensor(x[n : n + len(touched)])
    assert_close(dz, torch.tensor(x[:n]), 1e-8)
    assert_close(dlam, expected, 1e-8)


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("weak", [1, 3])
def test_weakly_active_rows_beside_strongly_active_ones_and_equalities(
    rng, monkeypatch, copies: int, weak: int
) -> None:
    """One such element beside a regular one, and several, which share a factorisation; a badly scaled row too."""
    n, m, strong = 7, 9, 2
    L, z, G, A = (rng.normal(size=shape) for shape in ((n, n), n, (m, n), (1, n)))
    G[strong] *= 1e3
    Q = L @ L.T / n + np.eye(n)
    lam = np.where(np.arange(m) < strong, rng.uniform(0.2, 1.0, m), 0.0)
    s = np.where(np.arange(m) < strong + weak, 0.0, 1.0)
    bound = G @ z + s
    q = -(Q @ z) - G.T @ lam - A[0] * 0.7
    data = as_data(Q, q, G, bound, A, A @ z)
    regular = as_data(Q, q, G, bound + np.where(s == 0, 0.0, 1.0) + np.where(lam > 0, 0.0, 1.0), A, A @ z)
    batch = leaves(tuple(torch.stack([a] * copies + [b]) for a, b in zip(data, regular, strict=True)))
    solution = solve_qp(*batch, tol=1e-10)
    assert (solution.degeneracy.margin < 1e-6).tolist() == [True] * copies + [False]
    K, touched = kkt_matrix(data, list(range(strong)), list(range(strong, strong + weak)))
    on = list(range(strong))

    bars = [torch.tensor(rng.normal(size=v.shape)) for v in (solution.z, solution.lam, solution.nu)]
    gradients = torch.autograd.grad((solution.z, solution.lam, solution.nu), batch, bars)
    for i in range(copies):
        right = np.concatenate([bars[0][i], bars[1][i][touched], bars[2][i]])
        d = -np.linalg.pinv(K.T, rcond=1e-13) @ right
        d_lam = torch.zeros(m).double()
        d_lam[on] = torch.tensor(d[n : n + strong])
        for name, expected in (("q", d[:n]), ("h", -d_lam), ("b", -d[n + strong :])):
            assert_close(gradients[NAMES.index(name)][i], torch.as_tensor(expected), 1e-9, name)

    change = torch.tensor(rng.normal(size=batch[1].shape))
    _, moves = torch.func.jvp(
        lambda q: solve_qp(batch[0], q, *batch[2:], tol=1e-10).z, (batch[1],), (change,)
    )
    for i in range(copies):
        right = np.concatenate([-change[i], np.zeros(strong + 1)])
        expected = (np.linalg.pinv(K, rcond=1e-13) @ right)[:n]
        assert_close(moves[i], torch.tensor(expected), 1e-9)


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_dependent_rows_share_a_derivative_as_the_minimum_norm_says(scale: float) -> None:
    # d_ν is orthogonal to (scale, −1), the direction that [1; scale]ᵀ d_ν does not see
    Q, q = torch.diag(torch.tensor([1.0, 2.0])).double(), torch.tensor([-4.0, -3.0]).double()
    A = torch.tensor([[1.0, 1.0], [scale, scale]], dtype=torch.float64)
    b = torch.tensor([1.0, scale], dtype=torch.float64, requires_grad=True)
    d_nu = -torch.autograd.grad(weigh(solve_qp(Q, q, A=A, b=b).z), b)[0]
    assert abs(d_nu @ torch.tensor([scale, -1.0]).double()) <= 1e-9 * scale * d_nu.norm()


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
def test_derivative_along_consistent_changes_does_not_depend_on_the_sharing(scale: float) -> None:
    Q, q = torch.diag(torch.tensor([1.0, 2.0])).double(), torch.tensor([-4.0, -3.0]).double()

    def value(level: Tensor, factors: Tensor) -> Tensor:
        A, b = factors.unsqueeze(-1).expand(-1, 2), factors * level
        return weigh(solve_qp(Q, q, A=A, b=b).z)

    level = torch.tensor(1.0, dtype=torch.float64)
    found, expected = (
        torch.func.grad(value)(level, torch.tensor(factors).double()) for factors in ([1.0, scale], [1.0])
    )
    assert_close(found, expected, 1e-9)


@pytest.mark.parametrize("size", [3, 8, 20])
@pytest.mark.parametrize("batch", [1, 9])
def test_where_multipliers_are_not_unique_every_row_that_can_push_holds(rng, size: int, batch: int) -> None:
    # min ½‖w − h‖² − μ'(w − h) + 5e-4 ‖t‖² with |w − h| <= t and 1'w + κ 1't <= 1'h, all μᵢ equal: holdings h that are
    # best already. (w, t) = (h, 0) satisfies all 2n + 1 rows with equality, and at corners of the set of multipliers n
    # of them are zero though their rows bind: were those taken for weak, w would seem to follow μ.
    cost, eye = 0.01, torch.eye(size, dtype=torch.float64)
    one, Q = eye.sum(0, keepdim=True), torch.diag(torch.cat((eye.sum(0), 1e-3 * eye.sum(0))))
    G = torch.cat((torch.cat((eye, -eye), 1), torch.cat((-eye, -eye), 1), torch.cat((one, cost * one), 1)))

    def trades(mu: Tensor, start: Tensor) -> Tensor:
        q = torch.cat((-mu - start, torch.zeros_like(mu)), -1)
        h = torch.cat((start, -start, start.sum(-1, keepdim=True)), -1)
        return solve_qp(Q, q, G, h, tol=1e-10).z[..., :size]

    def draw(low: float, high: float, width: int) -> Tensor:
        return torch.tensor(rng.uniform(low, high, (batch, width)))

    for _ in range(6):
        held, mu = draw(0.1, 1.0, size), draw(0.5, 1.5, 1).repeat(1, size)
        assert_close(trades(mu, held), held, 1e-10)
        change = draw(-1.0, 1.0, size)
        _, along_mu = torch.func.jvp(lambda mu, held=held: trades(mu, held), (mu,), (change,))
        _, along_start = torch.func.jvp(lambda start, mu=mu: trades(mu, start), (held,), (change,))
        assert along_mu.abs().max() <= 1e-6
        assert_close(along_start, change, 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_degeneracy_is_reported(rng, case: str) -> None:
    data, _, weak, deficiency = degenerate(case, rng)
    found = solve_qp(*data).degeneracy
    assert int(found.dependent_rows) == deficiency
    assert (found.margin.item() < 1e-6) == bool(weak)


def test_regular_elements_beside_degenerate_ones_are_reported_and_answered_as_alone(rng) -> None:
    regular = as_data(
        np.diag([1.0, 2.0]), [-4, -3.0], [[1.0, 1], [0, 1], [-1, 0]], [1, 9, 5.0], np.zeros((0, 2)), []
    )
    duplicated = degenerate("duplicated active row", rng)[0]
    batch = leaves(tuple(torch.stack(pair) for pair in zip(regular, duplicated, strict=True)))
    solution = solve_qp(*batch)
    assert solution.degeneracy.dependent_rows.tolist() == [0, 1]
    found = torch.autograd.grad(weigh(solution.z[0]) + weigh(solution.z[1]), batch)
    for i, data in enumerate((regular, duplicated)):
        alone = leaves(data)
        expected = torch.autograd.grad(weigh(solve_qp(*alone).z), alone)
        for name, x, y in zip(NAMES, found, expected, strict=True):
            # the duplicated multipliers share a sum; how they share it is fixed only to the accuracy of the solve
            assert_close(x[i], y, 1e-8 if i else 1e-12, name)


def test_no_inequalities_have_an_infinite_margin(rng) -> None:
    Q, q, _, _, A, b = random_qp(rng, 4, 0, 2, batch=(3,))
    found = solve_qp(Q, q, A=A, b=b).degeneracy
    assert found.margin.tolist() == [math.inf] * 3
    assert found.rank_deficiency.tolist() == [0] * 3


def test_margin_is_the_smallest_slack_or_multiplier_and_not_the_scale_of_a_row() -> None:
    # projection of v on the orthant: s + λ = |v|
    v = torch.tensor([2.0, -3.0, 1e-4], dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    margins = [
        solve_qp(eye, -v, -scale * eye, 0 * v, tol=1e-11).degeneracy.margin.item() for scale in (1.0, 1e5)
    ]
    assert 1e-5 <= margins[0] <= 1e-3
    assert abs(margins[1] / margins[0] - 1) <= 1e-6


@pytest.mark.parametrize("copies", [1, 2])
def test_second_derivative_of_z_does_not_see_a_duplicated_active_row(rng, copies: int) -> None:
    Q, q, G, h, A, b = random_qp(rng, 4, 2, 1)
    assert solve_qp(Q, q, G, h, A, b).lam[0] > 0.1

    def value(q: Tensor, row: Tensor, bound: Tensor, times: int) -> Tensor:
        rows, bounds = torch.stack([row] * times), torch.stack([bound] * times)
        z = solve_qp(Q, q, torch.cat([rows, G[1:]]), torch.cat([bounds, h[1:]]), A, b, tol=1e-11).z
        return weigh(z**2)

    point = (q, G[0], h[0])
    found, expected = (
        torch.func.hessian(lambda *x, t=t: value(*x, t), argnums=(0, 1, 2))(*point) for t in (copies + 1, 1)
    )
    for row, row_alone in zip(found, expected, strict=True):
        for x, y in zip(row, row_alone, strict=True):
            assert_close(x, y, 1e-8)


def test_singular_values_that_repeat_by_the_hundred_do_not_stop_a_backward_pass(rng) -> None:
    """Q = I/10 and 300 bounds, all weakly active: every singular value of the system is the same."""
    n = 300
    q = torch.zeros(n, dtype=torch.float64, requires_grad=True)
    bound = torch.zeros(n, dtype=torch.float64)
    solution = solve_qp(0.1 * torch.eye(n).double(), q, -torch.eye(n).double(), bound, tol=1e-10)
    weight = torch.from_numpy(rng.normal(size=n))
    (gradient,) = torch.autograd.grad(weight @ solution.z, q)
    # each variable by itself: the least-squares answer of (0.1, −1)' d = (−w, 0)'
    assert_close(gradient, -weight * 0.1 / 1.01, 1e-9, "gradient")


def test_a_cotangent_that_is_no_number_is_told(rng) -> None:
    data, *_ = degenerate("weakly active", rng)
    given = leaves(data)
    z = solve_qp(*given, tol=1e-10).z
    with pytest.raises(DifferentiationError, match="nan"):
        (z.sum() * math.nan).backward()
