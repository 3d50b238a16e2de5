"""4x4 Sudoku: the splits, the models at their start and with the rules in them, the scores, the checks."""

import numpy as np
import pytest
import torch

from experiments import sudoku
from experiments.common.errors import ConfigError
from experiments.common.sudoku.constraints import row_space
from experiments.common.sudoku.models import LearnedEqualities, Network, convolutional, fully_connected
from experiments.common.sudoku.published import EPOCH, GIVENS, TEST_ERROR
from experiments.common.sudoku.puzzles import Puzzles
from experiments.common.sudoku.rules import one_hot, true_constraints
from experiments.common.sudoku.training import dead_units, fit, predict, score
from experiments.common.training import Recipe
from experiments.sudoku import Config, Data, make_data, make_model
from layers import QPLayer
from tests.experiments.refused import assert_refused

LAYER = QPLayer(tol=1e-9)


def small_config(**changes):
    return Config(
        experiment="sudoku", size="smoke", seeds=[0], data=Data(train=400, validation=40, test=60), **changes
    )


@pytest.fixture(scope="module")
def splits():
    return make_data(small_config(), 0)


@pytest.fixture(scope="module")
def rules():
    model = LearnedEqualities(64, 40, LAYER, torch.Generator().manual_seed(0))
    model.hold(torch.from_numpy(row_space(true_constraints(2))), torch.full((64,), 0.25, dtype=torch.float64))
    return model


def boards(puzzles):
    return {board.tobytes() for board in puzzles.solved}


def test_strict_test_boards_are_never_seen_and_the_others_all_repeat(splits):
    known = boards(splits["train"]) | boards(splits["validation"]) | boards(splits["test"])
    assert not known & boards(splits["test_strict"])
    assert len(boards(splits["test_strict"])) <= 29
    pool = {board.tobytes() for board in sudoku.solved_boards(29, 0)[0]}
    assert known <= pool
    assert len(boards(splits["train"])) > 180


def test_numbers_of_givens_are_those_of_the_published_data():
    counts = (make_data(small_config(), 1)["train"].givens > 0).sum(axis=1)
    mean = sum(count * weight for count, weight in GIVENS.items()) / sum(GIVENS.values())
    assert round(mean, 4) == 5.1948
    np.testing.assert_allclose(counts.mean(), mean, atol=4 * 0.7 / np.sqrt(400))
    assert set(counts) <= set(GIVENS)


def test_same_seed_same_puzzles_other_seed_other_puzzles(splits):
    again, other = make_data(small_config(), 0), make_data(small_config(), 1)
    for name, puzzles in splits.items():
        np.testing.assert_array_equal(puzzles.givens, again[name].givens)
        assert not np.array_equal(puzzles.givens, other[name].givens)


def test_the_layer_starts_feasible_and_knows_nothing(splits):
    model = LearnedEqualities(64, 40, LAYER, torch.Generator().manual_seed(0))
    assert model.A.min() >= 0
    assert model.A.max() <= 1
    givens, _ = splits["test"].take(slice(5)).tensors()
    z = predict(model, givens)
    np.testing.assert_allclose((z @ model.A.mT).detach().numpy(), model.b.expand(5, -1).detach(), rtol=1e-7)
    assert z.min() >= -1e-8
    assert score(z, splits["test"].take(slice(5)))["board_error"] == 1


def test_with_the_rules_the_layer_solves_every_puzzle_and_without_one_it_does_not(splits, rules):
    for name in ("test", "test_strict"):
        z = predict(rules, splits[name].tensors()[0])
        assert score(z, splits[name])["strict_error"] == 0
    fewer = LearnedEqualities(64, 40, LAYER, torch.Generator().manual_seed(0))
    # All rules but those of the blocks, the last sixteen rows.
    fewer.hold(
        torch.from_numpy(row_space(true_constraints(2)[:-16])), torch.full((64,), 0.25, dtype=torch.float64)
    )
    assert score(predict(fewer, splits["test"].tensors()[0]), splits["test"])["strict_error"] > 0.2


def test_identified_constraints_are_the_rules(splits):
    model = make_model(small_config(), "identified", 0)
    z = predict(model, splits["test_strict"].tensors()[0])
    assert score(z, splits["test_strict"])["strict_error"] == 0


def test_every_parameter_of_the_layer_gets_a_gradient(splits):
    model = LearnedEqualities(64, 40, LAYER, torch.Generator().manual_seed(1))
    givens, solved = splits["train"].take(slice(4)).tensors()
    (model(givens) - solved).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("body", [convolutional(2, 8, 3), fully_connected(2, [16, 8])])
def test_networks_give_weights_and_take_over_the_givens_if_told(body, splits):
    model = Network(body, 2, torch.Generator().manual_seed(0), copies=True)
    givens, _ = splits["test"].take(slice(6)).tensors()
    z = predict(model, givens).reshape(6, 16, 4)
    cells = givens.reshape(6, 16, 4)
    np.testing.assert_allclose(z.sum(dim=2), 1, rtol=1e-6)
    given = cells.sum(dim=2) == 1
    torch.testing.assert_close(z[given], cells[given])
    assert z[~given].max() < 0.9
    model.copies = False
    free = predict(model, givens).reshape(6, 16, 4)
    torch.testing.assert_close(free[~given], z[~given])
    assert free[given].max() < 0.9


