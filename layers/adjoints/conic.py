"""Derivative of a cone program with quadratic objective: a function of the program and v = s − y, not of the solver.

A change of the data moves the solution by the answer of the linearised conditions of :mod:`layers.conic_system`,

    (dx, dy) = 𝒮 (r₁, r₂),   r₁ = −(dP x + dq + dAᵀy),   r₂ = −(dA x − db),   ds = db − dA x − A dx,

the derivative of Agrawal et al. (2019, arXiv 1904.09043) with a quadratic term, at τ = 1. 𝒮 is symmetric. So the
reverse derivative is, with d = −𝒮 (x̄ − Aᵀs̄, ȳ),

    P̄ = ½(d_x xᵀ + x d_xᵀ)    q̄ = d_x    Ā = y d_xᵀ + d_y xᵀ − s̄ xᵀ    b̄ = −d_y + s̄.

Assumptions: Π_K is differentiable at v and the conditions determine (x, y). Elsewhere an element of the generalised
Jacobian of Π_K stands in, and the shortest least-squares answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone_program import ConeProgram
from layers.cones import decompose
from layers.conic_system import SOLVE_TOLERANCE, chunks, factorise
from layers.errors import DifferentiationError


def solve_linearised(
    program: ConeProgram, v: Tensor, solved: Tensor, r1: Tensor, r2: Tensor
) -> tuple[Tensor, Tensor]:
    """(dx, dy) = 𝒮 (r₁, r₂), zero for elements that were not solved.

    Parameters
    ----------
    program : ConeProgram
        P and A are read.
    v : Tensor, shape ``(B, m)``
        s − y at the solutions.
    solved : Tensor of bool, shape ``(B,)``
    r1, r2 : Tensor, shapes ``(B, n)`` and ``(B, m)``

    Raises
    ------
    DifferentiationError
        Naming the elements whose linear system could not be solved to a backward error of 1e-8.
    """
    on = solved.unsqueeze(-1)
    v, r1, r2 = (torch.where(on, t, torch.zeros_like(t)) for t in (v, r1, r2))
    parts = [
        factorise(program.part(where), decompose(program.structure.cones, v[where])).solve(
            r1[where], r2[where]
        )
        for where in chunks(program)
    ]
    if not parts:
        return r1, r2
    _require_accurate(torch.cat([part.error for part in parts]), solved)
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    return torch.where(on, x, torch.zeros_like(x)), torch.where(on, y, torch.zeros_like(y))


def _require_accurate(error: Tensor, solved: Tensor) -> None:
    bad = solved & ~(error <= 10 * SOLVE_TOLERANCE)
    if bad.any():
        listed = ", ".join(map(str, bad.nonzero().squeeze(-1)[:5].tolist()))
        raise DifferentiationError(
            f"the linear system of the derivative was solved only to relative residual {error[bad].max().item():.1e} "
            f"in {int(bad.sum())} batch element(s) ({listed}); expected {10 * SOLVE_TOLERANCE:.0e}. The data are too "
            "badly scaled for a derivative: rescale variables and constraints, or add a small multiple of I to P"
        )
