"""What a layer costs, beside what was published: OptNet (arXiv 1703.00443), section 4.1, and cvxpylayers (arXiv
1910.12430), section 7; and how it grows with the program.

Question: which of the published ratios still hold? OptNet: a quadratic program takes thousands of times as long as a
linear layer, a batch of 128 is solved 25 times as fast as by a solver one after the other, and the backward pass
costs a thirtieth of the forward pass. cvxpylayers: parameters become the data of a cone program 9 and 13 times as fast
as by a compilation, and sparse programs are solved and differentiated about five times as fast as by qpth.

Parts: `linear`, programs of OptNet's script beside a linear layer, by size; `batch`, the same programs in one call, one
after the other, and by a bare solver in a loop; `canonical`, the two programs of cvxpylayers' table 1; `dense` and
`sparse`, the programs of its figure 3 as its script draws them; `slack`, the sparse one with slack, since as published
it has no derivative; `scaling`, three families of sparse programs that grow, with the slope of log time against log
size.

Answers count first: z and all gradients are within 1e-5 of Clarabel's solution and a factorisation of its active rows
on the first few programs of a batch, or a method is refused, with the reason in the table of refusals. Then all
methods of a part are timed in turn in one process on one thread, in seconds of the processor. Times are medians with
quartiles in the table of timings, and differ from run to run; the table of metrics holds the differences.

    python -m experiments.run experiment=layer_timing size=companion    # a minute
"""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.common.cells import run_cells
from experiments.common.config import LayerConfig, RunConfig
from experiments.common.errors import require, require_one_of
from experiments.common.recorder import Recorder
from experiments.common.results import Tables
from experiments.common.timing import packages, programs
from experiments.common.timing.canonical import Problem, disagreement, stochastic_control, ways
from experiments.common.timing.packages import Package
from experiments.common.timing.programs import FAMILIES, Programs
from experiments.common.timing.stopwatch import Timed, climb, exact, measure, passes, slope
from experiments.programs.poisoned_fit import make_fit

FINAL = ("difference",)
DECADES = ("difference",)
UNITS = ("1", "1")
QUARTILES = {"lower quartile": 0.25, "median": 0.5, "upper quartile": 0.75}
PHASES = ("forward", "backward")


@dataclass
class Size:
    """A batch of programs of one size."""

    n: int = 128  #: variables, and as many inequalities [variables]
    batch: int = 128  #: solved at once [programs]
    seeds: int = 5  #: the first so many of those of the run [1]

    def check(self, name: str) -> None:
        """Raise a `ConfigError` unless there is such a batch."""
        require(self.n > 1, f"{name}.n", self.n, "at least 2 variables")
        require(self.batch > 0, f"{name}.batch", self.batch, "a positive number of programs")
        require(self.seeds > 0, f"{name}.seeds", self.seeds, "a positive number of seeds")


@dataclass
class Growth:
    """Families of programs that grow."""

    #: numbers of variables, rising [variables]
    sizes: list[int] = field(default_factory=lambda: [10, 100, 1000, 10_000, 100_000])
    seeds: int = 5  #: the first so many of those of the run [1]

    def check(self) -> None:
        """Raise a `ConfigError` unless a slope can be told."""
        _require_rising("scaling.sizes", self.sizes)
        require(self.seeds > 0, "scaling.seeds", self.seeds, "a positive number of seeds")


def _require_rising(name: str, counts: list[int]) -> None:
    valid = len(counts) > 1 and all(1 < a < b for a, b in itertools.pairwise([*counts, 10**7]))
    require(valid, name, counts, "two or more rising numbers of variables from 2 up")


@dataclass
class Config(RunConfig):
    """Settings; the defaults are the published sizes."""

    layer: LayerConfig = field(default_factory=lambda: LayerConfig(tol=1e-8))
    parts: list[str] = field(default_factory=lambda: list(PARTS))  #: some of those above
    #: numbers of variables of the part `linear`, whose batch is that of `batch` [variables]
    linear: list[int] = field(default_factory=lambda: [10, 50, 100, 500])
    batch: Size = field(default_factory=lambda: Size(n=100))
    dense: Size = field(default_factory=Size)
    sparse: Size = field(default_factory=lambda: Size(n=1024, batch=32))
    slack: Size = field(default_factory=lambda: Size(n=1024, batch=1))
    density: float = 0.01  #: of the matrices of `sparse` and `slack`, beside the diagonal, a share [1]
    scaling: Growth = field(default_factory=Growth)
    checked: int = 3  #: held to the reference, of every batch [programs]
    repetitions: int = 10  #: most of a measurement, whose median counts [times]
    seconds: float = 1.0  #: after which a method is not called again [s]

    def check(self) -> None:
        """Raise a `ConfigError` for the first setting that cannot be used."""
        super().check()
        for part in self.parts:
            require_one_of("parts", part, tuple(PARTS))
        for name in ("batch", "dense", "sparse", "slack"):
            getattr(self, name).check(name)
        self.scaling.check()
        _require_rising("linear", self.linear)
        require(0 < self.density <= 1, "density", self.density, "a share of entries")
        for name in ("checked", "repetitions"):
            require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        require(self.seconds > 0, "seconds", self.seconds, "a positive number of seconds")


def side_by_side(
    config: Config,
    what: str,
    batch: Programs,
    methods: Iterable[Package],
    rng: np.random.Generator,
    record: Recorder,
) -> dict[tuple[str, str], float]:
    """Check the answer of every method, refuse or time it, and return the medians by method and phase."""
    w = torch.from_numpy(rng.standard_normal(batch.q.shape))
    right, given = exact(batch, w, config.checked), dict[str, Timed]()
    for method in methods:
        call, off, reason = climb(method, batch, w, right)
        if off == off:  # it answered
            record.metric("difference", what, 0, off, "1", method.name)
        if call is None:
            record.refusal(what, 0, reason, method.name)
        else:
            given[method.name] = passes(call, batch, w)
    seconds = measure(given, config.repetitions, config.seconds)
    return _record_times(what, seconds, record)


