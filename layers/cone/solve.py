"""Solving cone programs: an engine proposes, Newton's method refines, the program itself judges.

What comes out is compared with the program that the caller passed:
an engine that drops a constraint, or returns anything else than a solution, is caught here. What one engine fails on
goes to the next.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.attempt import ConePoint, ask, attempt, back, claims, from_guess, is_open
from layers.cone.engines import Engine, Limits
from layers.cone.linearised.sparse import linear
from layers.cone.refinement import POLISHED
from layers.cone.scaling import ScaledProgram
from layers.cone_program import ConeProgram
from layers.solution import LOOSE, Status

#: an engine whose answer did not do gets a second chance at this multiple of its tolerance, and at least at that
TIGHTER, SMALLEST = 1e-3, 1e-13
#: attempts at what is blunt, in units of the last point
OWN_UNITS = 2
#: a point that violates a row by more of what it is made of can be refuted by a certificate
VIOLATED = 1e-5


def solve(
    program: ConeProgram,
    engines: list[Engine],
    limits: Limits,
    tol: float,
    guess: tuple[Tensor, Tensor, Tensor] | None = None,
) -> ConePoint:
    """Solve a flat, detached batch by the first engine; what fails, by the next.

    ``OPTIMAL`` means that the relative residuals (:func:`layers.cone.kkt.residuals`) are at most ``tol``. With an
    earlier (x, y, s) only the elements that Newton's method does not solve from there are handed to an engine.
    """
    norms = kkt.Norms.of(program)
    cones = program.structure.cones
    if guess is None and linear(program) and cones.zero and not cones.nonneg:
        # equations alone are solved by the factorisation that ends with any guess
        n, m = program.structure.n, program.structure.m
        x, y = (program.q.new_zeros(program.batch, size) for size in (n, m))
        guess = x, y, y
    if guess is None:
        return _cold(program, norms, engines, limits, tol)
    scaled = ScaledProgram.of(program, norms)
    x, y, s = (t.nan_to_num(nan=0.0) for t in guess)
    point = back(program, norms, scaled, from_guess(scaled.program, tol, scaled.point(x, y, s)), tol)
    left = (point.status != Status.OPTIMAL).nonzero().squeeze(-1)
    if not left.numel():
        return point
    return point.put(left, _cold(program.take(left), norms.take(left), engines, limits, tol))


def _cold(
    program: ConeProgram, norms: kkt.Norms, engines: list[Engine], limits: Limits, tol: float
) -> ConePoint:
    """Without an earlier solution. An engine of one word scales and refines by itself, and is only judged here."""
    if not engines[0].one_word:
        return _scaled(program, norms, engines, limits, tol)
    claim = ask(program, engines[0], limits)
    x, y, s, status, iterations = (
        torch.from_numpy(v).to(program.q.device)
        for v in (claim.x, claim.y, claim.s, claim.status, claim.iterations)
    )
    error = kkt.residuals(program, x, y, s, norms)
    missed = ~error.within(tol)
    contradicted = (status == Status.OPTIMAL) & missed
    status = torch.where(contradicted, int(Status.NUMERICAL_FAILURE), status)
    blunt = (
        torch.zeros_like(missed) if claim.blunt is None else torch.from_numpy(claim.blunt).to(missed.device)
    )
    point = ConePoint(x, y, s, status, error, iterations, contradicted, torch.zeros_like(status), blunt)
    left = is_open(status).nonzero().squeeze(-1)
    if len(engines) > 1 and left.numel():
        others = _scaled(program.take(left), norms.take(left), engines[1:], limits, tol)
        point = point.put(left, replace(others, engine=others.engine + 1))
    return _sharpened(program, norms, engines[-1], limits, tol, point)


def _scaled(
    program: ConeProgram, norms: kkt.Norms, engines: list[Engine], limits: Limits, tol: float
) -> ConePoint:
    """By engines that see the scaled program, and Newton's method.

    One engine after the other works on what is left: as asked, then at a tighter tolerance, in turn in units of the
    best point that there is and in those of before.
    """
    # engines scale rows as well: it did not help on sparse linear programs, and lost digits on badly scaled ones
    sparse = linear(program)
    scaled = ScaledProgram.plain(program) if sparse else ScaledProgram.of(program, norms)
    # a tighter answer tells the active set of linear rows more often than Newton's method mends what its polish missed,
    # and other units change nothing of it
    point = attempt(program, norms, scaled, engines[0], limits, tol, mend=not sparse)
    tighter = replace(limits, tol=max(TIGHTER * limits.tol, SMALLEST))
    asked = ((limits, False), (tighter, not sparse), (tighter, sparse), (tighter, True))
    attempts = [(place, *how) for place in range(len(engines)) for how in asked]
    for place, asked, own_units in attempts[1:]:
        index = is_open(point.status).nonzero().squeeze(-1)
        if not index.numel():
            break
        few, before = program.take(index), point.take(index)
        units = ScaledProgram.near(few, before.x, before.y, before.s) if own_units else scaled.take(index)
        again = attempt(few, norms.take(index), units, engines[place], asked, tol)
        # where nothing is settled, the better point stays
        nearer = again.residuals.largest < before.residuals.largest
        chosen = (~is_open(again.status) | nearer).nonzero().squeeze(-1)
        point = point.put(
            index[chosen], replace(again, engine=torch.full_like(again.engine, place)).take(chosen)
        )
    # what no attempt has brought to rounding may do as it is
    settled = is_open(point.status) & point.residuals.within(tol)
    status = torch.where(settled, int(Status.OPTIMAL), point.status)
    point = replace(point, status=status, contradicted=point.contradicted & ~settled)
    return _sharpened(program, norms, engines[0], limits, tol, point)


def _sharpened(
    program: ConeProgram, norms: kkt.Norms, engine: Engine, limits: Limits, tol: float, point: ConePoint
) -> ConePoint:
    """Once more in units of their own what is OPTIMAL and not known to rounding in what its cones are made of.

    A ball of radius 1e-8 beside a centre of two is its centre to a tolerance of 1e-8, and has no derivative there.
    """
    if tol > LOOSE or program.structure.cones.linear or engine.one_word:
        return point
    sharp = replace(limits, tol=SMALLEST)
    index = ((point.status == Status.OPTIMAL) & point.blunt).nonzero().squeeze(-1)
    for _ in range(OWN_UNITS):
        if not index.numel():
            break
        few, before = program.take(index), point.take(index)
        units = ScaledProgram.near(few, before.x, before.y, before.s)
        again = attempt(few, norms.take(index), units, engine, sharp, tol)
        optimal = again.status == Status.OPTIMAL
        better = (again.residuals.largest <= POLISHED) | (again.residuals.largest < before.residuals.largest)
        better = optimal & better | claims(again.status) & _off(units, before)
        chosen = better.nonzero().squeeze(-1)
        point = point.put(index[chosen], again.take(chosen))
        index = index[
            better & optimal & again.blunt
        ]  # in the units of the same point the same would come again
    return point


def _off(units: ScaledProgram, point: ConePoint) -> Tensor:
    """Whether a point violates its rows where they are measured by what they are made of: a proof may say otherwise."""
    x, y, s = units.point(point.x, point.y, point.s)
    return kkt.residuals(units.program, x, y, s).primal > VIOLATED
