"""The adversary finds what is wrong, calls right what is right, and finds nothing on these few hundred programs."""

import dataclasses
import multiprocessing
import time
from collections import Counter

import numpy as np
import pytest

from layers import DifferentiationError
from tests.adversary import blocks, campaign, cones, doors, judge, proof, shrink, workers
from tests.adversary.__main__ import Record
from tests.adversary.blocks import Case
from tests.adversary.doors import Answer, Door, ask
from tests.adversary.program import INFEASIBLE, OPTIMAL, Program
from tests.adversary.script import script
from tests.adversary.shrink import Finding

DOOR = Door("solve_qp", "auto")


def some(number: int) -> list[Case]:
    """What a test can ask within seconds, of every family."""
    return blocks.block(2, number, 48)


def exact_answer(case: Case) -> Answer:
    """What a layer without any error would say."""
    known = case.truth
    d = proof.direction(case.program, known, *case.weights)
    z, lam, nu, outer = known.z, known.lam, known.nu, np.outer
    half = outer(d.z, z)
    G_bar, A_bar = outer(lam, d.z) + outer(d.lam, z), outer(nu, d.z) + outer(d.nu, z)
    return Answer(OPTIMAL, z, lam, nu, (0.5 * (half + half.T), d.z, G_bar, -d.lam, A_bar, -d.nu))


@pytest.fixture(scope="module")
def regular() -> list[Case]:
    """Programs whose derivative is proved in all six arguments, with an active row."""
    found = [c for number in range(14) for c in blocks.block(2, number, 48)[::2]]
    return [c for c in found if c.truth.kind == proof.REGULAR and c.truth.robust and c.truth.strong]


@pytest.mark.parametrize(
    "door",
    [DOOR, Door("solve_qp", "interior_point"), Door("solve_qp", "admm"), Door("QPLayer", "auto", 3)],
    ids=str,
)
def test_nothing_is_found_on_some_programs_of_every_family(door: Door) -> None:
    asked = 0
    for number in range(12):
        cases = some(number)
        for case, answer in zip(cases, ask(cases, door), strict=True):
            verdict = judge.judge(case, answer)
            assert not verdict.found, f"{case.program.family}, block {number}: {verdict}"
            asked += 1
    assert asked > 100


def test_an_exact_answer_is_right(regular: list[Case]) -> None:
    assert len(regular) > 30
    for case in regular:
        assert judge.judge(case, exact_answer(case)).outcome == judge.RIGHT


@pytest.mark.parametrize("argument", range(6))
def test_a_gradient_that_is_off_by_a_thousandth_is_seen(regular: list[Case], argument: int) -> None:
    seen = 0
    for case in regular:
        answer = exact_answer(case)
        assert answer.gradients is not None
        wrong = list(answer.gradients)
        wrong[argument] = wrong[argument] * 1.001
        # a room for an ill-conditioned system may cover a thousandth of it
        verdict = judge.judge(case, dataclasses.replace(answer, gradients=tuple(wrong)))
        seen += verdict.outcome == judge.WRONG_DERIVATIVE
    there = sum(bool(exact_answer(c).gradients[argument].any()) for c in regular)
    assert seen > 0.8 * there > 0


def test_the_misread_equation_is_seen(regular: list[Case]) -> None:
    """D(λ) before the second term of the gradient of G as well."""
    seen = 0
    for case in regular:
        answer = exact_answer(case)
        lam, d = case.truth.lam, proof.direction(case.program, case.truth, *case.weights)
        wrong = list(answer.gradients)
        wrong[2] = lam[:, None] * (np.outer(d.lam, case.truth.z) + np.outer(lam, d.z))
        seen += judge.judge(case, dataclasses.replace(answer, gradients=tuple(wrong))).found
    assert seen > 0.5 * len(regular)


def test_wrong_statuses_points_and_numbers_are_seen(regular: list[Case]) -> None:
    for case in regular:
        right = exact_answer(case)
        for changes, outcome in (
            ({"status": "INFEASIBLE", "gradients": None}, judge.WRONG_STATUS),
            ({"status": "UNBOUNDED", "gradients": None}, judge.WRONG_STATUS),
            ({"lam": right.lam * 1.01}, judge.WRONG_POINT),
            ({"z": np.full_like(right.z, np.nan)}, judge.NOT_FINITE),
            ({"status": "NUMERICAL_FAILURE"}, judge.LEAK),
        ):
            verdict = judge.judge(case, dataclasses.replace(right, **changes))
            assert verdict.outcome == outcome or (outcome == judge.LEAK and not right.gradients[1].any())


