"""One row: climb the ladders, check every answer, then time the engines side by side."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.reference import GRADIENT, RESIDUAL
from benchmarks.tables import Line, quartiles
from benchmarks.timing import Prepare, Sample, Trial, interleaved, run_alone, run_once

Setting = dict[str, object]
#: (residual, gradient error) of a sample of a draw
Check = Callable[[int, Sample], tuple[float, float]]


@dataclass(frozen=True)
class Limits:
    """How long a row may take.

    Attributes
    ----------
    rounds : int
        Largest number of timed runs of an engine.
    seconds : float
        After so many, timed, an engine sits out; it has at least three runs.
    patience : float
        An engine whose single call takes longer is reported by that call, and left out of larger rows of the family.
    hopeless : float
        An engine that would take longer, going by a few problems of the batch, is not run.
    climbing : float
        After so many, spent on calls, no further setting of an engine is tried.
    memory : bool
        Measure peak memory too.
    alone : float
        The share of `rounds` and `seconds` that the forward pass without a gradient gets on top.
    """

    rounds: int = 25
    seconds: float = 0.8
    patience: float = 2.5
    hopeless: float = 8.0
    climbing: float = 12.0
    memory: bool = True
    alone: float = 0.4


QUICK = Limits(rounds=3, seconds=0.5, patience=1.0, climbing=6.0, memory=False)


@dataclass(frozen=True)
class Contender:
    """An engine on a row: what to do for each of its settings.

    Attributes
    ----------
    name : str
    ours : bool
    ladders : sequence of sequences of dict
    build : callable
        ``setting -> prepare``.
    preview : callable, optional
        ``setting -> (prepare, factor)``: the first few problems of the batch, and how many times as many there are.
    bare, forward_only : bool
        A solver in a loop; one without a derivative.
    cores : int
        Threads that it works on.
    """

    name: str
    ours: bool
    ladders: Sequence[Sequence[Setting]]
    build: Callable[[Setting], Prepare]
    preview: Callable[[Setting], tuple[Prepare, float]] | None = None
    bare: bool = False
    forward_only: bool = False
    cores: int = 1

    @property
    def once(self) -> Callable[[Trial], Sample]:
        """How a call of it is made."""
        return run_alone if self.forward_only else run_once


@dataclass(frozen=True)
class Rung:
    """A setting that was tried, and how good and how fast the answer was."""

    setting: Setting
    prepare: Prepare | None
    residual: float = float("inf")
    gradient_error: float = float("inf")
    seconds: float = float("inf")
    first: Sample | None = None
    note: str = ""

    @property
    def accurate(self) -> bool:
        """Whether its time counts; the gradient error of a solver without a derivative is not a number."""
        return self.residual <= RESIDUAL and not self.gradient_error > GRADIENT


def measure(
    contenders: Sequence[Contender], check: Check, limits: Limits, line: Line, every_setting: bool = False
) -> list[Line]:
    """Lines of one row: forward, backward and both, and the forward pass alone, of each contender.

    Parameters
    ----------
    contenders : sequence of Contender
    check : callable
        Residual and gradient error of an answer.
    limits : Limits
    line : Line
        Group, row and sizes, copied to every line.
    every_setting : bool
        Time all rungs of the ladders, not the best of each engine alone.
    """
    rungs: list[tuple[Contender, Rung]] = []
    for contender in contenders:
        tried = climb(contender, check, limits, every_setting)
        rungs += [(contender, rung) for rung in (tried if every_setting else [best(tried)])]
    fast = {
        str(i): rung.prepare
        for i, (_, rung) in enumerate(rungs)
        if rung.prepare is not None and rung.seconds <= limits.patience
    }
    with_gradient = {i: prepare for i, prepare in fast.items() if not rungs[int(i)][0].forward_only}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = interleaved(with_gradient, limits.rounds, limits.seconds)
        rounds, seconds = math.ceil(limits.alone * limits.rounds), limits.alone * limits.seconds
        able = {} if every_setting else {i: prepare for i, prepare in fast.items() if _works_alone(prepare)}
        alone = interleaved(able, rounds, seconds, once=run_alone)
    lines: list[Line] = []
    for i, (contender, rung) in enumerate(rungs):
        labels = {name: getattr(contender, name) for name in ("ours", "bare", "cores")}
        common = replace(line, engine=contender.name, **labels, **_facts(rung))
        first = [rung.first] if rung.first is not None else []
        found = samples.get(str(i), [] if contender.forward_only else first)
        if not contender.forward_only or not first:
            lines += _phases(common, found)
        lines += _alone(common, alone.get(str(i), first if contender.forward_only else []))
    return lines


def _works_alone(prepare: Prepare) -> bool:
    """Whether an engine answers where no gradient is asked for: some give their solver the options of their adjoint."""
    try:
        run_alone(prepare(0))
    except Exception:  # noqa: BLE001 - packages raise what they like; such an engine has no line for this phase
        return False
    return True


def climb(contender: Contender, check: Check, limits: Limits, every_setting: bool = False) -> list[Rung]:
    """Try the settings in order, each ladder up to its first accurate rung, as long as the limit allows."""
    tried: list[Rung] = []
    spent = 0.0
    for ladder in contender.ladders:
        for setting in ladder:
            rung = _try(contender, setting, check, limits)
            tried.append(rung)
            spent += rung.seconds if rung.prepare is not None else 0.0
            if spent > limits.climbing:
                return tried
            if rung.accurate and not every_setting:
                break
    return tried


def best(tried: Sequence[Rung]) -> Rung:
    """The fastest accurate rung; without one, the rung that came closest."""
    accurate = [rung for rung in tried if rung.accurate]
    if accurate:
        return min(accurate, key=lambda rung: rung.seconds)
    return min(tried, key=lambda rung: max(rung.residual / RESIDUAL, rung.gradient_error / GRADIENT))


def _try(contender: Contender, setting: Setting, check: Check, limits: Limits) -> Rung:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = _expected(contender, setting)
            if expected > limits.hopeless:
                return Rung(
                    setting, None, seconds=expected, note=f"not run: it would take {expected:.0f} s a call"
                )
            prepare, once = contender.build(setting), contender.once
            sample = once(prepare(0))
            residual, gradient = check(0, sample)
            # An answer that missed once needs no second look; the first call is a warm-up for the second.
            if residual <= RESIDUAL and not gradient > GRADIENT:
                sample = once(prepare(1))
                residual, gradient = (
                    max(x) for x in zip((residual, gradient), check(1, sample), strict=True)
                )
    except Exception as error:  # noqa: BLE001 - packages raise what they like; that they fail is a result
        words = " ".join(str(error).split())
        return Rung(setting, None, note=f"{type(error).__name__}: {words[:120]}")
    first = replace(sample, outputs=(), gradients=())
    return Rung(setting, prepare, residual, gradient, sample.both, first)


def _expected(contender: Contender, setting: Setting) -> float:
    """Seconds that a call would take, going by a few problems."""
    if contender.preview is None:
        return 0.0
    prepare, factor = contender.preview(setting)
    contender.once(prepare(0))
    return factor * contender.once(prepare(1)).both


def _facts(rung: Rung) -> dict[str, object]:
    return {
        "setting": json.dumps(rung.setting, default=str),
        "accurate": rung.accurate,
        "residual": rung.residual,
        "gradient_error": rung.gradient_error,
        "note": rung.note,
    }


def _phases(line: Line, samples: Sequence[Sample]) -> list[Line]:
    if not samples:
        return [replace(line, phase="both")]
    seconds: Mapping[str, list[float]] = {
        "forward": [s.forward for s in samples],
        "backward": [s.backward for s in samples],
        "both": [s.both for s in samples],
    }
    return [_timed(replace(line, phase=phase), values) for phase, values in seconds.items()]


def _alone(line: Line, samples: Sequence[Sample]) -> list[Line]:
    # Without a gradient the solution decides alone.
    alone = replace(line, phase="alone", accurate=line.residual <= RESIDUAL)
    return [_timed(alone, [s.forward for s in samples])] if samples else []


def _timed(line: Line, seconds: Sequence[float]) -> Line:
    found = quartiles(seconds)
    return replace(line, **found, core_us=1e3 * line.cores * found["median_ms"] / line.batch)
