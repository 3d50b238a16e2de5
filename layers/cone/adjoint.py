"""Derivative of a cone program with quadratic objective: a function of the program and (y, s), not of the solver.

A change of the data moves the solution by the answer of the linearised conditions of
:mod:`layers.cone.linearised.system`,

    (dx, dy) = 𝒮 (r₁, r₂),   r₁ = −(dP x + dq + dAᵀy),   r₂ = −(dA x − db),   ds = db − dA x − A dx,

the derivative of Agrawal et al. (2019, arXiv 1904.09043) with a quadratic term, at τ = 1. 𝒮 is symmetric. So the
reverse derivative is, with d = −𝒮 (x̄ − Aᵀs̄, ȳ),

    P̄ = ½(d_x xᵀ + x d_xᵀ)    q̄ = d_x    Ā = y d_xᵀ + d_y xᵀ − s̄ xᵀ    b̄ = −d_y + s̄.

Assumptions: Π_K is differentiable at s − y and the conditions determine (x, y). Elsewhere an element of the
generalised Jacobian of Π_K stands in, and the shortest least-squares answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from layers.cone.kkt import largest
from layers.cone.linearised.linear import solve_linear
from layers.cone.linearised.sparse import linear
from layers.cone.linearised.system import chunks, factorise, threads_for
from layers.cone.products import A_of, A_places, AT_of, P_of, on_A, on_P
from layers.cone.projections import Decomposition, block_max, decompose
from layers.cone.scaling import ScaledProgram
from layers.cone_program import ConeProgram, ConeStructure
from layers.errors import DifferentiationError
from layers.linalg.batched import put, take
from layers.linalg.products import max_abs, one_where_zero
from layers.native import cone as native_cones
from layers.policy import require_accurate

#: steps of iterative refinement, at first and where they did not do
REFINEMENTS, MORE_REFINEMENTS = 1, 10
#: bound on the backward error of the linear solve, and the part of the largest terms that counts for every row
SOLVE_TOLERANCE, LEAST_TERMS = 1e-9, 1e-5


def solve_linearised(
    program: ConeProgram,
    y: Tensor,
    s: Tensor,
    weak: Tensor,
    solved: Tensor,
    r1: Tensor,
    r2: Tensor,
    *,
    transpose: bool,
) -> tuple[Tensor, Tensor]:
    """(dx, dy) = 𝒮 (r₁, r₂), or 𝒮ᵀ with ``transpose``, zero for elements that were not solved.

    𝒮 is symmetric but for weakly active linear rows (:mod:`layers.cone.linearised.linear`).

    Parameters
    ----------
    program : ConeProgram
        P and A are read.
    y, s : Tensor, shape ``(B, m)``
        Dual variable and slack of the solutions, exactly complementary.
    weak : Tensor of bool, shape ``(B, m)``
        Weakly active rows, or those that are lost (:mod:`layers.cone.activity`).
    solved : Tensor of bool, shape ``(B,)``
    r1, r2 : Tensor, shapes ``(B, n)`` and ``(B, m)``

    Raises
    ------
    DifferentiationError
        Naming the elements whose linear system could not be solved to a backward error of 1e-8, or is not known.
    """
    on = solved.unsqueeze(-1)
    y, s, r1, r2 = (torch.where(on, t, torch.zeros_like(t)) for t in (y, s, r1, r2))
    weak = weak & on
    if linear(program):
        dx, dy, error = solve_linear(program, y, s, weak, r1, r2, transpose=transpose)
    else:
        dx, dy, error = native_cones.solve_linearised(program, y, s, r1, r2) or _in_torch(
            program, y, s, r1, r2
        )
    flat = program.structure.cones.linear
    left = (solved & ~(error <= SOLVE_TOLERANCE) | weak.any(-1) & flat).nonzero().squeeze(-1)
    if left.numel() and not linear(program):
        part = take((program, y, s, weak, r1, r2), left)
        found = solve_linear(*part, transpose=transpose) if flat else _in_torch(*part[:3], *part[4:])
        dx, dy, error = put((dx, dy, error), left, found)
    require_accurate(error, solved, 10 * SOLVE_TOLERANCE, "P")
    if not flat and weak.any():
        _require_held(program, weak, r1, r2, everything=not transpose)
    return torch.where(on, dx, torch.zeros_like(dx)), torch.where(on, dy, torch.zeros_like(dy))


def _require_held(program: ConeProgram, lost: Tensor, r1: Tensor, r2: Tensor, *, everything: bool) -> None:
    """Refuse a derivative that hangs on variables whose equations are lost in rounding: any, or those of r₁ and r₂."""
    i, j = A_places(program.structure, r1)
    lost_columns = largest(lost[:, i].to(r1.dtype), j, program.structure.n) > 0
    asked = (lost_columns & (r1 != 0)).any(-1) | (lost & (r2 != 0)).any(-1)
    bad = lost.any(-1) if everything else asked
    if not bad.any():
        return
    listed = ", ".join(map(str, bad.nonzero().squeeze(-1)[:5].tolist()))
    raise DifferentiationError(
        f"the solution of {int(bad.sum())} batch element(s) ({listed}) does not determine its derivative: what holds "
        "some of its variables is lost in rounding beside the rest, so that only the objective is known there. Their "
        "best value may be at infinity, as that of exp(x), or in much smaller units: bound them, add a quadratic term, "
        "or solve parts of such different size by themselves"
    )


def _in_torch(
    program: ConeProgram, y: Tensor, s: Tensor, r1: Tensor, r2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dy and the relative residual, a slice of the batch after the other."""
    with threads_for(program):
        parts = [_solve(program.take(c), y[c], s[c], r1[c], r2[c]) for c in chunks(program)]
    if not parts:
        return r1, r2, r1.new_zeros(0)
    dx, dy, error = (torch.cat(part) for part in zip(*parts, strict=True))
    return dx, dy, error


