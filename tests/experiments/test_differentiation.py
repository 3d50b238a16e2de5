"""The study of adjoints: its tasks are what they say, and what is refused is told."""

import itertools

import numpy as np
import pytest
import torch

from experiments import differentiation
from experiments.common.config import LayerConfig
from experiments.common.differentiation import (
    cost,
    kink,
    shortest_path,
    step,
    tasks,
    training,
)
from experiments.common.differentiation.methods import NAMED, methods
from experiments.common.errors import ConfigError
from experiments.common.sudoku.constraints import independent_rows
from experiments.common.sudoku.rules import true_constraints
from tests.experiments.adjoints import method, recorder, values


def test_peak_memory_sees_what_is_allocated_and_freed():
    cost.peak_memory(lambda: None)
    peak = cost.peak_memory(lambda: np.ones(2**23).sum())
    assert peak is None or peak == pytest.approx(2**26, rel=0.1)


def test_every_name_is_compared_and_its_settings_are_tried():
    found = methods(list(NAMED), LayerConfig())
    assert [one.label for one in found] == [f"adjoint={name}" for name in NAMED]
    by_name = {one.name: one for one in found}
    assert {setting for setting, _ in by_name["smoothed"].variants()} == {"kappa"}
    assert "k" not in {setting for setting, _ in by_name["unrolled"].variants()}
    assert by_name["implicit"].variants() == {}


def test_a_third_party_layer_is_one_method_with_the_derivative_that_it_brings():
    (only,) = methods(["implicit", "optnet"], LayerConfig(solver="qpth"))
    assert (only.label, only.name) == ("qpth", "auto")


def test_the_field_around_the_kink_is_the_projection_of_w():
    record = recorder()
    kink.record_field(method("implicit"), record)
    rows = [row for row in record.tables["matrices"] if row["matrix"] == "gradient_1"]
    field = np.array([row["value"] for row in rows]).reshape(9, 9)
    w = np.array(kink.W)
    assert np.allclose(field[: kink.HALF], w[0], atol=1e-14)
    assert np.allclose(field[kink.HALF + 1 :], (w - w.mean())[0], atol=1e-14)


def test_the_field_has_no_entry_where_the_adjoint_refuses():
    record = recorder()
    kink.record_field(method("optnet"), record)
    field = np.array([row["value"] for row in record.tables["matrices"][:81]]).reshape(9, 9)
    assert np.array_equal(np.isnan(field).all(axis=1), np.arange(9) == kink.HALF)
    assert len(record.tables["refusals"]) == 9


def paths(grid):
    """Every way to the right and down, as indicators of edges."""
    arcs, found = shortest_path.edges(grid), []
    for downs in itertools.combinations(range(2 * grid - 2), grid - 1):
        node, way = 0, np.zeros(len(arcs))
        for move in range(2 * grid - 2):
            head = node + (grid if move in downs else 1)
            way[arcs.index((node, head))] = 1.0
            node = head
        found.append(way)
    return torch.from_numpy(np.array(found))


def test_shortest_paths_are_those_of_enumeration_also_for_negative_costs():
    every = paths(4)
    assert len(every) == 20
    A, b = shortest_path.flow(4)
    assert torch.equal(every @ A.mT, b.expand(20, -1))
    costs = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 50, 24)))
    wanted = every[(costs @ every.mT).argmin(-1)]
    assert torch.equal(shortest_path.solver(4)(costs), wanted)


def test_costs_are_drawn_as_published():
    settings = shortest_path.Paths(grid=3, train=6, test=4)
    rng = np.random.RandomState(42)
    B, x = rng.binomial(1, 0.5, (12, 5)), rng.normal(0, 1, (10, 5))
    factor = rng.uniform(0.5, 1.5, (10, 12))
    expected = {
        tuple(x[i]): [((B[j] @ x[i] / 5**0.5 + 3) ** 4 + 1) / 3.5**4 * factor[i, j] for j in range(12)]
        for i in range(10)
    }
    data = shortest_path.make_data(settings, 0)
    assert (len(data["train"].features), len(data["test"].features)) == (6, 4)
    for features, costs in zip(data["test"].features.numpy(), data["test"].costs.numpy(), strict=True):
        assert costs == pytest.approx(expected[tuple(features)], rel=1e-12)


