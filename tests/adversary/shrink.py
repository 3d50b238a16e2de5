"""A finding made small: fewer elements, rows and variables, simpler numbers, and the same verdict all the way.

What is left after each step is solved anew by the exact solver, so its answer is proved as the first one was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from tests.adversary import exact, lemke, proof
from tests.adversary.blocks import Case
from tests.adversary.doors import Answer, Door, ask
from tests.adversary.judge import PEER, Verdict, judge
from tests.adversary.peers import judge_with_peers
from tests.adversary.program import NAMES, Program

Edit = Callable[[Program], Program | None]


@dataclass(frozen=True)
class Finding:
    """A batch, the element in it that is wrong, how it was asked, and the verdict."""

    cases: tuple[Case, ...]
    place: int
    door: Door
    verdict: Verdict
    answer: Answer
    origin: str = ""

    @property
    def case(self) -> Case:
        """The element."""
        return self.cases[self.place]


def shrunk(finding: Finding, seconds: float = 6.0) -> Finding:
    """The smallest that was found in so many seconds."""
    stop = time.monotonic() + seconds
    finding = _alone(finding)
    for edits in (_deletions, _roundings):
        progress = True
        while progress:
            progress = False
            for edit in edits(finding.case.program):
                if time.monotonic() > stop:
                    return finding
                again = _edited(finding, edit, everywhere=edits is _deletions)
                if again is not None:
                    finding, progress = again, True
    return finding


def _alone(finding: Finding) -> Finding:
    """The element by itself, or beside copies of itself, or beside as few others as need be."""
    own, others = [finding.case], [c for i, c in enumerate(finding.cases) if i != finding.place]
    for batch in (own, 2 * own, 4 * own, *([*own, c] for c in others)):
        again = _asked(finding, batch, 0)
        if again is not None:
            return again
    return finding


def _asked(finding: Finding, cases: Sequence[Case], place: int) -> Finding | None:
    door = replace(finding.door, size=0)
    answer = ask(cases, door)[place]
    verdict = (judge_with_peers if finding.verdict.outcome == PEER else judge)(cases[place], answer)
    if (verdict.outcome, verdict.where) != (finding.verdict.outcome, finding.verdict.where):
        return None
    return Finding(tuple(cases), place, door, verdict, answer, finding.origin)


def _edited(finding: Finding, edit: Edit, *, everywhere: bool) -> Finding | None:
    """The finding after an edit of its element, or of all, which must keep equal sizes; None if it is none any more."""
    cases: list[Case] = []
    for place, case in enumerate(finding.cases):
        smaller = edit(case.program) if everywhere or place == finding.place else case.program
        proved = None if smaller is None else _proved(smaller, case)
        if proved is None:
            return None
        cases.append(proved)
    return _asked(finding, cases, finding.place)


def _proved(program: Program, like: Case) -> Case | None:
    """A program with the answer of the exact solver."""
    claim = lemke.widened(program, lemke.decide(program))
    case = Case.of(program, claim)
    if case.truth.status != like.truth.status:
        return None
    if case.truth.kind == proof.REGULAR and not like.weights[1].any() and not like.weights[2].any():
        w_z, w_lam, w_nu = case.weights
        case = replace(case, weights=(w_z, 0 * w_lam, 0 * w_nu))
    return case


def _deletions(program: Program) -> list[Edit]:
    """Rows and variables left out, the last first, so that the others keep their places."""
    n, m, p = program.sizes
    edits: list[Edit] = [partial(_without_variable, j=j) for j in reversed(range(n))]
    edits += [partial(_without_row, names=("G", "h"), i=i) for i in reversed(range(m))]
    return edits + [partial(_without_row, names=("A", "b"), i=i) for i in reversed(range(p))]


def _without_variable(program: Program, j: int) -> Program | None:
    keep = np.arange(len(program.q)) != j
    if not keep.any():
        return None
    Q, q = program.Q[np.ix_(keep, keep)], program.q[keep]
    return replace(program, Q=Q, q=q, G=program.G[:, keep], A=program.A[:, keep])


def _without_row(program: Program, names: tuple[str, str], i: int) -> Program:
    left, right = (np.delete(getattr(program, name), i, 0) for name in names)
    return replace(program, **dict(zip(names, (left, right), strict=True)))


def _roundings(program: Program) -> list[Edit]:
    """Zero, one, or a power of ten in the place of a number."""
    places = [(name, at) for name in NAMES for at in np.ndindex(getattr(program, name).shape)]
    return [partial(_rounded, name=name, at=at, choice=k) for name, at in places for k in range(3)]


def _rounded(program: Program, name: str, at: tuple[int, ...], choice: int) -> Program | None:
    value = getattr(program, name).copy()
    simple = _simple_numbers(float(value[at]))
    if choice >= len(simple):
        return None
    value[at] = simple[choice]
    if name == "Q":
        value[at[::-1]] = simple[choice]
        if not exact.semidefinite(exact.matrix(value)):
            return None
    return replace(program, **{name: value})


def _simple_numbers(value: float) -> list[float]:
    """Simpler numbers in the place of one: zero, one, a power of ten."""
    if value in (0.0, 1.0, -1.0):
        return [0.0] if value else []
    sign, power = np.sign(value), np.floor(np.log10(abs(value)))
    choices = [0.0, sign, sign * 10.0**power]
    return [c for c in choices if len(repr(float(c))) < len(repr(float(value)))]