def test_before_training_the_networks_have_the_published_error_of_equal_scores(splits):
    model = make_model(small_config(), "convolutional", 0)
    assert round(score(predict(model, splits["test"].tensors()[0]), splits["test"])["mse"], 4) == 0.1875


def test_convolutions_slide_over_columns_and_digits_as_in_the_published_code(splits):
    model = Network(convolutional(2, 8, 3), 2, torch.Generator().manual_seed(0), copies=True)
    assert [m.in_channels for m in model.modules() if isinstance(m, torch.nn.Conv2d)] == [4, 8, 8, 8]
    givens, _ = splits["test"].take(slice(6)).tensors()
    z = predict(model, givens).reshape(6, 4, 4, 4)
    # Reversing columns and digits reverses the answer of filters that are symmetric; of random ones it does not.
    turned = predict(model, givens.reshape(6, 4, 4, 4).flip(2, 3).reshape(6, 64)).reshape(6, 4, 4, 4)
    assert (turned.flip(2, 3) - z).abs().max() > 1e-4


def test_scores_count_boards_that_break_a_rule_and_those_that_change_a_given():
    solved = sudoku.solved_boards(29, 0)[0][:3]
    givens = np.zeros_like(solved)
    givens[:, :5] = solved[:, :5]
    puzzles = Puzzles(givens, solved, 2)
    answer = solved.copy()
    answer[1] = solved[2] if (solved[2, :5] != solved[1, :5]).any() else solved[0]
    answer[2, 7] = answer[2, 6]
    z = torch.from_numpy(one_hot(answer, 2))
    found = score(z, puzzles)
    np.testing.assert_allclose([found["board_error"], found["strict_error"]], [1 / 3, 2 / 3])
    changed = (answer != solved).sum()
    np.testing.assert_allclose(found["mse"], 2 * changed / (3 * 64))


def test_training_learns_and_ends_at_its_best_epoch(splits):
    model = make_model(small_config(rows=40), "fully_connected", 0)
    recipe = Recipe(epochs=30, batch=20, lr=3e-3)
    history = fit(model, splits, recipe, np.random.default_rng(0), 200)
    errors = {epoch: scores["mse"] for epoch, scores in history.scores["train"].items()}
    assert errors[30] < 0.9 * errors[1]
    assert set(history.scores["test"]) == set(range(31))
    final = score(predict(model, splits["validation"].tensors()[0]), splits["validation"])
    assert final == history.scores["validation"][history.chosen]


@pytest.mark.parametrize("body", [convolutional(2, 8, 3), fully_connected(2, [8, 6])])
def test_dead_units_are_counted_in_the_layer_that_has_most(body, splits):
    network = Network(body, 2, torch.Generator().manual_seed(0), copies=False)
    givens = splits["test"].tensors()[0]
    alive = dead_units(network, givens)
    assert 0 <= alive < 0.5
    first = next(part for part in body if hasattr(part, "bias"))
    with torch.no_grad():
        first.bias[:6] = -100.0
    assert dead_units(network, givens) == 0.75
    with torch.no_grad():
        first.bias.fill_(-100.0)
    assert dead_units(network, givens) == 1.0
    assert predict(network, givens).std(dim=0).max() < 1e-6  # nothing of the puzzle gets through


def test_published_curves_have_nineteen_points_of_one_thousand_boards():
    for curve in TEST_ERROR.values():
        assert len(curve) == 19
        np.testing.assert_allclose(np.array(curve) * 1000, np.round(np.array(curve) * 1000), atol=1e-9)
    assert EPOCH == 9000
    assert sum(GIVENS.values()) == 10000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.held_out", 288, "1 to 287 of the 288"),
        ("data.test", 0, "data.test: got 0"),
        ("rows", 65, "1 to 64 equalities"),
        ("train.epoch", 0, "train.epoch: got 0"),
        ("convolutional.channels", 0, "convolutional.channels"),
        ("convolutional.depth", 0, "convolutional.depth"),
        ("fully_connected.widths", [], "positive numbers of hidden units"),
        ("methods", ["sat"], "one of: optnet, optnet_annealed"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    assert_refused(small_config(), field, value, message)


def test_a_network_takes_and_returns_the_type_and_device_of_the_puzzles():
    """The only other device that is everywhere has no numbers; it shows that the tensors go there and come back."""
    body = convolutional(2, 8, 2)
    network = Network(body, 2, torch.Generator().manual_seed(0), copies=True)
    givens = torch.zeros(3, 64, dtype=torch.float64)
    assert network(givens).dtype == torch.float64
    met = []
    body.register_forward_hook(lambda module, inputs, output: met.append(inputs[0].device.type))
    network.to("meta")
    with pytest.raises(NotImplementedError, match="meta"):  # torch's word on the copy back, of no numbers
        network(givens)
    assert met == ["meta"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused_before_anything_runs():
    config = small_config()
    config.convolutional.device = "cuda"
    with pytest.raises(ConfigError, match=r"convolutional\.device: got 'cuda', expected one of: cpu"):
        config.check()
