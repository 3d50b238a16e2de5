"""What is timed: programs as published, a reference that differences agree with, and answers checked first."""

import time

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from experiments import layer_timing
from experiments.common.config import LayerConfig
from experiments.common.errors import ConfigError
from experiments.common.recorder import Recorder
from experiments.common.timing import packages, programs
from experiments.common.timing.canonical import disagreement, stochastic_control, ways
from experiments.common.timing.packages import Package
from experiments.common.timing.reference import Active, call, on_active_rows
from experiments.common.timing.stopwatch import answer, climb, difference, exact, measure, slope
from experiments.layer_timing import Config, Growth, Size, logistic_regression, run_cell


def batch(seed: int = 0, *, sparse: bool = False) -> programs.Programs:
    rng = np.random.default_rng(seed)
    return programs.random_sparse(40, rng) if sparse else programs.dense(3, 6, rng)


def cotangent(given: programs.Programs) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal(given.q.shape))


def small() -> Config:
    return Config(
        seeds=[0],
        layer=LayerConfig(tol=1e-8),
        linear=[3, 4],
        batch=Size(4, 3),
        dense=Size(5, 2),
        sparse=Size(12, 2),
        slack=Size(12, 1),
        density=0.1,
        scaling=Growth([6, 12]),
        repetitions=2,
    )


def test_published_sparse_programs_have_one_feasible_point_where_every_row_holds_with_equality():
    given = programs.published_sparse(2, 30, 0.05, np.random.default_rng(0))
    z = sp.linalg.spsolve(given.A.tocsc(), given.b.T).T
    np.testing.assert_allclose((given.G @ z.T).T, given.h, atol=1e-12)
    assert np.linalg.matrix_rank(given.A.toarray()) == 30
    assert not given.smooth
    with_slack = programs.published_sparse(2, 30, 0.05, np.random.default_rng(0), slack=1.0)
    assert with_slack.smooth
    assert (with_slack.h > (with_slack.G @ z.T).T).all()


def test_families_are_strictly_convex_and_have_the_structure_of_their_name():
    rng = np.random.default_rng(0)
    banded, grid, random = (
        make(50, rng) for make in (programs.banded, programs.grid, programs.random_sparse)
    )
    for each in (banded, grid, random):
        assert np.linalg.eigvalsh(each.Q.toarray())[0] > 0.09
    rows, columns = banded.Q.nonzero()
    assert abs(rows - columns).max() == 1
    assert grid.sizes == (1, 49, 49, 0)
    assert np.diff(grid.Q.indptr).max() == 5
    assert random.sizes == (1, 50, 25, 5)
    assert np.linalg.matrix_rank(random.A.toarray()) == 5


