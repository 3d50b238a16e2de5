"""Decisions under forecasts: what is least in expectation, its derivative, the published draws, what the study
measures."""

import dataclasses

import numpy as np
import pytest
import torch

from experiments import task_learning
from experiments.common.decisions import demand, grid, shop
from experiments.common.decisions.demand import load_demand, parse_demand
from experiments.common.decisions.grid import Grid
from experiments.common.decisions.learning import Forecast, Recipe, fit
from experiments.common.decisions.newsvendor import DEMANDS, Costs, draw, order, true_logits
from experiments.common.decisions.scheduling import Plant, nearest, schedule
from experiments.common.decisions.shop import Shop
from experiments.common.errors import ConfigError
from experiments.task_learning import Config, run_cell
from layers import QPLayer

LAYER = QPLayer(tol=1e-10)
D = torch.tensor(DEMANDS, dtype=torch.float64)


def distributions(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(count, len(D), dtype=torch.float64, generator=generator)).softmax(-1)


def expected_cost(costs, z, p):
    """The expectation of the cost of each order z under p, by the definition."""
    return (p * costs.of(z[:, None].expand(-1, len(D)), D.expand(len(z), -1))).sum(-1)


def forecasts(days, seed=0, hours=24):
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linspace(0, 6.28, hours, dtype=torch.float64)
    wave = 1.5 + 0.8 * (turn + torch.rand(days, 1, dtype=torch.float64, generator=generator)).sin()
    return wave, 0.05 + 0.2 * torch.rand(days, hours, dtype=torch.float64, generator=generator)


def test_an_order_is_the_least_of_all_on_a_fine_grid():
    costs, p = Costs(), distributions(20)
    z = order(LAYER, costs, p)
    tried = torch.linspace(0, 20, 20001, dtype=torch.float64)
    table = torch.stack([expected_cost(costs, tried, each.expand(len(tried), -1)) for each in p])
    torch.testing.assert_close(z, tried[table.argmin(-1)], rtol=0, atol=1e-3)
    # The trap: an order of the mean demand, as if it were certain.
    assert (expected_cost(costs, p @ D, p) > expected_cost(costs, z, p)).all()


