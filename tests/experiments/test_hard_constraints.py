"""Answers under constraints: where a projection, a completion and a correction end, and what the study measures."""

import dataclasses

import numpy as np
import pytest
import torch

from experiments import hard_constraints
from experiments.common.constrained.network import TRAINED, Answer, Recipe, penalised, train
from experiments.common.constrained.piecewise import Piecewise
from experiments.common.constrained.problem import complete, correct, project, times
from experiments.common.constrained.program import Program, Size, optimum
from experiments.common.errors import ConfigError
from experiments.hard_constraints import Config, evaluate, make_answer, make_problem
from layers import QPLayer, solve_qp

SMALL = Size(variables=9, inequalities=6, equalities=4, examples=60)
LAYER = QPLayer(tol=1e-10)


def program(sines=False, order="dc3"):
    return Program("small", SMALL, order, sines)


def outputs(count, seed=0):
    return 3 * torch.randn(
        count, SMALL.variables, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def small_config(**changes):
    each = {
        name: dict.fromkeys(TRAINED, value) for name, value in (("epochs", 60), ("batch", 25), ("lr", 1e-2))
    }
    recipe = Recipe(width=16, anneal=True, **each)
    given = {"seeds": [1], "data": SMALL, "asked": SMALL, "optima": [[6, 4]], "convex": recipe}
    return Config(experiment="hard_constraints", size="smoke", **(given | changes))


def test_the_projection_is_the_nearest_point_under_all_constraints():
    small = program()
    x, y = small.inputs["test"], outputs(len(small.inputs["test"]))
    found = project(small, LAYER, x, y)
    eye = torch.eye(SMALL.variables, dtype=torch.float64)
    expected = solve_qp(eye, -y, small.G, small.h, small.manifold.A, x, tol=1e-10).z
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    assert small.inequality(x, found).max() < 1e-9
    assert small.equality(x, found).max() < 1e-9
    # The trap: a step back over the violated rows alone, which is nearest for one row and not for several.
    basis, start = small.manifold.basis, x @ small.manifold.inverse.mT
    start = start + (y - start) @ basis @ basis.mT
    reduced = small.G @ basis
    back = start - small.inequality(x, start) @ torch.linalg.pinv(reduced).mT @ basis.mT
    assert (found - back).norm(dim=-1).max() > 1e-2


def test_the_projection_of_a_feasible_point_is_itself_with_the_identity_as_derivative():
    small = program()
    x = small.inputs["test"][:3]
    y = (x @ small.manifold.inverse.mT).requires_grad_()
    weights = outputs(3, seed=1) @ small.manifold.basis @ small.manifold.basis.mT
    (weights * project(small, LAYER, x, y)).sum().backward()
    torch.testing.assert_close(y.grad, weights, rtol=0, atol=1e-9)


def test_completion_keeps_the_free_variables_and_meets_the_equalities():
    small = program()
    x = small.inputs["test"]
    v = outputs(len(x))[:, : SMALL.variables - SMALL.equalities]
    y = complete(small, x, v)
    torch.testing.assert_close(y[:, small.manifold.free], v, rtol=0, atol=0)
    assert small.equality(x, y).max() < 1e-9


def test_a_correction_is_a_gradient_step_in_the_free_variables_and_leaves_the_equalities():
    small = program()
    x = small.inputs["test"]
    v = outputs(len(x))[:, : SMALL.variables - SMALL.equalities].requires_grad_()
    (slope,) = torch.autograd.grad(small.inequality(x, complete(small, x, v)).square().sum(), v)
    found = correct(small, x, complete(small, x, v), 1, 1e-3, 0.5).detach()
    torch.testing.assert_close(found, complete(small, x, v - 1e-3 * slope).detach(), rtol=1e-9, atol=1e-9)
    assert small.equality(x, found).max() < 1e-8
    (naive,) = torch.autograd.grad(small.inequality(x, found.requires_grad_()).square().sum(), found)
    assert small.equality(x, found - 1e-3 * naive).max() > 1e-3


def test_momentum_carries_the_last_step_on():
    small = program()
    x = small.inputs["test"]
    y = complete(small, x, outputs(len(x))[:, : SMALL.variables - SMALL.equalities])
    first = correct(small, x, y, 1, 1e-3, 0.5)
    again = correct(small, x, first, 1, 1e-3, 0.5)
    torch.testing.assert_close(correct(small, x, y, 2, 1e-3, 0.5), again + 0.5 * (first - y))


@pytest.mark.parametrize(
    "pair", [(50, 50), *(pytest.param(pair, marks=pytest.mark.slow) for pair in hard_constraints.OPTIMA[1:])]
)
def test_the_published_random_numbers_give_the_published_optima(pair):
    published = {
        (50, 50): -15.05,
        (50, 10): -27.26,
        (50, 30): -23.13,
        (50, 70): -14.80,
        (10, 50): -17.33,
        (30, 50): -16.33,
        (70, 50): -14.61,
    }
    whole = Program("published", Size(100, *pair), "dc3", sines=False)
    x = whole.inputs["test"]
    assert [len(whole.inputs[name]) for name in ("train", "validation", "test")] == [8334, 833, 833]
    mean = whole.loss(x, optimum(whole, x, tol=1e-8)).mean().item()
    assert mean == pytest.approx(published[pair], abs=0.005)


def test_the_optimum_with_sines_has_no_feasible_descent_and_lies_below_its_start():
    curved = program(sines=True, order="hardnet")
    x = curved.inputs["test"]
    y = optimum(curved, x, tol=1e-10).requires_grad_()
    assert torch.maximum(curved.inequality(x, y).max(), curved.equality(x, y).max()) < 1e-8
    (slope,) = torch.autograd.grad(curved.loss(x, y).sum(), y)
    torch.testing.assert_close(project(curved, LAYER, x, y - slope), y, rtol=0, atol=1e-4)
    start = x @ curved.manifold.inverse.mT
    assert (curved.loss(x, y) < curved.loss(x, start)).all()
    (slope,) = torch.autograd.grad(curved.loss(x, start.requires_grad_()).sum(), start)
    assert (project(curved, LAYER, x, start - slope) - start).abs().max() > 1e-2


def test_an_infeasible_instance_is_told_by_its_index():
    broken = program()
    x = broken.inputs["test"].clone()
    # Two rows whose sum says that the first entry of x is at most 20.
    row = broken.G[:1]
    broken.G = torch.cat([row, broken.manifold.A[:1] - row])
    broken.h = torch.tensor([10.0, 10.0], dtype=torch.float64)
    x[2, 0] = 21.0
    with pytest.raises(ConfigError, match=r"small: 1 of 5 instances .*: 2 \(INFEASIBLE\); leave them out"):
        optimum(broken, x, tol=1e-8)
    x[4, 0] = 22.0
    with pytest.raises(ConfigError, match=r"2 of 5 instances .*: 2 \(INFEASIBLE\), 4 \(INFEASIBLE\);"):
        optimum(broken, x, tol=1e-8)


def test_the_function_keeps_its_own_bounds_and_the_other_side_of_each_does_not():
    function = Piecewise()
    x = function.inputs["test"]
    y = function.target(x)
    G, h = function.rows(x)
    assert (times(G, y) - h).max() < 1e-12
    assert (h - times(G, y)).max() > 1
    torch.testing.assert_close(
        function.target(torch.tensor([[-2.0], [-0.5], [0.5], [2.0]], dtype=torch.float64)),
        torch.tensor([[5.0], [0.0], [3.75], [-2.0]], dtype=torch.float64),
    )
    assert len(x) == 401
    assert len(function.inputs["train"]) == 50
    assert function.inputs["train"].abs().max() < 1.2


def test_with_one_bound_the_projection_is_a_clip():
    function = Piecewise()
    x = function.inputs["test"]
    y = 3 * torch.randn(len(x), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    G, h = function.rows(x)
    expected = y - (times(G, y) - h).relu() * G.squeeze(-1)
    torch.testing.assert_close(project(function, LAYER, x, y), expected, rtol=0, atol=1e-8)


def test_the_penalty_weighs_norms_of_both_kinds():
    small = program()
    x, y = small.inputs["test"], outputs(5)
    inequality, equality = (small.G @ y.mT).mT - small.h, (small.manifold.A @ y.mT).mT - x
    bare = (0.5 * y**2 @ small.Q + y @ small.cost).numpy()
    for power in (1, 2):
        norms = [np.linalg.norm(part, axis=1) ** power for part in (inequality.clamp(min=0), equality)]
        recipe = Recipe(share=0.3, power=power)
        found = penalised(small, recipe, 7.0, x, y)
        np.testing.assert_allclose(found, bare + 7 * (0.7 * norms[0] + 0.3 * norms[1]), rtol=1e-12)
    np.testing.assert_allclose(penalised(small, recipe, 0.0, x, y), bare, rtol=1e-12)


def test_measures_are_means_over_instances_of_the_largest_and_of_the_mean_row():
    small = program()
    x = small.inputs["test"][:2]
    y = x @ small.manifold.inverse.mT + 0.0
    y[1] += small.manifold.A[0] / small.manifold.A[0].square().sum()
    found = evaluate(small, x, y)
    wrong = (small.manifold.A @ small.manifold.A[0] / small.manifold.A[0].square().sum()).abs()
    assert found["max_equality"] == pytest.approx(wrong.max().item() / 2, rel=1e-9)
    assert found["mean_equality"] == pytest.approx(wrong.mean().item() / 2, rel=1e-9)
    assert found["worst_violation"] >= 2 * max(found["max_equality"], found["max_inequality"]) * (1 - 1e-9)
    assert "max_equality" not in evaluate(Piecewise(), x[:, :1], x[:, :1])


def test_a_seed_gives_the_weights_that_torch_gives_after_it():
    torch.manual_seed(4)
    layers = [torch.nn.Linear(*sizes, dtype=torch.float64) for sizes in ((1, 6), (6, 6), (6, 1))]
    for layer in layers:
        torch.nn.init.kaiming_normal_(layer.weight)
    torch.manual_seed(4)
    built = Answer(1, 1, Recipe(width=6, normalised=False), lambda x, y: y)
    for layer, own in zip(layers, [part for part in built.network if hasattr(part, "weight")], strict=True):
        torch.testing.assert_close(own.weight, layer.weight, rtol=0, atol=0)
        torch.testing.assert_close(own.bias, layer.bias, rtol=0, atol=0)


def test_a_layer_trained_through_is_feasible_and_nearer_to_the_optimum_than_before():
    config = small_config()
    problem = make_problem(config, "convex")
    x = problem.inputs["test"]
    torch.manual_seed(0)
    answer = make_answer(config, problem, "projection_layer")
    answer.eval()
    before = evaluate(problem, x, answer(x))
    train(problem, answer, config.convex, "projection_layer", 0)
    after = evaluate(problem, x, answer(x))
    best = problem.loss(x, optimum(problem, x, tol=1e-8)).mean().item()
    assert after["worst_violation"] < 1e-7
    assert best - 1e-9 <= after["objective"]
    assert after["objective"] - best < 0.5 * (before["objective"] - best)


def test_a_penalty_leaves_a_violation_that_the_projection_takes_away():
    config = small_config(problems=["convex"])
    tables = hard_constraints.run_cell(config, "penalty", 1)["metrics"]
    worst = {row["method"]: row["value"] for row in tables if row["metric"] == "worst_violation"}
    assert worst["penalty"] > 1e-3
    assert worst["penalty_projected"] < 1e-7


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("methods", ["barrier"], "one of: optimiser, network"),
        ("problems", [], "problems: got"),
        ("problems", ["acopf"], "one of: convex, nonconvex, piecewise"),
        ("data.equalities", 9, "data.equalities: got 9"),
        ("data.inequalities", 0, "data.inequalities: got 0"),
        ("data.examples", 5, "at least 24 examples"),
        ("points", 1, "at least 2 points"),
        ("optima", [[3, 9]], "fewer equalities than asked.variables"),
        ("convex.epochs", dict.fromkeys(TRAINED, 0), "convex.epochs.network: got 0"),
        ("convex.width", 0, "convex.width: got 0"),
        ("convex.lr", {"penalty": 1e-3}, "a number for each of"),
        ("convex.share", 1.5, "convex.share: got 1.5"),
        ("piecewise.power", 3, "piecewise.power: got 3"),
        ("nonconvex.momentum", 1.0, "nonconvex.momentum"),
        ("convex.batch", dict.fromkeys(TRAINED, 7), "no batch of one example"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(place, value, message):
    config = small_config(data=dataclasses.replace(SMALL), asked=dataclasses.replace(SMALL))
    owner, _, name = place.rpartition(".")
    setattr(getattr(config, owner) if owner else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()
