"""The ledger: every proof registers its checks here, and each check carries its own negative.

A *check* compares a printed formula with an independent computation and yields one error per
instance. It passes when it has at least one instance and no error exceeds its tolerance. Its
*negative* is the same comparison with a hypothesis dropped or with a wrong formula; it must fail,
which means that its largest error must exceed the same tolerance. A check without a negative, a
negative that stays within the tolerance, an error that is not a number and an exception all turn
the ledger red.

Examples
--------
A file of ``proofs/`` needs nothing but its mathematics and these decorators::

    from proofs.ledger import check, erratum, table

    @check(
        item=2,
        statement="∇_q ℓ = d_z",
        source="OptNet (Amos & Kolter 2017), eq. 8",
        strength="numeric",
        tolerance=1e-6,
        instances=20,
    )
    def gradient_in_q(instances):
        for k in range(instances):
            yield relative_error(formula(k), central_difference(k))

    @gradient_in_q.negative("the sign of d_z flipped")
    def gradient_in_q_flipped(instances):
        for k in range(instances):
            yield relative_error(-formula(k), central_difference(k))

    erratum(
        item=2,
        where="thesis of Amos (2019), ∇_G",
        printed="D(λ)(d_λ zᵀ + λ d_zᵀ)",
        correct="D(λ) d_λ zᵀ + λ d_zᵀ",
        checks=(gradient_in_q,),
    )

    @table("proofs/barrier_limit")
    def barrier_limit():
        return [{"t": 1.0, "error": 0.5}]

``python -m proofs`` finds every module of the package by itself, so no list has to be edited. Tests
call ``check.run(instances=3)`` for a fast verdict. Nothing may depend on the clock or on global seeds;
use ``proofs.common.generator(name, k)`` for random data. What is a measurement of time goes in a table
with ``timed=True``, which only ``python -m proofs --timings`` rewrites.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

Strength = Literal["symbolic", "numeric", "certified"]
Errors = Callable[[int], Iterable[float]]
Rows = list[dict[str, object]]


class LedgerError(Exception):
    """A proof was registered in a way that the ledger cannot accept."""


@dataclass(frozen=True)
class Verdict:
    """What one run of a check found.

    Attributes
    ----------
    instances : int
        Number of instances that the check yielded.
    error : float
        Largest error over the instances; NaN if the check raised or yielded a NaN.
    negative_error : float
        Largest error of the negative; NaN likewise.
    passed : bool
        The check held, and its negative failed.
    reason : str
        Why it did not pass; empty if it did.
    seconds : float
        Wall time of both; never written to the ledger.
    """

    instances: int
    error: float
    negative_error: float
    passed: bool
    reason: str
    seconds: float


@dataclass
class Check:
    """A registered comparison. Made by `check`; see the module's example."""

    item: int
    statement: str
    source: str
    strength: Strength
    tolerance: float
    instances: int
    errors: Errors
    negative_text: str = ""
    negative_errors: Errors | None = None

    @property
    def name(self) -> str:
        """``module.function`` without the package's own name: unique over the ledger."""
        return f"{self.errors.__module__.removeprefix('proofs.')}.{self.errors.__name__}"

    def negative(self, text: str) -> Callable[[Errors], Errors]:
        """Attach the negative check: `text` says what is wrong in it.

        Raises
        ------
        LedgerError
            If the check has a negative already.
        """

        def attach(errors: Errors) -> Errors:
            if self.negative_errors is not None:
                raise LedgerError(f"{self.name} has a negative check already; write a second check instead")
            self.negative_text, self.negative_errors = text, errors
            return errors

        return attach

    def run(self, instances: int | None = None) -> Verdict:
        """Run the check and its negative, on `instances` instances instead of the registered number."""
        wanted = self.instances if instances is None else instances
        start = time.perf_counter()
        count, error, problem = _largest(self.errors, wanted)
        reasons = [problem] if problem else []
        if not problem and count == 0:
            reasons.append("no instance was yielded")
        if not problem and error > self.tolerance:
            reasons.append(f"error {error:.1e} exceeds the tolerance {self.tolerance:.0e}")
        negative_error = math.nan
        if self.negative_errors is None:
            reasons.append("no negative check is attached")
        else:
            _, negative_error, problem = _largest(self.negative_errors, wanted)
            if problem:
                reasons.append(f"negative check: {problem}")
            elif negative_error <= self.tolerance:
                reasons.append("the negative check passed, and it has to fail")
        seconds = time.perf_counter() - start
        return Verdict(count, error, negative_error, not reasons, "; ".join(reasons), seconds)


