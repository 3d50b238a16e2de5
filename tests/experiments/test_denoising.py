"""The synthetic denoising study: its signals, its models at their start, and its command-line checks."""

import numpy as np
import pytest
import torch

from experiments import denoising
from experiments.common.denoisers import PureOptNet, TunedTV
from experiments.common.signals import Data, make_signals
from experiments.common.total_variation import total_variation
from experiments.common.training import Recipe, Split, fit, mean_squared_error, predict
from experiments.denoising import Config, best_weight, make_data
from layers import QPLayer
from tests.experiments.refused import assert_refused

LAYER = QPLayer(tol=1e-9)


def small_config(**changes):
    data = Data(length=12, train=30, validation=20, test=10, max_segments=3)
    return Config(experiment="denoising", size="smoke", seeds=[0], data=data, **changes)


@pytest.fixture(scope="module")
def signals():
    return make_signals(4000, Data(), np.random.default_rng(7))


def test_signals_have_one_to_nine_segments_with_integer_heights(signals):
    breaks = np.count_nonzero(np.diff(signals.clean, axis=1), axis=1)
    assert set(breaks) == set(range(9))
    assert np.array_equal(signals.clean, np.round(signals.clean))
    assert (signals.clean.min(), signals.clean.max()) == (10, 99)


def test_segment_counts_and_heights_are_uniform(signals):
    # A break between equal heights is invisible, once in 90 breaks.
    counts = np.bincount(np.count_nonzero(np.diff(signals.clean, axis=1), axis=1), minlength=9) / len(
        signals.clean
    )
    np.testing.assert_allclose(counts, 1 / 9, atol=0.03)
    np.testing.assert_allclose(signals.clean[:, 0].mean(), 54.5, atol=4 * 26 / np.sqrt(4000))


def test_breaks_leave_two_samples_at_the_end_and_one_at_the_start(signals):
    # Breaks lie in 1..length-2, so the last two samples always belong together.
    assert (signals.clean[:, -1] == signals.clean[:, -2]).all()
    assert (signals.clean[:, 0] != signals.clean[:, 1]).any()


def test_noise_is_white_with_the_stated_variance(signals):
    noise = signals.noisy - signals.clean
    np.testing.assert_allclose(noise.var(), 100.0, rtol=0.01)
    np.testing.assert_allclose((noise[:, 1:] * noise[:, :-1]).mean(), 0.0, atol=0.6)
    np.testing.assert_allclose(noise.mean(), 0.0, atol=0.07)


def test_same_seed_same_signals_other_seed_other_signals():
    config = small_config()
    once, again, other = make_data(config, 5), make_data(config, 5), make_data(config, 6)
    for name, split in once.items():
        np.testing.assert_array_equal(split.noisy, again[name].noisy)
        assert not np.array_equal(split.noisy, other[name].noisy)
    assert not {row.tobytes() for row in once["train"].noisy} & {row.tobytes() for row in once["test"].noisy}


def test_tuned_total_variation_starts_at_total_variation(signals):
    noisy = signals.noisy[:5, :20]
    estimate = predict(TunedTV(20, 13.0, LAYER), noisy)
    # The ridge of 1e-4 on the bounds t of the jumps moves the solution by about 1e-4 times a jump of up to
    # 90.
    np.testing.assert_allclose(estimate, total_variation(noisy, 13.0), atol=0.02)
    assert np.abs(estimate - noisy).max() > 1


def test_learned_operator_at_differences_is_total_variation(signals):
    noisy = signals.noisy[:5, :20]
    model = PureOptNet(20, 13.0, LAYER, torch.Generator().manual_seed(0))
    model.D.data = torch.diff(torch.eye(20, dtype=torch.float64), dim=0)
    np.testing.assert_allclose(predict(model, noisy), total_variation(noisy, 13.0), atol=0.02)


def test_every_parameter_of_the_layer_models_gets_a_gradient(signals):
    noisy, clean = (torch.from_numpy(part[:8, :12]) for part in (signals.noisy, signals.clean))
    for model in (TunedTV(12, 13.0, LAYER), PureOptNet(12, 13.0, LAYER, torch.Generator().manual_seed(0))):
        (model(noisy) - clean).square().mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().max() > 0, name


def test_training_ends_at_the_best_epoch_on_validation_and_not_later():
    config = small_config()
    splits = make_data(config, 0)
    model = denoising.make_model(config, "optnet_tuned_tv", 0, splits)
    # A rate that is far too high: every epoch is worse than the start.
    history = fit(model, splits, Recipe(epochs=2, batch=10, lr=0.5), np.random.default_rng(0))
    start = predict(
        TunedTV(12, best_weight(config, splits["validation"]), config.layer.build()), splits["test"].noisy
    )
    assert history.chosen == 0
    assert history.mse["validation"][2] > history.mse["validation"][0]
    np.testing.assert_array_equal(predict(model, splits["test"].noisy), start)


def test_training_lowers_the_error_on_a_task_that_can_be_learned():
    rng = np.random.default_rng(0)
    parts = {}
    for name in ("train", "validation"):
        noisy = rng.standard_normal((300, 3))
        parts[name] = Split(noisy, noisy @ np.diag([0.5, -1.0, 2.0]))
    model = torch.nn.Linear(3, 3, dtype=torch.float64)
    history = fit(model, parts, Recipe(epochs=40, batch=20, lr=0.02, anneal=True), rng)
    assert history.mse["validation"][history.chosen] < 1e-4 < history.mse["validation"][0]


def test_weight_is_the_best_of_the_grid_on_the_split_it_is_given():
    config = small_config()
    splits = make_data(config, 3)
    for name in ("validation", "test"):
        split, weight = splits[name], best_weight(config, splits[name])
        best = mean_squared_error(total_variation(split.noisy, weight), split.clean)
        for other in (weight - 1, weight + 1, 0.0, 100.0):
            if other >= 0:
                assert best <= mean_squared_error(total_variation(split.noisy, other), split.clean)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("train.epochs", 0, "train.epochs: got 0, expected a positive integer"),
        ("train.lr", -1.0, "positive, finite learning rate"),
        ("train.lr", float("nan"), "positive, finite learning rate"),
        ("pure.batch", 0, "pure.batch: got 0"),
        ("network.width", 0, "network.width"),
        ("data.noise", float("inf"), "positive, finite standard deviation"),
        ("data.length", 3, "at least 4 samples"),
        ("data.max_segments", 12, "segments"),
        ("data.test", 0, "data.test"),
        ("weights.count", 1, "at least 2 weights"),
        ("methods", ["tv"], "total_variation, optnet_tuned_tv"),
        ("methods", [], "some of"),
        ("seeds", [1, 1], "seeds that differ"),
        ("seeds", [-1], "non-negative"),
        ("workers", 0, "processes"),
        ("layer.solver", "simplex", "one of: auto"),
        ("layer.tol", 0.0, "between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    assert_refused(small_config(), field, value, message)
