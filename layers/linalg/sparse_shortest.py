"""K⁺ r and K⁺ᵀ r of one sparse saddle point at a degenerate solution: K = [K₀ C], with a factor of K₀ alone.

K₀ = [H Aᵀ; A 0] is symmetric and may be singular; the columns c = (gᵀ, 0) of C are those of rows g that are not in K₀
(:mod:`layers.qp.adjoints.implicit` says where such a K comes from). With P the projection on the null space of K₀,
W = K₀⁺C, and the columns of Y a basis of the null space of PC,

    null space of K    that of K₀, and (−W Y a, Y a), orthogonal to each other,
    null space of Kᵀ   what of that of K₀ is orthogonal to PC,
    K⁻ r   = (K₀⁺(r − C a), a) with PC a = P r,
    K⁻ᵀ w  = K₀⁺w₁ + v with v in the range of PC and Cᵀv = w₂ − CᵀK₀⁺w₁,

and K⁺ = (I − N N⁺) K⁻ (I − L L⁺), with N N⁺ and L L⁺ the projections on these two spaces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from layers.linalg.kept import factorised
from layers.linalg.sparse_saddle import LEAKED, Array, SparseSaddle
from layers.linalg.threads import in_one_blas_thread

#: singular values below this multiple of the largest column are zero
RANK = 1e-9
#: most columns of C
MOST = 1000
#: corrections of an answer by its residual, and the part of the terms near it that counts for every row of Cᵀ
CORRECTIONS, LEAST_TERMS = 2, 1e-5


def shortest_sparsely(
    H: Any, A: Any, C: Any, r: Array, *, transpose: bool, saddle: SparseSaddle | None = None
) -> tuple[Array, float]:
    """K⁺ r, or K⁺ᵀ r with ``transpose``, and its error, infinite where the ranks could not be told.

    Parameters
    ----------
    H, A, C : array or sparse matrix
        K = [H Aᵀ C₁; A 0 C₂], with C = [C₁; C₂].
    saddle : SparseSaddle, optional
        The factorised K where C has no columns: it is taken if one part of K is all that is connected.
    """
    if saddle is not None and (np.bincount(saddle.parts) > 1).sum() == 1:
        try:
            return SparseInverse(saddle, sp.csc_array(C)).forward(r)
        except Doubtful:
            return np.zeros_like(r), np.inf
    H, A, C = (sp.csc_array(M) for M in (H, A, C))
    n, size, w = H.shape[0], C.shape[0], C.shape[1]
    given = r if transpose else np.concatenate([r, np.zeros(w)])
    found, error = np.zeros(size + w), 0.0
    graph = sp.block_array([[H, A.T, C[:n]], [A, None, C[n:]], [C[:n].T, C[n:].T, None]])
    _, label = connected_components(graph, directed=False)
    by_rows = A.tocsr()
    # what nothing is connected with is a number by itself: most variables at a vertex of a linear program
    diagonal, alone = np.zeros(size + w), np.bincount(label)[label] == 1
    diagonal[:n] = H.diagonal()
    told = alone & (diagonal != 0)
    found[told] = given[told] / diagonal[told]
    for part in np.unique(label[~alone]).tolist():
        own = np.flatnonzero(label == part)
        x, rows, weak = own[own < n], own[(own >= n) & (own < size)] - n, own[own >= size] - size
        inner = own[own < size]
        try:
            saddle = factorised(H[x][:, x], by_rows[rows][:, x])
            inverse = SparseInverse(saddle, C[inner][:, weak])
            side = given[own] if transpose else given[inner]
            found[inner if transpose else own], one = (
                inverse.reverse(side) if transpose else inverse.forward(side)
            )
        except Doubtful:
            one = np.inf
        error = max(error, one)
    return found[:size] if transpose else found, error


class Doubtful(ArithmeticError):
    """A rank could not be told."""


class SparseInverse:
    """K⁻ with the projections around it.

    Parameters
    ----------
    saddle : SparseSaddle
        K₀.
    C : sparse matrix, shape ``(size of K₀, w)``

    Raises
    ------
    Doubtful
        If the null space of K₀ could not be told, or C has too many columns.

    Notes
    -----
    Cost: a solve and a projection for each column of C, and a decomposition of as many dense columns.
    """

    @in_one_blas_thread
    def __init__(self, saddle: SparseSaddle, C: Any) -> None:
        self.saddle, self.C = saddle, C
        w = C.shape[1]
        if w > MOST:
            raise Doubtful(f"{w} weakly active rows")
        columns = C.toarray()
        seen = np.zeros_like(columns)
        if saddle.singular:
            for j in range(w):
                seen[:, j] = self._null_part(columns[:, j])
        left, values, right = _decomposed(seen, RANK * np.linalg.norm(columns, axis=0).max(initial=0.0))
        self.range = left
        self.inverse = right.T @ (left / values).T
        free = scipy.linalg.null_space(right) if right.size else np.eye(w)
        moved = np.zeros((columns.shape[0], free.shape[1]))
        for j, a in enumerate(free.T):
            moved[:, j] = self._solve(columns @ a - seen @ a)
        basis = np.vstack([-moved, free])
        self.weak_null, _ = np.linalg.qr(basis) if free.shape[1] else (basis, None)

    @in_one_blas_thread
    def forward(self, r: Array) -> tuple[Array, float]:
        """K⁺ r, and the error of its equations."""
        size = self.saddle.scale.size
        given = self._without_left(r)
        x, left = np.zeros(size + self.C.shape[1]), given
        for _ in range(CORRECTIONS):
            a = self.inverse @ left
            x = self._without_right(x + np.concatenate([self.saddle.solve(left - self.C @ a), a]))
            left = given - self.saddle.K @ x[:size] - self.C @ x[size:]
            if _nothing(left, given):
                break
        return x, self.saddle.error(x[:size], given - self.C @ x[size:], r)

    @in_one_blas_thread
    def reverse(self, w: Array) -> tuple[Array, float]:
        """K⁺ᵀ w, and the error of its equations."""
        size = self.saddle.scale.size
        given = self._without_right(w)
        t, left = np.zeros(size), given
        for _ in range(CORRECTIONS):
            step = self._solve(left[:size]) if self.C.shape[1] else self.saddle.solve(left)
            step = step + self.inverse.T @ (left[size:] - self.C.T @ step)
            t = self._without_left(t + step)
            left = given - np.concatenate([self.saddle.K @ t, self.C.T @ t])
            if _nothing(left, given):
                break
        # at a vertex all terms of a weak row are rounding: what is near counts for a part, as in the rows of K₀
        scale = self.saddle.scale
        near = scale * self.saddle.terms(t, given[:size])[1]
        leaked = LEAKED * scale * abs(scale * given[:size]).max(initial=0.0)
        terms = abs(given[size:]) + abs(self.C.T) @ np.maximum(np.maximum(abs(t), LEAST_TERMS * near), leaked)
        own = abs(left[size:]) / np.where(terms > 0, terms, 1.0)
        return t, max(self.saddle.error(t, given[:size], w[:size]), float(own.max(initial=0.0)))

    def _solve(self, r: Array) -> Array:
        """K₀⁺ r for r in the range of K₀, but for rounding."""
        x = self.saddle.solve(r)
        return x - self._null_part(x) if self.saddle.singular else x

    def _null_part(self, x: Array) -> Array:
        if not self.saddle.singular:
            return np.zeros_like(x)
        if not self.saddle.null_space_told:
            raise Doubtful("singular values between zero and not")
        return self.saddle.null_part(x)

    def _without_left(self, r: Array) -> Array:
        """(I − L L⁺) r, twice where it takes off something: once leaves rounding of that size."""
        for _ in range(2):
            null = self._null_part(r)
            r = r - null + self.range @ (self.range.T @ null)
            if _nothing(null, r):
                break
        return r

    def _without_right(self, x: Array) -> Array:
        """(I − N N⁺) x, likewise."""
        size = self.saddle.scale.size
        for _ in range(2):
            before = x
            x = np.concatenate([x[:size] - self._null_part(x[:size]), x[size:]])
            x = x - self.weak_null @ (self.weak_null.T @ x)
            if _nothing(before - x, x):
                break
        return x


def _nothing(null: Array, r: Array) -> bool:
    """Whether what was taken off was no more than rounding of what stays."""
    return bool(abs(null).max(initial=0.0) <= np.finfo(np.float64).eps * abs(r).max(initial=0.0))


def _decomposed(M: Array, least: float) -> tuple[Array, Array, Array]:
    """Singular vectors and values of M above ``least``."""
    if not M.shape[1] or not M.any():
        return np.zeros((M.shape[0], 0)), np.zeros(0), np.zeros((0, M.shape[1]))
    left, values, right = np.linalg.svd(M, full_matrices=False)
    rank = int((values > least).sum())
    return left[:, :rank], values[:rank], right[:rank]
