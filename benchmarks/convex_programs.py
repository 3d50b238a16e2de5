"""The rows of the benchmark that are convex programs: from a row and its engines to lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks.convex import ConvexRow, Program, matrix_parameter
from benchmarks.convex_engines import ConvexEngine
from benchmarks.convex_reference import errors, make_reference
from benchmarks.measure import Contender, Limits, Setting, measure
from benchmarks.tables import Line, quartiles
from benchmarks.timing import Prepare, Trial, seconds_of

GROUP = "convex"


def run_convex_row(row: ConvexRow, engines: Sequence[ConvexEngine], limits: Limits) -> list[Line]:
    """Lines of forward, backward and both, and of canonicalisation alone."""
    program = row.make()
    draws = [program.tensors(row.batch, draw) for draw in (0, 1)]
    references = [make_reference(program, tensors, draw) for draw, tensors in enumerate(draws)]
    line = _line(row.name, row.batch, program)

    def contender(engine: ConvexEngine) -> Contender:
        def build(setting: Setting) -> Prepare:
            # cvxpylayers 1.2.0 on MOREAU answers wrongly for a problem that it has compiled once before.
            layer = engine.make(row.make(), setting)

            def prepare(draw: int) -> Trial:
                leaves = [t.clone().requires_grad_() for t in draws[draw]]
                return Trial(lambda: layer(*leaves), leaves, references[draw].cotangents)

            return prepare

        return Contender(engine.name, engine.ours, engine.ladders, build, cores=torch.get_num_threads())

    lines = measure(
        [contender(engine) for engine in engines],
        lambda draw, sample: errors(sample, references[draw]),
        limits,
        line,
    )

    def canonicalisation(engine: ConvexEngine) -> Callable[[], object]:
        function = engine.canonicaliser(row.make())
        return lambda: function(*draws[0])

    return lines + [_alone(engine, canonicalisation, "canonicalisation", line, limits) for engine in engines]


def construction(engines: Sequence[ConvexEngine], limits: Limits) -> list[Line]:
    """How long it takes to make the layer of a program with a parameter of 100 x 100."""
    line = _line("construction", 1, matrix_parameter())

    # A problem remembers what it was compiled to: each construction gets a problem of its own.
    def make(engine: ConvexEngine) -> Callable[[], object]:
        return lambda: engine.make(matrix_parameter(), {})

    return [_alone(engine, make, "construction", line, limits) for engine in engines]


def _line(name: str, batch: int, program: Program) -> Line:
    size = sum(variable.size for variable in program.variables)
    return Line(GROUP, name, "", False, "{}", batch, size, 0, 0, "")


def _alone(
    engine: ConvexEngine,
    make: Callable[[ConvexEngine], Callable[[], object]],
    phase: str,
    line: Line,
    limits: Limits,
) -> Line:
    """A line for something without a backward pass: there is no answer to check, so it counts."""
    mine = replace(line, engine=engine.name, ours=engine.ours, phase=phase)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = seconds_of(make(engine), limits.rounds, limits.seconds)
    except Exception as error:  # noqa: BLE001 - packages raise what they like; that they fail is a result
        return replace(mine, note=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    return replace(mine, accurate=True, **quartiles(found))