def test_optimal_is_wrong_of_a_program_that_is_infeasible() -> None:
    Q, G = np.eye(1), np.array([[1.0], [-1.0]])
    program = Program(Q, np.zeros(1), G, np.array([0.0, -1e-3]), np.zeros((0, 1)), np.zeros(0))
    case = _solved(program)
    assert case.truth.status == INFEASIBLE
    answer = Answer(OPTIMAL, np.array([5e-4]), np.zeros(2), np.zeros(0))
    assert judge.judge(case, answer).outcome == judge.WRONG_STATUS
    hair = dataclasses.replace(program, h=np.array([1.0, -1.0 - 1e-9]))
    near = Answer(OPTIMAL, np.array([1.0]), np.array([0.0, 1.0]), np.zeros(0))
    assert judge.judge(_solved(hair), near).outcome == judge.UNJUDGED


def _solved(program: Program) -> Case:
    claim = shrink.lemke.decide(program)
    return Case.of(program, claim)


def test_gradients_of_shared_matrices_are_sums() -> None:
    door, sums = Door("solve_qp", "auto", shared=True), 0
    for number in range(12):
        cases = blocks.shared_block(2, number)
        verdict = judge.judge_sum(cases, answers := ask(cases, door))
        sums += verdict.outcome == judge.RIGHT
        if verdict.outcome == judge.RIGHT and answers[0].gradients[0].any():
            mean = [answers[0].gradients[i] / (len(cases) if i in (0, 2, 4) else 1) for i in range(6)]
            wrong = [dataclasses.replace(answers[0], gradients=tuple(mean)), *answers[1:]]
            assert judge.judge_sum(cases, wrong).outcome == judge.WRONG_DERIVATIVE
    assert sums > 0


def test_exceptions_find_their_element_and_hangs_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = some(0)[:5]
    real = doors.solve_qp

    def failing(*data: object, **options: object) -> object:
        if (data[1] == doors.stacked([cases[3]])[1]).all(-1).any():
            raise ZeroDivisionError("planted")
        return real(*data, **options)

    monkeypatch.setattr(doors, "solve_qp", failing)
    verdicts = [judge.judge(c, a).outcome for c, a in zip(cases, ask(cases, DOOR), strict=True)]
    assert [i for i, v in enumerate(verdicts) if v == judge.EXCEPTION] == [3]
    with pytest.raises(TimeoutError), campaign.limited(1):
        _hang()


def _hang() -> None:
    while True:
        pass


def test_a_derivative_that_is_refused_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object, **__: object) -> object:
        raise DifferentiationError("planted")

    monkeypatch.setattr(doors, "solve_qp", refusing)
    cases = some(0)[:2]
    for case, answer in zip(cases, ask(cases, DOOR), strict=True):
        assert judge.judge(case, answer).outcome == judge.GIVEN_UP + "DifferentiationError"


def test_a_finding_shrinks_to_what_matters_and_its_script_runs(monkeypatch, capsys) -> None:
    """The planted fault: INFEASIBLE wherever Q has a positive first entry."""

    def faulty(cases: list[Case], door: Door) -> list[Answer]:
        answers = ask(cases, door)
        bad = [c.program.Q[0, 0] > 0 for c in cases]
        return [Answer(INFEASIBLE) if b else a for a, b in zip(answers, bad, strict=True)]

    monkeypatch.setattr(shrink, "ask", faulty)
    case = next(c for c in some(1) if c.program.Q[0, 0] > 0 and c.program.sizes[0] > 1)
    verdict = judge.judge(case, Answer(INFEASIBLE))
    batch = (case, *some(1)[:3])
    small = shrink.shrunk(Finding(batch, 0, DOOR, verdict, Answer(INFEASIBLE)), seconds=20)
    assert len(small.cases) == 1
    assert small.case.program.sizes == (1, 0, 0)
    text = script(small)
    assert len(text.splitlines()) <= 20
    exec(compile(text, "script", "exec"), {})
    assert "PASS" in capsys.readouterr().out


