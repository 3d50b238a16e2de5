"""Saddle points [H Cᵀ; C −E] that are regular beyond doubt though their inverse is large, of nearly parallel rows.

Two rows that differ by ε leave a pivot of ε² in the whole matrix, which may be rounding, and one of ε in C, which is
none. With Cᵀ = Y T in an orthonormal basis (Y, Z) and M = ZᵀHZ, the null-space method solves by T and M alone:

    x = Y T⁻ᵀ r₂ + Z M⁻¹ Zᵀ (r₁ − H Y T⁻ᵀ r₂),   y = T⁻¹ Yᵀ (r₁ − H x).

Rows with an entry e of E are no constraints: y = (cᵀx − r₂)/e, and ccᵀ/e is a part of H.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from layers.linalg.generalised import DOUBT, EPSILON, ZERO, Array, Indices, equilibrate


@dataclass(frozen=True)
class RegularSaddle:
    """The factors, of CᵀR with columns permuted and of M, in units R of the rows and S of the variables.

    Attributes
    ----------
    soft : array of bool
        Rows with an entry of E.
    B, E : array
        Those rows of C, and their entries.
    N, L : array
        Bases of the null spaces of the matrix, which has none.
    """

    soft: Any
    B: Array
    E: Array
    H: Array
    R: Array
    S: Array
    Q: Array
    T: Array
    order: Indices
    M: Any
    N: Array
    L: Array

    @classmethod
    @np.errstate(all="ignore")
    def of(cls, K: Array, n: int) -> RegularSaddle | None:
        """Of a symmetric matrix with n variables; None where C or M may be singular by rounding. Cost: 4/3 n³."""
        H, C, E = K[:n, :n], K[n:, :n], -np.diagonal(K)[n:]
        soft = E > 0
        B, C, E = C[soft], C[~soft], E[soft]
        H, k = H + (B.T / E) @ B, len(C)
        if not 0 < k <= n:
            return None
        R, S = equilibrate(C)
        free = ~C.any(axis=0)
        curvature = np.diagonal(H)
        S = np.where(free & (curvature > 0), 1 / np.sqrt(np.where(curvature > 0, curvature, 1.0)), S)
        found: Any = scipy.linalg.qr((R[:, None] * C * S).T, pivoting=True, check_finite=False)
        Q, T, order = found
        if not _clear(abs(np.diagonal(T)), n):
            return None
        H = S[:, None] * H * S
        reduced = Q[:, k:].T @ H @ Q[:, k:]
        size = np.sqrt(np.diagonal(reduced).clip(min=0.0))
        if n > k:
            unit = reduced / np.outer(size, size)
            # an entry of E that is next to nothing is no number here
            if not np.isfinite(unit).all() or not _clear(np.linalg.eigvalsh(unit)[::-1], n):
                return None
            reduced = scipy.linalg.cho_factor(reduced, check_finite=False)
        nothing = np.zeros((len(K), 0))
        return cls(soft, B, E, H, R, S, Q, T[:k], order, reduced if n > k else None, nothing, nothing)

    def apply(self, r: Array) -> Array:
        """K⁻¹ r."""
        n, k = len(self.S), len(self.R)
        Y, Z = self.Q[:, :k], self.Q[:, k:]
        whole, given, low = np.empty(len(r) - n), r[n:][self.soft], r[n:][~self.soft]
        r1, r2 = self.S * (r[:n] + self.B.T @ (given / self.E)), (self.R * low)[self.order]
        x = Y @ scipy.linalg.solve_triangular(self.T, r2, trans=1, check_finite=False)
        if self.M is not None:
            x = x + Z @ scipy.linalg.cho_solve(self.M, Z.T @ (r1 - self.H @ x), check_finite=False)
        y = np.empty(k)
        y[self.order] = scipy.linalg.solve_triangular(self.T, Y.T @ (r1 - self.H @ x), check_finite=False)
        x = self.S * x
        whole[~self.soft], whole[self.soft] = self.R * y, (self.B @ x - given) / self.E
        return np.concatenate([x, whole])


def _clear(sizes: Any, n: int) -> bool:
    """Whether the smallest of decreasing pivots is none that rounding can make."""
    return bool(sizes[-1] > DOUBT * ZERO * n * EPSILON * sizes[0])
