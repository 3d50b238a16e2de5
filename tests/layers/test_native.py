"""The native engine beside the torch engine: every size, every place in a batch, every kind of trouble."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ProblemError, Status, solve_qp
from layers.native import qp as native
from layers.problem import QP
from layers.qp.kkt import residuals
from tests.layers.catalogue import INFEASIBLE, SOLVABLE, UNBOUNDED
from tests.layers.instances import NAMES, Data, as_data, assert_close, leaves, padded, random_qp, stack, weigh

ALL = SOLVABLE | INFEASIBLE | UNBOUNDED
FOUND = ("z", "lam", "nu", "s", "objective")


@pytest.fixture(autouse=True)
def _engine() -> None:
    """In place of the matrix of both engines: each test here names its own."""
    if native.unavailable():
        pytest.skip(str(native.unavailable()))


def core(data: Data, batch: int) -> native.Arrays:
    """What the core says by itself, before anything goes to the torch engine."""
    return native.Arrays.of(native.solve(QP(*data), batch, 1e-8, 1e-9, 100))


def in_torch(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], list[Tensor]]) -> list[Tensor]:
    """Solution and derivative by the torch engine alone."""
    with monkeypatch.context() as patch:
        patch.setattr(native, "suits", lambda tensor: False)
        patch.setattr(native, "plain", lambda tensors: False)
        return answer("interior_point")


def with_gradients(data: Data) -> Callable[[str], list[Tensor]]:
    def answer(solver: str) -> list[Tensor]:
        variables = leaves(data)
        solution = solve_qp(*variables, solver=solver)
        outputs = [getattr(solution, name) for name in FOUND]
        gradients = torch.autograd.grad(sum(weigh(v) for v in outputs), variables)
        return [*(v.detach() for v in outputs), *gradients]

    return answer


def assert_solved_and_differentiated(data: Data) -> None:
    """The core's own answer is optimal to the last digits, its derivative solves the system of the active set."""
    Q, q, G, h, A, b = data
    batch, n, m, p = q.shape[0], q.shape[-1], h.shape[-1], b.shape[-1]
    raw, place = core(data, batch), f"n={n} m={m} p={p} batch={batch}"
    assert not raw.status.any(), place
    assert residuals(QP(*data), raw.z, raw.lam, raw.nu).largest.max() <= 1e-12, place
    assert torch.equal(raw.kind, (raw.lam > 0).to(torch.int8)), place
    r = tuple(torch.linspace(-1, 1, batch * k, dtype=torch.float64).reshape(batch, k) for k in (n, m, p))
    x, error, _ = native.solve_linearised(
        QP(data[0], r[0], data[2], r[1], data[4], r[2]), raw.kind, raw.status, transpose=True
    )
    assert (error <= 1e-12).all(), place
    for i in range(batch):
        on = raw.kind[i] > 0
        C = torch.cat([G[i][on], A[i]])
        K = torch.cat([torch.cat([Q[i], C.mT], 1), torch.cat([C, C.new_zeros(C.shape[0], C.shape[0])], 1)])
        expected = torch.linalg.solve(K, torch.cat([r[0][i], r[1][i][on], r[2][i]]))
        found = torch.cat([x[0][i], x[1][i][on], x[2][i]])
        assert_close(found, expected, 1e-8, place)
        assert not x[1][i][~on].any(), place


@pytest.mark.parametrize("n", range(1, 41))
def test_random_sizes(n: int) -> None:
    rng = np.random.default_rng(n)
    for _ in range(4):
        m, p, batch = int(rng.integers(61)), int(rng.integers(min(11, n))), int(rng.integers(1, 12))
        assert_solved_and_differentiated(random_qp(rng, n, m, p, batch=(batch,)))


@pytest.mark.slow
@pytest.mark.parametrize("p", range(11))
def test_every_size(p: int) -> None:
    rng = np.random.default_rng(p)
    for n in range(p + 1, 41):
        for m in range(61):
            assert_solved_and_differentiated(random_qp(rng, n, m, p, batch=(int(rng.integers(1, 10)),)))


