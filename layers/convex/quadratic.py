"""From the data of a compiled program to its solution, by the QP layer, where all rows are linear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layers.canonical import QuadraticForm
from layers.convex.options import Options
from layers.convex.solution import ConvexSolution, without_graph
from layers.linalg import dot, mtv, mv
from layers.qp_layer import solve_qp
from layers.solution import Solution, Status


def solve_quadratic(
    form: QuadraticForm, blocks: Mapping[str, Tensor], batch: torch.Size, options: Options, warm: Any
) -> ConvexSolution:
    """Solve with :func:`layers.solve_qp` for the variables that stay; y = (ν, λ) in the order of the cone program.

    See :mod:`layers.canonical.quadratic` for the formulas.
    """
    data = _shaped(form, blocks, batch)
    M, f, D, c = (data[name] for name in ("M", "f", "D", "c"))
    Q, q, constant = data["Q"], data["q"], data["offset"].squeeze(-1)
    if form.w.size:
        Q = Q + (M * D.unsqueeze(-1)).mT @ M
        q = q - mtv(M, D * f + c)
        constant = constant + dot(f, 0.5 * D * f + c)
    found = solve_qp(
        Q,
        q,
        data["G"],
        data["h"],
        data["A"],
        data["b"],
        solver=options.solver,
        adjoint=options.adjoint,
        tol=options.tol,
        max_iterations=options.max_iterations,
        warm_start=warm,
        on_failure=options.on_failure,
    )
    x, nu = found.z, found.nu
    if form.w.size:
        w, multiplier = _eliminated(form, found, data, options.on_failure)
        x = _ordered(torch.cat([x, w], -1), form.u, form.w)
        nu = _ordered(torch.cat([nu, multiplier], -1), form.equalities, form.definitions)
    return ConvexSolution(
        variables=(),
        objective=found.objective + constant,
        x=x,
        y=torch.cat([nu, found.lam], -1),
        s=torch.cat([torch.zeros_like(nu), found.s], -1),
        status=found.status,
        residuals=found.residuals,
        iterations=found.iterations,
        warm=without_graph(found),
    )


def _shaped(form: QuadraticForm, blocks: Mapping[str, Tensor], batch: torch.Size) -> dict[str, Tensor]:
    """The blocks as vectors and matrices, with the batch axes where they depend on a batched parameter."""
    n = form.u.size
    heights = {"Q": n, "G": form.inequalities.size, "A": form.equalities.size, "M": form.w.size}
    shaped: dict[str, Tensor] = {}
    for name, block in blocks.items():
        core = (heights[name], n) if name in heights else (block.shape[-1],)
        shaped[name] = block.reshape((*(batch if block.dim() == 2 else ()), *core))
    return shaped


def _eliminated(
    form: QuadraticForm, found: Solution, data: Mapping[str, Tensor], on_failure: str
) -> tuple[Tensor, Tensor]:
    """w = f − M u and the multipliers of its definition, ν = −E⁻¹(Dw + c)."""
    M, f, D, c = (data[name] for name in ("M", "f", "D", "c"))
    pivots = torch.as_tensor(form.pivots, device=M.device)
    if on_failure == "raise":
        w = f - mv(M, found.z)
        return w, -(D * w + c) / pivots
    # An element that failed has no gradient, and 0 · NaN in a backward pass would spoil arguments shared with others.
    solved = (found.status == Status.OPTIMAL).unsqueeze(-1)
    w = f - mv(M, torch.where(solved, found.z, torch.zeros_like(found.z)))
    multiplier = -(D * w + c) / pivots
    if on_failure == "nan":
        failed = torch.full_like(w, torch.nan)
        return torch.where(solved, w, failed), torch.where(solved, multiplier, failed)
    # A ray has no constant part, and a certificate of infeasibility no multiplier where nothing balances it.
    status = found.status.unsqueeze(-1)
    last = -mv(M.detach(), found.z.detach()) + torch.where(status == Status.UNBOUNDED, 0.0, f.detach())
    certified = (status == Status.INFEASIBLE) | (status == Status.UNBOUNDED)
    balance = torch.where(certified, 0.0, -(D * last + c).detach() / pivots)
    return torch.where(solved, w, last), torch.where(solved, multiplier, balance)


def _ordered(values: Tensor, *indices: np.ndarray) -> Tensor:
    """Entries that stand in the order of ``indices``, in increasing order."""
    order = torch.as_tensor(np.argsort(np.concatenate(indices)), device=values.device)
    return values.index_select(-1, order)
