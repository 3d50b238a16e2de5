"""Newton's method on the optimality conditions of a cone program, from an engine's answer or an earlier solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.linearised.system import factorise
from layers.cone.products import A_of
from layers.cone.projections import Decomposition, decompose
from layers.cone_program import ConeProgram
from layers.linalg.batched import Batched, put, take
from layers.solution import Residuals

#: Newton's method stops at this residual, or after so many factorisations of so many steps each
TARGET, FACTORISATIONS, CHORDS = 1e-14, 30, 4
#: parts of a step that are tried
FRACTIONS = (1.0, 0.25, 0.0625)
#: s and y of a weakly active row are below this multiple of the largest: what is tried in turn, at first no row
WEAK = (0.0, 1e-2, 1e-4, 1e-3)
#: a step that leaves more than this of the residual may not have solved its system
SLOW = 0.5
#: a factorisation that takes off less than this part of the residual is the last but one
GAIN = 0.1


@dataclass(frozen=True)
class Iterate(Batched):
    """x and v = s − y, with y and s."""

    x: Tensor
    v: Tensor
    y: Tensor
    s: Tensor


def refine(
    program: ConeProgram, start: Iterate, norms: kkt.Norms, wanted: Tensor
) -> tuple[Iterate, Residuals]:
    """Newton's method on R(x, v) while residuals fall; the start stays where it is better.

    One factorisation serves several steps while each takes off nine tenths of the residual: from an engine's answer two
    or three are enough.

    Parameters
    ----------
    wanted : Tensor of bool, shape ``(B,)``
        The elements to work on.
    """
    at = decompose(program.structure.cones, start.v, start.s)
    scale = kkt.scales(program, start.x, at.y, norms)
    point = Iterate(start.x, start.v, at.y, at.s)
    error = kkt.residuals_in_cones(program, point.x, at.y, at.s, scale)
    fresh = wanted  # what is large elsewhere may hide a residual at first
    stuck = torch.zeros_like(fresh, dtype=torch.int64)
    for _ in range(FACTORISATIONS):
        index = fresh.nonzero().squeeze(-1)
        if not index.numel():
            break
        whole = index.numel() == fresh.numel()
        given = (program, point, at, error, scale, stuck)
        part = given if whole else take(given, index)
        new = _chords(*part)
        old_error, careful = part[3], part[5]
        gained = new[2].largest < (1 - GAIN) * old_error.largest
        more = (gained | (careful < len(WEAK))) & (new[2].largest > TARGET)
        fresh, stuck = put((fresh, stuck), index, (more, torch.where(gained, 0, careful + 1)))
        point, at, error = new if whole else put((point, at, error), index, new)
    return _or_start(program, start, norms, point, error, wanted)


def _chords(
    program: ConeProgram,
    point: Iterate,
    at: Decomposition,
    error: Residuals,
    scale: kkt.Scales,
    careful: Tensor,
) -> tuple[Iterate, Decomposition, Residuals]:
    """Newton steps with one factorisation, each kept where it lowers the residual.

    Where the last factorisation led nowhere, a nearly singular system is to blame, or a row that is active only weakly:
    ``careful``, the number of attempts that led nowhere, makes for short steps, and lets such rows go.
    """
    if careful.any():
        return _carefully(program, point, at, error, scale, careful)
    return _steps(program, point, at, error, scale, careful, leaps=True)


def _carefully(
    program: ConeProgram,
    point: Iterate,
    at: Decomposition,
    error: Residuals,
    scale: kkt.Scales,
    careful: Tensor,
) -> tuple[Iterate, Decomposition, Residuals]:
    """Steps from where weakly active rows have been let go; the point itself where they lead nowhere."""
    small = torch.tensor((0.0, *WEAK), dtype=error.gap.dtype, device=careful.device)[careful]
    weak = at.weak_rows(small.unsqueeze(-1))
    v = torch.where(weak, point.v.abs(), point.v)
    base_at = decompose(program.structure.cones, v, point.s)
    base = Iterate(point.x, v, base_at.y, base_at.s)
    new, new_at, new_error = _steps(program, base, base_at, error, scale, careful)
    index = (~(new_error.largest < error.largest)).nonzero().squeeze(-1)
    return new.put(index, point.take(index)), new_at.put(index, at.take(index)), new_error


def _steps(
    program: ConeProgram,
    point: Iterate,
    at: Decomposition,
    error: Residuals,
    scale: kkt.Scales,
    careful: Tensor,
    *,
    leaps: bool = False,
) -> tuple[Iterate, Decomposition, Residuals]:
    """At most ``CHORDS`` steps."""
    system, refinements = factorise(program, at), 0
    for _ in range(CHORDS):
        r1 = -kkt.stationarity(program, point.x, point.y)
        r2 = program.b - A_of(program, point.x) - point.s
        dx, dy = system.step(r1, r2, careful > 0, refinements)
        # A dx + ds = r₂ and dv = ds − dy
        dv = r2 - A_of(program, dx) - dy
        old, before = point, error.largest
        point, at, error = _advance(program, point, at, error, scale, dx, dv)
        # a step that takes off less than half was no step of Newton's
        slow = (error.largest > SLOW * before) & (error.largest > TARGET)
        if slow.any() and not refinements:
            refinements = 1
            continue
        if slow.any() and leaps:
            given = (old.x + dx, old.v + dv, scale, careful)
            point, at, error = _leapt(program, slow, given, (point, at, error))
        # one that does not take off nine tenths wants a new factorisation
        if not ((error.largest < 0.1 * before) & (error.largest > TARGET)).any():
            break
    return point, at, error


def _leapt(
    program: ConeProgram,
    slow: Tensor,
    given: tuple[Tensor, Tensor, kkt.Scales, Tensor],
    reached: tuple[Iterate, Decomposition, Residuals],
) -> tuple[Iterate, Decomposition, Residuals]:
    """Where whole steps were too much: such a step all the same, and what follows, if that is nearer.

    Across a kink of the projection the first step ends off the equations, on the right side, and the next one solves
    them: an eigenvalue of 10⁻⁴ beside 10⁴ was never found by steps that all lower the residual.
    """
    index = slow.nonzero().squeeze(-1)
    x, v, scale, careful = take(given, index)
    part, point, _, error = take((program, *reached), index)
    trial = decompose(program.structure.cones, v, point.s)
    there = Iterate(x, v, trial.y, trial.s)
    off = kkt.residuals_in_cones(part, x, trial.y, trial.s, scale)
    new = _steps(part, there, trial, off, scale, careful)
    mine = (new[2].largest < error.largest).nonzero().squeeze(-1)
    return put(reached, index[mine], take(new, mine))


def _advance(
    program: ConeProgram,
    point: Iterate,
    at: Decomposition,
    error: Residuals,
    scale: kkt.Scales,
    dx: Tensor,
    dv: Tensor,
) -> tuple[Iterate, Decomposition, Residuals]:
    """The whole step, or where that does not lower the residual, a part of it; none if no part does."""
    index = torch.arange(program.batch, device=program.q.device)
    for fraction in FRACTIONS:
        some = index.numel() < program.batch
        part = program.take(index) if some else program
        old, moved, bound = (
            (point.take(index), (dx[index], dv[index]), scale.take(index))
            if some
            else (point, (dx, dv), scale)
        )
        x, v = old.x + fraction * moved[0], old.v + fraction * moved[1]
        trial = decompose(program.structure.cones, v, old.s)
        trial_error = kkt.residuals_in_cones(part, x, trial.y, trial.s, bound)
        better = trial_error.largest < error.largest[index]
        new = Iterate(x, v, trial.y, trial.s)
        if not some and better.all():
            return new, trial, trial_error
        mine = better.nonzero().squeeze(-1)
        point, at = point.put(index[mine], new.take(mine)), at.put(index[mine], trial.take(mine))
        error = error.put(index[mine], trial_error.take(mine))
        index = index[~better & (error.largest[index] > TARGET)]
        if not index.numel():
            break
    return point, at, error


def _or_start(
    program: ConeProgram,
    start: Iterate,
    norms: kkt.Norms,
    point: Iterate,
    error: Residuals,
    wanted: Tensor,
) -> tuple[Iterate, Residuals]:
    """Where Newton's method did not get far, the engine's own y and s may do better than the parts of v."""
    poor = (wanted & (error.largest > 1e-10)).nonzero().squeeze(-1)
    if not poor.numel():
        return point, error
    own = start.take(poor)
    own_error = kkt.residuals(program.take(poor), own.x, own.y, own.s, norms.take(poor))
    better = (own_error.largest < error.take(poor).largest).nonzero().squeeze(-1)
    return point.put(poor[better], own.take(better)), error.put(poor[better], own_error.take(better))
