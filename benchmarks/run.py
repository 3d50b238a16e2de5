"""The whole run: choose rows and engines, measure row after row, write the tables as they grow."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Collection, Sequence

import torch

from benchmarks import history, machine, report
from benchmarks.jobs import Job, absent, all_jobs, engine_names
from benchmarks.measure import QUICK, Limits
from benchmarks.tables import Line, Run, kept, write
from experiments.common.provenance import git_state, versions

#: marks a commit from which the code that computes differs
CHANGED = "+changes"


def run(given: argparse.Namespace) -> None:
    """Measure what the command line asks for; what that is, :mod:`benchmarks.__main__` says."""
    torch.set_num_threads(given.threads)
    limits = QUICK if given.quick else Limits()
    names = _chosen(given.engines, engine_names(), "engine")
    jobs = all_jobs(names, limits)
    if given.list:
        print(f"rows: {' '.join(job.name for job in jobs)}\nengines: {' '.join(names)}")
        return
    groups = {job.group for job in jobs}
    wanted = _chosen(given.rows, [*groups, *(job.name for job in jobs)], "row")
    facts, missing = _facts(given.threads), absent(names)
    for name, reason in missing.items():
        print(f"left out: {name}: {reason}")
    measure_all(
        [job for job in jobs if {job.name, job.group} & set(wanted)], given, limits, facts, set(missing)
    )
    print(report.write(given.output))
    whole = not (given.quick or given.rows or given.engines)
    if whole and not facts.commit.endswith(CHANGED):
        history.record(given.output)


def measure_all(
    jobs: Sequence[Job], given: argparse.Namespace, limits: Limits, facts: Run, out: Collection[str]
) -> None:
    """Run the jobs in order; an engine that has lost patience in a family stays out of the rest of it."""
    lines: list[Line] = []
    others = kept(given.output / "results.csv", facts, [job.name for job in jobs]) if given.keep else None
    peaks = 1e9 * facts.product_gflops, 1e9 * facts.copy_gbytes
    slow: dict[str, set[str]] = {}
    for job in jobs:
        start = time.perf_counter()
        try:
            # Some packages print at every call.
            with contextlib.redirect_stdout(io.StringIO()):
                found = job.work({*out, *slow.get(job.family, ())}, peaks)
        except ArithmeticError as error:
            # A row whose reference does not stand has no result; the others have.
            print(f"{job.name}: left out: {error}", flush=True)
            continue
        lines += found
        if job.family:
            limit = 1e3 * limits.patience
            slow.setdefault(job.family, set()).update(x.engine for x in found if x.median_ms > limit)
        write(given.output / "results.csv", lines, facts, others)
        print(f"{job.name}: {time.perf_counter() - start:.0f} s", flush=True)


def _chosen(words: str, valid: Sequence[str], what: str) -> list[str]:
    """The names on the command line, all if there are none."""
    asked = words.split(",") if words else list(valid)
    unknown = [word for word in asked if word not in valid]
    if unknown:
        sys.exit(f"error: no {what} {', '.join(unknown)}; there are {', '.join(sorted(valid))}")
    return asked


def _facts(threads: int) -> Run:
    state = git_state()
    peak, kernel = machine.matrix_product_peak()
    commit = f"{state['revision'] or 'unknown'}{CHANGED if state['dirty'] else ''}"
    return Run(
        commit=commit,
        threads=threads,
        machine=machine.describe(),
        accelerator=machine.accelerator(),
        product_gflops=peak / 1e9,
        kernel=kernel,
        copy_gbytes=machine.copy_peak() / 1e9,
        versions=json.dumps(versions() | machine.peer_versions()),
    )
