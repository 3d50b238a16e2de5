"""The pendulum: its equations, the derivative of its controller, and what imitates it."""

import math

import numpy as np
import pytest
import torch

from experiments import mpc_pendulum
from experiments.common.mpc import imitation
from experiments.common.mpc.learners import Imitator
from experiments.common.mpc.pendulum import PENDULUM, Pendulum
from experiments.common.mpc.plant import DT, Cost
from experiments.common.mpc.sequential import Controller
from experiments.common.recorder import Recorder
from layers import QPLayer


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def numbers(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


PENDULUMS = (
    Pendulum(tensor(10.0, 1.0, 1.0)),
    Pendulum(tensor(15.0, 3.0, 0.5)),
    Pendulum(tensor(9.0, 0.8, 1.2), damping=1.0, bias=0.1),
)


def test_a_step_is_that_of_gymnasium():
    """gymnasium 1.0, Pendulum-v1 with g = 10 from angle 0.7, speed -0.4 under torque 1.5, its formula by hand."""
    angle, speed = PENDULUMS[0].step(tensor(0.7), tensor(-0.4), tensor(1.5))
    expected = -0.4 + (3 * 10 / 2 * math.sin(0.7) + 3.0 * 1.5) * 0.05
    np.testing.assert_allclose([speed.item(), angle.item()], [expected, 0.7 + expected * 0.05], rtol=1e-14)


def test_damping_pulls_at_the_angle_between_minus_pi_and_pi():
    _, speed = PENDULUMS[2].step(tensor(0.5), tensor(0.0), tensor(0.0))
    _, turned = PENDULUMS[2].step(tensor(0.5 + 2 * math.pi), tensor(0.0), tensor(0.0))
    expected = DT * (1.5 * 9.0 / 1.2 * math.sin(0.6) - 0.5)
    np.testing.assert_allclose([speed.item(), turned.item()], expected, rtol=1e-12)


@pytest.mark.parametrize("pendulum", PENDULUMS)
def test_gradient_and_curvature_of_the_cost_are_those_of_autograd(pendulum):
    cost = Cost(numbers(0, 4).abs(), numbers(1, 4))
    start, torques = numbers(2, 1, 2), numbers(3, 1, 7)

    def value(u):
        return pendulum.cost(cost, pendulum.rollout(start, u.unsqueeze(0)), u.unsqueeze(0))[0]

    path = pendulum.rollout(start, torques)
    slopes = pendulum.slopes(cost, path, torques)
    exact, linearised = pendulum.curvatures(cost, path, slopes, torques)
    torch.testing.assert_close(slopes.gradient[0], torch.func.grad(value)(torques[0]), rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(exact[0], torch.func.hessian(value)(torques[0]), rtol=1e-11, atol=1e-13)
    assert (linearised - exact).abs().max() > 0.01 * exact.abs().max()
    assert torch.linalg.eigvalsh(linearised).min() > 0


def planned(parameters, torques=None):
    controller, start = (
        Controller(QPLayer(tol=1e-10), tolerance=1e-9),
        tensor([1.2, -0.3], [-0.4, 0.8], [0.1, 0.1]),
    )
    zero = torch.zeros(3, 12, dtype=torch.float64) if torques is None else torques
    return controller, start, *controller.solve(Pendulum(parameters), PENDULUM.cost(), start, zero)


def test_the_plan_is_a_minimum_within_the_bounds():
    _, start, torques, converged = planned(tensor(10.0, 1.0, 1.0))
    assert converged.all()
    assert torques.abs().max() <= 2.0
    gradient = PENDULUMS[0].slopes(PENDULUM.cost(), PENDULUMS[0].rollout(start, torques), torques).gradient
    inside = torques.abs() < 2.0 - 1e-9
    assert inside.any()
    assert not inside.all()
    assert gradient[inside].abs().max() < 1e-8
    assert (gradient * torques)[~inside].max() < 0
    other = (torques + 0.05 * numbers(4, 3, 12)).clamp(-2, 2)
    best, worse = (
        PENDULUMS[0].cost(PENDULUM.cost(), PENDULUMS[0].rollout(start, u), u) for u in (torques, other)
    )
    assert (worse > best).all()


def test_the_derivative_of_the_plan_is_its_slope_and_that_of_the_linearised_program_is_not():
    """With respect to g, m and l."""
    parameters, direction = tensor(10.0, 1.0, 1.0), numbers(6, 3, 12)
    controller, start, torques, converged = planned(parameters)
    found = {}
    for exact in (True, False):
        leaf = parameters.clone().requires_grad_()
        plan = controller.attach(Pendulum(leaf), PENDULUM.cost(), start, torques, converged, exact)
        torch.testing.assert_close(plan, torques, rtol=0, atol=1e-8)
        (found[exact],) = torch.autograd.grad((plan * direction).sum(), leaf)
    slopes = []
    for i in range(3):
        change = 1e-5 * torch.eye(3, dtype=torch.float64)[i]
        ends = [(planned(parameters + sign * change, torques)[2] * direction).sum() for sign in (1, -1)]
        slopes.append((ends[0] - ends[1]) / 2e-5)
    torch.testing.assert_close(found[True], torch.stack(slopes), rtol=1e-5, atol=1e-7)
    assert (found[False] - found[True]).norm() > 1e-3 * found[True].norm()


def test_elements_that_have_not_converged_are_constants():
    controller, start, torques, _ = planned(tensor(10.0, 1.0, 1.0))
    leaf = tensor(10.0, 1.0, 1.0).requires_grad_()
    use = torch.tensor([True, True, False])
    plan = controller.attach(Pendulum(leaf), PENDULUM.cost(), start, torques, use)
    gradients = [torch.autograd.grad(row.sum(), leaf, retain_graph=True)[0].norm().item() for row in plan]
    assert gradients[2] == 0.0
    assert gradients[1] > 1e-3


def pendulum(**train):
    config = mpc_pendulum.Config(seeds=[0])
    config.data = imitation.Data(horizon=8, train=[4], validation=2, test=3)
    for name, value in train.items():
        setattr(config.train, name, value)
    return config


def test_seed_zero_starts_where_the_published_program_does():
    config = mpc_pendulum.Config()
    torch.manual_seed(0)
    angles, speeds = torch.rand(120) * math.pi - math.pi / 2, torch.rand(120) * 2 - 1
    data = mpc_pendulum.make_data(config, "sysid", 0)
    assert [len(data[name].start) for name in ("train", "validation", "test")] == [100, 10, 10]
    start = torch.cat([data[name].start for name in ("train", "validation", "test")])
    torch.testing.assert_close(start.float(), torch.stack((angles, speeds), -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", imitation.IMITATORS)
def test_the_loss_of_the_expert_itself_is_zero(method):
    config = pendulum()
    data = mpc_pendulum.make_data(config, method, 0)
    model = Imitator(config.controller(), PENDULUM, tensor(*PENDULUM.true), True, False)
    assert imitation.evaluate(model, data["test"])[0] < 1e-10
    assert model.prediction_loss(data["test"].states, data["test"].controls) < 1e-20
    started = mpc_pendulum.make_model(config, method, 0)
    assert imitation.evaluate(started, data["test"])[0] > 1e-3


def test_the_prediction_loss_is_the_mean_squared_error_of_cosine_sine_and_speed():
    model = Imitator(pendulum().controller(), PENDULUM, tensor(10.0, 1.0, 1.0), True, False)
    states, torques = tensor([[0.3, 1.0], [0.2, 0.5]]), tensor([0.5, 0.0])
    angle, speed = PENDULUMS[0].step(tensor(0.3), tensor(1.0), tensor(0.5))
    errors = [angle.cos() - math.cos(0.2), angle.sin() - math.sin(0.2), speed - 0.5]
    np.testing.assert_allclose(
        model.prediction_loss(states, torques).item(), sum(e.item() ** 2 for e in errors) / 3, rtol=1e-12
    )


@pytest.mark.parametrize("method", ["sysid", "mpc_dynamics", "mpc_cost", "lstm"])
def test_training_lowers_what_it_descends_on(method):
    config = pendulum(epochs=40, lr=0.03, lstm_epochs=60, lstm_lr=1e-2, width=8, evaluate_every=40)
    data = mpc_pendulum.make_data(config, method, 0)
    model = mpc_pendulum.make_model(config, method, 0)
    if isinstance(model, Imitator) and method != "mpc_cost":
        model.parameters_of_plant.data = tensor(13.0, 2.0, 0.8)

    def loss():
        if method == "sysid":
            return model.prediction_loss(data["train"].states, data["train"].controls).item()
        return imitation.evaluate(model, data["train"])[0]

    before = loss()
    record = Recorder("mpc_pendulum", method, 0, ("1", "1"), examples=False)
    imitation.train(config, method, 0, model, data, record, 4)
    assert loss() < 0.7 * before


def test_training_ends_when_validation_has_not_improved_for_as_long_as_it_has_patience():
    config = pendulum(epochs=60, lr=0.5, evaluate_every=2, patience=6)
    data = mpc_pendulum.make_data(config, "sysid", 0)
    model = mpc_pendulum.make_model(config, "sysid", 0)
    model.parameters_of_plant.data = tensor(*PENDULUM.true)
    record = Recorder("mpc_pendulum", "sysid", 0, ("1", "1"), examples=False)
    history = imitation.train(config, "sysid", 0, model, data, record, 4)
    # The expert's own pendulum cannot be improved upon.
    assert list(history) == [0, 2, 4, 6]
    assert history[0][0] < 1e-10


def test_the_two_parts_of_a_cost_are_learned_in_turns():
    config = pendulum(epochs=4, turn=2, evaluate_every=4)
    data = mpc_pendulum.make_data(config, "mpc_cost", 0)
    model = mpc_pendulum.make_model(config, "mpc_cost", 0)
    optimiser = imitation._optimiser(config, model)
    warm = torch.zeros_like(data["train"].controls)
    for epoch, (moves_p, moves_logits) in enumerate([(True, False), (True, False), (False, True)]):
        p, logits = model.p.detach().clone(), model.logits.detach().clone()
        imitation._step(config, "mpc_cost", model, optimiser, data["train"], warm, epoch)
        assert (not torch.equal(model.p, p), not torch.equal(model.logits, logits)) == (moves_p, moves_logits)


def test_the_other_pendulum_is_not_among_those_a_learner_can_have():
    config = pendulum()
    data = mpc_pendulum.make_data(config, "sysid_misspecified", 0)
    model = Imitator(config.controller(), PENDULUM, tensor(*PENDULUM.true), True, False)
    assert model.prediction_loss(data["test"].states, data["test"].controls) > 1e-5
