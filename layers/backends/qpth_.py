"""qpth 0.0.18: Amos & Kolter (2017), OptNet. Interior point and implicit differentiation in torch, batched.

Deviations of the package, and what is done about each (errors are relative to the largest entry, on random problems
with n from 5 to 64):

- It averages the gradient of an argument shared over the batch (``.mean(0)``); right is the sum. Arguments are
  expanded before they reach it, so torch sums.
- Its backward pass clamps λ and the slack at 1e-8, absolutely: gradients were off by 2e-5, and by 1e-3 with rows and
  columns scaled by 10^±3. After equilibration it is given units in which λ and the slack are a thousand times larger,
  so the clamp is at 1e-11: 2e-8 in both cases. On a few problems it stalls in those units; plain ones come next.
- Its second derivative is silently wrong: its backward pass treats the multipliers as constants. It raises here.
- It factorises Q, so it needs Q positive definite; singular Q is refused with a message.
- It offers no multipliers. They are read off the context of its autograd function and returned detached.
- It stops for the whole batch together, and a factorisation that fails ends or refuses the whole batch. Elements
  whose KKT residual is too large are solved again one by one.
- It cannot do without an inequality. A row 0ᵀz ≤ 1 stands in.
- It prints warnings and raises nothing: silenced; the residual is checked on the data instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from layers.backends.base import Attempt, Backend, Triple, equilibrated, import_problem, lost, one_by_one
from layers.errors import ProblemError
from layers.linalg.products import max_abs
from layers.problem import QP

#: Q counts as singular when a squared pivot of its Cholesky factor is below this much of its largest entry
SINGULAR = 1e-13
#: qpth's units of slack and λ, in the order of trying: 1 of ours is this many of theirs
UNITS = (1e3, 1.0)


def _unavailable() -> str | None:
    return import_problem("qpth", "pip install --no-deps qpth==0.0.18")


def _attempts(tol: float, max_iterations: int) -> Sequence[Attempt]:
    eps = min(1e-4 * tol, 1e-10)
    large, plain = (partial(_solve, eps=eps, max_iterations=max_iterations, unit=unit) for unit in UNITS)

    def refusing(problem: QP) -> Triple:
        _refuse_singular(problem.Q)
        return large(problem)

    # Equilibrated data fit its thresholds better most of the time, the caller's own units now and then.
    together = [equilibrated(refusing), equilibrated(plain), large, plain]
    return [*together, one_by_one(equilibrated(large)), one_by_one(plain)]


def _refuse_singular(Q: Tensor) -> None:
    factor, info = torch.linalg.cholesky_ex(Q.detach())
    pivots = factor.diagonal(dim1=-2, dim2=-1).square().amin(-1)
    singular = (info > 0) | ~(pivots > SINGULAR * max_abs(Q.detach().flatten(-2)))
    if singular.any():
        element = int(singular.nonzero()[0])
        raise ProblemError(
            f"Q must be positive definite for qpth, found a singular Q in batch element {element}; "
            'use solver="interior_point", which takes positive semidefinite Q'
        )


def _solve(problem: QP, eps: float, max_iterations: int, unit: float) -> Triple:
    from qpth.qp import QPFunction

    Q, q, G, h, A, b = problem.tensors
    # Rows times u make the slack u times larger; the objective times u² then makes λ u times larger, ν u² times.
    Q, q, G, h = unit**2 * Q, unit**2 * q, unit * G, unit * h
    if problem.m == 0:
        G, h = torch.zeros_like(q).unsqueeze(-2), torch.full_like(q[..., :1], unit)
    if problem.p == 0:
        # The package tells a missing A by its number of elements.
        A, b = q.new_empty(0), q.new_empty(0)
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in problem.tensors)
    if not wanted:
        # Without a graph there is no context to read the multipliers from.
        q = q.detach().requires_grad_()
    function: Any = QPFunction(eps=eps, verbose=-1, maxIter=max_iterations, check_Q_spd=False)
    try:
        with torch.enable_grad():
            z: Tensor = function(Q, q, G, h, A, b)
    except RuntimeError:
        # A factorisation failed, and qpth knows no smaller unit than the batch: the next attempt goes one by one.
        return lost(problem)
    context: Any = z.grad_fn
    lam = context.lams.detach() / unit if problem.m > 0 else torch.zeros_like(problem.h).detach()
    nu = context.nus.detach() / unit**2 if problem.p > 0 else torch.zeros_like(problem.b).detach()
    return (z if wanted else z.detach()), lam, nu


BACKEND = Backend("qpth", ("qpth",), _unavailable, _attempts, on_cpu=False)
