"""Solution and gradients of one quadratic program with nothing of ours: Clarabel, then dense numpy on its active set.

With C the rows of G that are active, stacked on A, the solution and the derivative come from the same matrix,

    K = [Q  C']     K (z, y) = (-q, c)     K (d_z, d_y) = (-w, 0)
        [C  0 ]

and, for the cotangent w of z (Amos & Kolter 2017, OptNet, eq. 8 with d_y for D(lambda) d_lambda),

    dQ = (d_z z' + z d_z')/2    dq = d_z    dG = d_y z' + lambda d_z'    dh = -d_y    and likewise for A and b.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import nnls

Arrays = dict[str, np.ndarray]


def solve(Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray) -> Arrays:
    """Minimiser and multipliers of one program by Clarabel at 1e-12, then made exact on the active set.

    Raises
    ------
    ArithmeticError
        If no active set that Clarabel suggests gives a point that is optimal to 1e-9.
    """
    violation = float("inf")
    # The tighter, the clearer the active set, unless Clarabel gives up early, which its looser answers make up for.
    for tol in (1e-12, 1e-11, 1e-10):
        y, s = _clarabel(Q, q, G, h, A, b, tol)
        point = _on_active_set(Q, q, G, h, A, b, y > s)
        z, lam = point["z"], point["lam"]
        violation = max(np.max(G @ z - h, initial=0.0), np.max(-lam, initial=0.0), float(point["error"]))
        if violation <= 1e-9 * max(1.0, np.abs(z).max(), np.abs(lam).max(initial=0.0)):
            return point
    raise ArithmeticError(f"the active set is wrong: the conditions of optimality fail by {violation:.1e}")


def _clarabel(
    Q: np.ndarray, q: np.ndarray, G: np.ndarray, h: np.ndarray, A: np.ndarray, b: np.ndarray, tol: float
) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and slacks of the inequalities."""
    clarabel: Any = import_module("clarabel")
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_feas = settings.tol_gap_abs = settings.tol_gap_rel = tol
    cones = [clarabel.ZeroConeT(len(b)), clarabel.NonnegativeConeT(len(h))]
    rows, right = sparse.csc_matrix(np.vstack([A, G])), np.concatenate([b, h])
    found = clarabel.DefaultSolver(sparse.csc_matrix(np.triu(Q)), q, rows, right, cones, settings).solve()
    return np.array(found.z)[len(b) :], np.array(found.s)[len(b) :]


def _on_active_set(
    Q: np.ndarray,
    q: np.ndarray,
    G: np.ndarray,
    h: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    active: np.ndarray,
) -> Arrays:
    """The point whose active rows hold with equality, and K; `error` is what the system is missed by."""
    C, right = np.vstack([G[active], A]), np.concatenate([-q, h[active], b])
    K = np.block([[Q, C.T], [C, np.zeros((len(C), len(C)))]])
    exact = np.linalg.lstsq(K, right, rcond=None)[0]
    n, k = len(q), int(active.sum())
    if exact[n : n + k].min(initial=0.0) < 0:
        exact = _with_signs(exact, -(Q @ exact[:n] + q), C.T, k)
    lam = np.zeros(len(h))
    lam[active] = exact[n : n + k]
    error = np.asarray(np.abs(K @ exact - right).max())
    return {"z": exact[:n], "lam": lam, "nu": exact[n + k :], "active": active, "K": K, "error": error}


def _with_signs(exact: np.ndarray, force: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The same point with multipliers whose first k are not negative, if dependent rows leave a choice."""
    found, _ = nnls(np.hstack([rows, -rows[:, k:]]), force, maxiter=100 * rows.size)
    count = rows.shape[1] - k
    y = found[: k + count]
    y[k:] -= found[k + count :]
    return np.concatenate([exact[: len(force)], y])


def gradients(point: Arrays, w: np.ndarray) -> Arrays:
    """Gradients of w'z in the six arguments at a point of :func:`solve`."""
    z, lam, nu, active = (point[name] for name in ("z", "lam", "nu", "active"))
    n, k = len(z), int(active.sum())
    right = np.zeros(len(point["K"]))
    right[:n] = -w
    d = np.linalg.lstsq(point["K"], right, rcond=None)[0]
    d_z, d_nu, d_lam = d[:n], d[n + k :], np.zeros(len(lam))
    d_lam[active] = d[n : n + k]
    return {
        "Q": (np.outer(d_z, z) + np.outer(z, d_z)) / 2,
        "q": d_z,
        "G": np.outer(d_lam, z) + np.outer(lam, d_z),
        "h": -d_lam,
        "A": np.outer(d_nu, z) + np.outer(nu, d_z),
        "b": -d_nu,
    }
