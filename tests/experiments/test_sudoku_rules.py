"""Rules from puzzles: exclusions are all cliques, moments are the loss, and what the layer learns from them solves."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments import sudoku_rules
from experiments.common.errors import ConfigError
from experiments.common.recorder import Recorder
from experiments.common.sudoku.constraints import principal_angles, row_space
from experiments.common.sudoku.cover import Search
from experiments.common.sudoku.exclusions import TooMany, as_rows, equally_many, exclusive_sets, have_met
from experiments.common.sudoku.moments import covariance_of_givens, covariance_of_pairs, least_normals
from experiments.common.sudoku.puzzles import all_grids, puzzles_from, random_grids, read_puzzles
from experiments.common.sudoku.rules import one_hot, true_constraints
from experiments.common.sudoku.search import solutions
from experiments.common.sudoku.subspace import Subspace, hiding
from experiments.sudoku_rules import Config, Data, evaluate, learn, learn_permuted, test_splits
from layers import QPLayer
from tests.experiments.refused import assert_refused

test_splits.__test__ = False  # its name is what it makes, and no test
TRUE = {tuple(np.flatnonzero(row).tolist()) for row in true_constraints(2)}


def small_config(**changes):
    data = Data(order=2, mean_givens=5.2, givens=[5, 7], test=20, unsolved=[20, 1500], hidden=[100, 400])
    data.solved, data.boards, data.maskings = [30, 40], 200, [4, 16]
    for name, value in changes.items():
        setattr(data, name, value)
    return Config(experiment="sudoku_rules", size="smoke", seeds=[0], data=data)


def recorder(method):
    return Recorder("sudoku_rules", method, 0, ("1", "1"), examples=False)


@pytest.fixture(scope="module")
def unsolved():
    return one_hot(sudoku_rules.unsolved_puzzles(small_config().data, 0), 2)


def test_sets_are_all_cliques_of_their_size_and_nothing_else():
    rng = np.random.default_rng(0)
    met = np.triu(rng.random((14, 14)) < 0.4, 1)
    met = met | met.T
    for size in (2, 3, 4):
        expected = [
            each
            for each in itertools.combinations(range(14), size)
            if not any(met[i, j] for i, j in itertools.combinations(each, 2))
        ]
        found = exclusive_sets(met, size, 10**6)
        assert len(expected) > 3
        assert [tuple(row) for row in found.tolist()] == expected


def test_a_search_that_would_take_too_long_is_told():
    with pytest.raises(TooMany):
        exclusive_sets(np.zeros((60, 60), dtype=bool), 9, 1000)


def test_unsolved_puzzles_tell_every_rule_and_no_false_one(unsolved):
    sets = exclusive_sets(have_met(unsolved), 4, 10**6)
    assert {tuple(row) for row in sets.tolist()} == TRUE
    np.testing.assert_array_equal(row_space(as_rows(sets, 64)).shape, (40, 64))
    few = exclusive_sets(have_met(unsolved[:500]), 4, 10**6)
    assert {tuple(row) for row in few.tolist()} > TRUE
    assert {tuple(row) for row in equally_many(few, 64).tolist()} == TRUE
    assert equally_many(exclusive_sets(have_met(unsolved[:400]), 4, 10**6), 64) is None
    assert equally_many(sets[:0], 64) is None


def test_one_contradictory_puzzle_hides_the_rule_it_breaks(unsolved):
    wrong = np.zeros((1, 64))
    wrong[0, [0, 4]] = 1  # digit 1 twice in the first row
    sets = exclusive_sets(have_met(np.concatenate([unsolved, wrong])), 4, 10**6)
    assert {tuple(row) for row in sets.tolist()} == {each for each in TRUE if not {0, 4} <= set(each)}


def test_search_completes_as_the_solver_of_boards_does():
    rng = np.random.default_rng(1)
    puzzles = puzzles_from(all_grids(2), np.full(20, 5), 2, rng)
    search = Search(np.array(sorted(TRUE)), 64, 10**4)
    givens, solved = puzzles.tensors()
    torch.testing.assert_close(search(givens), solved, rtol=0, atol=0)
    # Two digits that leave a cell without any: no completion, so the puzzle comes back.
    dead = torch.from_numpy(one_hot(np.array([[1, 2, 0, 0, 0, 0, 3, 4, *[0] * 8]]), 2))
    assert next(solutions([1, 2, 0, 0, 0, 0, 3, 4, *[0] * 8], 2), None) is None
    torch.testing.assert_close(search(dead), dead, rtol=0, atol=0)
    assert not torch.equal(Search(np.array(sorted(TRUE)), 64, 1)(givens), solved)


def test_without_inequalities_the_loss_of_puzzles_is_that_of_whole_boards_plus_a_constant():
    # All masks of one share, each with its probability: the expectation itself, on all boards.
    boards, share = one_hot(all_grids(2), 2), 0.45
    centred = boards - 0.25
    rng = np.random.default_rng(0)
    shares = [share] * 2000
    found = covariance_of_pairs(boards, shares, 2, rng)
    constant = (1 - share) / (4 * share)
    expected = centred.T @ centred / len(boards) - constant * np.eye(64)
    noise = np.abs(found - expected).max()
    assert noise < 0.012
    assert constant > 20 * noise


def test_the_matrix_of_pairs_is_the_loss_of_the_layer():
    boards, share = one_hot(all_grids(2)[:50], 2), 0.5
    rng = np.random.default_rng(3)
    found = covariance_of_pairs(boards, [share], 2, np.random.default_rng(3))
    given = (rng.random((50, 16)) < share).repeat(4, axis=1)
    losses = []
    for seed in (0, 1):
        rows = np.linalg.qr(np.random.default_rng(seed).standard_normal((64, 40)))[0].T
        model = Subspace(
            torch.from_numpy(rows), torch.full((64,), 0.25, dtype=torch.float64), share, QPLayer()
        )
        model.nonnegative = False
        z = model(torch.from_numpy(given * boards)).detach().numpy()
        projection = np.eye(64) - rows.T @ rows
        losses.append(((z - boards) ** 2).sum(axis=1).mean() + np.trace(projection @ found))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-12)


def test_more_maskings_turn_the_equalities_towards_the_rules():
    boards, rules = (
        one_hot(random_grids(1000, 3, np.random.default_rng(0)), 3),
        row_space(true_constraints(3)),
    )
    rng, medians = np.random.default_rng(0), []
    for count in (1, 16):
        shares = rng.uniform(0.3, 0.7, count)
        normals = least_normals(covariance_of_pairs(boards, shares, 3, rng), 249)
        medians.append(np.median(principal_angles(normals, rules)))
    assert medians[1] < 0.5 * medians[0]


def test_covariance_of_givens_is_that_of_boards_where_all_cells_are_given_and_unbiased_else():
    boards = one_hot(all_grids(2), 2)
    expected = (boards - 0.25).T @ (boards - 0.25) / len(boards)
    np.testing.assert_allclose(covariance_of_givens(boards, 2), expected, atol=1e-12)
    rng = np.random.default_rng(0)
    many = np.tile(boards, (200, 1))
    given = (rng.random((len(many), 16)) < 0.4).repeat(4, axis=1)
    assert np.abs(covariance_of_givens(many * given, 2) - expected).max() < 0.02


def test_hidden_givens_count_and_are_not_shown(unsolved):
    seen, targets, asked = hiding(torch.from_numpy(unsolved), 4, 0.7)(np.random.default_rng(0), 50)
    assert not (seen * asked).any()
    torch.testing.assert_close(seen + targets * asked, targets, rtol=0, atol=0)
    shown = seen.sum() / targets.sum()
    assert 0.6 < shown < 0.8
    # All entries of a hidden cell count, not the digit alone.
    assert asked.sum() == 4 * (targets.sum() - seen.sum())


def test_the_method_cannot_see_how_entries_are_arranged():
    config = small_config()
    model = learn(config, "exclusions", 0, 1500, recorder("exclusions"))
    permuted = learn_permuted(config, 0, recorder("exclusions"))
    puzzles = test_splits(config, 0)[5]
    assert evaluate(config, model, puzzles) == evaluate(config, permuted, puzzles) > 0.5
    givens = puzzles.tensors()[0]
    with torch.no_grad():
        torch.testing.assert_close(model(givens), permuted(givens), rtol=0, atol=1e-4)
        # The order of the entries matters to what is inside: without it the answers are others.
        assert (model(givens) - permuted.model(givens)).abs().max() > 0.5


def test_too_few_puzzles_are_recorded_and_solve_nothing():
    config = small_config()
    config.branches = 50
    record = recorder("exclusions")
    assert learn(config, "exclusions", 0, 20, record) is None
    assert "more than 50 branches" in record.tables["refusals"][0]["reason"]
    assert evaluate(config, None, test_splits(config, 0)[5]) == 0


def test_puzzles_of_a_file_take_the_place_of_drawn_ones(tmp_path):
    path = tmp_path / "puzzles.txt"
    path.write_text("1.34...........\n".replace("\n", ".\n") + "0000123400000000\n")
    config = small_config(file=str(path), unsolved=[2], hidden=[1, 2])
    config.check()
    boards = sudoku_rules.unsolved_puzzles(config.data, 0)
    assert boards[0, :4].tolist() == [1, 0, 3, 4]
    assert boards[1, 4:8].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one puzzle: the file is empty"),
        ("." * 16 + "\n11" + "." * 14, "line 2: .* digit 1 stands twice in row 1"),
        ("123", "line 1: got '123', expected 16 characters"),
        (None, "a file of puzzles, one a line"),
    ],
)
def test_files_that_cannot_be_used_are_told(tmp_path, text, message):
    path = tmp_path / "puzzles.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_puzzles(Path(path), 2, "data.file")


def test_no_puzzles_are_told():
    with pytest.raises(ConfigError, match="unsolved puzzles: got 0, expected at least one puzzle"):
        have_met(np.zeros((0, 64)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.unsolved", [], "data.unsolved: got .* at least one"),
        ("data.hidden", [0], "increasing positive numbers"),
        ("data.maskings", [4, 2], "increasing positive numbers"),
        ("data.shares", [0.0, 0.5], "two shares of givens"),
        ("data.shown", 1.0, "a share between 0 and 1"),
        ("data.givens", [3], "numbers of givens from 4 to 16"),
        ("data.test", 1, "at least 2 boards"),
        ("branches", 0, "a positive number"),
        ("learned_curvature", 0.0, "positive, finite number"),
        ("pairs_stage.steps", 0, "pairs_stage.steps"),
        ("methods", ["identified"], "one of: solved_boards"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(field, value, message):
    assert_refused(small_config(), field, value, message)
