"""The cart-pole: its equations, the derivatives of its cost and of its controller, and what imitates it."""

import math

import numpy as np
import pytest
import torch

from experiments import mpc_cartpole
from experiments.common.errors import ConfigError
from experiments.common.mpc import imitation
from experiments.common.mpc.cartpole import CARTPOLE, Cartpole
from experiments.common.mpc.learners import Imitator
from experiments.common.mpc.plant import DT, Cost
from experiments.common.mpc.published import CARTPOLE as PUBLISHED
from experiments.common.mpc.sequential import Controller
from experiments.common.recorder import Recorder
from experiments.compare import published
from layers import QPLayer

CARTPOLES = (
    Cartpole(torch.tensor(CARTPOLE.true).double()),
    Cartpole(torch.tensor([9.0, 2.0, 0.7, 0.8]).double()),
)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def numbers(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("cartpole", CARTPOLES)
def test_the_accelerations_solve_the_equations_of_motion(cartpole):
    """(M + m)a + m l (α cos θ - ω² sin θ) = u and (4/3) l α + a cos θ = g sin θ, Barto, Sutton & Anderson (1983)."""
    g, cart, m, length = cartpole.parameters
    angle, turn, force = numbers(0, 3, 50).unbind(0)
    a, alpha = cartpole.accelerations(angle, turn, 10 * force)
    sin, cos = angle.sin(), angle.cos()
    torch.testing.assert_close((cart + m) * a + m * length * (alpha * cos - turn**2 * sin), 10 * force)
    torch.testing.assert_close(4 / 3 * length * alpha + a * cos, g * sin)


def test_a_step_goes_along_the_speeds_from_before():
    x, v, angle, turn = CARTPOLES[0].step(*tensor(0.1, -0.4, 0.7, 0.3, 2.0))
    a, alpha = CARTPOLES[0].accelerations(*tensor(0.7, 0.3, 2.0))
    expected = (0.1 - 0.4 * DT, -0.4 + DT * a, 0.7 + 0.3 * DT, 0.3 + DT * alpha)
    np.testing.assert_allclose([x, v, angle, turn], expected, rtol=1e-14)
    path = CARTPOLES[0].rollout(tensor(0.1, -0.4, 0.7, 0.3), tensor(2.0, 5.0))
    np.testing.assert_allclose([part[1] for part in path], [x, v, angle, turn], rtol=1e-14)


@pytest.mark.parametrize("cartpole", CARTPOLES)
def test_gradient_and_curvature_of_the_cost_are_those_of_autograd(cartpole):
    cost = Cost(numbers(0, 6).abs(), numbers(1, 6))
    start, forces = numbers(2, 1, 4), 5 * numbers(3, 1, 8)

    def value(u):
        return cartpole.cost(cost, cartpole.rollout(start, u.unsqueeze(0)), u.unsqueeze(0))[0]

    path = cartpole.rollout(start, forces)
    slopes = cartpole.slopes(cost, path, forces)
    exact, linearised = cartpole.curvatures(cost, path, slopes, forces)
    torch.testing.assert_close(slopes.gradient[0], torch.func.grad(value)(forces[0]), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(exact[0], torch.func.hessian(value)(forces[0]), rtol=1e-11, atol=1e-12)
    of_states = exact - cost.weights[5] * torch.eye(8, dtype=torch.float64)
    assert (linearised - exact).abs().max() > 0.05 * of_states.abs().max()
    assert torch.linalg.eigvalsh(linearised).min() > 0


def test_the_derivative_of_the_plan_is_its_slope_and_that_of_the_linearised_program_is_not():
    controller = Controller(QPLayer(tol=1e-10), bound=20.0, tolerance=1e-9)
    start, parameters, direction = numbers(5, 4, 4), tensor(*CARTPOLE.true), numbers(6, 4, 12)

    def planned(given, torques):
        return controller.solve(Cartpole(given), CARTPOLE.cost(), start, torques)

    forces, converged = planned(parameters, torch.zeros(4, 12, dtype=torch.float64))
    assert converged.all()
    assert 0 < (forces.abs() > 20 - 1e-9).sum() < forces.numel(), (
        "some forces are held by the bound, some are free"
    )
    found = {}
    for exact in (True, False):
        leaf = parameters.clone().requires_grad_()
        plan = controller.attach(Cartpole(leaf), CARTPOLE.cost(), start, forces, converged, exact)
        torch.testing.assert_close(plan, forces, rtol=0, atol=1e-7)
        (found[exact],) = torch.autograd.grad((plan * direction).sum(), leaf)
    slopes = []
    for change in 1e-5 * torch.eye(4, dtype=torch.float64):
        ends = [(planned(parameters + sign * change, forces)[0] * direction).sum() for sign in (1, -1)]
        slopes.append((ends[0] - ends[1]) / 2e-5)
    torch.testing.assert_close(found[True], torch.stack(slopes), rtol=1e-5, atol=1e-5)
    assert (found[False] - found[True]).norm() > 1e-3 * found[True].norm()


def test_seed_zero_starts_where_the_published_program_does():
    torch.manual_seed(0)
    x, v, angle, turn = (torch.rand(120) for _ in range(4))
    data = mpc_cartpole.make_data(mpc_cartpole.Config(), 0)
    start = torch.cat([data[name].start for name in ("train", "validation", "test")]).float()
    assert [len(data[name].start) for name in ("train", "validation", "test")] == [100, 10, 10]
    expected = torch.stack((x - 0.5, v - 0.5, 2 * math.pi * angle - math.pi, 2 * turn - 1), -1)
    torch.testing.assert_close(start, expected, rtol=0, atol=2e-6)


def small_config():
    config = mpc_cartpole.Config(seeds=[0])
    config.data = imitation.Data(horizon=8, train=[4], validation=2, test=3)
    return config


def test_the_expert_imitates_itself_and_the_learner_does_not_yet():
    config = small_config()
    data = mpc_cartpole.make_data(config, 0)
    same = Imitator(config.controller(), CARTPOLE, tensor(*CARTPOLE.true), True, False)
    assert imitation.evaluate(same, data["test"])[0] < 1e-10
    assert same.prediction_loss(data["test"].states, data["test"].controls) < 1e-20
    started = imitation.learner(config, CARTPOLE, "mpc_dynamics", 0)
    assert imitation.evaluate(started, data["test"])[0] > 1
    assert started.prediction_loss(data["test"].states, data["test"].controls) > 1e-4


def test_the_table_has_the_fifteen_published_losses_and_the_facts_agree_with_it():
    record = Recorder("mpc_cartpole", "published", 0, ("1", "1"), examples=False)
    rows = imitation.published(record, PUBLISHED)
    table = {(row["method"], row["split"]): row["value"] for row in rows}
    assert len(table) == 15
    for claim in published()["mpc_cartpole"].claims:
        assert table[f"{claim.where['method']}_published", claim.where["split"]] == float(claim.value[0])


@pytest.mark.parametrize(
    ("owner", "name", "value", "message"),
    [
        ("data", "horizon", 1, "data.horizon: got 1, expected at least 2 steps, T"),
        ("train", "lr", math.inf, "train.lr"),
        (None, "bound", -1.0, "bound: got -1.0, expected a positive, finite torque or force"),
        (None, "methods", ["sysid_misspecified"], "methods: got 'sysid_misspecified'"),
    ],
)
def test_settings_that_cannot_be_used_are_told(owner, name, value, message):
    config = mpc_cartpole.Config()
    setattr(getattr(config, owner) if owner else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()
