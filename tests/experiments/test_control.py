"""Parts of the control studies: programs, systems, bounds and descent, against formulas and brute force."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are

from experiments.common.control import supply_chain, vehicle
from experiments.common.control.descent import Descent, descend
from experiments.common.control.linear import LinearSystem, lower_bound, random_system, symmetric_root
from experiments.common.control.policies import Box, Value, look_ahead
from experiments.common.control.rollout import mean_cost, rollout
from experiments.common.control.study import APART, FRESH, stream
from experiments.common.control.supply_chain import SupplyChain
from experiments.common.control.vehicle import Vehicle
from layers import QPLayer

LAYER = QPLayer(tol=1e-10)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scalar(a=0.9, b=1.0, deviation=0.5):
    return LinearSystem(*(torch.tensor([[x]], dtype=torch.float64) for x in (a, b)), deviation)


def test_looking_ahead_with_the_riccati_solution_is_the_optimal_gain():
    system = random_system(4, 2, 0.5, np.random.RandomState(3))
    P = system.riccati()
    value = Value(symmetric_root(P), torch.zeros(4, dtype=torch.float64))
    x = normal(5, 4)
    u = look_ahead(LAYER, (torch.eye(2).double(), None), value, (system.drift(x), system.B))
    np.testing.assert_allclose(u, x.numpy() @ system.gain(P).T, rtol=1e-9)


def test_the_control_is_the_least_of_cost_and_value_within_the_box():
    d, B = normal(1, 3, seed=1), normal(3, 1, seed=2)
    value, price = Value(normal(3, 3, seed=3), 4 * normal(3, seed=4)), normal(1, seed=5)
    weight = torch.tensor([[0.7]], dtype=torch.float64)
    grid = torch.linspace(-0.3, 0.5, 80_001, dtype=torch.float64)[:, None]
    y = d + grid @ B.mT
    cost = 0.7 * grid[:, 0] ** 2 + grid[:, 0] * price + (y @ value.root.mT).square().sum(1) + y @ value.slope
    for centre in (0.1, 10.0):
        rows = Box(torch.tensor([0.4]).double()).rows(torch.tensor([[centre]]).double())
        u = look_ahead(LAYER, (weight, price), value, (d, B), rows)
        if centre == 10.0:
            assert 9.6 - 1e-7 <= u.item() <= 10.4 + 1e-7
        else:
            assert u.item() == pytest.approx(grid[cost.argmin()].item(), abs=1e-5)


def test_the_program_s_derivative_reaches_root_slope_and_states():
    system = random_system(3, 2, 0.5, np.random.RandomState(0))
    rows = Box(torch.tensor([0.3, 0.3]).double()).rows()

    def control(root, slope, x):
        reached = (system.drift(x), system.B)
        return look_ahead(LAYER, (torch.eye(2).double(), None), Value(root, slope), reached, rows)

    leaves = [normal(3, 3), normal(3, seed=1), normal(4, 3, seed=2)]
    assert torch.autograd.gradcheck(control, [leaf.requires_grad_() for leaf in leaves], eps=1e-6, atol=1e-6)


def test_without_bounds_the_lower_bound_is_the_riccati_optimum():
    system = random_system(4, 2, 0.5, np.random.RandomState(7))
    P, found = system.riccati(), lower_bound(system)
    assert found.cost == pytest.approx(0.25 * np.trace(P), rel=1e-6)
    np.testing.assert_allclose(found.P, P, rtol=1e-3, atol=1e-4)
    assert lower_bound(system, 1e3).cost == pytest.approx(found.cost, rel=1e-5)


def test_with_hardly_any_control_the_lower_bound_is_the_cost_of_none():
    assert lower_bound(scalar(), 1e-5).cost == pytest.approx(0.25 / (1 - 0.9**2), rel=1e-3)


def test_the_lower_bound_is_close_below_the_optimum_that_value_iteration_finds():
    system, reach = scalar(), 0.15
    x, u = np.linspace(-6, 6, 481), np.linspace(-reach, reach, 41)
    w, weights = np.polynomial.hermite_e.hermegauss(15)
    after = 0.9 * x[:, None, None] + u[None, :, None] + 0.5 * w
    V, best = np.zeros_like(x), 0.0
    for _ in range(150):
        expected = np.interp(after, x, V) @ (weights / weights.sum())
        new = (x[:, None] ** 2 + u**2 + expected).min(1)
        best, V = (new - V)[len(x) // 2], new - new[len(x) // 2]
    bound = lower_bound(system, reach).cost
    assert 0.8 * best < bound < 1.001 * best
    assert bound > 1.05 * lower_bound(system).cost


def test_the_lower_bound_is_the_best_price_on_the_square_of_the_control():
    # For one control and a given price the best P is the Riccati solution with the price added to R.
    system, one = scalar(), np.eye(1)
    values = [
        0.25 * solve_discrete_are(0.9 * one, one, one, (1 + price) * one).item() - 0.15**2 * price
        for price in np.linspace(0, 20, 2_001)
    ]
    assert 0 < np.argmax(values) < 2_000
    assert lower_bound(system, 0.15).cost == pytest.approx(max(values), rel=1e-6)


def test_a_rollout_costs_what_its_periods_cost():
    system = scalar(a=0.5, b=2.0, deviation=1.0)
    noise = torch.tensor([[[1.0]], [[-1.0]], [[3.0]]], dtype=torch.float64)
    start = torch.tensor([[2.0]], dtype=torch.float64)
    # u = -x/4 makes x+ = w: states 2, 1, -1, and a period costs 17/16 x^2.
    costs = rollout(system, lambda x: -x / 4, start, noise)
    np.testing.assert_allclose(costs[:, 0], np.array([4.0, 1.0, 1.0]) * 17 / 16, rtol=1e-15)
    assert mean_cost(system, lambda x: -x / 4, start, noise) == pytest.approx(2 * 17 / 16)


def still(vehicles, trajectories):
    """Noise under which nothing changes by chance."""
    noise = torch.zeros(trajectories, vehicle.NUMBERS, dtype=torch.float64)
    return vehicles.start(trajectories), noise


def test_a_car_without_steering_beyond_the_curve_stays_on_a_curved_path():
    car = Vehicle()
    x, noise = still(car, 1)
    x[:, 1:] = torch.tensor([0.0, 0.0, 5.0, 5.0, 0.1])
    for _ in range(10):
        cost, x = car.advance(x, torch.zeros(1, 2, dtype=torch.float64), noise)
        assert cost.item() == 0.0
    np.testing.assert_allclose(x[0], [10.0, 0.0, 0.0, 5.0, 5.0, 0.1], atol=1e-12)


def test_what_the_driver_foresees_is_where_the_car_goes_without_noise():
    car = Vehicle()
    x, noise = still(car, 1)
    x[:, 1:] = torch.tensor([0.3, 0.2, 4.0, 5.0, 0.05])
    d, B = car.predicted(x)
    u = torch.tensor([[0.4, 1e-5]], dtype=torch.float64)
    _, first = car.advance(x, u, noise)
    foreseen = d[0] + B[0] @ u[0]
    # The second step is foreseen at the speed of the first; sin is taken without the steering.
    second = first[0, 1] + vehicle.PERIOD * 4.0 * torch.sin(first[0, 2])
    wanted = torch.stack((first[0, 1], first[0, 2], first[0, 3] - 0.98 * 5.0 - 0.02 * 4.5, second))
    np.testing.assert_allclose(foreseen, wanted, atol=1e-6)
    assert abs(float(B[0, 3, 1]) - (0.2 * 4.0) ** 2 / 2.8) < 1e-15


def test_path_and_speed_change_as_often_as_they_should():
    noise = vehicle.draw(200, 200, torch.Generator().manual_seed(0))
    x = Vehicle().start(200)
    x[:, 5] = 7.0  # a mark: no curvature drawn is like this
    kept_curvature, kept_speed = [], []
    for happening in noise:
        _, after = Vehicle().advance(x, torch.zeros(200, 2, dtype=torch.float64), happening)
        kept_curvature.append((after[:, 5] == 7.0).double().mean())
        kept_speed.append((after[:, 4] == 4.5).double().mean())
        assert after[:, 4].min() >= 3
        assert after[:, 4].max() <= 6
    assert np.mean(kept_curvature) == pytest.approx(0.95, abs=0.005)
    assert np.mean(kept_speed) == pytest.approx(0.98, abs=0.003)


def test_goods_are_neither_made_nor_lost():
    chain = SupplyChain()
    x, noise = supply_chain.draw(1, 6, torch.Generator().manual_seed(0))
    u = torch.rand(6, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, after = chain.advance(x, u, noise[0])
    held, before = chain.split(after)[0].sum(1), chain.split(x)[0].sum(1)
    np.testing.assert_allclose(held, before + u[:, :2].sum(1) - u[:, 6:].sum(1), rtol=1e-12)


def test_flows_that_the_rows_allow_leave_every_store_between_empty_and_full():
    chain = SupplyChain()
    x, noise = supply_chain.draw(1, 50, torch.Generator().manual_seed(2))
    G, h = chain.rows(x)
    q = torch.randn(50, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    u = LAYER(0.1 * torch.eye(8, dtype=torch.float64), q, G, h)
    held = chain.split(chain.advance(x, u, noise[0])[1])[0]
    assert held.min() > -1e-8
    assert held.max() < supply_chain.CAPACITY + 1e-8
    assert u.min() > -1e-8
    assert u.max() < supply_chain.FLOW + 1e-8
    assert (u[:, 6:] - chain.split(x)[2]).max() < 1e-8
    # Each kind of row is needed: somewhere it is met with equality.
    slack = h - u @ G.mT
    assert all((part < 1e-6).any() for part in slack.split((8, 8, 4, 4, 2), 1))


def test_a_period_is_charged_after_it_or_before_it():
    x, noise = supply_chain.draw(1, 3, torch.Generator().manual_seed(4))
    u = torch.full((3, 8), 0.25, dtype=torch.float64)
    after, _ = SupplyChain().advance(x, u, noise[0])
    before, _ = SupplyChain(charge_after=False).advance(x, u, noise[0])
    flows = 0.25 * (4 * 0.05 - 2 * 1.3)
    for found, held, prices in (
        (before, x[:, :4], x[:, 4:6]),
        (after, x[:, :4] + u @ (torch.subtract(*SupplyChain().incidence())).mT, noise[0][:, :2]),
    ):
        storage = (0.01 * held + 0.01 * held**2).sum(1)
        np.testing.assert_allclose(found, 0.25 * prices.sum(1) + flows + storage, rtol=1e-12)


def test_prices_and_demands_are_log_normal():
    market = supply_chain.draw(2_000, 10, torch.Generator().manual_seed(0))[1].log().reshape(-1, 4)
    np.testing.assert_allclose(market.mean(0), [0.0, 0.1, 0.0, 0.4], atol=0.01)
    np.testing.assert_allclose(market.std(0), 0.2, rtol=0.03)


def test_descent_follows_rate_momentum_and_clip():
    x = torch.tensor([10.0], dtype=torch.float64, requires_grad=True)
    path = []
    descent = Descent(steps=3, lr=0.1, late_from=2, late_lr=0.01, momentum=0.5, clip=4.0)
    descend(descent, [x], lambda step: x.square().sum(), lambda step: path.append(x.item()))
    # Gradients of 20 are shortened to 4; the momentum sums 4, 6, 7.
    np.testing.assert_allclose(path, [10.0, 9.6, 9.0, 8.93], rtol=1e-7)


def test_measurements_come_first_last_and_as_often_as_asked():
    x, steps = torch.zeros(1, requires_grad=True), []
    descend(Descent(steps=5, evaluate_every=2), [x], lambda step: x.sum(), steps.append)
    assert steps == [0, 2, 4, 5]


def test_no_stream_of_a_seed_is_one_of_another():
    numbers = [0, 1, 999, FRESH, APART - 1]
    first = {torch.rand(1, generator=stream(seed, number)).item() for seed in (0, 1) for number in numbers}
    assert len(first) == 2 * len(numbers)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(999)).item()
    assert torch.rand(1, generator=stream(0, 999)).item() == expected
