"""9x9 Sudoku: the layer is the program, identified constraints solve, whole boards teach the rules."""

import numpy as np
import pytest
import torch

from experiments import sudoku_9x9
from experiments.common.errors import ConfigError
from experiments.common.sudoku.constraints import affine_hull
from experiments.common.sudoku.puzzles import all_grids, puzzles_from, random_grids
from experiments.common.sudoku.rules import decode, one_hot
from experiments.common.sudoku.subspace import Stage, Subspace, fit_stage, pairs
from experiments.common.sudoku.training import repeated
from experiments.sudoku_9x9 import Config, Data, angles_to_rules, make_data, training_puzzles
from layers import QPLayer, solve_qp
from tests.experiments.refused import assert_refused

LAYER = QPLayer(tol=1e-9)


def small_config(**changes):
    data = Data(
        order=2, solved=40, train=20, validation=4, test=3, mean_givens=5.2, givens=[5, 7], counts=[30, 40]
    )
    return Config(
        experiment="sudoku_9x9", size="smoke", seeds=[0], data=data, board=".2....4.3....4.1", **changes
    )


def learned(points, curvature=1e-3):
    hull = affine_hull(points)
    return hull, Subspace(torch.from_numpy(hull.normals), torch.from_numpy(hull.mean), curvature, LAYER)


@pytest.fixture(scope="module")
def hull_and_model():
    return learned(one_hot(np.random.default_rng(0).permutation(all_grids(2))[:150], 2))