@dataclass(frozen=True)
class Erratum:
    """A place where a printed form is wrong or needs a hypothesis that is not printed with it."""

    item: int
    where: str
    printed: str
    correct: str
    checks: tuple[Check, ...] = field(default=())


@dataclass(frozen=True)
class Table:
    """A tidy table that a figure draws; written to ``results/<name>.csv`` by a full run."""

    name: str
    rows: Callable[[], Rows]
    timed: bool


CHECKS: list[Check] = []
ERRATA: list[Erratum] = []
TABLES: list[Table] = []


def check(
    *, item: int, statement: str, source: str, strength: Strength, tolerance: float, instances: int = 20
) -> Callable[[Errors], Check]:
    """Register a check. The decorated function takes the number of instances and yields their errors.

    Parameters
    ----------
    item : int
        Number of the theorem's group; it orders the ledger and selects on the command line.
    statement : str
        What is claimed, in one line.
    source : str
        Where it stands in the literature, with its equation or theorem number.
    strength : {"symbolic", "numeric", "certified"}
        ``symbolic``: an identity in symbols; the error is 0, or 1 where it does not simplify to 0.
        ``numeric``: floating point, double precision or 50 digits; the error is relative unless said.
        ``certified``: ball arithmetic or exact rational arithmetic; the error is a rigorous upper bound,
        infinite if nothing was proved for the instance.
    tolerance : float
        Largest error that passes.
    instances : int
        Number of instances in the full run.

    Raises
    ------
    LedgerError
        If the strength is unknown, the tolerance negative or not finite, or there is no instance.
    """
    if strength not in get_args(Strength):
        raise LedgerError(f"strength is {strength!r}; expected one of {get_args(Strength)}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise LedgerError(f"tolerance is {tolerance}; expected a finite number of at least 0")
    if instances < 1:
        raise LedgerError(f"instances is {instances}; expected at least 1")

    def register(errors: Errors) -> Check:
        entry = Check(item, statement, source, strength, tolerance, instances, errors)
        CHECKS.append(entry)
        return entry

    return register


def erratum(*, item: int, where: str, printed: str, correct: str, checks: tuple[Check, ...]) -> None:
    """Register an erratum; `checks` are the entries of the ledger that verify it (at least one).

    Raises
    ------
    LedgerError
        If no check is named.
    """
    if not checks:
        raise LedgerError(f"the erratum on {where!r} names no check; an erratum has to be verified by one")
    ERRATA.append(Erratum(item, where, printed, correct, checks))


def table(name: str, *, timed: bool = False) -> Callable[[Callable[[], Rows]], Callable[[], Rows]]:
    """Register a table: the decorated function returns its rows, which share their keys."""

    def register(rows: Callable[[], Rows]) -> Callable[[], Rows]:
        TABLES.append(Table(name, rows, timed))
        return rows

    return register


def _largest(errors: Errors, instances: int) -> tuple[int, float, str]:
    """Number of instances, largest error, and what went wrong (an exception or a NaN), if anything."""
    values: list[float] = []
    # A proof that raises is a proof that failed: the ledger has to say so and go on to the next one.
    try:
        values.extend(float(value) for value in errors(instances))
    except Exception as exception:  # noqa: BLE001
        return len(values), math.nan, f"raised {type(exception).__name__}: {exception}"
    if any(math.isnan(value) for value in values):
        return len(values), math.nan, "an error is not a number"
    return len(values), max(values, default=0.0), ""