def test_the_derivative_of_an_order_is_that_of_differences():
    costs, p = Costs(), distributions(6)
    logits = p.log().requires_grad_()
    (found,) = torch.autograd.grad(order(LAYER, costs, logits.softmax(-1)).sum(), logits)
    for place in range(len(D)):
        step = torch.zeros(len(D), dtype=torch.float64)
        step[place] = 1e-5
        sides = [order(LAYER, costs, (logits.detach() + sign * step).softmax(-1)) for sign in (1, -1)]
        torch.testing.assert_close(found[:, place], (sides[0] - sides[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_a_certain_demand_is_ordered_where_its_price_balances_its_shortage():
    # c0 + q0 z = cu + qu (d - z)
    costs = Costs()
    z = order(LAYER, costs, torch.eye(len(D), dtype=torch.float64))
    balanced = (costs.under + costs.under_square * D - costs.order) / (
        costs.order_square + costs.under_square
    )
    torch.testing.assert_close(z, torch.minimum(balanced, D), rtol=0, atol=1e-4)


def test_draws_are_those_of_the_published_program():
    # Its lines, in its order: inputs, then one uniform number for each demand.
    rng = np.random.RandomState(0)
    x = rng.randn(50, 20)
    Theta = np.random.RandomState(42).randn(20, 5)
    for truth, logits in (("linear", x @ Theta), ("nonlinear", (x @ Theta) ** 2)):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        u = np.random.RandomState(0)
        u.randn(50, 20)
        expected = (u.rand(50)[:, None] < p.cumsum(1)).argmax(1)
        inputs, y = draw(truth, 50, np.random.RandomState(0))
        np.testing.assert_array_equal(inputs.numpy(), x)
        np.testing.assert_array_equal(y.numpy(), expected)
        torch.testing.assert_close(true_logits(truth, inputs), torch.from_numpy(logits))


def test_slope_and_curvature_are_the_derivatives_of_the_expected_cost():
    plant = Plant()
    mean, deviation = forecasts(3)
    z = (mean + 0.3 * deviation).requires_grad_()
    slope = torch.autograd.grad(plant.expected(z, mean, deviation).sum(), z, create_graph=True)[0]
    torch.testing.assert_close(slope, plant.slope(z, mean, deviation), rtol=1e-9, atol=1e-9)
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    torch.testing.assert_close(curvature, plant.curvature(z, mean, deviation), rtol=1e-9, atol=1e-9)


def test_the_expected_cost_is_the_mean_over_many_loads():
    plant = Plant(under=5.0, over=0.5)
    mean, deviation = forecasts(1, hours=4)
    draws = mean + deviation * torch.randn(
        200_000, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    z = mean + deviation * torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    expected = plant.expected(z, mean, deviation) + 0.5 * deviation.square()
    torch.testing.assert_close(plant.of(z, draws).mean(0, keepdim=True), expected, rtol=0.02, atol=0)


@pytest.mark.parametrize("ramp", [10.0, 0.15])
def test_no_schedule_within_the_ramps_costs_less_in_expectation(ramp):
    plant = Plant(ramp=ramp)
    mean, deviation = forecasts(5)
    z = schedule(plant, LAYER, mean, deviation)
    slack = ramp - z.diff(dim=-1).abs()
    assert slack.min() > -1e-9
    assert bool((slack < 1e-6).any()) == (ramp < 1)
    best = plant.expected(z, mean, deviation).sum(-1)
    generator = torch.Generator().manual_seed(2)
    for size in (1e-3, 1e-2, 0.1):
        tried = nearest(plant, LAYER, z + size * torch.randn(z.shape, dtype=z.dtype, generator=generator))
        assert (plant.expected(tried, mean, deviation).sum(-1) > best).all()
    # The trap: the quadratic program of the mean's own model, without the sequence behind it.
    slope, curvature = (each(mean, mean, deviation) for each in (plant.slope, plant.curvature))
    once = LAYER(curvature.diag_embed(), slope - curvature * mean, *plant.rows(24))
    assert (plant.expected(once, mean, deviation).sum(-1) > best + 1e-3).all()


@pytest.mark.parametrize("ramp", [10.0, 0.15])
def test_the_derivative_of_a_schedule_is_that_of_differences(ramp):
    plant = Plant(ramp=ramp)
    mean, deviation = (each.requires_grad_() for each in forecasts(2, hours=6))
    weights = torch.linspace(1, 2, 6, dtype=torch.float64)
    found = torch.autograd.grad((schedule(plant, LAYER, mean, deviation) @ weights).sum(), (mean, deviation))
    for gradient, moved in zip(found, (0, 1), strict=True):
        for place in range(6):
            given = [[mean.detach().clone(), deviation.detach().clone()] for _ in range(2)]
            for sign, each in zip((1, -1), given, strict=True):
                each[moved][:, place] += sign * 1e-6
            up, down = (schedule(plant, LAYER, *each) @ weights for each in given)
            torch.testing.assert_close(gradient[:, place], (up - down) / 2e-6, rtol=1e-4, atol=1e-5)


def test_the_demand_is_the_tracked_one_and_its_weekends_are_low():
    found = load_demand()
    assert found.values.shape == (943, 24)
    assert (str(found.dates[0]), str(found.dates[-1])) == ("1996-05-07", "1998-12-05")
    assert (np.diff(found.dates).astype(int) == 1).all()
    assert 0 <= found.values.min() < found.values.max() <= 1
    x, y = found.examples(1.5)
    weekday = x[:, 48:55].argmax(1)
    mean = [y[weekday == day].mean() for day in range(7)]
    assert max(mean[5:]) < min(mean[:5])
    # No hour asks for more of a ramp than the published plant has: with hindsight a schedule costs nothing.
    assert np.abs(np.diff(y, axis=1)).max() < Plant().ramp


def test_a_forecast_knows_the_past_alone():
    found = load_demand()
    x, y = found.examples(2.0)
    np.testing.assert_array_equal(y, 2 * found.values[7:])
    np.testing.assert_array_equal(x[:, :24], 2 * found.values[6:-1])
    np.testing.assert_array_equal(x[:, 24:48], 2 * found.values[:-7])


def test_an_altered_or_missing_file_of_demand_is_refused(tmp_path):
    altered = tmp_path / "nsw_demand.csv"
    with pytest.raises(ConfigError, match=r"nsw_demand\.csv is missing; it is tracked: git checkout"):
        parse_demand(altered)
    altered.write_bytes(demand.FILE.read_bytes().replace(b"0.4", b"0.5", 1))
    with pytest.raises(ConfigError, match=r"sha256 .* an altered file"):
        parse_demand(altered)


def test_test_days_come_after_all_others_and_are_the_same_for_every_seed():
    first, second = (grid.days(Grid(), seed) for seed in (0, 1))
    torch.testing.assert_close(first["test"][1], second["test"][1], rtol=0, atol=0)
    assert [len(first[part][0]) for part in ("train", "held", "test")] == [598, 150, 188]
    assert not torch.equal(first["held"][1], second["held"][1])
    y = torch.from_numpy(load_demand().examples(1.5)[1])
    torch.testing.assert_close(first["test"][1], y[-188:], rtol=0, atol=0)


def small_recipe(methods, **changes):
    each = dict.fromkeys(methods, 3), dict.fromkeys(methods, 30), dict.fromkeys(methods, 1e-2)
    return Recipe(*each, width=8, **changes)


def test_training_keeps_the_epoch_whose_held_out_decisions_cost_least():
    x = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1, dtype=torch.float64)
    recipe = Recipe({"m": 9}, {"m": 8}, {"m": 0.1}, width=0)
    seen, states = [9.0, 8.0, 7.0, 3.0, *[5.0] * 6], []

    def score():
        states.append(model.weight.detach().clone())
        return seen[len(states) - 1]

    rng = np.random.default_rng(0)
    epoch, best = fit(
        model, (x, x[:, :1]), recipe, "m", rng, lambda x, y: (model(x) - y).square().mean(), score
    )
    assert (epoch, best, len(states)) == (3, 3.0, 10)
    torch.testing.assert_close(model.weight.detach(), states[3], rtol=0, atol=0)
    assert not torch.equal(states[3], states[9])


def test_a_forecast_starts_at_least_squares_and_its_deviation_is_what_it_is_off_by():
    parts = grid.days(Grid(), 0)
    x, y = parts["train"]
    torch.manual_seed(0)
    model = Forecast(parts["train"], small_recipe(grid.TRAINED))
    off = model.affine(x) - y
    # Whatever is linear in the inputs has been used.
    assert (x.mT @ off).abs().max() < 1e-6
    model.eval()
    model.deviate(parts["held"])
    mean, deviation = model(parts["held"][0])
    spread = (mean - parts["held"][1]).square().mean(0).sqrt()
    torch.testing.assert_close(deviation[0], spread)


def small_config(**changes):
    newsvendor = Shop(samples=[60], models=["linear"], truths=["nonlinear"], test=200)
    newsvendor = dataclasses.replace(newsvendor, linear=small_recipe(shop.TRAINED))
    load = Grid(rounds=2, recipe=small_recipe(grid.TRAINED))
    given = {"seeds": [0], "newsvendor": newsvendor, "load": load}
    return Config(experiment="task_learning", size="smoke", **(given | changes))


def metrics(method, problem):
    rows = run_cell(small_config(problems=[problem]), method, 0)["metrics"]
    return {row["metric"]: row["value"] for row in rows}


def test_regret_is_measured_against_the_true_probabilities_on_the_same_data():
    best, found = metrics("true_model", "newsvendor")["cost"], metrics("task", "newsvendor")
    assert found["regret"] == pytest.approx(found["cost"] / best - 1)
    assert found["regret"] > 0


@pytest.mark.parametrize("method", grid.TRAINED)
def test_every_method_is_judged_by_the_cost_of_its_schedules(method):
    found = metrics(method, "load")
    assert set(found) == {"cost", "ramps_binding"} | ({"rmse"} if method != "policy" else set())
    assert found["cost"] > 0


def test_schedules_that_stand_still_for_nobody_are_told_by_their_day(monkeypatch):
    mean, deviation = forecasts(3)
    monkeypatch.setattr("experiments.common.decisions.scheduling.REST", -1.0)
    with pytest.raises(ConfigError, match=r"schedules of days \[0, 1, 2\] still move"):
        schedule(Plant(ramp=0.15), LAYER, mean, deviation)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["mine"]}, "methods: got 'mine'"),
        ({"problems": []}, "problems: got"),
        ({"newsvendor": Shop(samples=[2])}, "newsvendor.samples: got 2"),
        ({"newsvendor": Shop(costs=Costs(order_square=0.0))}, "newsvendor.costs.order_square: got 0.0"),
        ({"load": Grid(plant=Plant(ramp=0.0))}, "load.plant.ramp: got 0.0"),
        ({"load": Grid(scale=-1.0)}, "load.scale: got -1.0"),
        ({"load": Grid(recipe=Recipe())}, "load.recipe.epochs: got {}"),
    ],
)
def test_settings_that_cannot_be_used_are_told(changes, message):
    with pytest.raises(ConfigError) as told:
        small_config(**changes).check()
    assert message in str(told.value)


def test_a_missing_file_ends_a_run_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(demand, "FILE", demand.FILE.with_name("nothing.csv"))
    load_demand.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"demand: nothing\.csv is missing"):
            small_config().check()
    finally:
        load_demand.cache_clear()


def test_the_true_model_needs_no_seed(tmp_path):
    tables = task_learning.run(small_config(methods=["true_model"], seeds=[3, 4]), tmp_path)
    assert {row["seed"] for row in tables["metrics"]} == {3}