@pytest.mark.parametrize("curvature", [1.0, 1e-3])
def test_the_answer_depends_on_the_row_space_alone(curvature, hull_and_model):
    hull, _ = hull_and_model
    A, mean = torch.from_numpy(hull.normals), torch.from_numpy(hull.mean)
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(len(A), len(A), dtype=torch.float64, generator=generator) @ A
    model = Subspace(mixed, mean, curvature, LAYER)
    x = torch.rand(6, 64, dtype=torch.float64, generator=generator)
    eye, zero = torch.eye(64, dtype=torch.float64), torch.zeros(64, dtype=torch.float64)
    expected = solve_qp(curvature * eye, -x, -eye, zero, A, A @ mean, tol=1e-10).z
    torch.testing.assert_close(model(x).detach(), expected, rtol=0, atol=1e-5 if curvature < 1 else 1e-8)
    assert expected.min() < 1e-8
    fewer = Subspace(mixed[1:], mean, curvature, LAYER)
    assert (fewer(x) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("curvature", [1.0, 0.3])
def test_without_inequalities_the_closed_form_is_the_program(curvature, hull_and_model):
    hull, _ = hull_and_model
    A, mean = torch.from_numpy(hull.normals), torch.from_numpy(hull.mean)
    model = Subspace(A, mean, curvature, LAYER)
    model.nonnegative = False
    x = torch.randn(4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = solve_qp(curvature * torch.eye(64, dtype=torch.float64), -x, None, None, A, A @ mean).z
    torch.testing.assert_close(model(x).detach(), expected, rtol=0, atol=1e-9)
    assert expected.min() < -0.1


def test_constraints_identified_from_solved_boards_solve_new_9x9_puzzles():
    rng = np.random.default_rng(0)
    _, model = learned(one_hot(random_grids(600, 3, rng), 3))
    puzzles = puzzles_from(random_grids(9, 3, rng), np.full(3, 40), 3, rng)
    z = repeated(model, puzzles.tensors()[0], 1)
    np.testing.assert_array_equal(decode(z.numpy(), 3), puzzles.solved)
    assert z.reshape(3, 81, 9).amax(dim=2).min() > 0.999


def test_passes_leave_answers_that_are_boards_and_sharpen_the_others(hull_and_model):
    _, model = hull_and_model
    givens = torch.from_numpy(one_hot(all_grids(2)[:4], 2))
    givens[:, 12:] = 0
    empty = torch.zeros(1, 64, dtype=torch.float64)
    once, thrice = (repeated(model, torch.cat((givens, empty)), passes) for passes in (1, 3))
    settled = once.reshape(5, 16, 4).amax(dim=2).amin(dim=1) > 0.99
    assert not settled[4]
    torch.testing.assert_close(once[settled], thrice[settled], rtol=0, atol=0)
    assert (thrice.square().sum(dim=1) >= once.square().sum(dim=1) - 1e-6).all()


def test_the_rules_themselves_are_tested_with_as_many_passes_as_what_was_learned(monkeypatch):
    # A learned layer in three passes against the rules in one would win by its passes.
    used: list[int] = []
    monkeypatch.setattr(sudoku_9x9, "repeated", lambda model, z, passes: used.append(passes) or z)
    config = small_config(passes=3)
    splits = make_data(config, 0)
    for method in ("true_constraints", "true_constraints_passes", "identified_passes", "gradient"):
        sudoku_9x9.evaluate(config, method, sudoku_9x9.make_model(config, method, 0), splits)
    assert used == [1, 1, 3, 3, 3, 3, 3, 3]
    one, many = (
        sudoku_9x9.make_model(config, name, 0) for name in ("true_constraints", "true_constraints_passes")
    )
    assert torch.equal(one.A, many.A)


def test_whole_boards_teach_the_rules_from_a_random_start():
    config = small_config()
    model = sudoku_9x9.make_model(config, "gradient", 0)
    before = angles_to_rules(config, model)
    boards = torch.from_numpy(one_hot(all_grids(2), 2))
    losses = []
    stage = Stage(steps=150, batch=64, lr=1.0, optimiser="momentum", curvature=1.0, nonnegative=False)
    fit_stage(
        model, pairs(boards, boards), stage, np.random.default_rng(0), lambda step, loss: losses.append(loss)
    )
    after = angles_to_rules(config, model)
    assert np.median(before) > 10
    assert after.max() < 0.01
    assert losses[-1] < 1e-6 * losses[0]
    assert len(losses) == 150


def test_curvature_moves_to_its_end_and_rows_stay_orthonormal():
    model = sudoku_9x9.make_model(small_config(), "gradient", 0)
    boards, met = torch.from_numpy(one_hot(all_grids(2), 2)), []
    stage = Stage(steps=4, batch=8, lr=1e-2, curvature=0.8, final_curvature=0.05)
    fit_stage(
        model, pairs(boards, boards), stage, np.random.default_rng(0), lambda *_: met.append(model.curvature)
    )
    np.testing.assert_allclose(met, [0.4, 0.2, 0.1, 0.05])
    A = model.normals.detach().numpy()
    np.testing.assert_allclose(A @ A.T, np.eye(len(A)), atol=1e-12)
    np.testing.assert_allclose(model.rows().detach(), A, atol=1e-12)


def test_puzzles_alone_teach_something_from_a_random_start():
    config = small_config()
    config.data.solved = 200
    model = sudoku_9x9.make_model(config, "gradient_puzzles", 0)
    givens, solved = training_puzzles(config, 0, 100, 0).tensors()
    before = angles_to_rules(config, model)
    losses = []
    stage = Stage(steps=150, batch=16, lr=5e-3, curvature=0.5, final_curvature=0.1)
    fit_stage(
        model, pairs(givens, solved), stage, np.random.default_rng(0), lambda _, loss: losses.append(loss)
    )
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    assert np.median(angles_to_rules(config, model)) < np.median(before)


def test_boards_in_which_a_digit_never_meets_a_cell_are_too_few():
    with pytest.raises(ConfigError, match="every cell to have held every digit"):
        learned(one_hot(all_grids(2)[:20], 2))


def test_test_puzzles_have_the_number_of_givens_of_their_split():
    splits = make_data(small_config(), 0)
    assert set(splits) == {"givens_5", "givens_7"}
    for name, puzzles in splits.items():
        assert ((puzzles.givens > 0).sum(axis=1) == int(name.removeprefix("givens_"))).all()


def test_training_puzzles_have_the_mean_number_of_givens_and_known_solutions():
    config = small_config()
    puzzles = training_puzzles(config, 0, 400, 0)
    counts = (puzzles.givens > 0).sum(axis=1)
    assert set(counts) == {5, 6}
    np.testing.assert_allclose(counts.mean(), 5.2, atol=4 * 0.4 / 20)
    known = {board.tobytes() for board in sudoku_9x9.solved_boards((2, 40), 0)}
    assert {board.tobytes() for board in puzzles.solved} <= known


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("board", ".2....4.3....4..", "exactly one solution"),
        ("board", "11" + "." * 14, "does not contradict itself"),
        ("data.order", 4, "one of: 2, 3"),
        ("data.givens", [2], "numbers of givens from 4 to 16"),
        ("data.givens", [], "numbers of givens"),
        ("data.mean_givens", 16.5, "data.mean_givens"),
        ("data.counts", [41], "numbers of boards from 2 to data.solved"),
        ("data.solved", 1, "at least 2 boards"),
        ("curvature", 0.0, "positive, finite number"),
        ("passes", 0, "passes: got 0"),
        ("whole.steps", 0, "whole.steps"),
        ("puzzles.batch", 0, "puzzles.batch"),
        ("refine.lr", float("nan"), "refine.lr"),
        ("cold.final_curvature", -1.0, "cold.final_curvature"),
        ("whole.optimiser", "newton", "one of: adam, momentum"),
        ("methods", ["sat"], "one of: identified"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    assert_refused(small_config(), field, value, message)
