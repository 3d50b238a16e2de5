"""Differentiable model-predictive control: programs, derivatives, and what the published program draws."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import mpc_imitation, mpc_pendulum, mpc_timing
from experiments.common.errors import ConfigError
from experiments.common.mpc.linear_quadratic import LinearQuadratic, box, published_dynamics
from experiments.common.mpc.projected_gradient import projected_gradient
from experiments.common.recorder import Recorder
from layers import QPLayer


def numbers(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def controlled(seed=0, bound=None, batch=4):
    problem = LinearQuadratic(5, 3, 2, numbers(seed, 5), bound)
    A, B = torch.eye(3, dtype=torch.float64) + 0.2 * numbers(seed + 1, 3, 3), numbers(seed + 2, 3, 2)
    return problem, A, B, numbers(seed + 3, batch, 3)


def riccati(problem, A, B, start):
    """Optimal control without bounds by dynamic programming: the value of step t is 1/2 x'Px + p'x."""
    c, d = problem.linear[:3], problem.linear[3:]
    P, p, gains = torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), []
    for _ in range(problem.horizon):
        curvature = torch.eye(2, dtype=torch.float64) + B.mT @ P @ B
        K, k = torch.linalg.solve(curvature, B.mT @ P @ A), torch.linalg.solve(curvature, d + B.mT @ p)
        gains.append((K, k))
        p = c + A.mT @ p - A.mT @ P @ B @ k
        P = torch.eye(3, dtype=torch.float64) + A.mT @ P @ A - A.mT @ P @ B @ K
    x, states, controls = start, [], []
    for K, k in reversed(gains):
        u = -(x @ K.mT) - k
        states.append(x)
        controls.append(u)
        x = x @ A.mT + u @ B.mT
    return torch.stack(states, 1), torch.stack(controls, 1)


def test_the_program_without_bounds_has_the_solution_of_dynamic_programming():
    given = controlled()
    states, controls = given[0].solve(QPLayer(tol=1e-10), *given[1:])
    wanted = riccati(*given)
    torch.testing.assert_close(states, wanted[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(controls, wanted[1], rtol=0, atol=1e-9)


def test_states_follow_the_dynamics_and_controls_keep_the_bound():
    problem, A, B, start = controlled(bound=0.3)
    x, u = problem.solve(QPLayer(tol=1e-10), A, B, start)
    torch.testing.assert_close(x[:, 0], start, rtol=0, atol=1e-9)
    torch.testing.assert_close(x[:, 1:], x[:, :-1] @ A.mT + u[:, :-1] @ B.mT, rtol=0, atol=1e-9)
    assert 0.3 - 1e-9 < u.abs().max() < 0.3 + 1e-9


def test_the_condensed_program_has_the_same_cost_and_the_same_solution():
    problem, A, B, start = controlled(bound=0.3)
    H, q, constant = problem.condensed(A, B, start)
    x, u = problem.solve(QPLayer(tol=1e-10), A, B, start)
    flat = u.reshape(len(u), -1)
    value = 0.5 * ((flat @ H) * flat).sum(-1) + (q * flat).sum(-1) + constant
    tau = torch.cat((x, u), -1)
    torch.testing.assert_close(value, (0.5 * tau.square() + problem.linear * tau).sum((-1, -2)))
    torch.testing.assert_close(QPLayer(tol=1e-10)(H, q, *box(10, 0.3)), flat, rtol=0, atol=1e-8)


def test_projected_gradient_ends_at_the_solution_of_the_layer():
    problem, A, B, start = controlled(bound=0.3)
    H, q, _ = problem.condensed(A, B, start)
    wanted = QPLayer(tol=1e-10)(H, q, *box(10, 0.3))
    torch.testing.assert_close(projected_gradient(H, q, 0.3, 500), wanted, rtol=0, atol=1e-8)
    assert (projected_gradient(H, q, 0.3, 3) - wanted).abs().max() > 1e-3


def test_the_published_numbers_are_drawn_again():
    """The published program seeds torch, draws the linear cost twice, then A and B, in single precision."""
    torch.manual_seed(42)
    torch.randn(6)
    linear, A, B = torch.randn(6), torch.eye(3) + 0.2 * torch.randn(3, 3), torch.randn(3, 3)
    expert = mpc_imitation.make_data(mpc_imitation.Config(), "unbounded")
    for ours, theirs in ((expert.problem.linear, linear), (expert.A, A), (expert.B, B)):
        torch.testing.assert_close(ours.float(), theirs, rtol=0, atol=1e-7)


def imitation(**train):
    config = mpc_imitation.Config(seeds=[1])
    for name, value in train.items():
        setattr(config.train, name, value)
    expert = mpc_imitation.make_data(config, "bounded")
    generator = torch.Generator().manual_seed(1)
    learner = mpc_imitation.make_model(config, expert, "bounded", generator)
    return config, expert, learner, generator


def test_the_imitation_loss_vanishes_at_the_true_dynamics_alone():
    _, expert, learner, _ = imitation()
    start = numbers(5, 7, 3)
    assert mpc_imitation.imitation_loss(learner, expert, start) > 0.1
    for own, true in zip(learner.parameters(), expert.parameters(), strict=True):
        own.data = true.data.clone()
    assert mpc_imitation.imitation_loss(learner, expert, start) < 1e-15
    assert mpc_imitation.model_loss(learner, expert) == 0.0


def test_the_gradient_of_the_imitation_loss_is_its_slope():
    _, expert, learner, _ = imitation()
    start = numbers(5, 3, 3)
    mpc_imitation.imitation_loss(learner, expert, start).backward()
    for parameter in learner.parameters():
        for i, gradient in enumerate(parameter.grad.view(-1)):
            ends = []
            for step in (1e-6, -2e-6):
                parameter.data.view(-1)[i] += step
                ends.append(mpc_imitation.imitation_loss(learner, expert, start).item())
            parameter.data.view(-1)[i] += 1e-6
            np.testing.assert_allclose(gradient, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-7)


def test_training_imitates_and_descent_ends_at_the_true_dynamics():
    config, expert, learner, generator = imitation(steps=150, window=25)
    record = Recorder("mpc_imitation", "bounded", 1, ("1", "1"), examples=False)
    windows = mpc_imitation.train(config, learner, expert, generator, record)
    assert windows[-1][0] < 0.3 * windows[0][0]
    loss, norm = mpc_imitation.descend(config, learner, expert)
    assert loss < 1e-12
    np.testing.assert_allclose(norm, expert.norm(), rtol=1e-6)


def test_the_share_of_converged_trials_has_the_interval_of_wilson():
    rows = [{"method": "unbounded", "metric": "converged", "value": float(trial < 4)} for trial in range(8)]
    row = mpc_imitation._proportion(rows, "unbounded")
    # At both ends p the share is 1.96 standard errors of p away: (1/2 - p)^2 = z^2 p (1 - p) / 8.
    errors = [(0.5 - p) / np.sqrt(p * (1 - p) / 8) for p in (row["lo"], row["hi"])]
    np.testing.assert_allclose([row["mean"], *errors], [0.5, 1.959964, -1.959964], rtol=1e-6)


def timing(bound=1.0):
    config = mpc_timing.Config(seeds=[0], iterations=[1, 300], reference=2000, repetitions=2)
    config.system = mpc_timing.System(3, 2, 4, bound, batch=3)
    return config


def test_both_derivatives_are_the_same_once_the_iteration_has_converged():
    config = timing()
    instance = mpc_timing.make_data(config, 0)
    models = {
        method: mpc_timing.Controller(method, config.layer.build(), instance) for method in mpc_timing.METHODS
    }
    errors = mpc_timing.evaluate(config, models)
    assert errors["implicit"][1] < 1e-9
    assert errors["implicit"][300] < 1e-9
    assert errors["unrolled"][300] < 1e-6
    assert errors["unrolled"][1] > 0.1


def test_constant_time_has_slope_zero_and_time_in_proportion_slope_one():
    np.testing.assert_allclose(mpc_timing.slope({1: 0.2, 32: 0.2, 128: 0.2}), 0.0, atol=1e-12)
    np.testing.assert_allclose(mpc_timing.slope({1: 0.2, 32: 6.4, 128: 25.6}), 1.0, rtol=1e-12)


def test_times_stand_in_the_table_that_may_differ_and_the_published_beside_them(tmp_path: Path):
    tables = mpc_timing.run(timing(), tmp_path)
    assert not any("backward" in row["metric"] for row in tables["metrics"])
    phases = {(row["method"], row["phase"]): row["value"] for row in tables["timings"]}
    for method in mpc_timing.METHODS:
        quartiles = [phases[method, f"backward 300 {name}"] for name in mpc_timing.QUARTILES]
        assert 0 < quartiles[0] <= quartiles[1] <= quartiles[2]
    assert phases["unrolled_published", "backward 128 median"] == 5.934
    assert 0.9 < phases["unrolled_published", "backward slope"] < 1.0


def test_dynamics_of_the_published_program_are_near_the_identity():
    A, B = published_dynamics(torch.Generator().manual_seed(0), 3, 2)
    assert A.shape == (3, 3)
    assert B.shape == (3, 2)
    torch.manual_seed(0)
    torch.testing.assert_close(A.float(), torch.eye(3) + 0.2 * torch.randn(3, 3))


@pytest.mark.parametrize(
    ("module", "section", "name", "value", "message"),
    [
        (mpc_imitation, "system", "horizon", 0, "system.horizon: got 0, expected at least 2 steps, T"),
        (mpc_imitation, "system", "states", 0, "system.states"),
        (mpc_imitation, "system", "bound", -1.0, "system.bound"),
        (mpc_imitation, "system", "expert_seed", 3, "none of the seeds"),
        (mpc_imitation, "train", "batch", 0, "train.batch: got 0"),
        (mpc_imitation, "train", "bounded_batch", -1, "train.bounded_batch"),
        (mpc_imitation, "train", "window", 3, "a divisor of train.steps"),
        (mpc_imitation, "train", "lr", 0.0, "train.lr"),
        (mpc_imitation, None, "converged_below", 0.0, "converged_below"),
        (mpc_imitation, None, "methods", ["magic"], "methods: got 'magic'"),
        (mpc_timing, "system", "batch", 0, "system.batch: got 0"),
        (mpc_timing, "system", "horizon", 1, "system.horizon"),
        (mpc_timing, "system", "bound", math.inf, "system.bound"),
        (mpc_timing, None, "iterations", [32], "iterations"),
        (mpc_timing, None, "iterations", [0, 32], "iterations"),
        (mpc_timing, None, "iterations", [32, 4000], "below `reference`"),
        (mpc_timing, None, "repetitions", 0, "repetitions"),
        (mpc_timing, None, "methods", [], "methods"),
        (mpc_pendulum, "data", "horizon", 0, "data.horizon: got 0, expected at least 2 steps, T"),
        (mpc_pendulum, "data", "train", [], "data.train"),
        (mpc_pendulum, "data", "train", [10, 0], "data.train"),
        (mpc_pendulum, "data", "test", 0, "data.test"),
        (mpc_pendulum, "train", "batch", 0, "train.batch: got 0"),
        (mpc_pendulum, "train", "epochs", -5, "train.epochs: got -5"),
        (mpc_pendulum, "train", "lr", math.nan, "train.lr"),
        (mpc_pendulum, "train", "alpha", 1.0, "train.alpha"),
        (mpc_pendulum, None, "iterations", 0, "iterations: got 0"),
        (mpc_pendulum, None, "bound", 0.0, "bound: got 0.0"),
        (mpc_pendulum, None, "misspecified_seeds", [1, 1], "misspecified_seeds: got"),
        (mpc_pendulum, None, "methods", ["mpc.dx"], "methods: got 'mpc.dx'"),
    ],
)
def test_settings_that_cannot_be_used_are_told(module, section, name, value, message):
    config = module.Config()
    setattr(getattr(config, section) if section else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()
