"""How degenerate the solution of a quadratic program is: :class:`layers.solution.Degeneracy`.

With λ of a solution z*, the set of all minimisers is {z : Qz = Qz*, Az = b, Gᵢz = hᵢ where λᵢ > 0, Gz ≤ h}: a minimiser
has the same Qz and qᵀz, and with Qz fixed, qᵀz is a constant less Σ λᵢ Gᵢz. Near z* its directions are

    {d : Qd = 0, Ad = 0, Gᵢd = 0 on the strongly active rows, Gᵢd ≤ 0 on the weakly active ones},

whose dimension is that of the set. Where no row is weakly active it is that of the null space of the reduced Hessian.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from layers.linalg.faces import face_dimension
from layers.linalg.shortest import rank
from layers.problem import QP
from layers.qp.active_set import ActiveSystem
from layers.qp.activity import ACTIVE, INACTIVE, WEAK, activity, relative
from layers.solution import Degeneracy


def degeneracy(problem: QP, z: Tensor, lam: Tensor, nu: Tensor) -> Degeneracy:
    """Of the solutions of a flat problem; elements with a singular system or weakly active rows go one by one."""
    s_hat, lam_hat = relative(problem, z, lam, nu)
    total = s_hat + lam_hat
    margin = total.amin(-1) if total.shape[-1] else total.new_full(total.shape[:-1], torch.inf)
    kind = activity(problem, z, lam, nu)
    dependent, dimension = (torch.zeros(len(z), dtype=torch.int64, device=z.device) for _ in range(2))
    irregular = ActiveSystem.factor(problem, kind == ACTIVE).singular | (kind == WEAK).any(-1)
    for i in irregular.nonzero().squeeze(-1).tolist():
        dependent[i], dimension[i] = _of_one(problem, i, kind[i].cpu().numpy())
    return Degeneracy(margin, dependent, dimension)


def _of_one(problem: QP, i: int, kind: np.ndarray) -> tuple[int, int]:
    """Dependent rows and the dimension of the set of minimisers of one element."""
    Q, G, A = ((M if M.dim() == 2 else M[i]).cpu().numpy() for M in (problem.Q, problem.G, problem.A))
    touched = np.vstack([G[kind != INACTIVE], A])
    held = np.vstack([Q, G[kind == ACTIVE], A])
    return len(touched) - rank(touched), face_dimension(held, G[kind == WEAK])
