"""How wrong is each adjoint, and where: relative errors against the exact derivative of `exact.py`."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch

from experiments.common.differentiation import exact, instances
from experiments.common.differentiation.instances import NAMES, Array, Instance, Size
from experiments.common.differentiation.methods import Method, gradients, reason
from experiments.common.errors import require
from experiments.common.recorder import Recorder
from layers import LayerError

#: what of the derivative is unique where an active row stands twice: that of the costs
UNIQUE = ("Q", "q")
#: errors between which the order of convergence is read off
ROUNDING, START = 1e-12, 0.3
#: two gradients this near to each other, relative to their length, are one
SAME = 1e-9
FAMILIES = ("regular", "ill conditioned", "margin 1e-6", "weakly active", "repeated row", "linear program")


@dataclass
class Accuracy:
    """Sweeps, as powers of ten; `n` variables where the size is not what is swept."""

    n: int = 10  #: where the size is not swept [variables]
    #: distances from a kink, swept, negative [powers of ten]
    margins: list[int] = field(default_factory=lambda: list(range(13)))
    #: condition numbers, swept [powers of ten]
    conditions: list[int] = field(default_factory=lambda: [0, 2, 4, 6, 8, 10])
    #: accuracies of the solution, swept, negative [powers of ten]
    tolerances: list[int] = field(default_factory=lambda: [2, 3, 4, 6, 8, 10, 12])
    #: sizes, swept [variables]
    sizes: list[int] = field(default_factory=lambda: [2, 5, 10, 20, 50, 100, 200, 500])

    def check(self) -> None:
        """Raise a `ConfigError` unless such programs can be made."""
        require(self.n >= 5, "accuracy.n", self.n, "at least 5 variables")
        for name, most in (("margins", 12), ("conditions", 10), ("tolerances", 12)):
            given = getattr(self, name)
            valid = len(given) > 0 and all(0 <= value <= most for value in given)
            require(valid, f"accuracy.{name}", given, f"exponents from 0 to {most}")
        require(min(self.sizes, default=0) >= 2, "accuracy.sizes", self.sizes, "sizes of at least 2")


@dataclass(frozen=True)
class Case:
    """An instance at its place in a sweep and its exact derivative; at a kink also that without the row in question."""

    split: str
    step: int
    instance: Instance
    wanted: dict[str, Array]
    without: dict[str, Array] | None = None


def run_accuracy(
    settings: Accuracy,
    method: Method,
    seed: int,
    record: Recorder,
    largest: int | None = None,
    beside: Method | None = None,
) -> None:
    """Record the errors of one method on the instances of one seed, with at most `largest` variables.

    Where there is a method `beside` it, in what share of the sizes both have the same derivative is recorded too. Of an
    iteration it is recorded how many steps it takes to each accuracy, and to the last one reached.
    """
    both: list[tuple[float, float]] = []
    same: list[bool] = []
    steps = 0
    for case, tried in _tried(settings, method, seed):
        split, step, instance = case.split, case.step, case.instance
        if largest is not None and len(instance.q) > largest:
            continue
        names = UNIQUE if split == "repeated row" else NAMES
        try:
            found, iterate_error = gradients(tried, instance)
        except LayerError as error:
            record.metric("refused", split, step, 1.0, "1")
            record.refusal(split, step, reason(error))
            continue
        if case.without is not None:
            _record_selection(found, case.without, case.wanted, split, record)
            continue
        if beside is not None and split == "size":
            same.append(relative_error(found, gradients(beside, instance)[0], names) <= SAME)
        error = relative_error(found, case.wanted, names)
        record.metric("gradient_error", split, step, error, "1")
        if split in FAMILIES:
            record.metric("final_gradient_error", split, 0, error, "1")
        if split == "tolerance":
            record.metric("iterate_error", split, step, iterate_error, "1")
            both.append((iterate_error, error))
            if tried.iterates:
                steps = tried.iterations(*(torch.from_numpy(value) for value in instance.data.values()))
                record.metric("iterations", split, step, steps, "1")
    if steps:
        record.metric("final_iterations", "tolerance", 0, steps, "1")
    _record_order(both, record)
    if same:
        record.metric("final_same", "size", 0, sum(same) / len(same), "1")


def _record_order(both: list[tuple[float, float]], record: Recorder) -> None:
    """The slope of log error of the derivative against log error of the iterate, between start and rounding."""
    pairs = [pair for pair in both if all(ROUNDING < value < START for value in pair)]
    if len({iterate for iterate, _ in pairs}) > 1:
        iterate, gradient = np.log(np.array(pairs)).T
        record.metric("final_order", "tolerance", 0, float(np.polyfit(iterate, gradient, 1)[0]), "1")


def relative_error(found: dict[str, Array], wanted: dict[str, Array], names: tuple[str, ...]) -> float:
    """Euclidean distance of all gradients of `names` together, over the length of what is wanted."""
    both = [np.concatenate([part[name].ravel() for name in names]) for part in (found, wanted)]
    return float(np.linalg.norm(both[0] - both[1]) / np.linalg.norm(both[1]))


def selection(
    found: dict[str, Array], without: dict[str, Array], with_row: dict[str, Array]
) -> tuple[float, float]:
    """Where a gradient at a kink lies: 0 at the limit from the side where the row does not hold, 1 at the other.

    The second number is the distance from the segment between both limits, over its length: zero inside of Clarke's
    derivative, whatever is selected there.
    """
    g, inactive, active = (
        np.concatenate([p[name].ravel() for name in NAMES]) for p in (found, without, with_row)
    )
    edge = active - inactive
    place = float((g - inactive) @ edge / (edge @ edge))
    nearest = inactive + min(max(place, 0.0), 1.0) * edge
    return place, float(np.linalg.norm(g - nearest) / np.linalg.norm(edge))


def _record_selection(
    found: dict[str, Array],
    without: dict[str, Array],
    with_row: dict[str, Array],
    split: str,
    record: Recorder,
) -> None:
    place, distance = selection(found, without, with_row)
    record.metric("selection", split, 0, place, "1")
    record.metric("final_selection", split, 0, place, "1")
    record.metric("final_distance_to_limits", split, 0, distance, "1")


def _tried(settings: Accuracy, method: Method, seed: int) -> Iterator[tuple[Case, Method]]:
    """Every measurement: a case, and the method with the accuracy or the setting that is tried on it."""
    found = cases(json.dumps(asdict(settings)), seed)
    yield from ((case, method) for case in found)
    usual = found[0]
    for exponent in settings.tolerances:
        yield replace(usual, split="tolerance", step=exponent), method.at(10.0**-exponent)
    others = {key: variant for key, variant in method.variants().items() if key[0] != "tol"}
    for (setting, value), variant in others.items():
        yield replace(usual, split=setting, step=step_of(setting, value)), variant


@lru_cache(maxsize=1)
def cases(settings: str, seed: int) -> tuple[Case, ...]:
    """The instances of one seed, which all methods share, checked; `settings` are those of `Accuracy` as JSON."""
    chosen = Accuracy(**json.loads(settings))
    return tuple(_case(*each) for each in _instances(chosen, seed))


def _case(split: str, step: int, instance: Instance) -> Case:
    exact.check(instance)
    limit = (
        exact.gradients(instance, instance.active & (instance.lam > 0)) if split == "weakly active" else None
    )
    return Case(split, step, instance, exact.gradients(instance), limit)


def _instances(settings: Accuracy, seed: int) -> Iterator[tuple[str, int, Instance]]:
    rng, size = np.random.default_rng(seed), Size.of(settings.n)
    families = (
        instances.regular(rng, size),
        instances.ill_conditioned(rng, 1e6),
        instances.regular(rng, size, 1e-6),
        instances.regular(rng, size, 0.0),
        instances.repeated_row(rng, size),
        instances.linear_program(rng, settings.n),
    )
    for name, instance in zip(FAMILIES, families, strict=True):
        yield name, 0, instance
    for exponent in settings.margins:
        # The same random numbers for every margin: only the margin changes along the line.
        again = np.random.default_rng([seed, 1])
        yield "margin", exponent, instances.regular(again, size, 10.0**-exponent)
    for exponent in settings.conditions:
        again = np.random.default_rng([seed, 2])
        yield "condition", exponent, instances.ill_conditioned(again, 10.0**exponent)
    for n in settings.sizes:
        yield "size", n, instances.regular(rng, Size.of(n))


def step_of(setting: str, value: float) -> int:
    """How a value of a setting is written as a step: itself if it counts, else minus its power of ten."""
    return int(value) if setting == "k" else -round(math.log10(value))
