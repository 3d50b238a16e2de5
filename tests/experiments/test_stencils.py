"""Weights from stencils: total variation at the start, the same at every sample, and learned through the layer."""

import numpy as np
import pytest
import torch

from experiments.common.errors import ConfigError
from experiments.common.signals import Data, make_signals
from experiments.common.stencils import StencilTV
from experiments.common.total_variation import total_variation
from experiments.common.training import Recipe, fit, mean_squared_error, predict
from experiments.denoising import Stencils
from layers import QPLayer

LAYER = QPLayer(tol=1e-9)
DATA = Data(length=20, train=400, validation=100, test=100, max_segments=3)


@pytest.fixture
def splits():
    rng = np.random.default_rng(0)
    return {name: make_signals(getattr(DATA, name), DATA, rng) for name in ("train", "validation", "test")}


def test_without_stencils_it_is_total_variation(splits):
    noisy = splits["test"].noisy
    expected = total_variation(noisy, 20.0)
    # The ridge on the bounds of the jumps adds 1e-4 times a jump of tens to the weight, not more.
    np.testing.assert_allclose(predict(StencilTV(20, 20.0, 3, 10.0, LAYER), noisy), expected, atol=1e-2)
    assert np.abs(total_variation(noisy, 10.0) - expected).max() > 1


def test_a_jump_costs_less_where_stencils_see_it_and_the_same_wherever_it_is():
    model = StencilTV(20, 20.0, 3, 10.0, LAYER)
    with torch.no_grad():
        model.a += 0.3
    steps = torch.zeros(2, 20, dtype=torch.float64)
    steps[0, 8:], steps[1, 11:] = 50.0, 50.0
    cost = model.weights(steps).detach()
    assert cost[0].argmin() == 7
    assert cost[0, 7] < 0.2 * cost[0, 0]
    torch.testing.assert_close(cost[0, 3:12], cost[1, 6:15])
    # Neither the level of the signal, nor its direction, matters to differences of means.
    torch.testing.assert_close(model.weights(7 - steps).detach(), cost)


def test_stencils_have_noise_of_unit_size():
    model = StencilTV(200, 20.0, 4, 10.0, LAYER)
    with torch.no_grad():
        for k in range(4):
            model.a.zero_()
            model.a[k] = -1.0
            noise = 10 * torch.randn(
                400, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(k)
            )
            seen = (model.weights(noise)[:, 8:-8] / 20).sub(1).mean()
            np.testing.assert_allclose(seen, 1.0, atol=0.1)


def test_training_beats_total_variation_at_its_best_weight(splits):
    test = splits["test"]
    weights = [mean_squared_error(total_variation(test.noisy, w), test.clean) for w in range(5, 40, 3)]
    model = StencilTV(20, 20.0, 2, 10.0, QPLayer(tol=1e-6))
    fit(model, splits, Recipe(epochs=4, batch=40, lr=2e-2, anneal=True), np.random.default_rng(0))
    assert mean_squared_error(predict(model, test.noisy), test.clean) < 0.95 * min(weights)
    assert (model.a > 0).all()


def test_numbers_of_stencils_that_cannot_be_are_told():
    with pytest.raises(ConfigError, match=r"stencils\.scales: got 0, expected 1 to 6"):
        Stencils(scales=0).check("stencils")
