"""From the data of a compiled program to its solution, by the QP layer, where all rows are linear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from layers.canonical import QuadraticForm
from layers.convex.options import Options
from layers.convex.solution import Answer
from layers.linalg import dot, mtv, mv
from layers.qp_layer import solve_qp
from layers.solution import Solution, Status


def solve_quadratic(
    form: QuadraticForm, blocks: Mapping[str, Tensor], options: Options, warm: Any
) -> Answer:
    """Solve with :func:`layers.solve_qp` for the variables that stay; the pieces are those of ``form.pieces``.

    See :mod:`layers.canonical.quadratic` for the formulas.
    """
    Q, q = blocks["Q"], blocks["q"]
    M, f, D = blocks["M"], blocks["f"], blocks.get("D")
    if form.w.size:
        MD, Df = (M, f) if D is None else (M * D.unsqueeze(-1), D * f)
        Q = Q + MD.mT @ M
        q = q - mtv(M, Df)
    found = solve_qp(
        Q,
        q,
        blocks["G"],
        blocks["h"],
        blocks["A"],
        blocks["b"],
        solver=options.solver,
        adjoint=options.adjoint,
        tol=options.tol,
        max_iterations=options.max_iterations,
        warm_start=warm,
        on_failure=options.on_failure,
    )

    computed: list[tuple[Tensor, Tensor]] = []

    def defined() -> tuple[Tensor, Tensor]:
        if not computed:
            computed.append(_defined_variables(form, found, blocks, options.on_failure))
        return computed[0]

    def objective() -> Tensor:
        return found.objective + blocks["offset"] + 0.5 * dot(f, f if D is None else D * f)

    return Answer(
        pieces=(lambda: found.z, lambda: found.nu, lambda: found.lam, lambda: defined()[0], lambda: defined()[1]),
        s=lambda: torch.cat([found.z.new_zeros((*found.z.shape[:-1], form.equalities.size + form.w.size)), found.s], -1),
        objective=objective,
        found=found,
    )


def _defined_variables(
    form: QuadraticForm, found: Solution, blocks: Mapping[str, Tensor], on_failure: str
) -> tuple[Tensor, Tensor]:
    """w and the multipliers of its definition, from √D w = f − Mu and Eν = −Dw."""
    M, f, D = blocks["M"], blocks["f"], blocks.get("D")
    scale = torch.as_tensor(form.scale, device=M.device)
    ratio = torch.as_tensor(form.scale / form.pivots, device=M.device)

    def pair(scaled: Tensor) -> tuple[Tensor, Tensor]:
        return scaled / scale, -ratio * scaled if D is None else -ratio * D * scaled

    if on_failure == "raise":
        return pair(f - mv(M, found.z))
    # An element that failed has no gradient, and 0 · NaN in a backward pass would spoil arguments shared with others.
    status = found.status.unsqueeze(-1)
    solved = status == Status.OPTIMAL
    w, nu = pair(f - mv(M, torch.where(solved, found.z, torch.zeros_like(found.z))))
    if on_failure == "nan":
        failed = torch.full_like(w, torch.nan)
        return torch.where(solved, w, failed), torch.where(solved, nu, failed)
    # A ray has no constant part, and a certificate of infeasibility no multiplier where nothing balances it.
    with torch.no_grad():
        constant = torch.where(status == Status.UNBOUNDED, 0.0, f)
        last, balance = pair(constant - mv(M, found.z))
        balance = torch.where((status == Status.INFEASIBLE) | (status == Status.UNBOUNDED), 0.0, balance)
    return torch.where(solved, w, last), torch.where(solved, nu, balance)