def _solve(
    program: ConeProgram, y: Tensor, s: Tensor, r1: Tensor, r2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """dx, dy and the relative residual; the shortest answer where the system is singular or did not come out."""
    scaled = ScaledProgram.balanced(program, y, s)
    _, _, r2 = scaled.point(r1, y, r2)  # r₂ moves with s, r₁ against x, and (dx, dy) with (x, y)
    r1 = scaled.columns * r1
    _, y, s = scaled.point(r1, y, s)
    at = decompose(program.structure.cones, s - y, s)
    system = factorise(scaled.program, at)
    dx, dy = system.solve(r1, r2, REFINEMENTS)
    error = _backward_error(scaled.program, at, dx, dy, r1, r2)
    if (error > SOLVE_TOLERANCE).any():
        dx, dy = system.solve(r1, r2, MORE_REFINEMENTS)
        error = _backward_error(scaled.program, at, dx, dy, r1, r2)
    hard = (system.singular | ~(error <= SOLVE_TOLERANCE)).nonzero().squeeze(-1)
    if hard.numel():
        dx, dy, error = put((dx, dy, error), hard, system.solve_shortest(hard, r1, r2))
    return *scaled.back(dx, dy, r2)[:2], error


def _backward_error(
    program: ConeProgram, at: Decomposition, dx: Tensor, dy: Tensor, r1: Tensor, r2: Tensor
) -> Tensor:
    """Largest residual of the three conditions, each relative to the terms of its own row or block of rows.

    The third is DΠ_K dy + DΠ_K* ds = 0: dy and ds are images of one dv. Terms count for at least ``LEAST_TERMS`` of the
    largest: what should be zero is rounding.
    """
    sizes = ConeProgram(program.structure, program.P.abs(), program.q, program.A.abs(), program.b)
    ds = r2 - A_of(program, dx)
    top = r1 - P_of(program, dx) - AT_of(program, dy)
    top_terms = r1.abs() + P_of(sizes, dx.abs()) + AT_of(sizes, dy.abs())
    both = at.into(torch.stack([dy, ds], -1))
    link = at.inside * both[..., 0] + at.outside * both[..., 1]
    link_terms = block_max(program.structure.cones, dy.abs() + r2.abs() + A_of(sizes, dx.abs()))
    return _relative(top, top_terms).maximum(_relative(link, link_terms)).nan_to_num(nan=torch.inf)


def _relative(left: Tensor, terms: Tensor) -> Tensor:
    least = LEAST_TERMS * max_abs(terms).unsqueeze(-1)
    return max_abs(left / one_where_zero(terms.maximum(least)))


def gradients(
    needed: tuple[bool, ...],
    structure: ConeStructure,
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    solution: tuple[Tensor, Tensor],
    direction: tuple[Tensor, Tensor],
    s_bar: Tensor,
    weight: Tensor,
) -> list[Tensor | None]:
    """Gradients of P, q, A, b on their patterns: of the solution through d, of the objective with its weight w.

    Both have one form: P̄ = ½(d_x xᵀ + x d_xᵀ) + ½w xxᵀ is the first with d_x + ½w x in place of d_x, and
    Ā = y (d_x + w x)ᵀ + (d_y − s̄) xᵀ.
    """
    (x, y), (d_x, d_y) = solution, direction
    with_half, with_whole = d_x + 0.5 * weight * x, d_x + weight * x
    of_data: tuple[Callable[[], Tensor], ...] = (
        lambda: on_P(structure, with_half, x),
        lambda: with_whole,
        lambda: on_A(structure, y, with_whole) + on_A(structure, d_y - s_bar, x),
        lambda: s_bar - d_y - weight * y,
    )
    return [
        gradient().sum_to_size(value.shape) if need else None
        for need, gradient, value in zip(needed, of_data, data, strict=True)
    ]
