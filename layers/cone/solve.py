"""Solving cone programs: an engine proposes, Newton's method refines, the program itself judges.

Interior-point engines stop at residuals of about 1e-8, where the solution itself may be off by 1e-5. A few Newton
steps on the residual map R(x, v) of :mod:`layers.cone.linearised.system` (Busseti, Moursi & Boyd 2019, with the
variable τ fixed to one) bring both to rounding. What comes out is compared with the program that the caller passed:
an engine that drops a constraint, or returns anything else than a solution, is caught here. What one engine fails on
goes to the next.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from layers.cone import certificates, kkt
from layers.cone.engines import Claim, Data, Engine, Limits
from layers.cone.linearised.sparse import linear
from layers.cone.newton import Iterate, refine
from layers.cone.polish import polish, polish_certificates
from layers.cone.rows import value_order, without_single_rows
from layers.cone.scaling import ScaledProgram
from layers.cone_program import ConeProgram
from layers.linalg.batched import Batched
from layers.solution import LOOSE, Residuals, Status

#: an engine whose answer did not do gets a second chance at this multiple of its tolerance, and at least at that
TIGHTER, SMALLEST = 1e-3, 1e-13

#: residual of a polished point whose active set is another one
MISSED = 1e-6
#: residual of a polished point that needs no Newton's method, and of one that needs no second attempt
POLISHED = 1e-11


@dataclass(frozen=True)
class ConePoint(Batched):
    """What solving gives, flat over the batch, before any derivative is attached.

    Attributes
    ----------
    x, y : Tensor, shapes ``(B, n)`` and ``(B, m)``
        The solution; for ``INFEASIBLE`` y is the certificate, bᵀy = −1, for ``UNBOUNDED`` x is the ray, qᵀx = −1.
    s : Tensor, shape ``(B, m)``
        In K, complementary to y.
    status : Tensor of int64, shape ``(B,)``
    residuals : Residuals
    iterations : Tensor of int64, shape ``(B,)``
    contradicted : Tensor of bool, shape ``(B,)``
        The engine claimed a solution or a certificate, and the program says otherwise.
    engine : Tensor of int64, shape ``(B,)``
        Index of the engine that spoke last.
    """

    x: Tensor
    y: Tensor
    s: Tensor
    status: Tensor
    residuals: Residuals
    iterations: Tensor
    contradicted: Tensor
    engine: Tensor


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
    if guess is None:
        return _cold(program, norms, engines, limits, tol)
    scaled = ScaledProgram.of(program, norms)
    x, y, s = (t.nan_to_num(nan=0.0) for t in guess)
    point = _back(program, norms, scaled, _from_guess(scaled.program, tol, scaled.point(x, y, s)), tol)
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
    claim = _ask(program, engines[0], limits)
    x, y, s, status, iterations = (
        torch.from_numpy(v).to(program.q.device)
        for v in (claim.x, claim.y, claim.s, claim.status, claim.iterations)
    )
    error = kkt.residuals(program, x, y, s, norms)
    missed = ~error.within(tol)
    contradicted = (status == Status.OPTIMAL) & missed
    status = torch.where(contradicted, int(Status.NUMERICAL_FAILURE), status)
    point = ConePoint(x, y, s, status, error, iterations, contradicted, torch.zeros_like(status))
    left = _open(status).nonzero().squeeze(-1)
    if not left.numel() or len(engines) == 1:
        return point
    others = _scaled(program.take(left), norms.take(left), engines[1:], limits, tol)
    return point.put(left, replace(others, engine=others.engine + 1))


def _scaled(
    program: ConeProgram, norms: kkt.Norms, engines: list[Engine], limits: Limits, tol: float
) -> ConePoint:
    """By engines that see the scaled program, and Newton's method.

    One engine after the other works on what is left, each at first as asked, then at a tighter tolerance of its own;
    and the first once more in units of the best point that there is.
    """
    # engines scale rows as well: it did not help on sparse linear programs, and lost digits on badly scaled ones
    scaled = ScaledProgram.plain(program) if linear(program) else ScaledProgram.of(program, norms)
    # a tighter answer tells the active set of linear rows more often than Newton's method mends what its polish missed
    point = _attempt(program, norms, scaled, engines[0], limits, tol, mend=not linear(program))
    tighter = replace(limits, tol=max(TIGHTER * limits.tol, SMALLEST))
    if tol <= LOOSE and not program.structure.cones.linear:
        point = _sharpened(program, norms, scaled, engines[0], replace(limits, tol=SMALLEST), point)
    attempts = [(place, asked, False) for place in range(len(engines)) for asked in (limits, tighter)]
    for place, asked, own_units in [*attempts[1:], (0, limits, True)]:
        index = _open(point.status).nonzero().squeeze(-1)
        if not index.numel():
            break
        few = program.take(index)
        units = _in_units_of(few, point.take(index)) if own_units else scaled.take(index)
        again = _attempt(few, norms.take(index), units, engines[place], asked, tol)
        # where nothing is settled, the better point stays
        nearer = again.residuals.largest < point.take(index).residuals.largest
        chosen = (~_open(again.status) | nearer).nonzero().squeeze(-1)
        point = point.put(
            index[chosen], replace(again, engine=torch.full_like(again.engine, place)).take(chosen)
        )
    # what no attempt has brought to rounding may do as it is
    settled = _open(point.status) & point.residuals.within(tol)
    status = torch.where(settled, int(Status.OPTIMAL), point.status)
    return replace(point, status=status, contradicted=point.contradicted & ~settled)


def _sharpened(
    program: ConeProgram,
    norms: kkt.Norms,
    scaled: ScaledProgram,
    engine: Engine,
    limits: Limits,
    point: ConePoint,
) -> ConePoint:
    """Once more at the tightest tolerance where Newton's method did not come to rounding; the nearer point stays.

    A ball of radius 1e-8 beside a centre of two is its centre to a tolerance of 1e-8, and has no derivative there.
    """
    blunt = (point.status == Status.OPTIMAL) & (point.residuals.largest > POLISHED)
    index = blunt.nonzero().squeeze(-1)
    if not index.numel():
        return point
    few = program.take(index)
    again = _attempt(few, norms.take(index), scaled.take(index), engine, limits, POLISHED)
    nearer = (again.status == Status.OPTIMAL) & (again.residuals.largest < point.residuals.largest[index])
    chosen = nearer.nonzero().squeeze(-1)
    return point.put(index[chosen], again.take(chosen))


def _in_units_of(program: ConeProgram, point: ConePoint) -> ScaledProgram:
    """The program in units in which variables and rows are about one where an engine gave up."""
    return ScaledProgram.reached(program, point.x, point.y, point.s)


def _attempt(
    program: ConeProgram,
    norms: kkt.Norms,
    scaled: ScaledProgram,
    engine: Engine,
    limits: Limits,
    tol: float,
    *,
    mend: bool = True,
) -> ConePoint:
    """One engine at one tolerance, judged in the caller's units; not to ``mend`` leaves what a polish has missed."""
    claim = _ask(scaled.program, engine, limits)
    point = _back(program, norms, scaled, _judged(scaled.program, claim, tol, mend), tol)
    # Newton's method was judged in scaled units: where it did not do in the caller's, the engine's own point may.
    claimed = torch.from_numpy(claim.status).to(program.q.device)
    certifies = (claimed == Status.INFEASIBLE) | (claimed == Status.UNBOUNDED)
    poor = (_open(point.status) & ~certifies).nonzero().squeeze(-1)
    if not poor.numel():
        return point
    x, y, s = scaled.take(poor).back(*(v[poor] for v in _tensors(claim, program.q.device)))
    error = kkt.residuals(program.take(poor), x, y, s, norms.take(poor))
    mine = point.take(poor)
    better = (error.largest < mine.residuals.largest).nonzero().squeeze(-1)
    return point.put(poor[better], replace(mine, x=x, y=y, s=s, residuals=error).take(better))


