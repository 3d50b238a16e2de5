"""The electrocardiogram study: split in time, windows, noise and baselines."""

from itertools import pairwise

import numpy as np
import pytest
import pywt

from experiments.common.errors import ConfigError
from experiments.common.pictures import recording, split_in_time
from experiments.common.shrinkage import WaveletSetting, wavelet_denoise
from experiments.common.training import mean_squared_error
from experiments.denoising_ecg import (
    Config,
    Data,
    OperatorRecipe,
    denoise_by_windows,
    evaluate,
    gap,
    make_data,
    run_cell,
    train,
    windows,
)


@pytest.mark.parametrize("gap", [0, 7, 32])
def test_parts_are_in_order_and_a_gap_apart(gap):
    parts = split_in_time(1024, gap)
    ends = [(part.start, part.stop) for part in parts.values()]
    assert list(parts) == ["train", "validation", "test"]
    assert (ends[0][0], ends[2][1]) == (0, 1024)
    assert [after[0] - before[1] for before, after in pairwise(ends)] == [gap, gap]


def test_no_window_of_one_part_holds_a_sample_of_another():
    data = Data()
    seen = {}
    for name, part in split_in_time(1024, gap(Config())).items():
        indices = np.arange(part.start, part.stop, dtype=float)[None, :]
        seen[name] = set(windows(indices, data.window, 1).ravel())
    names = list(seen)
    for first, second in pairwise(names):
        assert min(seen[second]) - max(seen[first]) > data.window


def test_every_part_has_one_heartbeat():
    samples = recording()
    for part in split_in_time(len(samples), 32).values():
        above = samples[part.start : part.stop] > 100
        assert np.count_nonzero(np.diff(above.astype(int)) == 1) == 1


def test_noise_has_the_stated_ratio_to_the_training_part():
    config = Config(data=Data(copies=200, repeats=200))
    for snr in (5.0, 10.0):
        splits = make_data(config, 1, snr)
        signal = splits["train"].clean[0].var()
        for split in splits.values():
            noise = (split.noisy - split.clean).var()
            np.testing.assert_allclose(10 * np.log10(signal / noise), snr, atol=0.1)


def test_every_third_is_training_validation_and_test_once():
    config = Config(data=Data(copies=1, repeats=1))
    clean = [
        {part: split.clean[0] for part, split in make_data(config, 0, 10.0, k).items()} for k in range(3)
    ]
    for fold in range(3):
        after = clean[(fold + 1) % 3]
        np.testing.assert_array_equal(clean[fold]["validation"], after["train"])
        np.testing.assert_array_equal(clean[fold]["test"], after["validation"])
    tests = {each["test"].tobytes() for each in clean}
    assert len(tests) == 3


def test_folds_have_noise_of_their_own():
    config = Config(data=Data(copies=1, repeats=1))
    noise = [split.noisy - split.clean for split in (make_data(config, 0, 10.0, k)["train"] for k in (0, 1))]
    shared = min(each.shape[1] for each in noise)
    assert abs(np.corrcoef(noise[0][0, :shared], noise[1][0, :shared])[0, 1]) < 0.2


def test_what_is_reported_is_the_mean_over_the_folds():
    config = Config(data=Data(snr=[10.0], copies=1, repeats=1), seeds=[0])
    rows = run_cell(config, "total_variation", 0)["metrics"]
    value = {r["split"]: r["value"] for r in rows if r["metric"] == "final_mse" and r["method"] == "noisy"}
    assert value["test"] == pytest.approx(np.mean([value[f"test, fold {k}"] for k in range(3)]))
    assert len({value[f"test, fold {k}"] for k in range(3)}) == 3


def test_same_seed_same_noise_and_no_noise_shared_between_parts():
    config = Config()
    once, again = make_data(config, 4, 10.0), make_data(config, 4, 10.0)
    np.testing.assert_array_equal(once["test"].noisy, again["test"].noisy)
    first, second = (once[name].noisy - once[name].clean for name in ("validation", "test"))
    shared = min(first.shape[1], second.shape[1])
    correlation = np.corrcoef(first[:, :shared].ravel(), second[:, :shared].ravel())[0, 1]
    assert abs(correlation) < 0.1


