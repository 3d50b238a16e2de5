"""Clarabel as an oracle: solutions of cone programs at the accuracy of an interior-point method."""

from __future__ import annotations

from typing import Any, NamedTuple

import clarabel
import numpy as np
from scipy import sparse

# The module is a compiled one without type information.
engine: Any = clarabel

FACTORY = {
    "zero": engine.ZeroConeT,
    "nonnegative": engine.NonnegativeConeT,
    "second_order": engine.SecondOrderConeT,
    "semidefinite": engine.PSDTriangleConeT,
}


class ConicSolution(NamedTuple):
    """Primal x, dual y and slack s of min ½xᵀPx + cᵀx s.t. Ax + s = b, s ∈ K."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray


def solve_cone_program(
    A: np.ndarray, b: np.ndarray, c: np.ndarray, cones: list[tuple[str, float]], P: np.ndarray | None = None
) -> ConicSolution:
    """Solve a cone program with Clarabel at the tightest tolerance that it reaches.

    Parameters
    ----------
    A, b, c : arrays, shapes (m, n), (m,), (n,)
        Data of min ½xᵀPx + cᵀx s.t. Ax + s = b, s ∈ K.
    cones : list of (name, size)
        In the order of the rows; ``power`` takes its exponent α, ``exponential`` ignores the number.
    P : array, shape (n, n), optional
        Quadratic cost, symmetric positive semidefinite.

    Raises
    ------
    RuntimeError
        If Clarabel does not report a solution.
    """
    quadratic = sparse.csc_matrix(np.zeros((len(c), len(c))) if P is None else np.triu(P))
    blocks = [_cone(name, size) for name, size in cones]
    status = None
    # The tightest tolerance at which Clarabel still ends with "Solved" depends on the instance.
    for tolerance in (1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9):
        settings = engine.DefaultSettings()
        settings.verbose = False
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tolerance
        data = (
            np.asarray(c, dtype=float),
            sparse.csc_matrix(A),
            np.asarray(b, dtype=float),
            blocks,
            settings,
        )
        solution = engine.DefaultSolver(quadratic, *data).solve()
        status = str(solution.status)
        if status == "Solved":
            return ConicSolution(np.array(solution.x), np.array(solution.z), np.array(solution.s))
    raise RuntimeError(f"Clarabel answered {status}; draw a feasible and bounded instance")


def project(v: np.ndarray, cones: list[tuple[str, float]]) -> np.ndarray:
    """Euclidean projection of `v` onto a product of cones, by solving its definition."""
    n = len(v)
    return solve_cone_program(-np.eye(n), np.zeros(n), -np.asarray(v, dtype=float), cones, np.eye(n)).s


def _cone(name: str, size: float) -> Any:
    if name == "power":
        return engine.PowerConeT(size)
    return engine.ExponentialConeT() if name == "exponential" else FACTORY[name](int(size))