SIZES = [(1, 1, 0), (3, 0, 0), (4, 0, 2), (4, 7, 0), (6, 9, 2), (13, 30, 3), (40, 60, 10), (300, 450, 20)]


@pytest.mark.parametrize(("n", "m", "p"), SIZES)
def test_solution_and_gradients_are_those_of_the_torch_engine(rng, monkeypatch, n, m, p) -> None:
    answer = with_gradients(random_qp(rng, n, m, p, batch=(2,)))
    for name, x, y in zip((*FOUND, *NAMES), answer("native"), in_torch(monkeypatch, answer), strict=True):
        assert_close(x, y, 1e-10, name)


def with_zeros(rng: np.random.Generator, kind: str, n: int, batch: int) -> Data:
    """Problems whose matrices are mostly zero, each kind in another way."""
    eye = np.eye(n)
    Q, G, A = eye * rng.uniform(0.5, 2, size=(batch, 1, n)), -np.concatenate([eye, -eye]), eye[:0]
    if kind == "banded":
        Q = Q + 0.1 * (np.eye(n, k=1) + np.eye(n, k=-1))
        G, A = np.concatenate([np.eye(n)[:-1] - np.eye(n, k=1)[:-1], G]), np.ones((1, n))
    elif kind == "scattered":
        # every element has its own zeros: what they share is less
        G, A = (
            rng.normal(size=(batch, k, n)) * (rng.uniform(size=(batch, k, n)) < 3 / n) for k in (n, n // 4)
        )
    elif kind == "empty rows and columns":
        G = G * (np.arange(n) % 3 > 0)
    elif kind == "linear":
        Q = 0 * Q
    G, A = np.broadcast_to(G, (batch, *G.shape[-2:])), np.broadcast_to(A, (batch, *A.shape[-2:]))
    z, lam = rng.normal(size=(batch, n)), rng.uniform(0.5, 1.5, size=(batch, G.shape[-2]))
    if kind == "linear":
        # a vertex: every variable at one of its bounds
        on = np.tile(np.arange(n) % 2 > 0, 2) ^ (np.arange(2 * n) < n)
    else:
        on = (rng.uniform(size=G.shape[-2]) < 0.3) & (np.arange(G.shape[-2]) < n)
    # a row of zeros has no force, and a bound on each side of a variable no more than one
    on = on & (np.abs(G).max(-1) > 0)
    lam, s = np.where(on, lam, 0), np.where(on, 0, lam)
    q = -(Q @ z[..., None] + G.swapaxes(-1, -2) @ lam[..., None])[..., 0]
    return as_data(Q, q, G.copy(), (G @ z[..., None])[..., 0] + s, A.copy(), (A @ z[..., None])[..., 0])


ZEROS = ("bounds", "banded", "scattered", "empty rows and columns", "linear")


@pytest.mark.parametrize("n", [8, 9, 17, 40, 90])
@pytest.mark.parametrize("kind", ZEROS)
def test_zeros_that_the_problems_share(rng, monkeypatch, kind: str, n: int) -> None:
    for batch in (1, 2, 9):
        data = with_zeros(rng, kind, n, batch)
        answer = with_gradients(data)
        for name, x, y in zip((*FOUND, *NAMES), answer("native"), in_torch(monkeypatch, answer), strict=True):
            # multipliers of dependent rows are a matter of choice; all that depends on z is not
            if kind != "scattered" or name in ("z", "s", "objective"):
                assert_close(x, y, 1e-9, f"{name}, batch {batch}")


def test_one_element_that_fills_the_zeros_of_the_others(rng) -> None:
    data = with_zeros(rng, "bounds", 20, 6)
    full = random_qp(rng, 20, 40, 0)
    mixed = tuple(torch.cat([a[:3], b[None], a[3:]]) for a, b in zip(data, full, strict=True))
    found, sparse, dense = core(mixed, 7), core(data, 6), core(tuple(t[None] for t in full), 1)
    assert not found.status.any()
    assert_close(found.z[[0, 1, 2, 4, 5, 6]], sparse.z, 1e-12)
    assert_close(found.z[3], dense.z[0], 1e-12)


@pytest.mark.parametrize(("n", "m", "p"), [(8, 8, 2), (30, 24, 3), (60, 50, 0), (100, 100, 25)])
def test_where_sets_have_room_they_are_tried_before_any_iteration(
    rng, monkeypatch, n: int, m: int, p: int
) -> None:
    data = random_qp(rng, n, m, p)
    assert solve_qp(*data, solver="native").iterations.item() == 0
    found, expected = with_gradients(data)("native"), in_torch(monkeypatch, with_gradients(data))
    for x, y in zip(found, expected, strict=True):
        assert_close(x, y, 1e-9)


def test_sets_that_cycle_are_followed_by_the_iteration(rng) -> None:
    """Twice as many rows as variables, most of them violated by the minimiser without them."""
    n, m = 100, 200
    root, G = rng.normal(size=(n, n)), rng.normal(size=(m, n))
    Q, h = root @ root.T / n + 0.1 * np.eye(n), G @ rng.normal(size=n) + rng.uniform(size=m)
    data = as_data(Q, rng.normal(size=n), G, h, np.zeros((0, n)), [])
    solution = solve_qp(*data, solver="native")
    assert solution.iterations.item() > 0
    assert solution.residuals.largest.item() < 1e-12
    assert_close(solution.z, solve_qp(*data, solver="interior_point").z, 1e-9)


def test_multipliers_of_dependent_rows_do_not_depend_on_the_order_of_sets(rng) -> None:
    """An active row a second time in other units: alone, where sets come first, as in a batch, where they do not."""
    Q, q, G, h, A, b = random_qp(rng, 12, 6, 2)
    G, h = torch.cat((G, 2 * G[:1])), torch.cat((h, 2 * h[:1]))
    alone = solve_qp(Q, q, G, h, A, b, solver="native")
    beside = solve_qp(*(t.expand(9, *t.shape) for t in (Q, q, G, h, A, b)), solver="native")
    assert alone.iterations.item() > 0
    assert (alone.lam[[0, 6]] > 1e-2).all()
    assert_close(alone.lam, beside.lam[4], 1e-6)


@pytest.mark.parametrize("batch", range(1, 21))
def test_groups_that_are_not_full(rng, monkeypatch, batch: int) -> None:
    answer = with_gradients(random_qp(rng, 5, 8, 2, batch=(batch,)))
    for name, x, y in zip((*FOUND, *NAMES), answer("native"), in_torch(monkeypatch, answer), strict=True):
        assert_close(x, y, 1e-10, name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_an_element_that_is_not_finite_spoils_no_other(rng, name: str, value: float) -> None:
    data = dict(zip(NAMES, random_qp(rng, 5, 8, 2, batch=(11,)), strict=True))
    sound = core(tuple(data.values()), 11)
    data[name] = data[name].clone()
    data[name][4].view(-1)[-1] = value
    raw = core(tuple(data.values()), 11)
    assert raw.status.tolist() == [native.SUSPECT if i == 4 else Status.OPTIMAL for i in range(11)]
    others = [i for i in range(11) if i != 4]
    for found, expected in ((raw.z, sound.z), (raw.lam, sound.lam), (raw.nu, sound.nu)):
        assert_close(found[others], expected[others], 1e-12)
    with pytest.raises(
        ProblemError, match=rf"^{name} must be finite; found NaN or infinity in batch element \(4,\)"
    ):
        solve_qp(**data, solver="native")


def test_single_precision_in_and_out(rng) -> None:
    data = random_qp(rng, 6, 9, 2, batch=(5,))
    exact, single = leaves(data), leaves(tuple(t.float() for t in data))
    solutions = [solve_qp(*variables, solver="native") for variables in (exact, single)]
    gradients = [torch.autograd.grad(weigh(s.z), v) for s, v in zip(solutions, (exact, single), strict=True)]
    for name in FOUND:
        found = getattr(solutions[1], name)
        assert found.dtype == torch.float32, name
        assert_close(found.double(), getattr(solutions[0], name), 1e-5, name)
    for name, expected, found in zip(NAMES, *gradients, strict=True):
        assert found.dtype == torch.float32
        assert_close(found.double(), expected, 1e-4, name)


@pytest.mark.parametrize("seed", range(6))
def test_what_cannot_be_solved_gets_the_status_of_the_torch_engine(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(ALL))
    data = stack([padded(ALL[name](np.random.default_rng(7)), 6, 16, 2) for name in names])
    native, torchs = (solve_qp(*data, solver=s, on_failure="ignore") for s in ("native", "interior_point"))
    assert torch.equal(native.status, torchs.status)
    expected = {**dict.fromkeys(SOLVABLE, 0), **dict.fromkeys(INFEASIBLE, 2), **dict.fromkeys(UNBOUNDED, 3)}
    assert native.status.tolist() == [expected[name] for name in names]
    assert_close(native.objective[native.status == 0], torchs.objective[native.status == 0], 1e-10)


def scaled(data: Data, cost: float, rows: float, unit: float) -> Data:
    """The same problem with its objective and its rows multiplied, and z measured in another unit."""
    Q, q, G, h, A, b = data
    return cost * Q, cost * unit * q, rows * G, rows * unit * h, A / rows, unit * b / rows


SCALES = [(c, r, u) for c in (1.0, 1e-60, 1e60) for r in (1.0, 1e-40, 1e40) for u in (1.0, 1e-30, 1e30)]


@pytest.mark.parametrize(("cost", "rows", "unit"), SCALES)
def test_huge_and_tiny_numbers(rng, cost: float, rows: float, unit: float) -> None:
    data = random_qp(rng, 6, 9, 2, batch=(9,))
    expected = core(data, 9)
    raw = core(scaled(data, cost, rows, unit), 9)
    assert not raw.status.any()
    assert_close(raw.z / unit, expected.z, 1e-11, "z")
    assert_close(raw.lam * rows / (cost * unit), expected.lam, 1e-11, "lam")
    assert_close(raw.nu / (cost * unit * rows), expected.nu, 1e-11, "nu")


@pytest.mark.parametrize("seed", range(8))
def test_what_is_called_optimal_is_so_on_the_caller_s_data(seed: int) -> None:
    """Problems of every kind, with rows, costs and units of sizes that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    problems = []
    for name in rng.choice(list(ALL), 150):
        Q, q, G, h, A, b = padded(ALL[name](rng), 6, 16, 2)
        reach = rng.choice([0.0, 3.0, 8.0, 12.0, 30.0])
        cost, unit, g, a = (
            as_data(10 ** rng.uniform(-reach, reach, size=k), *[0] * 5)[0] for k in (1, 1, 16, 2)
        )
        problems.append(
            (cost * Q, cost * unit * q, g[:, None] * G, g * unit * h, a[:, None] * A, a * unit * b)
        )
    data = stack(problems)
    raw = core(data, 150)
    true = residuals(QP(*data), raw.z, raw.lam, raw.nu)
    solved = raw.status == Status.OPTIMAL
    assert solved.sum() > 50
    assert (true.largest[solved] <= 1e-8).all()
    Q, q, _, h, _, b = data
    terms = torch.cat([(Q @ raw.z[..., None])[..., 0] * raw.z, q * raw.z, h * raw.lam, b * raw.nu], dim=-1)
    # two sums of the gap differ by the rounding of terms that cancel, as those of bounds that meet
    rounding = (16 * 2**-52 * terms.abs().sum(-1) / terms.sum(-1).abs()).nan_to_num(0.0)
    for k, (found, expected) in enumerate(zip(raw.residuals.unbind(-1), true.values.unbind(-1), strict=True)):
        room = 1e-12 + (1e-3 + rounding * (k == 2)) * expected
        assert ((found - expected).abs() <= room)[solved].all()


def test_a_weakly_active_constraint_beside_an_unsolved_element(monkeypatch) -> None:
    # z₁ ≤ 0 holds with equality and without a force; the second element asks for z₂ ≥ 0 and z₂ ≤ −1
    G = torch.zeros(2, 8, 3, dtype=torch.float64)
    h = 5 + torch.arange(8, dtype=torch.float64).expand(2, 8).clone()
    G[:, 0, 0], G[:, 1, 1], G[:, 2:, 2], h[:, 0], h[:, 1] = 1, 1, 1, 0, -1
    G[1, 0] = torch.tensor([0.0, -1.0, 0.0])
    q = torch.tensor([[0.0, 0.0, 1.0]] * 2, dtype=torch.float64, requires_grad=True)

    def gradient(solver: str) -> list[Tensor]:
        solution = solve_qp(torch.eye(3, dtype=torch.float64), q, G, h, solver=solver, on_failure="ignore")
        assert solution.status.tolist() == [Status.OPTIMAL, Status.INFEASIBLE]
        return list(torch.autograd.grad(solution.z[0].sum(), q))

    expected = in_torch(monkeypatch, gradient)[0]
    for garbage in (-100, -1, 0, 100):
        # memory that the core's answer may get
        assert sum(int(np.full((2, 8), garbage, np.int8).sum()) for _ in range(8)) == 128 * garbage
        assert_close(gradient("native")[0], expected, 1e-10)


@pytest.mark.parametrize("outputs", [("z",), ("lam", "nu"), ("z", "lam", "nu")], ids="+".join)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("shared", ["", "Q", "qh", "G", "Ab", "QGA", "everything", "no batch"])
def test_gradients_in_one_call_are_those_of_the_path_that_can_be_differentiated(
    rng, monkeypatch, shared: str, batch: int, outputs: tuple[str, ...]
) -> None:
    # one problem and small changes of it, so that any mixture of them has a feasible point
    one = random_qp(rng, 5, 6, 2)
    many = [t + 1e-3 * torch.from_numpy(rng.normal(size=(batch, *t.shape))) for t in one]
    many[0] = 0.5 * (many[0] + many[0].mT)
    alone = "QqGhAb" if shared == "no batch" else "QGhAb" if shared == "everything" else shared
    mixed = [one[i] if name in alone else many[i] for i, name in enumerate("QqGhAb")]
    variables = leaves((mixed[0], mixed[1], mixed[2], mixed[3], mixed[4], mixed[5]))
    solution = solve_qp(*variables)
    value = sum(weigh(getattr(solution, name)) for name in outputs)
    calls, real = [], native.pull_back
    monkeypatch.setattr(native, "pull_back", lambda *given: calls.append(given) or real(*given))
    for some in (variables, variables[1::3]):
        found = torch.autograd.grad(value, some, retain_graph=True)
        expected = torch.autograd.grad(value, some, create_graph=True)
        for x, y in zip(found, expected, strict=True):
            assert x.shape == y.shape
            assert_close(x, y, 1e-12)
    assert len(calls) == 2


def test_an_element_that_the_core_leaves_is_differentiated_in_torch(rng, monkeypatch) -> None:
    """The second element has a weakly active constraint."""
    Q, q, G, h, A, b = random_qp(rng, 3, 1, 0, batch=(2,))
    z = torch.linalg.solve(Q[1], -q[1])
    h[1] = G[1] @ z
    variables = leaves((Q, q, G, h, A, b))
    solution = solve_qp(*variables)
    found = torch.autograd.grad(weigh(solution.z), variables, retain_graph=True)
    monkeypatch.setattr(native, "pull_back", None)
    expected = torch.autograd.grad(weigh(solution.z), variables, create_graph=True)
    assert solution.degeneracy.margin[1] <= 1e-9
    for x, y in zip(found, expected, strict=True):
        assert_close(x, y, 1e-12)