def test_regret_is_zero_for_the_true_costs_and_the_excess_of_the_worst_otherwise():
    data = shortest_path.make_data(shortest_path.Paths(grid=3, train=4, test=6), 0)["test"]
    solve = shortest_path.solver(3)
    assert shortest_path.regret(data.costs, data, solve) == 0.0
    worst = (data.costs * solve(-data.costs)).sum()
    assert shortest_path.regret(-data.costs, data, solve) == pytest.approx(
        float(worst / data.optimum.sum() - 1)
    )


def test_mini_batches_pass_over_all_samples_with_the_rest_in_a_small_one():
    recipe = training.Recipe(samples=10, steps=7, batch=4, lr=0.1)
    found = training._batches(recipe, np.random.default_rng(0))
    assert [len(part) for part in found] == [4, 4, 2, 4, 4, 2, 4]
    assert sorted(torch.cat(found[:3]).tolist()) == list(range(10))


class Descent:
    """A task whose gradient is one until its parameter has come to zero, and nothing then."""

    def __init__(self, start):
        model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
        torch.nn.init.constant_(model.weight, start)
        self.task = training.Task(
            "descent",
            model,
            lambda rows: model.weight.clamp(min=0).sum(),
            lambda: {"left": model.weight.item()},
            {"left": "1"},
        )


@pytest.mark.parametrize(("limit", "steps", "still"), [(None, 8, 0.5), (3, 3, 0.0), (20, 8, 0.5)])
def test_training_counts_its_steps_and_those_without_a_gradient(limit, steps, still):
    record, recipe = recorder(), training.Recipe(8, steps=8, batch=1, lr=0.3, points=2)
    training.train(Descent(1.0).task, recipe, np.random.default_rng(0), record, limit)
    assert values(record, "final_steps") == {0: steps}
    assert values(record, "final_still") == {0: still}
    assert values(record, "final_trained") == {0: 1.0}
    assert set(values(record, "left")) == {0, 4, 8} & set(range(steps + 1)) | {steps}


def test_what_stays_where_it_was_is_not_trained():
    record, recipe = recorder(), training.Recipe(8, steps=8, batch=1, lr=0.3)
    training.train(Descent(-1.0).task, recipe, np.random.default_rng(0), record)
    assert values(record, "final_still") == {0: 1.0}
    assert values(record, "final_trained") == {0: 0.0}


@pytest.mark.parametrize("name", ["implicit", "first_order", "cvxpylayers"])
def test_a_step_of_sudoku_is_timed_forward_and_backward_at_both_moments(name):
    record, config = recorder(), differentiation.Config()
    step.run_step(
        step.Step(order=2, batch=2, repetitions=1), differentiation._method(config, label(name)), 0, record
    )
    phases = {row["phase"]: row["value"] for row in record.tables["timings"]}
    assert set(phases) == {f"step {at}, {way}" for at in step.MOMENTS for way in ("forward", "backward")}
    assert all(seconds > 0 for seconds in phases.values())


def label(name):
    return name if name == "cvxpylayers" else f"adjoint={name}"


def test_equalities_are_random_at_the_start_of_a_step_and_near_the_rules_at_its_end():
    settings = step.Step(order=2, batch=1, noise=1e-3)
    start, end = (step._model(settings, method("implicit"), 0, moment) for moment in step.MOMENTS)
    rules = torch.from_numpy(independent_rows(true_constraints(2)))
    assert start.A.shape == end.A.shape == rules.shape == (40, 64)
    assert (end.A - rules).abs().max() < 6e-3
    assert (start.A - rules).abs().max() > 0.5


def test_a_step_that_is_refused_is_told():
    record = recorder()
    step.run_step(step.Step(order=2, batch=1, noise=0.0, repetitions=1), method("active_set"), 0, record)
    assert [row["split"] for row in record.tables["refusals"]] == ["step end"]


def test_an_adjoint_without_time_for_the_step_is_left_out_of_it_and_peers_are_taken_in():
    config = differentiation.Config(methods=["implicit", "unrolled", "spo_plus"])
    config.limits = {"unrolled": {"step": 0, "sudoku": 5}}
    assert differentiation._labels(config, "step") == ["adjoint=implicit", "cvxpylayers"]
    assert differentiation._labels(config, "sudoku") == ["adjoint=implicit", "adjoint=unrolled"]
    assert differentiation._labels(config, "losses") == ["spo_plus"]


