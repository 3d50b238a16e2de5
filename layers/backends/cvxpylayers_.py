"""cvxpylayers 1.2.0 on its default engine diffcp: Agrawal et al. (2019), Differentiable Convex Optimization Layers.

λ and ν are differentiable too, in our signs. Deviations of the package, and what is done about each (errors are
relative to the largest entry, on random problems with n from 5 to 64):

- diffcp differentiates cone programs without a quadratic objective, so ½zᵀQz becomes ½‖Lz‖² with Q = LᵀL and a
  second-order cone. L comes from an eigendecomposition, which singular Q has too; the gradient of Q is taken not
  through L (that of a square root is infinite at singular Q) but from that of q.
- Its default adjoint, LSQR, stops at its limit without a word: gradients were off by 0.5 at n = 64, and wrong
  altogether with rows and columns scaled by 10^±2. ``mode="dense"`` solves the system directly.
- The dense adjoint was still off by 0.1 with scales of 10^±3, and SCS gave up on 14 of 80 small problems. After
  equilibration the errors are at most 2e-9, and none of 320 problems was lost.
- Clarabel meets its tolerance in the objective of the cone form, so z is good to the square root of it, 1e-6. SCS
  goes first, and Clarabel is the last resort.
- diffcp takes a cotangent below 1e-8 for zero: cotangents are scaled, see :mod:`layers.backends.base`.
- One infeasible element raises for the whole batch: the batch is then solved one by one. Nothing is raised when
  Clarabel fails: the residual is checked on the data instead.
- It has no second derivative: asking for one raises here.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from layers.backends.base import Attempt, Backend, Triple, equilibrated, import_problem, lost, one_by_one
from layers.modes.kept import made_once
from layers.problem import QP


def _unavailable() -> str | None:
    return import_problem("cvxpylayers.torch", "pip install cvxpylayers==1.2.0")


def _attempts(tol: float, max_iterations: int) -> Sequence[Attempt]:
    tight = 1e-2 * tol
    # SCS is a first-order method: its iterations are many and cheap.
    scs = {"solve_method": "SCS", "eps_abs": tight, "eps_rel": tight, "max_iters": 200 * max_iterations}
    clarabel = {
        "solve_method": "Clarabel",
        "tol_gap_abs": 1e-16,
        "tol_gap_rel": 1e-16,
        "tol_feas": tight,
        "max_iter": max_iterations,
    }
    return [equilibrated(_attempt(scs)), equilibrated(_attempt(clarabel))]


def _attempt(options: dict[str, Any]) -> Attempt:
    from diffcp import SolverError

    def solve(problem: QP) -> Triple:
        try:
            return _solve(problem, options)
        except SolverError:
            return lost(problem) if problem.q.shape[0] == 1 else one_by_one(solve)(problem)

    return solve


def _solve(problem: QP, options: dict[str, Any]) -> Triple:
    n, m, p = problem.n, problem.m, problem.p
    q, told = _with_gradient_of_quadratic(problem)
    arguments = [_square_root(problem.Q), q]
    arguments += [problem.G, problem.h] if m > 0 else []
    arguments += [problem.A, problem.b] if p > 0 else []
    threads = torch.get_num_threads()
    options = options | {"n_jobs_forward": threads}
    if torch.is_grad_enabled() and any(t.requires_grad for t in arguments):
        options |= {"mode": "dense", "n_jobs_backward": threads}
    with warnings.catch_warnings():
        # What did not converge is found by its residual.
        warnings.simplefilter("ignore")
        answers: list[Tensor] = list(_layer(n, m, p)(*arguments, solver_args=options))
    told.append(answers[0].detach())
    z = answers.pop(0)
    lam = answers.pop(0) if m > 0 else problem.h.detach()
    nu = answers.pop(0) if p > 0 else problem.b.detach()
    return z, lam, nu


@made_once(16)
def _layer(n: int, m: int, p: int) -> Any:
    """The layer for these sizes: building it takes longer than calling it."""
    import cvxpy as cp
    from cvxpylayers.torch.cvxpylayer import CvxpyLayer

    z, root, q = cp.Variable(n), cp.Parameter((n, n)), cp.Parameter(n)
    parameters, variables, constraints = [root, q], [z], list[Any]()
    if m > 0:
        G, h = cp.Parameter((m, n)), cp.Parameter(m)
        parameters += [G, h]
        constraints.append(G @ z <= h)
    if p > 0:
        A, b = cp.Parameter((p, n)), cp.Parameter(p)
        parameters += [A, b]
        constraints.append(A @ z == b)
    variables += [constraint.dual_variables[0] for constraint in constraints]
    objective = cp.Minimize(0.5 * cp.sum_squares(root @ z) + q @ z)
    return CvxpyLayer(cp.Problem(objective, constraints), parameters, variables)


def _square_root(Q: Tensor) -> Tensor:
    """L with LᵀL = Q, not differentiated."""
    values, vectors = torch.linalg.eigh(Q.detach())
    return values.clamp(min=0).sqrt().unsqueeze(-1) * vectors.mT


def _with_gradient_of_quadratic(problem: QP) -> tuple[Tensor, list[Tensor]]:
    """q for the package, by which Q gets its gradient too, and the list that is to be told z.

    Q enters the optimality conditions in Qz + q only, so a change dQ acts like dq = dQ z, and the gradient is
    ∇Q = ½(∇q zᵀ + z ∇qᵀ) (Amos & Kolter 2017, eq. 8, where ∇q is called d_z). A hook on Q puts it in the place of
    the zero that the term 0 · Q sends back.
    """
    told: list[Tensor] = []
    if not (problem.Q.requires_grad and torch.is_grad_enabled()):
        return problem.q, told
    gradient: list[Tensor] = []

    def remember(of_q: Tensor) -> None:
        gradient[:] = [of_q]

    def replace(_: Tensor) -> Tensor:
        outer = gradient[0].unsqueeze(-1) * told[0].unsqueeze(-2)
        return 0.5 * (outer + outer.mT)

    Q = problem.Q.view_as(problem.Q)
    Q.register_hook(replace)
    q = problem.q + (0 * Q).sum(-1)
    q.register_hook(remember)
    return q, told


BACKEND = Backend("cvxpylayers", ("cvxpylayers", "diffcp", "scs", "clarabel"), _unavailable, _attempts)