def _back(
    program: ConeProgram, norms: kkt.Norms, scaled: ScaledProgram, point: ConePoint, tol: float
) -> ConePoint:
    """A point of the scaled program in the caller's units, measured there once more."""
    x, y, s = scaled.back(point.x, point.y, point.s)
    scale = kkt.scales(program, x, y, norms)
    error = kkt.residuals_in_cones(program, x, y, s, scale, rowwise=True)
    error = Residuals(error.values.maximum(point.residuals.values))
    missed = (point.status == Status.OPTIMAL) & ~error.within(tol)
    status = torch.where(missed, int(Status.NUMERICAL_FAILURE), point.status)
    return replace(_certified(program, replace(point, x=x, y=y)), s=s, status=status, residuals=error)


def _certified(program: ConeProgram, point: ConePoint) -> ConePoint:
    """Certificates in the caller's units, with bᵀy = −1 and qᵀx = −1."""
    proves = (point.status == Status.INFEASIBLE).unsqueeze(-1)
    falls = (point.status == Status.UNBOUNDED).unsqueeze(-1)
    y = point.y
    y = torch.where(proves, y / -torch.where(proves, (program.b * y).sum(-1, keepdim=True), -1.0), y)
    x = point.x / -torch.where(falls, (program.q * point.x).sum(-1, keepdim=True), -1.0)
    return replace(point, x=x, y=y)


def _open(status: Tensor) -> Tensor:
    """Elements that another attempt may settle."""
    return (status == Status.ITERATION_LIMIT) | (status == Status.NUMERICAL_FAILURE)