@pytest.mark.parametrize("sparse", [False, True])
def test_the_reference_is_the_solution_of_cvxpy_and_its_gradients_are_differences(sparse):
    given = batch(sparse=sparse)
    w = cotangent(given)
    found = exact(given, w, 1)
    Q, q, G, h, A, b = given.one(0)
    z = cp.Variable(len(q))
    rules = [G @ z <= h] + ([A @ z == b] if len(b) else [])
    problem = cp.Problem(cp.Minimize(0.5 * cp.quad_form(z, cp.psd_wrap(Q)) + q @ z), rules)
    problem.solve(cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    np.testing.assert_allclose(found["z"][0].numpy(), z.value, atol=1e-6)
    generator = np.random.default_rng(2)
    for name in given.learned:
        step = 1e-6 * generator.standard_normal(getattr(given, name).shape)
        step = 0.5 * (step + step.swapaxes(-1, -2)) if name == "Q" else step
        ends = [_moved(given, name, sign * step) for sign in (1, -1)]
        there, back = (call(end, end.leaves(), 1e-12, exact=True)[0].detach() for end in ends)
        along = float((w[0] * (there - back)).sum()) / 2
        inner = float((found[name][0] * torch.from_numpy(step[0])).sum())
        assert abs(along - inner) < 1e-4 * max(abs(along), 1e-8)


def _moved(given: programs.Programs, name: str, step: np.ndarray) -> programs.Programs:
    values = {each: getattr(given, each) for each in programs.NAMES}
    return programs.Programs(**(values | {name: values[name] + step})).first(1)


def test_wrong_active_rows_are_put_right_and_dependent_ones_are_told():
    program = batch().one(0)
    z, lam, _, active = on_active_rows(program, np.zeros(6, dtype=bool))
    assert active.any()
    assert (lam >= 0).all()
    assert (program[2] @ z <= program[3] + 1e-12).all()
    Q, q, G, h, A, b = program
    twice = (Q, q, sp.csc_array(sp.vstack([G, G])), np.r_[h, h], A, b)
    system = Active(twice, np.ones(12, dtype=bool))
    with pytest.raises(ArithmeticError, match="depend on each other"):
        system.solve(np.arange(len(system.known), dtype=float))


@pytest.mark.parametrize("sparse", [False, True])
def test_every_package_here_reaches_the_reference_and_a_wrong_gradient_does_not(sparse):
    given = batch(sparse=sparse)
    w = cotangent(given)
    right = exact(given, w, 3)
    for package in packages.installed(LayerConfig(tol=1e-8), given):
        made, off, reason = climb(package, given, w, right)
        assert made is not None, (package.name, off, reason)
    layer = packages.layer(LayerConfig(tol=1e-8))
    call_ = layer.make(given, {})
    wrong = Package("wrong", lambda *_: lambda leaves: call_({k: _wrong(v) for k, v in leaves.items()}))
    made, off, reason = climb(wrong, given, w, right)
    assert made is None
    assert off == pytest.approx(0.001, rel=1e-6)
    assert reason == "off by 1.0e-03 at its best setting"


def test_how_far_a_package_is_off_does_not_hang_on_which_of_its_settings_was_fast():
    given = batch()
    w = cotangent(given)
    right, layer = exact(given, w, 3), packages.layer(LayerConfig(tol=1e-8))

    def make(programs: programs.Programs, setting: dict) -> packages.Call:
        call_ = layer.make(programs, {})

        def slow(leaves):
            end = time.process_time() + setting["seconds"]
            while time.process_time() < end:
                pass
            return call_(leaves) * (1 + setting["error"])

        return slow

    for seconds in ((0.0, 0.05), (0.05, 0.0)):
        ladders = [[{"seconds": s, "error": e}] for s, e in zip(seconds, (0.0, 1e-6), strict=True)]
        call_, off, _ = climb(Package("two ways", make, ladders), given, w, right)
        assert call_ is not None
        assert off == pytest.approx(1e-6, rel=1e-2)


def _wrong(leaf: torch.Tensor) -> torch.Tensor:
    """The same number with a thousandth more of a gradient."""
    return leaf + 0.001 * (leaf - leaf.detach())


def test_one_program_after_the_other_is_the_batch():
    given = batch()
    w = cotangent(given)
    config = LayerConfig(tol=1e-8)
    both = [answer(packages.layer(config, one_by_one=way).make(given, {}), given, w) for way in (False, True)]
    assert difference(*both) < 1e-10


def test_data_of_a_cone_program_are_those_of_a_compilation():
    for make in (logistic_regression, stochastic_control):
        made = make(np.random.default_rng(0))
        assert disagreement(made) < 1e-5
        found = ways(made)
        assert set(found) == {"layer", "cvxpy_compiled", "cvxpy_map"}
        anew, mapped = (found[name]()[0] for name in ("cvxpy_compiled", "cvxpy_map"))
        np.testing.assert_allclose(anew["b"], mapped["b"], atol=1e-12)
        ours = found["layer"]()
        assert np.sort(abs(ours.b.numpy().ravel())) == pytest.approx(np.sort(abs(anew["b"])), abs=1e-12)


def test_methods_take_turns_and_a_slow_one_sits_out_after_its_seconds():
    turns = []

    def timed(name, seconds):
        def once():
            turns.append(name)
            return {"forward": seconds}

        return once

    found = measure({"slow": timed("slow", 0.6), "fast": timed("fast", 0.001)}, 3, 0.5)
    assert turns == ["slow", "fast", "fast", "fast"]
    assert found["slow", "forward"].tolist() == [0.6]
    assert found["fast", "forward"].tolist() == [0.001] * 3


def test_slope_is_the_exponent():
    assert slope({10: 0.2, 100: 20.0, 1000: 2000.0}) == pytest.approx(2.0, rel=1e-12)
    assert slope({10: 0.2, 100: 0.2}) == pytest.approx(0.0, abs=1e-12)


def test_times_stand_in_the_table_that_may_differ_and_differences_in_the_one_that_may_not():
    tables = run_cell(small(), "scaling", 0)
    assert {row["metric"] for row in tables["metrics"]} == {"difference"}
    phases = {(row["method"], row["phase"]): row["value"] for row in tables["timings"]}
    for family in programs.FAMILIES:
        quartiles = [phases["layer", f"{family} 12 forward {level}"] for level in layer_timing.QUARTILES]
        assert 0 < quartiles[0] <= quartiles[1] <= quartiles[2]
        assert ("clarabel", f"{family} backward slope") in phases


def test_who_is_not_accurate_has_a_reason_and_no_time():
    record = Recorder("layer_timing", "layer", 0, ("1", "1"), examples=False)
    given = batch()
    refused = Package("refused", lambda *_: lambda leaves: leaves["q"] * 2)
    layer_timing.side_by_side(
        small(),
        "dense",
        given,
        [refused, packages.layer(LayerConfig(tol=1e-8))],
        np.random.default_rng(0),
        record,
    )
    assert [row["method"] for row in record.tables["refusals"]] == ["refused"]
    assert {row["method"] for row in record.tables["timings"]} == {"layer"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"parts": ["magic"]}, "parts: got 'magic'"),
        ({"linear": [10]}, "linear"),
        ({"linear": [10, 10]}, "rising numbers"),
        ({"scaling": Growth([10])}, "scaling.sizes"),
        ({"scaling": Growth(seeds=0)}, "scaling.seeds"),
        ({"dense": Size(n=1)}, "dense.n"),
        ({"slack": Size(batch=0)}, "slack.batch"),
        ({"sparse": Size(seeds=0)}, "sparse.seeds"),
        ({"density": 0.0}, "density"),
        ({"checked": 0}, "checked"),
        ({"repetitions": 0}, "repetitions"),
        ({"seconds": 0.0}, "seconds"),
    ],
)
def test_settings_that_cannot_be_are_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        Config(**changed).check()
