"""Clarabel, and behind it the derivative on its active rows: what a careful user writes, and what answers are held to.

With C the rows of G whose multiplier exceeds their slack, below those of A, solution and derivative have one matrix,

    K = [Q  C']     K (z, y) = (-q, c)     K (d_z, d_y) = (-w, 0)
        [C  0 ]

and for the cotangent w of z (OptNet, arXiv 1703.00443, equation 8): dq = d_z, dh = -d_lambda, db = -d_nu,
dQ = (d_z z' + z d_z')/2, dG = d_lambda z' + lambda d_z', and dA likewise. K is made quasi-definite by 1e-9 on its
diagonal, of either sign, so that it can be factorised in any order, and the answer refined on K itself. Q is positive
definite and the active rows are independent, or the refinement does not end.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from experiments.common.timing.programs import NAMES, Programs

SHIFT, REFINEMENTS, RESIDUAL = 1e-9, 20, 1e-12
#: changes of the active rows until their solution is optimal
CHANGES = 20
#: From a program and a tolerance to z, lambda, nu and which rows of G are active.
Solver = Callable[[tuple[Any, ...], float], tuple[Any, ...]]


class Active:
    """The system of the active rows of one program, factorised once for both its right-hand sides."""

    def __init__(self, program: tuple[Any, ...], active: np.ndarray):
        Q, q, G, h, A, b = program
        self.program, self.active, self.p, n = program, active, len(b), len(q)
        C: Any = sp.vstack([A, sp.csr_array(G)[active]])
        self.K: Any = sp.block_array([[Q, C.T], [C, None]] if C.shape[0] else [[Q]], format="csc")
        signs = np.r_[np.ones(n), -np.ones(self.K.shape[0] - n)]
        self.known = np.r_[-q, b, h[active]]
        self.factor = splu(
            sp.csc_array(self.K + SHIFT * sp.diags_array(signs)),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )

    def solve(self, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The parts of K^-1 right that belong to z, to all rows of G (zero where not active), and to A.

        Raises
        ------
        ArithmeticError
            If refinement leaves more than 1e-12 of the right-hand side.
        """
        x, wanted = np.zeros_like(right), RESIDUAL * max(np.abs(right).max(initial=0.0), 1e-300)
        for _ in range(REFINEMENTS):
            rest = right - self.K @ x
            if np.abs(rest).max() <= wanted:
                break
            x += self.factor.solve(rest)
        else:
            raise ArithmeticError(
                "the active rows depend on each other: there is no derivative to compare with"
            )
        n = len(self.program[1])
        lam = np.zeros(len(self.active))
        lam[self.active] = x[n + self.p :]
        return x[:n], lam, x[n : n + self.p]


def solve(program: tuple[Any, ...], tol: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z, lambda, nu and which rows of G are active, by Clarabel at `tol`."""
    Q, q, G, h, A, b = program
    clarabel: Any = import_module("clarabel")
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.max_threads = 1
    options.tol_feas = options.tol_gap_abs = options.tol_gap_rel = tol
    cones = [clarabel.ZeroConeT(len(b)), clarabel.NonnegativeConeT(len(h))]
    rows = sp.csc_matrix(sp.vstack([A, G]))
    found = clarabel.DefaultSolver(sp.csc_matrix(sp.triu(Q)), q, rows, np.r_[b, h], cones, options).solve()
    y, s = np.asarray(found.z), np.asarray(found.s)
    return np.asarray(found.x), y[len(b) :], y[: len(b)], (y > s)[len(b) :]


class _Solution(Function):
    @staticmethod
    def forward(ctx: Any, programs: Programs, one: Callable[..., tuple[Any, ...]], *leaves: Tensor) -> Tensor:
        ctx.found = [one(programs.one(i)) for i in range(len(programs.q))]
        ctx.learned = programs.learned
        return torch.from_numpy(np.stack([z for z, *_ in ctx.found]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (w,) = grad_outputs
        each = [_gradients(found, w[i].numpy(), ctx.learned) for i, found in enumerate(ctx.found)]
        return None, None, *(torch.from_numpy(np.stack(column)) for column in zip(*each, strict=True))


def _one(program: tuple[Any, ...], solver: Solver, tol: float, exact: bool) -> tuple[Any, ...]:
    z, lam, nu, active = solver(program, tol)
    return (*(on_active_rows(program, active) if exact else (z, lam, nu, active)), program)


def on_active_rows(
    program: tuple[Any, ...], active: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z, lambda, nu and the active rows, from a guess of these: rows of a negative multiplier go, violated ones come.

    Raises
    ------
    ArithmeticError
        If that does not end, or active rows depend on each other.
    """
    _, _, G, h, _, _ = program
    for _ in range(CHANGES):
        system = Active(program, active)
        z, lam, nu = system.solve(system.known)
        right = (active & (lam > 0)) | (~active & (G @ z > h))
        if (right == active).all():
            return z, lam, nu, active
        active = right
    raise ArithmeticError(f"no active rows are optimal after {CHANGES} changes of them")


def _gradients(found: tuple[Any, ...], w: np.ndarray, learned: tuple[str, ...]) -> list[np.ndarray]:
    z, lam, nu, active, program = found
    system = Active(program, active)
    d_z, d_lam, d_nu = system.solve(np.r_[-w, np.zeros(system.K.shape[0] - len(w))])
    ways = {
        "Q": lambda: (np.outer(d_z, z) + np.outer(z, d_z)) / 2,
        "q": lambda: d_z,
        "G": lambda: np.outer(d_lam, z) + np.outer(lam, d_z),
        "h": lambda: -d_lam,
        "A": lambda: np.outer(d_nu, z) + np.outer(nu, d_z),
        "b": lambda: -d_nu,
    }
    return [ways[name]() for name in NAMES if name in learned]


def call(
    programs: Programs, leaves: dict[str, Tensor], tol: float, *, exact: bool = False, solver: Solver = solve
) -> Tensor:
    """z, shape (batch, n), one program after the other; `exact` on active rows whose signs are right, to rounding.

    What is learned are `leaves`, the rest is that of `programs`; `solver` is Clarabel, or whatever answers like it.

    Raises
    ------
    ArithmeticError
        If the active rows are not independent, on the way back too.
    """
    now = replace(programs, **{name: leaf.detach().numpy() for name, leaf in leaves.items()})
    return _Solution.apply(now, partial(_one, solver=solver, tol=tol, exact=exact), *leaves.values())
