"""The poisoning study: its data, the derivative behind the attack, its attacks, and bad input."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from experiments import data_poisoning
from experiments.common.config import LayerConfig
from experiments.common.errors import ConfigError
from experiments.data_poisoning import Attack, Config, Data, blobs, make_data, patients, run_cell
from experiments.programs.engines import builder
from experiments.programs.poisoned_fit import RIDGE, SPARSE, Task, iterated, make_fit, one_step, random_signs

OURS = builder(LayerConfig(tol=1e-9))


def small_config(**changes):
    data, attack = Data(points=16, patients=12), Attack(radii=[0.01, 0.3], steps=3, repeats=3)
    return Config(experiment="data_poisoning", size="smoke", seeds=[0], data=data, attack=attack, **changes)


@pytest.fixture(scope="module")
def task():
    """The paper's own points."""
    train, test, labels, test_labels = make_data(Config(), "blobs", 0)
    return Task(train, test, test_labels, make_fit(labels, 2, OURS)), labels


def test_points_are_those_of_the_paper_s_seed():
    """What make_blobs and train_test_split draw after np.random.seed(0), whose stream RandomState(0) is."""
    legacy = np.random.RandomState(0)
    drawn = np.concatenate([legacy.normal(centre, 3, size=(30, 2)) for centre in ((2, 2), (-2, -2))])
    order = np.arange(60)
    legacy.shuffle(order)
    permutation = legacy.permutation(60)
    train, test, train_labels, test_labels = blobs(60, 0)
    np.testing.assert_array_equal(train, drawn[order][permutation[30:]])
    np.testing.assert_array_equal(test, drawn[order][permutation[:30]])
    np.testing.assert_array_equal(
        np.append(test_labels, train_labels), (order[permutation] >= 30).astype(int)
    )


def test_patients_are_split_once_and_standardised_by_the_training_part():
    train, test, train_labels, test_labels = patients(100, 3)
    assert (train.shape, test.shape) == ((100, 30), (469, 30))
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(train.std(axis=0), 1, rtol=1e-12)
    assert abs(test.mean(axis=0)).max() > 1e-3
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    assert abs(train_labels.mean() - test_labels.mean()) < 0.02
    assert not np.array_equal(train, patients(100, 4)[0])


def test_fit_is_optimal_for_the_penalised_likelihood(task):
    study, labels = task
    a, b = study.fit(study.train)
    residual = torch.sigmoid(study.train @ a + b) - labels
    smooth = study.train.mT @ residual / len(labels) + 2 * RIDGE * a
    # Zero is in smooth + SPARSE sign(a), and the offset carries no penalty.
    np.testing.assert_allclose(smooth, -SPARSE * a.sign(), atol=1e-5)
    assert abs(residual.mean().item()) < 1e-5


def test_fit_without_penalties_is_scikit_learn_s(task, monkeypatch):
    study, labels = task
    monkeypatch.setattr("experiments.programs.poisoned_fit.SPARSE", 0.0)
    a, b = make_fit(labels, 2, OURS)(study.train)
    # C weighs the sum of the losses against half a square: 1 / (2 C) ||a||^2 = 30 * 0.1 ||a||^2.
    other = LogisticRegression(C=1 / (2 * RIDGE * len(labels)), tol=1e-10).fit(
        study.train.numpy(), labels.numpy()
    )
    np.testing.assert_allclose(a, other.coef_[0], rtol=1e-4)
    np.testing.assert_allclose(b, other.intercept_[0], rtol=1e-3)


def test_gradient_is_that_of_central_differences_and_not_that_of_the_test_alone(task):
    study, _ = task
    gradient = study.gradient(study.train)
    for place in ((0, 0), (7, 1), (22, 0)):
        moved = torch.zeros_like(study.train)
        moved[place] = 1e-3
        numeric = (study.loss(study.train + moved) - study.loss(study.train - moved)) / 2e-3
        np.testing.assert_allclose(gradient[place], numeric, rtol=1e-3, atol=1e-7)
    assert gradient.abs().max() > 1e-3


def test_prediction_is_exact_in_the_limit_of_a_small_radius_only(task):
    study, _ = task
    clean, gradient = study.loss(study.train), study.gradient(study.train)
    ratios = []
    for radius in (1e-3, 1e-2, 1.0):
        points, predicted = one_step(study, radius, gradient)
        assert (points - study.train).abs().max() <= radius * (1 + 1e-12)
        ratios.append((study.loss(points) - clean).item() / predicted)
    np.testing.assert_allclose(ratios[0], 1.0, atol=5e-3)
    np.testing.assert_allclose(ratios[1], 1.0, atol=5e-2)
    assert ratios[2] > 1.3


def test_iterated_attack_stays_in_the_box_and_is_stronger_than_the_single_step(task):
    study, _ = task
    start, _ = one_step(study, 1.0, study.gradient(study.train))
    points = iterated(study, start, 1.0, 4)
    assert (points - study.train).abs().max() <= 1 + 1e-12
    assert study.loss(points) > 1.01 * study.loss(start) > study.loss(study.train)


def test_random_signs_move_every_coordinate_and_do_little_harm(task):
    study, _ = task
    moved = random_signs(study, 0.1, 20, torch.Generator().manual_seed(0))
    assert moved.shape == (20, 30, 2)
    torch.testing.assert_close((moved - study.train).abs(), torch.full((20, 30, 2), 0.1, dtype=torch.float64))
    rise = study.loss(moved).mean() - study.loss(study.train)
    attacked = study.loss(one_step(study, 0.1, study.gradient(study.train))[0]) - study.loss(study.train)
    assert abs(rise) < 0.3 * attacked


@pytest.mark.parametrize("method", data_poisoning.METHODS)
def test_cells_repeat_and_have_a_row_for_every_radius(method):
    config = small_config()
    once, again = (run_cell(config, method, 0) for _ in range(2))
    assert once["metrics"] == again["metrics"]
    radii = {row["split"] for row in once["metrics"] if row["metric"] == "ratio"}
    assert radii == {"radius 0.01", "radius 0.3"}
    assert bool(once["signals"]) == (method == "blobs")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.points", 0, "at least 8 points"),
        ("data.patients", 569, "10 to 559"),
        ("attack.radii", [], "at least one radius"),
        ("attack.radii", [0.1, -1.0], "positive, finite radii"),
        ("attack.steps", 0, "positive number of steps"),
        ("attack.repeats", -3, "positive number of repeats"),
        ("methods", ["iris"], "one of: blobs, breast_cancer"),
        ("layer.solver", "qpth", "it has exponential cones"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    config = small_config()
    owner, _, name = field.rpartition(".")
    setattr(getattr(config, owner) if owner else config, name, value)
    with pytest.raises(ConfigError, match=message):
        config.check()


def test_altered_patients_are_told_before_anything_runs(monkeypatch):
    features, labels = data_poisoning.load_breast_cancer(return_X_y=True)
    features[0, 0] += 1e-6
    monkeypatch.setattr(data_poisoning, "load_breast_cancer", lambda return_X_y: (features, labels))
    with pytest.raises(ConfigError, match=r"requirements\.lock"):
        small_config().check()


def test_missing_patients_are_told_before_anything_runs(monkeypatch):
    def missing(return_X_y):
        raise FileNotFoundError("breast_cancer.csv")

    monkeypatch.setattr(data_poisoning, "load_breast_cancer", missing)
    with pytest.raises(ConfigError, match=r"breast_cancer\.csv; install scikit-learn"):
        small_config().check()
