"""Sparse and degenerate rows: structure as told, gradients of known accuracy, peers that are missing left out."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import degenerate, oracle, sparse
from benchmarks.__main__ import parse
from benchmarks.measure import QUICK
from benchmarks.problems import NAMES, Data
from benchmarks.reference import make_reference
from benchmarks.run import run
from benchmarks.sparse_engines import SparseEngine, sparse_engines
from benchmarks.sparse_programs import run_sparse_row
from layers import solve_qp

DEGENERATE = {
    "dependent": degenerate.dependent(0, 3, 8, 4, 2),
    "weak": degenerate.weak(0, 3, 8, 2),
    "transport": degenerate.transport(0, 3, 3),
    "corners": degenerate.corners(1, 8, 6),
}
#: dependent rows and weakly active rows of the first program of each
COUNTED = {"dependent": (2, 0), "weak": (0, 2)}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_programs_have_the_dependent_and_weak_rows_that_they_are_drawn_with(name: str):
    data = DEGENERATE[name]
    found = solve_qp(*data.tensors)
    if name == "corners":
        corner = found.z.max(-1).values > 1 - 1e-9
        assert 0 < int(corner.sum()) < len(corner)
        torch.testing.assert_close(found.degeneracy.dependent_rows, corner.to(torch.int64))
        return
    if name == "transport":
        # One sum follows from the others; where zeros leave a permutation, more do.
        held = [int((z.abs() < 1e-9).sum()) for z in found.z]
        rank = [int(torch.linalg.matrix_rank(torch.cat([data.A, data.G[z.abs() < 1e-9]]))) for z in found.z]
        assert found.degeneracy.dependent_rows.tolist() == [
            6 + k - r for k, r in zip(held, rank, strict=True)
        ]
        assert 1 in found.degeneracy.dependent_rows
        return
    rows, lam = found.s[0] < 1e-9, found.lam[0] > 1e-9
    assert (int(found.degeneracy.dependent_rows[0]), int((rows & ~lam).sum())) == COUNTED[name]


@pytest.mark.parametrize("name", DEGENERATE)
def test_the_gradients_asked_of_them_are_differences(name: str):
    data = DEGENERATE[name]
    reference = make_reference(data)
    for argument in data.learned:
        value: torch.Tensor = getattr(data, argument)
        step = 1e-5 * torch.randn(
            value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
        )
        step = 0.5 * (step + step.mT) if argument == "Q" else step
        there, back = (_solution(data, argument, value + sign * step) for sign in (1, -1))
        along = float((reference.cotangent * (there - back)).sum()) / 2
        inner = float((reference.gradients[argument] * step).sum())
        assert abs(along - inner) < 1e-5 * abs(along) + 1e-12


def _solution(data: Data, argument: str, value: torch.Tensor) -> torch.Tensor:
    given = {name: getattr(data, name) for name in NAMES} | {argument: value}
    return solve_qp(*given.values()).z


def test_multipliers_of_dependent_rows_get_the_signs_that_they_may_have():
    # Two rows z <= 0 and one -z <= 0: the multipliers of least norm, (1, 1, -1) / 3, have a wrong sign.
    one = np.eye(1)
    point = oracle._on_active_set(
        one, -np.ones(1), np.array([[1.0], [1.0], [-1.0]]), np.zeros(3), np.zeros((0, 1)), np.zeros(0),
        np.ones(3, dtype=bool),
    )  # fmt: skip
    assert (point["lam"] >= 0).all()
    assert point["lam"] @ [1, 1, -1] == pytest.approx(1.0)


def test_sparse_rows_differ_in_their_vectors_alone():
    for row in sparse.sparse_rows().values():
        if row.group == "sparse":
            first, second = (row.make(draw) for draw in (0, 1))
            for name in "QGA":
                assert abs(getattr(first, name) - getattr(second, name)).sum() == 0
            assert not np.allclose(first.q, second.q)
            assert 900 < first.sizes[1] < 1100


def test_states_of_a_controller_follow_its_inputs():
    given = sparse.control(0, 5, 2)
    w = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    A, B = -given.A[4:8, 2:6].toarray(), -given.A[:4, :2].toarray()
    x, stages = given.b[0, :4].copy(), []
    for t in range(5):
        x = (x if t == 0 else A @ x) + B @ w[t]
        stages.append(np.r_[w[t], x])
    np.testing.assert_allclose(given.A @ np.concatenate(stages), given.b[0], atol=1e-12)


@pytest.mark.parametrize("name", ["auto", "clarabel", "osqp", "moreau_active_set"])
def test_engines_are_accurate_on_a_small_sparse_row_and_a_wrong_one_is_not(name: str):
    row = sparse.SparseRow("tiny", "sparse", lambda draw: sparse.control(draw, 4, 2))
    engine = sparse_engines()[name]
    by_phase = {
        line.phase: line
        for line in run_sparse_row(row, [engine, _wrong(engine)], QUICK)
        if line.engine == name
    }
    assert by_phase["both"].accurate, by_phase["both"]
    assert by_phase["both"].gradient_error < 1e-6
    assert by_phase["both"].bare == (name == "clarabel")
    wrong = [line for line in run_sparse_row(row, [_wrong(engine)], QUICK) if line.phase == "both"]
    assert not wrong[0].accurate
    assert wrong[0].gradient_error == pytest.approx(0.01, rel=1e-3)


def _wrong(engine: SparseEngine) -> SparseEngine:
    """The same solution with a hundredth more of a gradient."""

    def build(programs: sparse.Programs, setting: dict[str, object]):
        call = engine.build(programs, setting)

        def wrong(leaves: dict[str, torch.Tensor]) -> torch.Tensor:
            z = call(leaves)
            return z + 0.01 * (z - z.detach())

        return wrong

    return SparseEngine("wrong", engine.ladders, build)


def test_a_sparse_peer_that_is_missing_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "piqp", None)
    row = sparse.SparseRow("tiny", "sparse", lambda draw: sparse.control(draw, 4, 2))
    monkeypatch.setattr("benchmarks.jobs.sparse_rows", lambda: {"tiny": row})
    asked = ["--quick", "--threads", "1", "--rows", "tiny", "--engines", "auto,piqp,clarabel"]
    run(parse([*asked, "--output", str(tmp_path)]))
    assert "left out: piqp" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "results.csv")
    assert set(table["engine"]) == {"auto", "clarabel"}
    (line,) = pd.read_csv(tmp_path / "ratios.csv").to_dict("records")
    assert line["bare"] == "clarabel"
    assert line["bare_ratio"] > 0
