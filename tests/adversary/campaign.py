"""One block asked at every door, judged, and what is found made small."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.adversary import blocks, cones
from tests.adversary.blocks import Case
from tests.adversary.doors import Door, ask
from tests.adversary.judge import Verdict, judge, judge_sum
from tests.adversary.peers import judge_with_peers
from tests.adversary.script import curved_script, script
from tests.adversary.shrink import Finding, shrunk

#: a call of the layer that takes longer, in seconds of the processor, hangs
SECONDS = 60
#: programs of a block that are asked in small batches
FEW = 48
HANG = "hang"
#: findings of one kind that are made small, in one process
EACH = 1


@dataclass
class Report:
    """What a block came to.

    Attributes
    ----------
    programs : int
    answers : Counter
        Of (family, outcome); a program is asked at several doors.
    scripts : dict
        Name to text of a script, for findings of a new kind.
    """

    programs: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: int = 0
    scripts: dict[str, str] = field(default_factory=dict)

    def add(self, other: Report) -> None:
        """Count what another came to; its scripts stay its own."""
        self.programs += other.programs
        self.answers.update(other.answers)
        self.found += other.found


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """TimeoutError after so many seconds of this process, whatever others do; what waits for ever the parent finds."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def doors(number: int) -> list[tuple[Door, int]]:
    """The doors of a block, and how many of its programs are asked there; 0 for all."""
    size = (1, 3, 4)[number % 3]
    chosen = [
        (Door("solve_qp", "auto"), 0),
        (Door("solve_qp", "auto", size), FEW),
        (Door("QPLayer", "auto", size), FEW),
    ]
    if number % 4 == 0:
        chosen.append((Door("solve_qp", "interior_point"), 0))
    elif number % 4 == 1:
        chosen.append((Door("solve_qp", "interior_point", size), FEW // 4))
    elif number % 4 == 2:
        chosen.append((Door("ConvexLayer", "auto", size), FEW))
    return chosen


class Campaign:
    """Blocks one after the other, with a memory of the kinds of finding that have a script already."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._seen: Counter[tuple[str, ...]] = Counter()

    def run(self, number: int, note: Callable[[str], None] = lambda _: None) -> Report:
        """One block; ``note`` hears what is being asked, for the case that it never ends."""
        report = Report()
        cases = blocks.block(self.seed, number)
        report.programs += len(cases)
        for door, count in doors(number):
            note(str(door))
            self._ask(report, number, cases[: count or None], door)
        if number % 4 == 3:
            note("shared arguments")
            self._ask_shared(report, number)
            note("curved cones")
            self._ask_curved(report, number)
        return report

    def _ask(self, report: Report, number: int, cases: list[Case], door: Door) -> None:
        try:
            with limited(SECONDS):
                answers = ask(cases, door)
        except TimeoutError:
            self._note_hang(report, number, str(door))
            return
        for place, (case, answer) in enumerate(zip(cases, answers, strict=True)):
            verdict = (judge if door.size or door.name != "solve_qp" else judge_with_peers)(case, answer)
            self._count(report, case.program.family, verdict)
            start = place - place % door.size if door.size else 0
            batch = tuple(cases[start : start + (door.size or len(cases))])
            if verdict.found and self._is_new(case, verdict):
                origin = f"seed {self.seed}, block {number}, element {place}, {door}"
                self._write(report, Finding(batch, place - start, door, verdict, answer, origin))

    def _ask_shared(self, report: Report, number: int) -> None:
        cases = blocks.shared_block(self.seed, number)
        report.programs += len(cases)
        door = Door("solve_qp", "auto", shared=True)
        self._ask(report, number, cases, door)
        verdict = judge_sum(cases, ask(cases, door))
        self._count(report, cases[0].program.family, verdict)
        if verdict.found and self._is_new(cases[0], verdict):
            origin = f"seed {self.seed}, block {number}, {door}"
            name = f"shared_{len(self._seen)}"
            report.scripts[name] = f'"""{verdict.outcome}: {verdict.detail}. Again by {origin}."""\n'

    def _ask_curved(self, report: Report, number: int) -> None:
        curved = cones.block(self.seed, number)
        report.programs += len(curved)
        try:
            with limited(SECONDS):
                answers = cones.ask(curved)
        except TimeoutError:
            self._note_hang(report, number, f"ConvexLayer of {curved[0].family}")
            return
        for place, (case, answer) in enumerate(zip(curved, answers, strict=True)):
            verdict = cones.judge(case, answer)
            self._count(report, case.family, verdict)
            key = (verdict.outcome, case.family, verdict.where)
            if verdict.found and self._seen[key] < EACH:
                self._seen[key] += 1
                origin = f"seed {self.seed}, block {number}"
                alone = cones.judge(case, cones.ask([case])[0]).outcome == verdict.outcome
                batch, at = ([case], 0) if alone else (curved, place)
                name = _name(verdict, case.family, len(self._seen))
                report.scripts[name] = curved_script(batch, at, verdict, origin)

    def _count(self, report: Report, family: str, verdict: Verdict) -> None:
        report.answers[family, verdict.outcome] += 1
        report.found += verdict.found

    def _note_hang(self, report: Report, number: int, where: str) -> None:
        report.answers[where, HANG] += 1
        report.found += 1
        report.scripts[f"hang_{self.seed}_{number}"] = (
            f'"""{where} did not answer in {SECONDS} s: seed {self.seed}, block {number}."""\n'
        )

    def _is_new(self, case: Case, verdict: Verdict) -> bool:
        family = case.program.family.removesuffix(", other units")
        key = (verdict.outcome, family, case.truth.kind)
        self._seen[key] += 1
        return self._seen[key] <= EACH

    def _write(self, report: Report, finding: Finding) -> None:
        small = shrunk(finding)
        name = _name(finding.verdict, finding.case.program.family, sum(self._seen.values()))
        report.scripts[name] = script(small)


def _name(verdict: Verdict, family: str, number: int) -> str:
    words = f"{verdict.outcome} {family}".replace(",", "").split()
    return "_".join(words) + f"_{number}"
