"""Ladders and clocks: the best accurate setting is timed, failures are lines, slow engines are not waited for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import torch

from benchmarks import timing
from benchmarks.measure import QUICK, Contender, Limits, Setting, climb, measure
from benchmarks.tables import Line
from benchmarks.timing import Prepare, Sample, Trial, interleaved, run_once

LINE = Line("group", "row", "", False, "", 1, 1, 0, 0, "")


@dataclass
class Fake:
    """An engine that answers x + error, taking `work` products of matrices, and counts its calls."""

    calls: list[str] = field(default_factory=list)

    def contender(self, ladders: Sequence[Sequence[Setting]], name: str = "fake") -> Contender:
        def build(setting: Setting) -> Prepare:
            if "raises" in setting:
                raise RuntimeError("no such setting")

            def prepare(draw: int) -> Trial:
                x = torch.ones(1, dtype=torch.float64, requires_grad=True)

                def forward() -> list[torch.Tensor]:
                    self.calls.append(f"{name} {setting} {draw}")
                    for _ in range(int(str(setting.get("work", 0)))):
                        torch.mm(torch.ones(300, 300), torch.ones(300, 300))
                    return [x + float(str(setting.get("error", 0.0)))]

                return Trial(forward, [x], [torch.ones(1, dtype=torch.float64)])

            return prepare

        return Contender(name, False, ladders, build)


def _check(_: int, sample: Sample) -> tuple[float, float]:
    return float((sample.outputs[0] - 1).abs().max()), float((sample.gradients[0] - 1).abs().max())


def test_a_ladder_is_climbed_to_its_first_accurate_rung():
    fake = Fake()
    tried = climb(fake.contender([[{"error": 1e-3}, {"error": 1e-9}, {"error": 0.0}]]), _check, QUICK)
    assert [rung.setting["error"] for rung in tried] == [1e-3, 1e-9]
    assert [rung.accurate for rung in tried] == [False, True]


def test_of_several_ladders_the_fastest_accurate_rung_is_timed():
    fake = Fake()
    ladders = [[{"work": 60, "error": 0.0}], [{"work": 0, "error": 1e-12}], [{"work": 0, "error": 1.0}]]
    lines = measure([fake.contender(ladders)], _check, QUICK, LINE)
    assert {line.setting for line in lines} == {'{"work": 0, "error": 1e-12}'}
    assert [line.phase for line in lines] == ["forward", "backward", "both", "alone"]
    assert all(line.accurate for line in lines)


def test_an_engine_that_misses_is_timed_and_does_not_count():
    lines = measure([Fake().contender([[{"error": 1e-7}]])], _check, QUICK, LINE)
    assert all(not line.accurate and line.median_ms > 0 for line in lines)
    assert lines[0].residual == pytest.approx(1e-7)


def test_a_failure_is_a_line_with_its_reason():
    (line,) = measure([Fake().contender([[{"raises": True}]])], _check, QUICK, LINE)
    assert line.note == "RuntimeError: no such setting"
    assert line.repeats == 0
    assert not line.accurate


def test_a_slow_engine_is_reported_by_its_single_call():
    impatient = Limits(rounds=9, seconds=1.0, patience=0.0, memory=False)
    lines = measure([Fake().contender([[{"error": 0.0}]])], _check, impatient, LINE)
    assert {line.repeats for line in lines} == {1}


def test_every_setting_gets_its_own_line_where_that_is_asked_for():
    ladders = [[{"error": 1e-3}, {"error": 0.0}]]
    lines = measure([Fake().contender(ladders)], _check, QUICK, LINE, every_setting=True)
    assert len({line.setting for line in lines}) == 2


def test_engines_take_turns_and_batches_alternate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(timing, "SETTLING", 0.0)
    fake = Fake()
    subjects = {name: fake.contender([[{}]], name).build({}) for name in ("first", "second")}
    samples = interleaved(subjects, rounds=8, seconds=60.0)
    assert [len(found) for found in samples.values()] == [8, 8]
    rounds = [fake.calls[i : i + 4] for i in range(0, 32, 4)]
    for k, calls in enumerate(rounds):
        both = {name: [f"{name} {{}} {d}" for d in (1 - k % 2, k % 2)] for name in subjects}
        assert calls in (both["first"] + both["second"], both["second"] + both["first"])
    assert {calls[0].split()[0] for calls in rounds} == {"first", "second"}


@pytest.mark.parametrize(("settling", "calls"), [(0.0, range(2, 3)), (0.05, range(10, 10**6))])
def test_a_short_call_is_repeated_until_what_was_before_has_settled(
    monkeypatch: pytest.MonkeyPatch, settling: float, calls: range
):
    monkeypatch.setattr(timing, "SETTLING", settling)
    fake = Fake()
    samples = interleaved({"only": fake.contender([[{}]]).build({})}, rounds=1, seconds=60.0)
    assert len(samples["only"]) == 1
    assert len(fake.calls) in calls


def test_both_is_forward_and_backward():
    sample = run_once(Fake().contender([[{}]]).build({})(0))
    assert sample.both == sample.forward + sample.backward > 0


def test_an_engine_without_hope_is_not_run():
    fake = Fake()
    small = fake.contender([[{}]], "few").build({})
    contender = fake.contender([[{"error": 0.0}]], "all")
    hopeless = Contender(contender.name, False, contender.ladders, contender.build, lambda _: (small, 1e9))
    (line,) = measure([hopeless], _check, QUICK, LINE)
    assert "would take" in line.note
    assert all(call.startswith("few") for call in fake.calls)


def test_a_setting_that_misses_slowly_does_not_keep_the_next_one_from_its_turn():
    impatient = Limits(rounds=3, seconds=0.1, patience=0.0, climbing=60.0, memory=False)
    tried = climb(Fake().contender([[{"work": 5, "error": 1e-3}, {"error": 0.0}]]), _check, impatient)
    assert [rung.accurate for rung in tried] == [False, True]
