"""Boards: rules, search, puzzles with one solution, and the constraints that solved boards share."""

import itertools

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from experiments.common.errors import ConfigError
from experiments.common.sudoku.constraints import (
    affine_hull,
    dimensions,
    independent_rows,
    principal_angles,
    row_space,
)
from experiments.common.sudoku.puzzles import all_grids, puzzles_from, random_grids
from experiments.common.sudoku.rules import (
    agrees,
    decode,
    is_permutation,
    one_hot,
    parse_board,
    true_constraints,
    units,
)
from experiments.common.sudoku.search import has_one_solution, solutions


@pytest.fixture(scope="module")
def grids():
    return all_grids(2)


@pytest.fixture(scope="module")
def large():
    return random_grids(520, 3, np.random.default_rng(3))


def test_there_are_288_boards_of_order_two_and_each_keeps_the_rules(grids):
    assert len(grids) == 288
    assert len({board.tobytes() for board in grids}) == 288
    assert is_permutation(grids, 2).all()
    # Brute force over the boards whose rows are permutations, the first of them 1234.
    rows = list(itertools.permutations(range(1, 5)))
    candidates = np.array([sum(four, ()) for four in itertools.product(rows[:1], rows, rows, rows)])
    count = is_permutation(candidates, 2).sum()
    assert count * 24 == 288


def test_every_cell_has_its_row_column_and_block(large):
    members = units(3)
    assert members.shape == (27, 9)
    assert (np.bincount(members.ravel(), minlength=81) == 3).all()
    assert set(members[18]) == {0, 1, 2, 9, 10, 11, 18, 19, 20}
    assert is_permutation(large, 3).all()


def test_rows_of_the_constraints_are_satisfied_and_have_the_known_rank(grids, large):
    for order, boards, rank in ((2, grids, 40), (3, large, 249)):
        M = true_constraints(order)
        assert M.shape == (4 * order**4, order**6)
        np.testing.assert_array_equal(one_hot(boards, order) @ M.T, 1.0)
        assert len(row_space(M)) == rank
    wrong = grids[:1].copy()
    wrong[0, 0] = wrong[0, 0] % 4 + 1
    assert (one_hot(wrong, 2) @ true_constraints(2).T != 1).sum() == 6


def test_one_hot_and_back(large):
    z = one_hot(large, 3)
    assert z.shape == (len(large), 729)
    np.testing.assert_array_equal(decode(z, 3), large)
    empty = one_hot(np.zeros((1, 81), dtype=int), 3)
    assert not empty.any()


def test_an_error_in_one_cell_is_seen_and_so_is_a_changed_given(grids):
    board, other = grids[:1].copy(), grids[1:2]
    assert agrees(board, np.zeros_like(board)).all()
    givens = np.where(board != other, board, 0)
    assert agrees(board, givens)[0]
    assert is_permutation(other, 2)[0]
    assert not agrees(other, givens)[0]
    board[0, 3] = board[0, 2]
    assert not is_permutation(board, 2)[0]


def test_search_finds_every_solution_once(grids):
    givens = np.zeros(16, dtype=int)
    givens[:4] = grids[0, :4]
    found = {tuple(board) for board in solutions(givens.tolist(), 2)}
    expected = {tuple(board) for board in grids.tolist() if board[:4] == grids[0, :4].tolist()}
    assert found == expected
    assert len(expected) == 12


def test_search_tells_none_one_and_several_solutions():
    board = [0] * 16
    assert not has_one_solution(board, 2)
    board[0] = board[1] = 1
    assert list(solutions(board, 2)) == []
    # Digits 1 and 2 in the top left block, 3 in the row of the last free cell of the first row: contradiction.
    assert not has_one_solution([1, 2, 0, 0, 0, 0, 3, 4, *[0] * 8], 2)


@pytest.mark.parametrize(("order", "counts"), [(2, [4, 5, 6, 7, 8]), (3, [26, 30, 36, 40])])
def test_puzzles_have_the_givens_asked_for_and_one_solution(order, counts, grids, large):
    boards = grids if order == 2 else large
    puzzles = puzzles_from(boards, np.repeat(counts, 3), order, np.random.default_rng(0))
    np.testing.assert_array_equal((puzzles.givens > 0).sum(axis=1), np.repeat(counts, 3))
    for givens, solved in zip(puzzles.givens.tolist(), puzzles.solved.tolist(), strict=True):
        assert list(solutions(givens, order)) == [solved]
    assert agrees(puzzles.solved, puzzles.givens).all()
    assert {board.tobytes() for board in puzzles.solved} <= {board.tobytes() for board in boards}


def test_the_hull_of_solved_boards_is_the_true_affine_space(grids, large):
    for order, boards, equalities in ((2, grids, 40), (3, large, 249)):
        points = one_hot(boards, order)
        hull = affine_hull(points)
        rules = row_space(true_constraints(order))
        assert hull.normals.shape == (equalities, order**6)
        assert principal_angles(hull.normals, rules).max() < 1e-9
        np.testing.assert_allclose((points - hull.mean) @ hull.normals.T, 0, atol=1e-12)
        np.testing.assert_allclose(hull.normals @ hull.normals.T, np.eye(equalities), atol=1e-12)


def test_too_few_boards_leave_equalities_that_are_not_rules(large):
    points = one_hot(large, 3)
    hull = affine_hull(points[:300])
    assert len(hull.normals) == 729 - 299
    assert np.abs((points[300:] - hull.mean) @ hull.normals.T).max() > 0.1


def test_independent_rows_are_rows_and_span_the_rest():
    for order, rank in ((2, 40), (3, 249)):
        M = true_constraints(order)
        chosen = independent_rows(M)
        assert len(chosen) == rank == np.linalg.matrix_rank(chosen)
        assert {row.tobytes() for row in chosen} <= {row.tobytes() for row in M}
        assert principal_angles(row_space(chosen), row_space(M)).max() < 1e-9


def test_dimensions_are_the_ranks_of_all_beginnings(large):
    points = one_hot(large, 3)
    found = dimensions(points)
    for count in (1, 2, 100, 470, 485, 520):
        assert found[count - 1] == np.linalg.matrix_rank(points[:count] - points[0])
    assert found[-1] == 480
    assert found[479] <= 479


def test_principal_angles_are_those_of_scipy_and_keep_small_ones():
    rng = np.random.default_rng(0)
    first, second = (np.linalg.qr(rng.standard_normal((12, k)))[0].T for k in (4, 6))
    expected = np.degrees(np.sort(subspace_angles(first.T, second.T)))
    np.testing.assert_allclose(principal_angles(first, second), expected, atol=1e-10)
    np.testing.assert_allclose(principal_angles(second, first), expected, atol=1e-10)
    turned = np.eye(3)[:1] * np.cos(1e-7) + np.eye(3)[1:2] * np.sin(1e-7)
    np.testing.assert_allclose(principal_angles(np.eye(3)[:1], turned), np.degrees(1e-7), rtol=1e-6)


def test_a_board_is_read_from_its_characters():
    board = parse_board(".2....4.3....4.1", 2, "board")
    assert board.tolist() == [0, 2, 0, 0, 0, 0, 4, 0, 3, 0, 0, 0, 0, 4, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1" * 15, "16 characters"),
        ("12x" + "." * 13, "16 characters out of . and 0 to 4"),
        ("1..1" + "." * 12, "digit 1 stands twice in row 1"),
        ("3..." * 2 + "." * 8, "twice in column 1"),
        ("2....2" + "." * 10, "twice in block 1"),
    ],
)
def test_boards_that_cannot_be_meant_are_told(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_board(text, 2, "board")
