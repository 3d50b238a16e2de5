"""Piecewise-linear functions as programs: the programs are the functions, and three pieces are learned."""

import numpy as np
import pytest
import torch

from experiments import representation
from experiments.common.piecewise_linear import MaxOfLinear, interpolation, piecewise_linear, relu
from experiments.common.training import Recipe
from experiments.representation import Config, Data, creases, evaluate, make_data, train
from layers import QPLayer
from tests.experiments.refused import assert_refused

LAYER = QPLayer(tol=1e-9)


def small_config(**changes):
    data = Data(train=150, validation=80, test=200)
    return Config(experiment="representation", size="smoke", seeds=[0], data=data, restarts=2, **changes)


def generator():
    return torch.Generator().manual_seed(0)


def test_relu_is_a_projection():
    v = torch.randn(50, 4, dtype=torch.float64, generator=generator())
    torch.testing.assert_close(relu(v, LAYER), v.clamp(min=0), rtol=0, atol=1e-9)


def test_interpolation_is_numpys():
    knots, values = (
        torch.tensor([-2.0, -1.0, 0.5, 3.0]).double(),
        torch.tensor([1.0, -2.0, 0.0, 4.0]).double(),
    )
    x = torch.linspace(-2, 3, 41, dtype=torch.float64)
    expected = np.interp(x, knots, values)
    slopes, offsets, weights = interpolation(knots, values)
    np.testing.assert_allclose((torch.outer(x, slopes) + offsets).relu() @ weights, expected, atol=1e-12)
    found = piecewise_linear(x, slopes, offsets, weights, LAYER)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_program_of_theorem_three_is_cut_off_at_zero():
    model = MaxOfLinear(2, 3, LAYER, generator())
    model.slopes.data = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.8, -0.2]], dtype=torch.float64)
    x = torch.randn(80, 2, dtype=torch.float64, generator=generator())
    values = (x @ model.slopes.mT + model.offsets).amax(dim=1, keepdim=True).detach()
    assert values.min() < -0.1, "the trap needs points where all three functions are negative"
    torch.testing.assert_close(model(x).detach(), values.clamp(min=0), rtol=0, atol=1e-7)


def test_the_function_of_the_study_is_never_negative_and_has_three_equal_parts():
    x = np.random.default_rng(0).standard_normal((3000, 2))
    values = creases(x)
    assert values.min() >= 0
    turn = 2 * np.pi / 3
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    np.testing.assert_allclose(creases(x @ rotation), values, atol=1e-12)
    np.testing.assert_allclose(creases(np.array([[0.0, 2.0], [0.0, -2.0]])).ravel(), [2.0, 1.0])


def test_points_outside_are_outside_and_the_others_inside():
    splits = make_data(small_config(), 0)
    assert np.abs(splits["test"].noisy).max() <= 1
    far = np.abs(splits["outside"].noisy).max(axis=1)
    assert (far > 1).all()
    assert 4 < far.max() <= 5
    assert len(far) == 200


def test_the_layer_learns_the_function_and_a_network_of_three_units_does_not():
    config = small_config(
        train=Recipe(epochs=40, batch=30, lr=0.05, anneal=True),
        network=Recipe(epochs=60, batch=30, lr=0.02, anneal=True),
    )
    splits = make_data(config, 0)
    layer = evaluate(train(config, "max_layer", 3, 0, splits), splits)
    network = evaluate(train(config, "relu_network", 3, 0, splits), splits)
    assert layer["test"] < 1e-2
    assert layer["outside"] < 1e-2
    assert network["test"] > 3 * layer["test"]
    assert network["outside"] > 0.03


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("widths", [0], "positive numbers of hidden units"),
        ("knots", 2, "at least 3 knots"),
        ("restarts", 0, "positive number of starts"),
        ("data.outside", 1.0, "half-width above 1"),
        ("data.train", 0, "data.train"),
        ("network.lr", 0.0, "network.lr"),
        ("methods", ["spline"], "one of: exact_layer"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    assert_refused(small_config(), field, value, message)


def test_methods_are_those_of_the_tables():
    assert representation.METHODS == ("exact_layer", "max_layer", "relu_network")
