"""Every third-party layer behind our signature: the same answer, the same gradient, the same refusals."""

import re
import sys
from collections import defaultdict
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import solve_qp
from layers.backends import BACKENDS, Backend
from layers.backends.base import once_differentiable
from layers.errors import DifferentiationError, ProblemError, SolverError, UnavailableError
from layers.problem import QP, make_qp
from layers.qp import kkt

# cvxpylayers converts cotangents in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

#: largest error of z, λ, ν and of gradients, relative to the largest entry
TOLERANCE = defaultdict(lambda: 1e-6) | {"qpth": 1e-7, "cvxpylayers": 2e-8, "moreau": 2e-8}
SINGULAR_TOLERANCE = {"cvxpylayers": 2e-8, "moreau": 2e-5}
SIZES = {"both": (5, 6, 2), "no inequalities": (5, 0, 2), "no equalities": (5, 6, 0), "neither": (5, 0, 0)}
MODULES = {"qpth": "qpth", "cvxpylayers": "cvxpylayers.torch", "moreau": "moreau.torch"}
NAMES = ("Q", "q", "G", "h", "A", "b")


@pytest.fixture(params=list(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    chosen = BACKENDS[request.param]
    reason = chosen.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return chosen


def random_data(rng: np.random.Generator, batch: int, n: int, m: int, p: int) -> tuple[Tensor, ...]:
    """Strictly convex problems with a feasible interior; about half of the inequalities active."""
    root, G, A = (
        rng.normal(size=(batch, n, n)),
        rng.normal(size=(batch, m, n)),
        rng.normal(size=(batch, p, n)),
    )
    inside = rng.normal(size=(batch, n, 1))
    h, b = (G @ inside)[..., 0] + rng.uniform(0.1, 1, size=(batch, m)), (A @ inside)[..., 0]
    Q = root @ root.transpose(0, 2, 1) / n + 0.5 * np.eye(n)
    return tuple(torch.tensor(x) for x in (Q, rng.normal(size=(batch, n)), G, h, A, b))


def solve(backend: Backend, data: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    return backend.solve(make_qp(*data), 1e-8, 100)


def ours(data: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
    solution = solve_qp(*data, solver="interior_point", tol=1e-11)
    return solution.z, solution.lam, solution.nu


def weigh(x: Tensor) -> Tensor:
    """A scalar to which every entry contributes differently."""
    return (x * torch.linspace(1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)).sum()


def gradients(function, data: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    leaves = [t.detach().clone().requires_grad_() for t in data]
    return torch.autograd.grad(function(tuple(leaves)), leaves, materialize_grads=True)


def assert_close(found, expected, tolerance: float, names=NAMES) -> None:
    for name, x, y in zip(names, found, expected, strict=True):
        assert x.shape == y.shape, name
        if y.numel() > 0:
            assert (x - y).abs().max() <= tolerance * y.abs().max(), name


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_solution_and_multipliers_are_those_of_our_solver(backend, rng, sizes) -> None:
    data = random_data(rng, 4, *sizes)
    assert_close(solve(backend, data), ours(data), TOLERANCE[backend.name], ("z", "lam", "nu"))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_gradients_of_all_arguments_are_those_of_our_adjoint(backend, rng, sizes) -> None:
    data = random_data(rng, 4, *sizes)
    found = gradients(lambda t: weigh(solve(backend, t)[0]), data)
    expected = gradients(lambda t: weigh(ours(t)[0]), data)
    assert_close(found, expected, TOLERANCE[backend.name])


def test_gradients_stay_right_when_rows_and_variables_are_badly_scaled(backend, rng) -> None:
    Q, q, G, h, A, b = random_data(rng, 3, 6, 8, 1)
    rows = torch.logspace(-3, 3, 8, dtype=Q.dtype)
    columns = torch.logspace(3, -3, 6, dtype=Q.dtype)
    G, h = rows[:, None] * G * columns, rows * h
    data = (columns[:, None] * Q * columns, columns * q, G, h, A * columns, b)
    found = gradients(lambda t: weigh(solve(backend, t)[0] * columns), data)
    expected = gradients(lambda t: weigh(ours(t)[0] * columns), data)
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("which", [1, 2], ids=["lam", "nu"])
def test_multipliers_are_differentiable_or_detached(backend, rng, which) -> None:
    data = random_data(rng, 3, 5, 6, 2)
    attached = solve(backend, tuple(t.requires_grad_() for t in data))[which].requires_grad
    if backend.name in MODULES:
        assert attached == (backend.name != "qpth")
    if attached:
        found = gradients(lambda t: weigh(solve(backend, t)[which]), data)
        assert_close(found, gradients(lambda t: weigh(ours(t)[which]), data), TOLERANCE[backend.name])


def test_signs_of_the_multipliers(backend) -> None:
    # minimise 1/2 z^2 + 3z s.t. -z <= -2: at z = 2 the gradient 5 is balanced by lam = 5.
    one = torch.ones(1, 1, dtype=torch.float64)
    z, lam, _ = backend.solve(make_qp(one, 3 * one[0], -one, -2 * one[0], None, None), 1e-8, 100)
    assert z.item() == pytest.approx(2, abs=1e-7)
    assert lam.item() == pytest.approx(5, abs=1e-6)
    # minimise 1/2 z^2 + 3z s.t. z = 2: nu = -5.
    _, _, nu = backend.solve(make_qp(one, 3 * one[0], None, None, one, 2 * one[0]), 1e-8, 100)
    assert nu.item() == pytest.approx(-5, abs=1e-6)


def test_gradient_of_a_shared_argument_is_the_sum_over_the_batch(backend, rng) -> None:
    batch = random_data(rng, 3, 5, 6, 2)
    shared = tuple(t if name == "q" else t[0] for name, t in zip(NAMES, batch, strict=True))
    expanded = tuple(
        t.expand(3, *t.shape) if name != "q" else t for name, t in zip(NAMES, shared, strict=True)
    )
    found = gradients(lambda t: weigh(solve(backend, t)[0]), shared)
    each = gradients(lambda t: weigh(ours(t)[0]), expanded)
    expected = [g if name == "q" else g.sum(0) for name, g in zip(NAMES, each, strict=True)]
    assert_close(found, expected, TOLERANCE[backend.name])


def test_qpth_itself_averages_the_gradient_of_a_shared_argument(rng) -> None:
    # The correction is needed: once this fails, it no longer is.
    if (reason := BACKENDS["qpth"].unavailable()) is not None:
        pytest.skip(reason)
    from qpth.qp import QPFunction

    Q, q, G, h, A, b = random_data(rng, 3, 5, 6, 2)
    shared = Q[0].requires_grad_()
    z = QPFunction(verbose=-1, check_Q_spd=False)(shared, q, G, h, A, b)
    (found,) = torch.autograd.grad(weigh(z), shared)
    expected = gradients(lambda t: weigh(ours(t)[0]), (shared.expand(3, 5, 5), q, G, h, A, b))[0]
    torch.testing.assert_close(found, expected.mean(0), rtol=1e-4, atol=1e-6)


def test_several_batch_axes_broadcast(backend, rng) -> None:
    Q, q, G, h, A, b = random_data(rng, 6, 4, 5, 1)
    data = (Q[0], q.reshape(2, 3, 4), G[0], h[:1].expand(3, 5), A[0], b[:1].reshape(1, 1, 1))
    z, lam, nu = solve(backend, data)
    assert [tuple(x.shape) for x in (z, lam, nu)] == [(2, 3, 4), (2, 3, 5), (2, 3, 1)]
    assert_close((z, lam, nu), ours(data), TOLERANCE[backend.name], ("z", "lam", "nu"))


def test_singular_quadratic_is_solved_or_refused(backend, rng) -> None:
    _, q, G, h, A, b = random_data(rng, 3, 5, 6, 1)
    low = torch.tensor(rng.normal(size=(3, 5, 2)))
    box = torch.cat([torch.eye(5), -torch.eye(5)]).double().expand(3, 10, 5)
    G, h = torch.cat([G, box], 1), torch.cat([h, torch.full((3, 10), 3.0).double()], 1)
    data = (low @ low.mT, q, G, h, A, b)
    try:
        solved = solve(backend, data)
    except ProblemError as error:
        assert backend.name not in SINGULAR_TOLERANCE
        assert re.search(r"positive definite.*interior_point", str(error))  # noqa: PT017
        return
    assert backend.name != "qpth"
    tolerance = SINGULAR_TOLERANCE.get(backend.name, 1e-4)
    assert_close(solved, ours(data), tolerance, ("z", "lam", "nu"))
    found = gradients(lambda t: weigh(solve(backend, t)[0]), data)
    assert_close(found, gradients(lambda t: weigh(ours(t)[0]), data), tolerance)


def test_an_infeasible_element_is_nan_and_leaves_the_others_alone(backend, rng) -> None:
    good = random_data(rng, 3, 5, 6, 2)
    G, h = good[2].clone(), good[3].clone()
    G[1, 0], h[1, 0] = 0, -1
    bad = (*good[:2], G, h, *good[4:])
    rows = [0, 2]
    for found, expected in zip(solve(backend, bad), solve(backend, good), strict=True):
        assert found[1].isnan().all()
        torch.testing.assert_close(found[rows], expected[rows], rtol=1e-8, atol=1e-8)
    found = gradients(lambda t: weigh(torch.nan_to_num(solve(backend, t)[0])), bad)
    expected = gradients(lambda t: weigh(torch.nan_to_num(solve(backend, t)[0])), good)
    for name, x, y in zip(NAMES, found, expected, strict=True):
        assert (x[1] == 0).all(), name
        torch.testing.assert_close(x[rows], y[rows], rtol=1e-6, atol=1e-8, msg=name)


def test_a_small_cotangent_gives_a_small_gradient_and_not_zero(backend, rng) -> None:
    data = random_data(rng, 2, 5, 6, 2)
    full = gradients(lambda t: weigh(solve(backend, t)[0]), data)
    tiny = gradients(lambda t: 1e-12 * weigh(solve(backend, t)[0]), data)
    assert_close([1e12 * g for g in tiny], full, 1e-9)


def test_second_derivative_raises(backend, rng) -> None:
    leaves = tuple(t.requires_grad_() for t in random_data(rng, 2, 5, 6, 2))
    z = solve(backend, leaves)[0]
    with pytest.raises(DifferentiationError, match=r'second derivative.*solver="interior_point"'):
        torch.autograd.grad(z.sum(), leaves, create_graph=True)


def test_nothing_is_printed_and_nothing_is_attached_without_a_gradient(backend, rng, capfd) -> None:
    data = random_data(rng, 2, 5, 6, 2)
    with torch.no_grad():
        outputs = solve(backend, tuple(t.requires_grad_() for t in data))
    outputs += solve(backend, tuple(t.detach() for t in data))
    assert not any(x.requires_grad for x in outputs)
    assert capfd.readouterr() == ("", "")


def test_an_empty_batch_has_an_empty_answer(backend, rng) -> None:
    data = tuple(t[:0] for t in random_data(rng, 1, 5, 6, 2))
    assert [tuple(x.shape) for x in solve(backend, data)] == [(0, 5), (0, 6), (0, 2)]


def test_a_shared_argument_gets_a_gradient_of_zero_from_an_empty_batch(backend, rng) -> None:
    """The last minibatch of an epoch: `backward` runs, as with our own engines."""
    Q, q, G, h, A, b = (t.requires_grad_() for t in random_data(rng, 1, 5, 6, 2))
    data = (Q[0], q[:0, None].expand(0, 2, 5), G[0], h[0], A[0], b[0])
    z, lam, nu = solve(backend, data)
    assert (z.shape, lam.shape, nu.shape) == ((0, 2, 5), (0, 2, 6), (0, 2, 2))
    for leaf, found in zip((Q, q, G, h, A, b), torch.autograd.grad(z.sum(), (Q, q, G, h, A, b)), strict=True):
        assert found.shape == leaf.shape
        assert not found.any()


def test_what_a_package_does_not_tell_is_not_made_up(backend) -> None:
    """x ≤ −1 and x ≥ 0: no number of iterations, no rescaling, but who can say that there is no solution."""
    one = torch.ones(1, dtype=torch.float64)
    data = (one[None], one, torch.stack([one, -one]), torch.tensor([-1.0, 0.0], dtype=torch.float64))
    with pytest.raises(SolverError, match='solver="auto" tells what has no solution') as told:
        solve_qp(*data, solver=backend.name)
    assert "-1 iterations" not in str(told.value)
    with pytest.raises(SolverError, match="INFEASIBLE"):
        solve_qp(*data, solver="auto")


@pytest.mark.parametrize("name", BACKENDS)
def test_a_missing_package_is_named_with_its_remedy(name, rng, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, MODULES.get(name, BACKENDS[name].packages[0]), None)
    reason = BACKENDS[name].unavailable()
    assert reason is not None
    assert "pip install" in reason
    assert any(package in reason for package in BACKENDS[name].packages)
    with pytest.raises(UnavailableError, match=f"{name}.*pip install"):
        solve(BACKENDS[name], random_data(rng, 1, 3, 2, 1))


def test_the_distributions_behind_a_backend_are_those_of_an_index() -> None:
    """What they are called is what their versions are looked up by: a misspelt one would be recorded as missing."""
    for backend in BACKENDS.values():
        assert backend.packages, backend.name
        if backend.unavailable() is None:
            assert all(metadata.version(package) for package in backend.packages)


def test_a_later_attempt_gets_only_the_elements_that_failed_and_its_gradient_alone_counts(rng) -> None:
    data = random_data(rng, 3, 4, 0, 0)
    seen: list[int] = []

    def exact(problem: QP) -> tuple[Tensor, Tensor, Tensor]:
        seen.append(problem.q.shape[0])
        z = -torch.linalg.solve(problem.Q, problem.q)
        return z, problem.h, problem.b

    def spoiled(problem: QP) -> tuple[Tensor, Tensor, Tensor]:
        z, lam, nu = exact(problem)
        # NaN in the value and in the gradient of element 1
        return z / torch.tensor([1.0, 0.0, 1.0]).unsqueeze(-1) * torch.ones_like(z), lam, nu

    toy = Backend("toy", (), lambda: None, lambda tol, limit: [spoiled, exact])
    found = gradients(lambda t: weigh(solve(toy, t)[0]), data)
    assert seen == [3, 1]
    assert_close(found, gradients(lambda t: weigh(ours(t)[0]), data), 1e-9)


def test_the_scale_of_the_cotangent_is_undone_for_each_element(rng) -> None:
    data = random_data(rng, 3, 4, 0, 0)
    sizes: list[float] = []

    def watched(problem: QP) -> tuple[Tensor, Tensor, Tensor]:
        z = -torch.linalg.solve(problem.Q, problem.q)
        z.register_hook(lambda g: sizes.extend(g.abs().amax(-1).tolist()))
        return z, problem.h, problem.b

    weights = torch.tensor([1e-20, 0.0, 1e5], dtype=torch.float64).unsqueeze(-1)

    def loss(attempt):
        return lambda t: (weights * attempt(make_qp(*t).flatten())[0]).sum()

    found = gradients(loss(once_differentiable("toy", watched)), data)
    assert sizes == [1.0, 0.0, 1.0]
    expected = gradients(loss(watched), data)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-12, atol=0)


def test_returned_points_satisfy_the_kkt_conditions(backend, rng) -> None:
    data = random_data(rng, 8, 12, 20, 3)
    assert kkt.residuals(make_qp(*data).flatten(), *solve(backend, data)).largest.max() <= 1e-8