def test_windows_cover_every_sample_and_averaging_undoes_them(rng):
    signals = rng.standard_normal((3, 50))
    for length, stride in ((8, 8), (8, 3), (50, 1)):
        assert set(windows(signals, length, stride).ravel()) == set(signals.ravel())
        np.testing.assert_allclose(denoise_by_windows(np.copy, signals, length, stride), signals, rtol=1e-14)


def test_averaging_counts_every_window_once(rng):
    # Window k answers k everywhere: the average is known by hand.
    answer = denoise_by_windows(lambda cut: np.arange(len(cut))[:, None] * np.ones(4), np.zeros((1, 8)), 4, 2)
    np.testing.assert_allclose(answer, [[0, 0, 0.5, 0.5, 1.5, 1.5, 2, 2]])


@pytest.mark.parametrize("rule", ["soft", "hard", "garrote"])
def test_wavelets_without_threshold_keep_the_signal_and_noise_gets_less(rng, rule):
    clean = np.sin(np.linspace(0, 6, 200))[None, :] * np.ones((4, 1))
    noisy = clean + 0.3 * rng.standard_normal(clean.shape)
    np.testing.assert_allclose(
        wavelet_denoise(noisy, WaveletSetting("sym4", 3, rule, 0.0)), noisy, atol=1e-10
    )
    denoised = wavelet_denoise(noisy, WaveletSetting("sym4", 3, rule, 0.85))
    assert mean_squared_error(denoised, clean) < 0.35 * mean_squared_error(noisy, clean)


@pytest.mark.parametrize("method", ["total_variation", "wavelet", "linear_filter"])
def test_choices_do_not_depend_on_the_test_part(method):
    config = Config(data=Data(copies=3, repeats=2))
    splits = make_data(config, 0, 10.0)
    probe = splits["validation"].noisy.copy()
    before = train(config, method, 0, splits, record=None)(probe)
    splits["test"].noisy[:] = 1e6
    splits["test"].clean[:] = -1e6
    np.testing.assert_array_equal(train(config, method, 0, splits, record=None)(probe), before)


@pytest.mark.parametrize("method", ["total_variation", "wavelet"])
def test_baselines_denoise_the_test_part(method):
    config = Config(data=Data(copies=3, repeats=3))
    splits = make_data(config, 0, 10.0)
    scores = evaluate(train(config, method, 0, splits, record=None), splits, repeats=3)
    noisy = evaluate(np.copy, splits, repeats=3)
    assert scores["test"][0] < 0.4 * noisy["test"][0]
    assert scores["test"][1] > noisy["test"][1] + 4


def test_ratio_is_the_variance_over_the_error_in_decibels():
    splits = make_data(Config(), 0, 10.0)
    offset = splits["test"].clean.std()
    error, ratio = evaluate(
        lambda noisy: splits["test"].clean[: len(noisy)] + offset, {"test": splits["test"]}, 2
    )["test"]
    np.testing.assert_allclose([error, ratio], [offset**2, 0.0], atol=1e-9)


def test_an_altered_recording_is_refused(monkeypatch):
    monkeypatch.setattr(pywt.data, "ecg", lambda: np.zeros(1000))
    with pytest.raises(ConfigError, match="expected 1024 finite samples"):
        recording()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("snr", [float("inf")], "finite ratios in dB"),
        ("snr", [], "at least one"),
        ("window", 3, "4 to 128"),
        ("stride", 0, "1 to data.window"),
        ("copies", 0, "data.copies"),
        ("repeats", 0, "data.repeats"),
        ("folds", [3], "data.folds"),
        ("folds", [0, 0], "data.folds"),
    ],
)
def test_settings_that_cannot_be_used_are_told(field, value, message):
    config = Config()
    setattr(config.data, field, value)
    with pytest.raises(ConfigError, match=message):
        config.check()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wavelet": "mine"}, "operator.wavelet: got 'mine'"),
        ({"window": 20}, "operator.window: got 20, expected 22, the longest filter, to 128"),
        ({"levels": 0}, "operator.levels: got 0"),
        ({"examples": 1}, "operator.examples: got 1"),
    ],
)
def test_an_operator_that_cannot_be_used_is_told(changes, message):
    with pytest.raises(ConfigError) as told:
        Config(operator=OperatorRecipe(**changes)).check()
    assert message in str(told.value)
