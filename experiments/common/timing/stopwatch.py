"""Answers first, then times: methods in turn in one process, so that a slow minute of the machine is everybody's.

Times are those of the processor: what another process takes of a core is nobody's, and who works on several cores pays
for each.
"""

import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from experiments.common.timing.packages import Call, Package
from experiments.common.timing.programs import Programs
from experiments.common.timing.reference import call as reference
from layers import LayerError

#: how far z and the gradients may be from the reference, relative to the largest entry: where the derivative of an
#: interior point ends that was asked for its last digits
ACCURATE = 1e-5
#: a smaller difference is rounding, which a package with threads of its own leaves as it comes
ROUNDING = 1e-14
#: what is timed; returns seconds by phase
Timed = Callable[[], dict[str, float]]
Answer = dict[str, Tensor]


def passes(call: Call, programs: Programs, w: Tensor) -> Timed:
    """Seconds of the forward pass, of the backward pass from the cotangent `w` of z, and of both."""

    def timed() -> dict[str, float]:
        leaves = programs.leaves()
        begin = time.process_time()
        z = call(leaves)
        middle = time.process_time()
        torch.autograd.grad(z, list(leaves.values()), w, allow_unused=True)
        end = time.process_time()
        return {"forward": middle - begin, "backward": end - middle, "both": end - begin}

    return timed


def answer(call: Call, programs: Programs, w: Tensor) -> Answer:
    """z and the gradient of each argument that is learned, that of Q made symmetric."""
    leaves = programs.leaves()
    z = call(leaves)
    if not programs.smooth:
        return {"z": z.detach()}
    gradients = torch.autograd.grad(z, list(leaves.values()), w, allow_unused=True, materialize_grads=True)
    found = {"z": z.detach()} | dict(zip(leaves, gradients, strict=True))
    return found | ({"Q": 0.5 * (found["Q"] + found["Q"].mT)} if "Q" in found else {})


def exact(programs: Programs, w: Tensor, few: int) -> Answer:
    """The answer of the first `few` programs by Clarabel and a factorisation of the active rows."""
    some = programs.first(few)
    # Where the solution has no derivative it is the one feasible point, which Clarabel comes to.
    return answer(lambda leaves: reference(some, leaves, 1e-12, exact=some.smooth), some, w[:few])


def difference(found: Answer, right: Answer) -> float:
    """How far z is from that of `right`, and the gradients together from theirs, relative to the largest entry.

    At least ROUNDING. Together, because a gradient may vanish: where rows alone hold the solution, that of the
    objective does.
    """
    pairs = {name: (found[name][: len(value)], value) for name, value in right.items()}
    parts = [[pairs.pop("z")], list(pairs.values())]
    return max(
        ROUNDING,
        *(
            float(max((a - b).abs().max() for a, b in part) / max(b.abs().max() for _, b in part))
            for part in parts
            if part
        ),
    )


def climb(package: Package, programs: Programs, w: Tensor, right: Answer) -> tuple[Call | None, float, str]:
    """The fastest call of those with accurate answers, how far it may be off, and why there is none.

    Each ladder is climbed up to its first accurate setting. How far: the largest difference of those settings, since
    which of them is the fastest is the machine's to say, from run to run. A package that fails, or that no setting
    brings near enough, has its smallest difference and a reason.
    """
    accurate: list[tuple[float, Call, float]] = []
    least, reason = float("nan"), ""
    for ladder in package.ladders:
        for setting in ladder:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    call = package.make(programs, setting)
                    begin = time.process_time()
                    off = difference(answer(call, programs, w), right)
            except (LayerError, ArithmeticError, RuntimeError, ValueError) as error:
                reason = reason or f"{type(error).__name__}: {str(error).splitlines()[0]}"
                continue
            least = off if not off >= least else least
            if off <= ACCURATE:
                accurate.append((time.process_time() - begin, call, off))
                break
    if accurate:
        _, call, _ = min(accurate, key=lambda each: each[0])
        return call, max(off for *_, off in accurate), ""
    return None, least, f"off by {least:.1e} at its best setting" if least == least else reason


def measure(
    given: Mapping[str, Timed], repetitions: int, seconds: float
) -> dict[tuple[str, str], np.ndarray]:
    """Seconds by method and phase; the methods take turns, and one that has used up `seconds` sits out.

    Everyone has one turn at least. What is given has been called before, so that no first call counts.
    """
    taken: dict[tuple[str, str], list[float]] = {}
    spent = dict.fromkeys(given, 0.0)
    for turn in range(repetitions):
        for method, timed in given.items():
            if turn and spent[method] > seconds:
                continue
            found = timed()
            spent[method] += max(found.values())
            for phase, value in found.items():
                taken.setdefault((method, phase), []).append(value)
    return {key: np.array(values) for key, values in taken.items()}


def slope(times: Mapping[int, float]) -> float:
    """Least-squares slope of log time against log number: 1 for time in proportion."""
    return float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])