def test_curved_programs_are_judged_by_their_formulas() -> None:
    case = cones.Curved("softmax", [np.array([0.0, 1.0, 2.0, 0.5])], np.array([1.0, 2.0, 3.0, 4.0]))
    status, x, gradients, message = cones.ask([case])[0]
    assert cones.judge(case, (status, x, gradients, message)).outcome == judge.RIGHT
    for wrong, outcome in (
        ((status, x * 1.0001, gradients, message), judge.WRONG_POINT),
        ((status, x, [g * 1.0001 for g in gradients], message), judge.WRONG_DERIVATIVE),
        (("INFEASIBLE", x, [], message), judge.WRONG_STATUS),
    ):
        assert cones.judge(case, wrong).outcome == outcome


def test_a_derivative_that_cancels_has_the_rounding_of_its_terms_and_no_more() -> None:
    """Weights that are all alike: softmax adds up to one, and its gradient to nothing of terms of 0.6."""
    case = cones.Curved("softmax", [np.array([0.0, 1.0, 2.0, 0.5])], np.full(4, 2.5))
    status, x, gradients, message = cones.ask([case])[0]
    assert np.abs(gradients[0]).max() < 1e-15
    assert cones.judge(case, (status, x, gradients, message)).outcome == judge.RIGHT
    for off, outcome in ((1e-14, judge.RIGHT), (1e-12, judge.WRONG_DERIVATIVE)):
        wrong = (status, x, [gradients[0] + np.array([0.0, off, 0.0, 0.0])], message)
        assert cones.judge(case, wrong).outcome == outcome
    # beside a weight that differs, twice a derivative of 1e-9 is seen
    other = dataclasses.replace(case, weights=np.array([2.5, 2.5, 2.5, 2.5 * (1 + 2**-30)]))
    status, x, gradients, message = cones.ask([other])[0]
    assert cones.judge(other, (status, x, gradients, message)).outcome == judge.RIGHT
    doubled = cones.judge(other, (status, x, [2 * g for g in gradients], message))
    assert doubled.outcome == judge.WRONG_DERIVATIVE


def test_a_record_goes_on_where_it_stopped_and_keeps_the_rows_of_others(tmp_path) -> None:
    path = tmp_path / "adversary.csv"
    for name, blocks_each in (("one", 2), ("other", 1), ("one", 1)):
        record = Record(path, name, 7)
        assert record.blocks == {"one": 0, "other": 0}[name] or (name, record.blocks) == ("one", 2)
        for _ in range(blocks_each):
            record.add(campaign.Report(5, Counter({("box", judge.RIGHT): 4, ("box", judge.WRONG_POINT): 1})))
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert [row for row in rows if row[0] == "one"] == [
        ["one", "7", "3", "15", "box", judge.RIGHT, "12"],
        ["one", "7", "3", "15", "box", judge.WRONG_POINT, "3"],
    ]
    assert sum(row[0] == "other" for row in rows) == 2


class Instant:
    """A worker that is done at once, and last with what it began first."""

    def __init__(self, seed: int) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        theirs.send(None)
        self.number, self.looks = 0, 0

    def ask(self, number: int) -> None:
        self.number, self.looks = number, 0

    def hear(self) -> campaign.Report | None:
        self.looks += 1
        return campaign.Report(self.number) if self.looks > 3 - self.number % 3 else None

    def stop(self) -> None:
        self.pipe.close()


def test_reports_come_in_the_order_of_their_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "Worker", Instant)
    found = [report.programs for report in workers.reports(0, 4, 9, time.monotonic() + 60, 3)]
    assert found == list(range(4, 13))
    assert list(workers.reports(0, 4, 0, time.monotonic() - 1, 2)) == []


def test_a_block_of_the_campaign_counts_what_it_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "shrunk", lambda finding: finding)
    cases = some(5)
    monkeypatch.setattr(campaign.blocks, "block", lambda *_: cases)
    report = campaign.Campaign(2).run(5)
    assert report.programs == 48
    assert sum(report.answers.values()) >= report.programs + 16
    assert all(text.startswith('"""') for text in report.scripts.values())
