"""From the data of a compiled program to its solution, by the QP layer, where all rows are linear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from layers.convex.canonical import QuadraticForm
from layers.convex.defined import defined_variables
from layers.convex.options import Options
from layers.convex.solution import Answer
from layers.linalg.products import dot, mtv, mv
from layers.problem import QP
from layers.qp_layer import solve_checked


def condensed(blocks: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Q + MᵀDM and q − MᵀDf: the objective of the variables that stay."""
    Q, q, M, f, D = blocks["Q"], blocks["q"], blocks["M"], blocks["f"], blocks.get("D")
    if not M.shape[-2]:
        return Q, q
    MD, Df = (M, f) if D is None else (M * D.unsqueeze(-1), D * f)
    return Q + MD.mT @ M, q - mtv(M, Df)


def solve_quadratic(form: QuadraticForm, blocks: Mapping[str, Tensor], options: Options, warm: Any) -> Answer:
    """Solve by the QP layer for the variables that stay; the pieces are those of ``form.pieces``.

    See :mod:`layers.convex.canonical.quadratic` for the formulas.
    """
    M, f, D = blocks["M"], blocks["f"], blocks.get("D")
    Q, q = condensed(blocks)
    found = solve_checked(
        QP(Q, q, blocks["G"], blocks["h"], blocks["A"], blocks["b"]), options.request(), warm
    )

    computed: list[tuple[Tensor, Tensor]] = []

    def defined() -> tuple[Tensor, Tensor]:
        if not computed:
            taken_out = defined_variables(
                form.scale, form.pivots, D, lambda u: -mv(M, u), f, found.z, found.status, options.on_failure
            )
            computed.append(taken_out)
        return computed[0]

    def slack() -> Tensor:
        equalities = form.equalities.size + form.w.size
        return torch.cat([found.z.new_zeros((*found.z.shape[:-1], equalities)), found.s], -1)

    def objective() -> Tensor:
        return found.objective + blocks["offset"] + 0.5 * dot(f, f if D is None else D * f)

    return Answer(
        pieces=(
            lambda: found.z,
            lambda: found.nu,
            lambda: found.lam,
            lambda: defined()[0],
            lambda: defined()[1],
        ),
        s=slack,
        objective=objective,
        found=found,
    )
