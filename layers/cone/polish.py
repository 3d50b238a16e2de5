"""Active-set polish of sparse programs whose rows are all linear: from an engine's answer to rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from layers.cone import kkt
from layers.cone.linearised.sparse import element
from layers.cone_program import ConeProgram
from layers.linalg import complementarity
from layers.linalg.sparse_saddle import Array
from layers.solution import Residuals


def polish(
    program: ConeProgram, x: Tensor, y: Tensor, s: Tensor, norms: kkt.Norms
) -> tuple[tuple[Tensor, Tensor, Tensor], Residuals]:
    """The best point that :mod:`layers.linalg.complementarity` came to, element by element, and its residuals in norm.

    Parameters
    ----------
    program : ConeProgram
        With zero and nonnegative rows only.
    x, y, s : Tensor, shapes ``(B, n)``, ``(B, m)``, ``(B, m)``
        Near a solution.

    Returns
    -------
    point : tuple of Tensor
        x, y and s; the last two exactly complementary and of the right signs.
    residuals : Residuals
    """
    found = [_of_one(program, norms, i, (x[i], y[i], s[i])) for i in range(program.batch)]
    x, y, s = (torch.stack([torch.from_numpy(one[k]) for one in found]).to(x) for k in range(3))
    scale = kkt.scales(program, x, y, norms)
    return (x, y, s), kkt.residuals_in_cones(program, x, y, s, scale)


def _of_one(
    program: ConeProgram, norms: kkt.Norms, i: int, start: tuple[Tensor, Tensor, Tensor]
) -> tuple[Array, Array, Array]:
    where = torch.tensor([i], device=program.q.device)
    one, own = program.take(where), norms.take(where)
    P, A = element(program, i)
    q, b = one.q[0].cpu().numpy(), one.b[0].cpu().numpy()
    x, y, s = (v.cpu().numpy() for v in start)

    def judge(point: tuple[Array, Array, Array]) -> float:
        x, y, s = (torch.from_numpy(v).to(one.q).unsqueeze(0) for v in point)
        return float(kkt.residuals_in_cones(one, x, y, s, kkt.scales(one, x, y, own)).largest)

    return complementarity.polish((P, q, A, b), program.structure.cones.zero, (x, y, s), judge)[0]