def _record_times(
    what: str, seconds: dict[tuple[str, str], np.ndarray], record: Recorder
) -> dict[tuple[str, str], float]:
    for (method, phase), values in seconds.items():
        for name, level in QUARTILES.items():
            record.timing(f"{what} {phase} {name}", float(np.quantile(values, level)), method=method)
    return {key: float(np.median(values)) for key, values in seconds.items()}


def _linear(config: Config, rng: np.random.Generator, record: Recorder) -> None:
    """Layers of programs, nothing shared, and linear layers of as many inputs and outputs."""
    for n in config.linear:
        batch = programs.dense(config.batch.batch, n, rng)
        side_by_side(config, f"linear {n}", batch, [packages.layer(config.layer)], rng, record)
        linear = nn.Linear(n, n, dtype=torch.float64)
        ones = torch.ones(batch.q.shape, dtype=torch.float64)
        timed = passes(lambda leaves, linear=linear: linear(leaves["q"]), batch, ones)
        timed()
        _record_times(
            f"linear {n}", measure({"linear_layer": timed}, config.repetitions, config.seconds), record
        )


def _batch(config: Config, rng: np.random.Generator, record: Recorder) -> None:
    """One call, one program after the other, and a bare solver in a loop."""
    size = config.batch
    for count in sorted({1, size.batch}):
        ways = [
            packages.layer(config.layer),
            packages.layer(config.layer, one_by_one=True),
            packages.clarabel(),
        ]
        side_by_side(config, f"batch {count}", programs.dense(count, size.n, rng), ways, rng, record)


def _dense(config: Config, rng: np.random.Generator, record: Recorder) -> None:
    batch = programs.dense(config.dense.batch, config.dense.n, rng)
    side_by_side(config, "dense", batch, packages.installed(config.layer, batch), rng, record)


def _sparse(config: Config, rng: np.random.Generator, record: Recorder, name: str, slack: float) -> None:
    """As published, without slack, or with."""
    size: Size = getattr(config, name)
    batch = programs.published_sparse(size.batch, size.n, config.density, rng, slack)
    side_by_side(config, name, batch, packages.installed(config.layer, batch), rng, record)


def _scaling(config: Config, rng: np.random.Generator, record: Recorder) -> None:
    """Each family at each size, one program; slopes over all sizes that a method has."""
    for family, make in FAMILIES.items():
        found: dict[tuple[str, str], dict[int, float]] = {}
        for n in config.scaling.sizes:
            one = make(n, rng)
            methods = [packages.layer(config.layer), packages.clarabel()]
            medians = side_by_side(config, f"{family} {n}", one, methods, rng, record)
            for key, value in medians.items():
                found.setdefault(key, {})[one.sizes[1]] = value
        for (method, phase), times in found.items():
            if phase in PHASES and len(times) > 1:
                record.timing(f"{family} {phase} slope", slope(times), "1", method)


def logistic_regression(rng: np.random.Generator) -> Problem:
    """The fit of section 6.1 of cvxpylayers to 30 points of two features, which are its parameters."""
    labels = torch.from_numpy(rng.integers(0, 2, 30).astype(float))
    made: list[Any] = []

    def keep(*parts: Any) -> Any:
        made.extend(parts)

    make_fit(labels, 2, keep)
    return *made, [rng.standard_normal((30, 2))]  # pyright: ignore[reportReturnType]


def _canonical(config: Config, rng: np.random.Generator, record: Recorder) -> None:
    """CVXPY compiles anew, CVXPY's map, our map."""
    for name, make in {
        "logistic regression": logistic_regression,
        "stochastic control": stochastic_control,
    }.items():
        made = make(rng)
        record.metric("difference", f"canonical {name}", 0, disagreement(made), "1")
        given = {method: partial(_seconds, name, call) for method, call in ways(made).items()}
        for timed in given.values():
            timed()
        _record_times("canonical", measure(given, config.repetitions, config.seconds), record)


def _seconds(phase: str, call: Callable[[], object]) -> dict[str, float]:
    begin = time.process_time()
    call()
    return {phase: time.process_time() - begin}


Part = Callable[[Config, np.random.Generator, Recorder], None]
#: by name what a part does, and the setting whose number of seeds it takes
PARTS: dict[str, tuple[Part, str]] = {
    "linear": (_linear, "batch"),
    "batch": (_batch, "batch"),
    "canonical": (_canonical, ""),
    "dense": (_dense, "dense"),
    "sparse": (partial(_sparse, name="sparse", slack=0.0), "sparse"),
    "slack": (partial(_sparse, name="slack", slack=1.0), "slack"),
    "scaling": (_scaling, "scaling"),
}


def run_cell(config: Config, part: str, seed: int) -> Tables:
    """The tables of one part with the programs of one seed."""
    record = Recorder("layer_timing", "layer", seed, UNITS, examples=False)
    torch.manual_seed(seed)
    PARTS[part][0](config, np.random.default_rng([seed, *part.encode()]), record)
    return record.tables


def run(config: Config, directory: Path) -> Tables:
    """The tables of the whole experiment; the parts are timed one after the other."""
    cells = [(part, seed) for part in config.parts for seed in config.seeds[: _seeds(config, part)]]
    return run_cells(run_cell, config, cells, directory)


def _seeds(config: Config, part: str) -> int | None:
    where = PARTS[part][1]
    return getattr(config, where).seeds if where else None