def _from_guess(program: ConeProgram, tol: float, guess: tuple[Tensor, Tensor, Tensor]) -> ConePoint:
    """Newton's method from an earlier solution."""
    x, y, s = guess
    everything = torch.ones(program.batch, dtype=torch.bool, device=x.device)
    warm, error = _refined(program, x, y, s, everything)
    none = torch.zeros_like(everything, dtype=torch.int64)
    status = torch.where(error.within(tol), int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
    return ConePoint(warm.x, warm.y, warm.s, status, error, none, ~everything, none)


def _ask(program: ConeProgram, engine: Engine, limits: Limits) -> Claim:
    """Arrays out, claim in, in our order of rows."""
    if not program.batch:
        x, y, none = (
            np.zeros((0, program.structure.n)),
            np.zeros((0, program.structure.m)),
            np.zeros(0, dtype=np.int64),
        )
        return Claim(x, y, y, none, none)
    structure, order = without_single_rows(program.structure)
    P, q, A, b = (v.cpu().numpy() for v in program.data)
    if P.size:
        P = 0.5 * (P + P[..., structure.P_mirror])
    moved = structure is not program.structure
    if moved:
        A, b = A[..., value_order(program.structure)], b[:, order]
    claim = engine.solve(Data(structure, P, np.ascontiguousarray(q), A, np.ascontiguousarray(b)), limits)
    if not moved:
        return claim
    back = np.argsort(order)
    return replace(claim, y=claim.y[:, back], s=claim.s[:, back])


def _refined(
    program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, wanted: Tensor, most: float = torch.inf
) -> tuple[Iterate, Residuals]:
    """By the active set where all rows are linear and sparse; else Newton's method with parts of v of one size.

    What a polish has left beyond ``most`` stays as it is.
    """
    if linear(program) and wanted.all():
        norms = kkt.Norms.of(program)
        (near_x, near_y, near_s), error = polish(program, x, y, s, norms)
        if ((error.largest <= POLISHED) | (error.largest > most)).all():
            return Iterate(near_x, near_s - near_y, near_y, near_s), error
    point, error = _by_newton(program, ScaledProgram.balanced(program, y, s), (x, y, s), wanted)
    index = (wanted & (error.largest > POLISHED)).nonzero().squeeze(-1)
    if not index.numel():
        return point, error
    few, start = program.take(index), (x[index], y[index], s[index])
    other, its_error = _by_newton(few, ScaledProgram.reached(few, *start), start, wanted[index])
    better = (its_error.largest < error.take(index).largest).nonzero().squeeze(-1)
    return point.put(index[better], other.take(better)), error.put(index[better], its_error.take(better))


def _by_newton(
    program: ConeProgram, scaled: ScaledProgram, start: tuple[Tensor, Tensor, Tensor], wanted: Tensor
) -> tuple[Iterate, Residuals]:
    """Newton's method in other units, and the residuals in these."""
    x, y, s = scaled.point(*start)
    point, error = refine(scaled.program, Iterate(x, s - y, y, s), kkt.Norms.of(scaled.program), wanted)
    x, y, s = scaled.back(point.x, point.y, point.s)
    return Iterate(x, s - y, y, s), error


def _tensors(claim: Claim, device: torch.device) -> tuple[Tensor, ...]:
    """x, y and s of a claim, zero where they are not numbers."""
    return tuple(
        torch.from_numpy(v).to(device).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        for v in (claim.x, claim.y, claim.s)
    )


def _judged(program: ConeProgram, claim: Claim, tol: float, mend: bool) -> ConePoint:
    """Refine what an engine says of a scaled program, and judge it there."""
    device = program.q.device
    x, y, s = _tensors(claim, device)
    claimed = torch.from_numpy(claim.status).to(device)
    certifies = (claimed == Status.INFEASIBLE) | (claimed == Status.UNBOUNDED)
    refined, error = _refined(program, x, y, s, ~certifies, torch.inf if mend else max(tol, MISSED))
    status = torch.where(error.within(tol), int(Status.OPTIMAL), claimed)
    contradicted = (claimed == Status.OPTIMAL) & ~error.within(tol)
    x, y = refined.x, refined.y
    if certifies.any():
        near_x, near_y = polish_certificates(program, x, y, certifies) if linear(program) else (x, y)
        ray, ray_error = certificates.unboundedness(program, near_x)
        proof, proof_error = certificates.infeasibility(program, near_y)
        falls, proves = (status == s for s in (Status.UNBOUNDED, Status.INFEASIBLE))
        x = torch.where((falls & (ray_error <= certificates.TOLERANCE)).unsqueeze(-1), ray, x)
        y = torch.where((proves & (proof_error <= certificates.TOLERANCE)).unsqueeze(-1), proof, y)
        contradicted = contradicted | (falls & ~(ray_error <= certificates.TOLERANCE))
        contradicted = contradicted | (proves & ~(proof_error <= certificates.TOLERANCE))
    status = torch.where(contradicted, int(Status.NUMERICAL_FAILURE), status)
    iterations = torch.from_numpy(claim.iterations).to(device)
    return ConePoint(x, y, refined.s, status, error, iterations, contradicted, torch.zeros_like(status))
