"""One engine asked once: its claim refined and judged, first in the units it was asked in, then in the caller's."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from layers.cone import certificates, kkt
from layers.cone.engines import Claim, Data, Engine, Limits
from layers.cone.polish import polish_certificates
from layers.cone.projections import block_max, decompose
from layers.cone.refinement import refined
from layers.cone.rows import value_order, without_single_rows
from layers.cone.scaling import ScaledProgram
from layers.cone_program import ConeProgram
from layers.linalg.batched import Batched
from layers.solution import Residuals, Status

#: what may be an engine's rounding, beside its scale
NOISE = 1e-9
#: residual of a polished point whose active set is another one
MISSED = 1e-6


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
    blunt : Tensor of bool, shape ``(B,)``
        Not known to rounding in units of its own.
    """

    x: Tensor
    y: Tensor
    s: Tensor
    status: Tensor
    residuals: Residuals
    iterations: Tensor
    contradicted: Tensor
    engine: Tensor
    blunt: Tensor


def attempt(
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
    claim = ask(scaled.program, engine, limits)
    most = torch.inf if mend else max(tol, MISSED)
    point = back(program, norms, scaled, _judged(scaled.program, claim, tol, most), tol)
    # Newton's method was judged in scaled units: where it did not do in the caller's, the engine's own point may.
    claimed = torch.from_numpy(claim.status).to(program.q.device)
    certifies = (claimed == Status.INFEASIBLE) | (claimed == Status.UNBOUNDED)
    poor = (is_open(point.status) & ~certifies).nonzero().squeeze(-1)
    if not poor.numel():
        return point
    x, y, s = scaled.take(poor).back(*(v[poor] for v in _tensors(claim, program.q.device)))
    error = kkt.residuals(program.take(poor), x, y, s, norms.take(poor))
    mine = point.take(poor)
    better = (error.largest < mine.residuals.largest).nonzero().squeeze(-1)
    return point.put(poor[better], replace(mine, x=x, y=y, s=s, residuals=error).take(better))


def from_guess(program: ConeProgram, tol: float, guess: tuple[Tensor, Tensor, Tensor]) -> ConePoint:
    """Newton's method from an earlier solution."""
    x, y, s = guess
    everything = torch.ones(program.batch, dtype=torch.bool, device=x.device)
    warm, error, blunt = refined(program, x, y, s, everything)
    none = torch.zeros_like(everything, dtype=torch.int64)
    status = torch.where(error.within(tol), int(Status.OPTIMAL), int(Status.ITERATION_LIMIT))
    return ConePoint(warm.x, warm.y, warm.s, status, error, none, ~everything, none, blunt)


def claims(status: Tensor) -> Tensor:
    """Certificates."""
    return (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)


def is_open(status: Tensor) -> Tensor:
    """Elements that another attempt may settle."""
    return (status == Status.ITERATION_LIMIT) | (status == Status.NUMERICAL_FAILURE)


def ask(program: ConeProgram, engine: Engine, limits: Limits) -> Claim:
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


def _judged(program: ConeProgram, claim: Claim, tol: float, most: float) -> ConePoint:
    """Refine what an engine says of a scaled program, a polish within ``most``, and judge it there."""
    device = program.q.device
    x, y, s = _tensors(claim, device)
    claimed = torch.from_numpy(claim.status).to(device)
    certifies = (claimed == Status.INFEASIBLE) | (claimed == Status.UNBOUNDED)
    near, error, blunt = refined(program, x, y, s, ~certifies, most)
    status = torch.where(error.within(tol), int(Status.OPTIMAL), claimed)
    contradicted = (claimed == Status.OPTIMAL) & ~error.within(tol)
    # a certificate is judged as it came: the parts of s − y mix what the engine keeps apart
    x, y = (torch.where(certifies.unsqueeze(-1), v, w) for v, w in ((x, near.x), (y, near.y)))
    if certifies.any():
        x, y, proven = _proofs(program, x, y, claimed)
        contradicted = contradicted | certifies & ~proven
    status = torch.where(contradicted, int(Status.NUMERICAL_FAILURE), status)
    iterations = torch.from_numpy(claim.iterations).to(device)
    return ConePoint(
        x, y, near.s, status, error, iterations, contradicted, torch.zeros_like(status), blunt
    )  # fmt: skip


def _proofs(program: ConeProgram, x: Tensor, y: Tensor, claimed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rays x and proofs y in the place of points, and where they are: as an engine gave them, or polished."""
    falls, proves = (claimed == kind for kind in (Status.UNBOUNDED, Status.INFEASIBLE))
    proven = torch.zeros_like(falls)
    for near_x, near_y in ((x, y), polish_certificates(program, x, y, falls | proves)):
        ray, ray_error = certificates.unboundedness(program, near_x)
        proof, proof_error = certificates.infeasibility(program, near_y)
        found = (
            falls & (ray_error <= certificates.TOLERANCE),
            proves & (proof_error <= certificates.TOLERANCE),
        )
        x, y = (
            torch.where((told & ~proven).unsqueeze(-1), new, old)
            for told, new, old in zip(found, (ray, proof), (x, y), strict=True)
        )
        proven = proven | found[0] | found[1]
    return x, y, proven


def _tensors(claim: Claim, device: torch.device) -> tuple[Tensor, ...]:
    """x, y and s of a claim, zero where they are not numbers."""
    return tuple(
        torch.from_numpy(v).to(device).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        for v in (claim.x, claim.y, claim.s)
    )


def back(
    program: ConeProgram, norms: kkt.Norms, scaled: ScaledProgram, point: ConePoint, tol: float
) -> ConePoint:
    """A point of the scaled program in the caller's units, measured there once more."""
    x, y, s = scaled.back(point.x, point.y, point.s)
    falls = (point.status == Status.UNBOUNDED).unsqueeze(-1)
    x = torch.where(falls, scaled.columns * point.x, x)  # a ray starts anywhere
    scale = kkt.scales(program, x, y, norms)
    y, s = _without_noise(program, y, s, scale)
    error = kkt.residuals_in_cones(program, x, y, s, scale, rowwise=True)
    error = Residuals(error.values.maximum(point.residuals.values))
    missed = (point.status == Status.OPTIMAL) & ~error.within(tol)
    status = torch.where(missed, int(Status.NUMERICAL_FAILURE), point.status)
    return replace(_certified(program, replace(point, x=x, y=y)), s=s, status=status, residuals=error)


def _without_noise(program: ConeProgram, y: Tensor, s: Tensor, scale: kkt.Scales) -> tuple[Tensor, Tensor]:
    """y zero where s is inside the cone, and s where y is: what an engine leaves there is no part of a solution.

    Told by s − y in the scales of rows and multipliers; in units where they are of one size, one would hide the other.
    """
    cones, y_size = program.structure.cones, scale.y.unsqueeze(-1)
    curved = torch.arange(cones.rows, device=s.device) >= cones.zero + cones.nonneg
    near = decompose(cones, s / scale.row - y / y_size, s / scale.row)
    sizes = block_max(cones, s.abs() / scale.row), block_max(cones, y.abs() / y_size)
    idle, tip = (
        curved & (size <= NOISE) & (block_max(cones, part.abs()) == 0)
        for size, part in ((sizes[1], near.y), (sizes[0], near.s))
    )
    return torch.where(idle, 0.0, y), torch.where(tip, 0.0, s)


def _certified(program: ConeProgram, point: ConePoint) -> ConePoint:
    """Certificates in the caller's units, with bᵀy = −1 and qᵀx = −1."""
    proves = (point.status == Status.INFEASIBLE).unsqueeze(-1)
    falls = (point.status == Status.UNBOUNDED).unsqueeze(-1)
    y = point.y
    y = torch.where(proves, y / -torch.where(proves, (program.b * y).sum(-1, keepdim=True), -1.0), y)
    x = point.x / -torch.where(falls, (program.q * point.x).sum(-1, keepdim=True), -1.0)
    return replace(point, x=x, y=y)
