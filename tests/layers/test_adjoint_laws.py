"""What each adjoint misses falls as its law says, and at a kink each selects what its file says."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from layers import ConvexLayer, DifferentiationError
from layers.qp.adjoints import ADJOINTS, smoothed
from layers.qp.admm import ALPHA, SIGMA, Splitting
from layers.qp.gradients import Triple
from layers.qp.kkt import slack, stationarity
from layers.qp.scaling import scale_problem
from tests.layers.adjoint_cases import Case, scalar
from tests.layers.catalogue import SOLVABLE
from tests.layers.instances import NAMES, as_data, assert_close, random_qp


@pytest.fixture
def case(rng) -> Case:
    return Case(random_qp(rng, 6, 8, 2))


# Linear in κ, β and τ: a tenth of the setting is a tenth of the error, to the next order.


@pytest.mark.parametrize(
    ("name", "setting", "parts"),
    [("smoothed", "kappa", "QqGhAb"), ("penalty", "beta", "QqGhAb"), ("first_order", "tau", "QGA")],
)
def test_an_error_is_linear_in_the_setting(case: Case, name: str, setting: str, parts: str) -> None:
    first, second = (case.misses(name, **{setting: value}) for value in (1e-4, 1e-5))
    for label, x, y in zip(NAMES, first, second, strict=True):
        if label in parts:
            assert 9 < x / y < 11, label
            assert 1e-8 < y < 1e-2, label


@pytest.mark.parametrize("side", ["lower", "upper"])
def test_one_side_of_lpgd_misses_tau_in_the_matrices_and_nothing_in_the_vectors(
    case: Case, side: str
) -> None:
    first, second = (case.misses("lpgd", tau=tau, side=side) for tau in (1e-3, 1e-4))
    for label, x, y in zip(NAMES, first, second, strict=True):
        if label in "QGA":
            assert 9.9 < x / y < 10.1, label
        else:
            assert max(x, y) < 1e-9, label


def test_the_mean_of_lpgd_misses_nothing_while_the_active_set_stays(case: Case) -> None:
    assert max(case.misses("lpgd", tau=1e-2)) < 1e-10
    assert max(case.misses("lpgd", tau=10.0)) > 1e-2


def test_a_step_of_first_order_may_be_as_long_as_it_likes_for_the_vectors(case: Case) -> None:
    """Its rows cannot change, so that the solution is affine in τ; that of lpgd is not."""
    misses = dict(zip(NAMES, case.misses("first_order", tau=10.0), strict=True))
    assert max(misses[label] for label in "qhb") < 1e-10
    assert min(misses[label] for label in "QGA") > 1


def test_the_step_of_first_order_leaves_half_tau_of_d_squared(case: Case) -> None:
    tau = 1e-3
    d_z, d_lam = case.right[1], -case.right[3]
    found = case.by("first_order", tau=tau)
    outer = d_z.unsqueeze(-1) * d_z.unsqueeze(-2)
    assert_close(found[0] - case.right[0], 0.5 * tau * outer, 1e-7)
    assert_close(found[2] - case.right[2], tau * d_lam.unsqueeze(-1) * d_z.unsqueeze(-2), 1e-7)


# Geometric in k, at the rate of the iteration.


def derivative_of_a_step(case: Case) -> tuple[Tensor, float]:
    """∂_wT at the solution by torch, element by element, and its spectral radius."""
    scaled = scale_problem(case.problem)
    split = Splitting.of(scaled.weighted(), torch.ones(1, 1).double())
    x, v = split.state(Triple(*scaled.scale(*case.x)))
    n = x.shape[-1]

    def step(w: Tensor) -> Tensor:
        return torch.cat(split.step(w[None, :n], w[None, n:]), -1)[0]

    J = torch.func.jacrev(step)(torch.cat([x, v], -1)[0])
    return J, torch.linalg.eigvals(J).abs().max().item()


def test_the_series_converges_at_the_rate_of_the_iteration(case: Case) -> None:
    _, radius = derivative_of_a_step(case)
    assert 0.3 < radius < 0.99
    first, second = (max(case.misses("truncated", k=k)) for k in (40, 80))
    assert second > 1e-12
    assert 0.9 < (second / first) ** (1 / 40) / radius < 1.1


def test_the_series_ends_where_the_next_term_is_the_first_that_is_missing(case: Case) -> None:
    """The error of k terms is (I − ∂_wT)⁻¹ times the next one: the remainder of a Neumann series, computed densely."""
    J, _ = derivative_of_a_step(case)
    one, three = case.by("truncated", k=1)[1], case.by("truncated", k=3)[1]
    scaled = scale_problem(case.problem)
    n = case.problem.n
    split = Splitting.of(scaled.weighted(), torch.ones(1, 1).double())
    x, v = split.state(Triple(*scaled.scale(*case.x)))

    def answer(w: Tensor) -> Tensor:
        point = Triple(*scaled.unscale(*split.point(w[None, :n], w[None, n:])))
        return sum(((a * b).sum() for a, b in zip(point, case.bars, strict=True)), torch.zeros(()))

    u = torch.func.grad(answer)(torch.cat([x, v], -1)[0])
    more = J.mT @ u + J.mT @ (J.mT @ u)
    # q enters a step as −α M⁻¹ q in x, and through x as C times that in v
    into = -ALPHA * split.inverse[0] @ (more[:n] + split.C[0].mT @ more[n:])
    expected = (scaled.c / scaled.r * scaled.D)[0] * into
    assert_close(three[0] - one[0], expected, 1e-10)


def test_one_step_is_the_first_term(case: Case) -> None:
    for x, y in zip(case.by("one_step"), case.by("truncated", k=1), strict=True):
        assert torch.equal(x, y)


def test_one_step_without_constraints_is_a_step_of_relaxed_proximal_gradient() -> None:
    data = as_data([[1.0]], [1.0], np.zeros((0, 1)), [], np.zeros((0, 1)), [])
    one, none = torch.ones(1, 1).double(), torch.zeros(1, 0).double()
    found = Case(data, Triple(one, none, none)).by("one_step")
    assert_close(found[1], torch.full_like(one, -ALPHA / (1 + SIGMA)), 1e-12)


@pytest.mark.parametrize("name", ["unrolled", "alternating"])
def test_the_derivative_of_an_iterate_nears_that_of_the_solution_geometrically(case: Case, name: str) -> None:
    errors = [max(case.without_arrival().misses(name, k=k)) for k in (40, 80, 120)]
    assert errors[0] > 1e-6
    assert errors[1] < 0.05 * errors[0]
    assert errors[2] < 0.05 * errors[1]


@pytest.mark.parametrize("k", [1, 7, 35, 100])
def test_forward_and_reverse_derivatives_of_one_iteration_agree_at_every_k(case: Case, k: int) -> None:
    """Alternating differentiation carries Jacobians by hand, unrolling is torch in reverse: one derivative."""
    for label, x, y in zip(NAMES, case.by("alternating", k=k), case.by("unrolled", k=k), strict=True):
        if label in "qhb":
            assert_close(x, y, 1e-10, label)


def test_the_matrices_of_an_early_iterate_differ_by_what_the_iterate_misses(case: Case) -> None:
    """Equation 8 holds at solutions; the unrolled gradient of Q is that of the iterate itself."""
    early, late = (_apart(case.by("alternating", k=k)[0], case.by("unrolled", k=k)[0]) for k in (20, 120))
    assert early > 1e-5
    assert late < 1e-2 * early


def _apart(x: Tensor, y: Tensor) -> float:
    return ((x - y).abs().max() / y.abs().max()).item()


# Points on the central path, and closed forms.


@pytest.mark.parametrize(
    "kind", ["strictly_convex", "rows_of_many_sizes", "variables_of_many_sizes", "linear"]
)
@pytest.mark.parametrize("kappa", [1.0, 1e-4, 1e-8])
def test_a_point_of_the_central_path_satisfies_its_equations(kind: str, kappa: float) -> None:
    case = Case(SOLVABLE[kind](np.random.default_rng(3)))
    (z, lam, nu), ratio = smoothed.central_point(case.problem, case.x, kappa)
    s = slack(case.problem, z)
    assert (s > 0).all()
    assert (lam > 0).all()
    assert_close(lam * s, torch.full_like(s, kappa), 1e-4)
    assert_close(ratio * lam / s, torch.ones_like(s), 1e-4)
    terms = case.problem.q.abs().amax()
    assert stationarity(case.problem, z, lam, nu).abs().max() < 1e-7 * terms


@pytest.mark.parametrize("kappa", [1.0, 1e-3, 1e-9])
@pytest.mark.parametrize("q", [-2.0, 0.0, 0.5])
def test_smoothed_is_the_derivative_of_the_hyperbola(q: float, kappa: float) -> None:
    """min ½z² + qz − κ log z has z = ½(√(q² + 4κ) − q)."""
    found = scalar(q).by("smoothed", kappa=kappa)[1].item()
    assert found == pytest.approx(0.5 * (q / sqrt(q * q + 4 * kappa) - 1), rel=1e-9)


@pytest.mark.parametrize("kappa", [1.0, 1e-2])
def test_smoothed_is_informative_at_a_vertex(kappa: float) -> None:
    """min cz on [0, 1] at c = ½: c = κ/z − κ/(1 − z), so dz/dc = −1/(κ/z² + κ/(1 − z)²), where the truth is zero."""
    data = as_data([[0.0]], [0.5], [[-1.0], [1.0]], [0.0, 1.0], np.zeros((0, 1)), [])
    one, none = torch.ones(1, 1).double(), torch.zeros(1, 2).double()
    case = Case(data, Triple(one, none, none[:, :0]))
    assert abs(case.right[1].item()) < 1e-15
    point, _ = smoothed.central_point(case.problem, case.x, kappa)
    z = point.z.item()
    assert kappa / z - kappa / (1 - z) == pytest.approx(0.5, rel=1e-9)
    expected = -1 / (kappa / z**2 + kappa / (1 - z) ** 2)
    # Newton's method stops at 1e-11 of the point, and a vertex has no curvature to damp that
    assert case.by("smoothed", kappa=kappa)[1].item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("tau", "expected"), [(0.4, 0.0), (0.6, 1 / 0.6), (5.0, 1 / 5.0)])
def test_lpgd_leaves_a_vertex_once_the_loss_outweighs_the_cost(tau: float, expected: float) -> None:
    """The interpolation of a vertex: a loss that pulls with 1 against a cost of ½ on [0, 1]."""
    data = as_data([[0.0]], [0.5], [[-1.0], [1.0]], [0.0, 1.0], np.zeros((0, 1)), [])
    pull, none = -torch.ones(1, 1).double(), torch.zeros(1, 2).double()
    case = Case(data, Triple(pull, none, none[:, :0]))
    assert case.by("lpgd", tau=tau, side="lower")[1].item() == pytest.approx(expected, abs=1e-9)
    assert case.by("lpgd", tau=tau, side="upper")[1].item() == pytest.approx(0.0, abs=1e-9)


def test_penalty_in_closed_form() -> None:
    """z ≥ 0 active with λ = 1: D = ϱ/4β and dz/dq = −1/(1 + D), dz/dh = −D/(1 + D)."""
    found = scalar(1.0).by("penalty", beta=1e-2, weight=4.0)
    D = 4.0 / 4e-2
    assert found[1].item() == pytest.approx(-1 / (1 + D), rel=1e-12)
    assert found[3].item() == pytest.approx(-D / (1 + D), rel=1e-12)


def test_penalty_of_an_equality_in_closed_form() -> None:
    """z = 0 with ν = −1: both softplus together have twice the curvature of one, E = ϱ/2β."""
    data = as_data([[1.0]], [1.0], np.zeros((0, 1)), [], [[1.0]], [0.0])
    one, none = torch.ones(1, 1).double(), torch.zeros(1, 1).double()
    found = Case(data, Triple(one, none[:, :0], none)).by("penalty", beta=1e-2, weight=4.0)
    E = 4.0 / 2e-2
    assert found[1].item() == pytest.approx(-1 / (1 + E), rel=1e-12)
    assert found[5].item() == pytest.approx(E / (1 + E), rel=1e-12)


# Refusals of their own.


def test_lpgd_refuses_a_loss_that_has_no_minimum() -> None:
    """Of z₂, which costs nothing above zero, a loss that falls with it has no end."""
    data = as_data(np.diag([1.0, 0.0]), [0.0, 0.1], [[0.0, -1.0]], [0.0], np.zeros((0, 2)), [])
    pull = Triple(
        torch.tensor([[0.0, -1.0]]).double(), torch.zeros(1, 1).double(), torch.zeros(1, 0).double()
    )
    case = Case(data, pull)
    assert case.by("lpgd", tau=0.05, side="lower")[1].abs().max() < 1e-9
    with pytest.raises(DifferentiationError, match=r"UNBOUNDED(.|\n)*smaller tau"):
        case.by("lpgd", tau=0.2, side="lower")


def test_smoothed_refuses_a_set_without_interior() -> None:
    case = Case(SOLVABLE["bounds_that_meet"](np.random.default_rng(3)))
    with pytest.raises(DifferentiationError, match="no point satisfies Gz < h"):
        case.by("smoothed")


@pytest.mark.parametrize("name", ["active_set", "qp_backward", "first_order", "conic", "optnet"])
@pytest.mark.parametrize("kind", ["redundant_rows", "singular_unconstrained", "degenerate_vertex"])
def test_a_singular_system_is_refused_with_the_names_that_serve(name: str, kind: str) -> None:
    case = Case(SOLVABLE[kind](np.random.default_rng(3)))
    with pytest.raises(DifferentiationError, match='adjoint="implicit"'):
        case.by(name)


# Programs in CVXPY.


@pytest.mark.parametrize("name", ADJOINTS)
def test_a_convex_layer_with_linear_rows_takes_every_adjoint(name: str) -> None:
    cp = pytest.importorskip("cvxpy")
    x, y = cp.Variable(3), cp.Parameter(3)
    program = cp.Problem(cp.Minimize(cp.sum_squares(x - y)), [x >= 0, cp.sum(x) == 1])
    point = torch.tensor([[1.0, 0.7, -1.0], [0.3, 0.2, 0.1]]).double().requires_grad_()
    weights = torch.tensor([1.0, -2.0, 3.0]).double()

    def gradient(adjoint: str) -> Tensor:
        (z,) = ConvexLayer(program, [y], [x], adjoint=adjoint, tol=1e-8)(point)
        return torch.autograd.grad((z * weights).sum(), point)[0]

    # projected on the support, the derivative of the projection takes the mean off
    expected = torch.tensor([[1.5, -1.5, 0.0], [1 - 2 / 3, -2 - 2 / 3, 3 - 2 / 3]]).double()
    tolerance = {"one_step": 3.0, "truncated": 1e-3, "smoothed": 1e-2, "penalty": 1e-3}.get(name, 1e-5)
    assert_close(gradient(name), expected, tolerance)
