"""What cannot be solved is told: a status with its certificate, by the policy that was asked for."""

import re

import numpy as np
import pytest
import torch

from layers import SolverError, Status, solve_qp
from tests.layers.catalogue import INFEASIBLE, UNBOUNDED, strictly_convex
from tests.layers.instances import Data, assert_close, leaves, padded, random_qp, stack, weigh


def build(builder) -> Data:
    return builder(np.random.default_rng(7))


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
@pytest.mark.parametrize("name", INFEASIBLE)
def test_infeasible_comes_with_a_farkas_certificate(name: str, scale: float) -> None:
    Q, q, G, h, A, b = build(INFEASIBLE[name])
    solution = solve_qp(Q, q, scale * G, scale * h, A, b, on_failure="ignore")
    assert solution.status.item() == Status.INFEASIBLE
    lam, nu = scale * solution.lam, solution.nu
    assert (lam >= 0).all()
    assert abs(h @ lam + b @ nu + 1) <= 1e-9
    # λᵀ(Gz − h) + νᵀ(Az − b) = 1 + εᵀz ≤ 0 would need an enormous z
    assert (G.mT @ lam + A.mT @ nu).abs().max() <= 1e-7


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
@pytest.mark.parametrize("name", UNBOUNDED)
def test_unbounded_comes_with_a_ray_of_descent(name: str, scale: float) -> None:
    Q, q, G, h, A, b = build(UNBOUNDED[name])
    solution = solve_qp(scale * Q, scale * q, G, h, A, b, on_failure="ignore")
    assert solution.status.item() == Status.UNBOUNDED
    ray = scale * solution.z
    assert abs(q @ ray + 1) <= 1e-9
    assert (Q @ ray).abs().max() <= 1e-7
    assert (G @ ray).clamp(min=0).abs().sum() <= 1e-7
    assert (A @ ray).abs().sum() <= 1e-7


def test_equalities_that_contradict_each_other_are_always_told() -> None:
    builder = INFEASIBLE["infeasible_equalities"]
    problems = stack([builder(np.random.default_rng(seed)) for seed in range(40)])
    assert solve_qp(*problems, on_failure="ignore").status.tolist() == [Status.INFEASIBLE] * 40


def test_iteration_limit_is_told_and_lifted(rng) -> None:
    # large enough that the active set cannot be guessed after two steps
    data = random_qp(rng, 30, 60, 5)
    stopped = solve_qp(*data, max_iterations=2, on_failure="ignore")
    assert stopped.status.item() == Status.ITERATION_LIMIT
    assert stopped.iterations.item() == 2
    assert stopped.residuals.largest > 1e-8
    assert solve_qp(*data, max_iterations=50).status.item() == Status.OPTIMAL


@pytest.fixture
def batch() -> Data:
    """Solvable, infeasible, unbounded, solvable; two batch axes."""
    builders = (
        strictly_convex,
        INFEASIBLE["infeasible_equalities"],
        UNBOUNDED["unbounded_linear"],
        strictly_convex,
    )
    flat = stack([padded(build(builder), 6, 8, 2) for builder in builders])
    return tuple(t.reshape(2, 2, *t.shape[1:]) for t in flat)


def test_raise_names_the_elements_their_status_and_what_to_do(batch) -> None:
    with pytest.raises(SolverError) as caught:
        solve_qp(*batch)
    message = str(caught.value)
    assert message.startswith("2 of 4 problems not solved")
    assert re.search(r"element \(0, 1\): INFEASIBLE, relative KKT residual .*slack", message)
    assert re.search(r"element \(1, 0\): UNBOUNDED, relative KKT residual .*quadratic term", message)
    assert 'on_failure="nan"' in message
    assert "element (0, 0)" not in message


def test_nan_fills_every_output_of_the_failed_elements_only(batch) -> None:
    solution = solve_qp(*batch, on_failure="nan")
    failed = torch.tensor([[False, True], [True, False]])
    for name in ("z", "lam", "nu", "s", "objective"):
        value = getattr(solution, name).reshape(2, 2, -1)
        assert torch.equal(torch.isnan(value).all(-1), failed), name
        assert torch.equal(torch.isnan(value).any(-1), failed), name


@pytest.mark.parametrize("policy", ["nan", "ignore"])
def test_failed_elements_contribute_no_gradient_in_any_mode(batch, policy: str) -> None:
    variables = leaves(batch)
    solution = solve_qp(*variables, on_failure=policy)
    outputs = [solution.z, solution.lam, solution.nu, solution.s, solution.objective]
    found = torch.autograd.grad([weigh(v.nan_to_num()) for v in outputs], variables)
    for gradient in found:
        assert gradient.isfinite().all()
        assert (gradient[0, 1] == 0).all()
        assert (gradient[1, 0] == 0).all()
        assert (gradient[0, 0] != 0).any()
    tangents = tuple(torch.ones_like(t) for t in batch)
    _, pushed = torch.func.jvp(lambda *d: solve_qp(*d, on_failure=policy).z, batch, tangents)
    assert (pushed[0, 1] == 0).all()
    assert pushed[0, 0].isfinite().all()


def test_raised_error_leaves_no_trace_in_a_later_call(rng) -> None:
    data = random_qp(rng, 4, 3, 1)
    before = solve_qp(*data).z
    with pytest.raises(SolverError):
        solve_qp(*build(INFEASIBLE["infeasible_zero_row"]))
    assert_close(solve_qp(*data).z, before, 0.0)