def test_a_step_is_timed_with_as_many_seeds_as_it_says_and_costs_with_the_first():
    config = differentiation.Config(seeds=[3, 4, 5], step=step.Step(seeds=2))
    wanted = {"step": [3, 4], "cost": [3], "kink": [3], "sudoku": [3, 4, 5]}
    assert {part: differentiation._seeds(config, part) for part in wanted} == wanted


def test_training_stops_where_a_derivative_is_refused_and_says_so():
    settings = shortest_path.Paths(grid=3, train=8, test=6)
    task = tasks.path("path, linear", tasks.linear(method("optnet"), settings), settings, 0)
    record = recorder()
    training.train(task, training.Recipe(8, steps=3, batch=4, lr=0.1), np.random.default_rng(0), record)
    values = {row["metric"]: row["value"] for row in record.tables["metrics"]}
    assert values["refused"] == 1.0
    assert values["regret"] == values["final_regret"] > 0
    assert "singular" in record.tables["refusals"][0]["reason"]


def test_a_linear_program_trains_by_smoothing_and_not_by_its_own_derivative():
    settings = shortest_path.Paths(grid=3, train=60, test=60)
    regrets = {}
    for one in (method("implicit"), method("smoothed", kappa=1.0)):
        record = recorder()
        task = tasks.path("path, linear", tasks.linear(one, settings), settings, 0)
        training.train(
            task, training.Recipe(60, steps=40, batch=20, lr=1e-2), np.random.default_rng(0), record
        )
        curve = [row["value"] for row in record.tables["metrics"] if row["metric"] == "regret"]
        regrets[one.label] = curve[-1] / curve[0]
    assert regrets["implicit"] == 1.0
    assert regrets["smoothed"] < 0.6


@pytest.mark.parametrize("name", tasks.LOSSES)
def test_every_loss_learns_to_decide(name):
    settings = shortest_path.Paths(grid=3, train=100, test=100)
    task = tasks.path("path", tasks.decision_loss(name, settings, 0, 20.0), settings, 0)
    before = task.measures()["regret"]
    training.train(
        task, training.Recipe(100, steps=80, batch=20, lr=2e-2), np.random.default_rng(0), recorder()
    )
    assert task.measures()["regret"] < 0.4 * before


BAD = {
    "accuracy.margins": (lambda c: setattr(c.accuracy, "margins", [13]), "exponents from 0 to 12"),
    "accuracy.n": (lambda c: setattr(c.accuracy, "n", 3), "at least 5"),
    "cost.budget": (lambda c: setattr(c.cost, "budget", 0.0), "positive seconds"),
    "paths.grid": (lambda c: setattr(c.paths, "grid", 1), "at least 2 nodes"),
    "losses.samples": (lambda c: setattr(c.losses, "samples", 1001), "at most paths.train"),
    "sudoku.lr": (lambda c: setattr(c.sudoku, "lr", 0.0), "learning rate"),
    "layer.adjoint": (lambda c: c.layer.adjoint.update(name="optnet"), "methods="),
    "parts": (lambda c: setattr(c, "parts", ["everything"]), "one of"),
    "options": (lambda c: setattr(c, "options", {"smooth": {}}), "one of"),
    "weight": (lambda c: setattr(c, "weight", 0.0), "positive, finite"),
    "limits": (lambda c: setattr(c, "limits", {"unroled": {}}), "one of"),
    "limits.unrolled": (lambda c: setattr(c, "limits", {"unrolled": {"losses": 3}}), "one of"),
    "limits.unrolled.size": (lambda c: setattr(c, "limits", {"unrolled": {"size": -1}}), "whole number"),
    "step.order": (lambda c: setattr(c.step, "order", 4), "one of"),
    "step.noise": (lambda c: setattr(c.step, "noise", 1.0), "below 1"),
    "step.peers": (lambda c: setattr(c.step, "peers", ["native"]), "one of"),
    "iterate_to": (lambda c: setattr(c, "iterate_to", 2.0), "between 0 and 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_settings_that_cannot_be_used_are_named(name):
    spoil, words = BAD[name]
    config = differentiation.Config()
    config.check()
    spoil(config)
    with pytest.raises(ConfigError, match=f"{name}.*{words}"):
        config.check()
