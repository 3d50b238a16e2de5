"""x = M⁺ r for one matrix whose rank is not full, with entries of any scales: least squares of minimum norm.

M⁺ is made of the pseudo-inverses of the parts of M that nothing connects, so each is answered by itself. In a part,
with bases N and L of the null spaces of M and Mᵀ, and any generalised inverse M⁻ (M M⁻ M = M),

    M⁺ r = (I − N N⁺) M⁻ (I − L L⁺) r.

Ranks are told in :mod:`layers.linalg.generalised` on the equilibrated part; the projections, and with them what
"least" and "shortest" mean, are in the units of r and x. The answer is then held against M itself, row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from layers.linalg.generalised import Array, GeneralisedInverse, assembled, components, equilibrate, part_of
from layers.linalg.regular_saddle import RegularSaddle
from layers.linalg.threads import in_one_blas_thread

#: corrections of the answer by its own residual, and the error that needs no more
CORRECTIONS, FINE = 5, 1e-15
#: the part of the largest terms of all that counts for a row with a right-hand side of zero, and with another one: what
#: should be zero is rounding
LEAST_TERMS, LEAST_GIVEN = 1e-5, 1e-12
#: products of columns of norm one below this are none
ROUNDING = 1e-15
#: pivots of columns of norm one below which these are too near to each other for that
INDEPENDENT = 1e-8
#: entries up to which arithmetic with zeros costs less than the bookkeeping without
SMALL = 250_000
#: how far the answers of two ranks may be apart, relative to the larger, where the rank is in doubt
AGREE = 1e-8


@in_one_blas_thread
@np.errstate(over="ignore", invalid="ignore")
def shortest(M: Any, r: Array, *, saddle: int | None = None) -> tuple[Array, float]:
    """M⁺ r, and its error.

    Parameters
    ----------
    M : array or sparse matrix, shape ``(rows, columns)``
    r : array, shape ``(rows,)``
    saddle : int, optional
        M is a saddle point [H Cᵀ; C −E] with so many variables, whose parts may be told to be regular by H and C.

    Returns
    -------
    x : array, shape ``(columns,)``
    error : float
        Largest residual of M x = (I − L L⁺) r and of M N = 0, each relative to the terms that its row adds up, and one
        where the rank is in doubt and the answer hangs on it.

    Notes
    -----
    Cost: 4/3 k³ for the largest part of k rows and columns that is left when those with a single entry are substituted.
    """
    M = as_matrix(M)
    x, error = np.zeros(M.shape[1]), 0.0
    if not np.isfinite(r).all() or not np.isfinite(M.data if sp.issparse(M) else M).all():
        return x + np.nan, np.nan
    for rows, columns in components(M):
        whole = part_of(M, rows, columns)
        regular = None
        if saddle is not None and not sp.issparse(whole) and np.array_equal(rows, columns):
            regular = RegularSaddle.of(whole, int((columns < saddle).sum()))
        x[columns], own = _answer(whole, r[rows]) if regular is None else _projected(whole, r[rows], regular)
        error = max(error, own)
    return x, error


@in_one_blas_thread
def null_space(M: Any) -> Array:
    """A basis of the null space of M, shape ``(columns, dimension)``, its rank told as in :func:`shortest`."""
    M = as_matrix(M)
    parts = [(columns, GeneralisedInverse.of(part_of(M, rows, columns)).N) for rows, columns in components(M)]
    return assembled(M.shape[1], parts)


def rank(M: Any) -> int:
    """Rank of M, told as in :func:`shortest`."""
    return M.shape[1] - null_space(M).shape[1]


def as_matrix(M: Any) -> Any:
    """M as a dense array where it is small, else by rows and sparse, its zeros left out."""
    small = M.shape[0] * M.shape[1] <= SMALL
    if small:
        return M.toarray() if sp.issparse(M) else M
    M = sp.csr_array(M)
    M.eliminate_zeros()
    return M


def _answer(M: Any, r: Array) -> tuple[Array, float]:
    """:func:`shortest` for one part."""
    inverse = GeneralisedInverse.of(M)
    x, error = _projected(M, r, inverse)
    if inverse.doubtful:
        other, _ = _projected(M, r, GeneralisedInverse.of(M, doubtful=True))
        apart, size = np.linalg.norm(x - other), np.linalg.norm(other)
        error = max(error, float(apart > AGREE * size))
    return x, error


def _projected(M: Any, r: Array, inverse: GeneralisedInverse | RegularSaddle) -> tuple[Array, float]:
    """(I − N N⁺) M⁻ (I − L L⁺) r, corrected by its residual, and the error."""
    N, L = _orthonormal(inverse.N), _orthonormal(inverse.L)
    given = _without(L, r)
    size = abs(r) + abs(L) @ abs(L.T @ r)
    M_size, x, (R, S) = abs(M), np.zeros(M.shape[1]), equilibrate(M)
    error, best, least = np.inf, x, np.where(given == 0, LEAST_TERMS, LEAST_GIVEN)
    terms = size
    for _ in range(CORRECTIONS):
        step = inverse.apply(_reachable(L, given - M @ x, terms))
        x = _without(N, x + step)
        terms = M_size @ abs(x) + size
        if not np.isfinite(terms).all():  # beyond the range of numbers: what there was before is all there is
            break
        now = _largest(R * (given - M @ x), R * terms, least)
        if now < error:
            best, error = x, now
        if error <= FINE:
            break
    of_N = _largest(R[:, None] * (M @ N), R[:, None] * (M_size @ abs(N)), 1.0)
    of_L = _largest(S[:, None] * (M.T @ L), S[:, None] * (M_size.T @ abs(L)), 1.0)
    return best, max(error, of_N, of_L)


def _without(basis: Array, x: Array) -> Array:
    """(I − B Bᵀ) x, twice: once leaves rounding of the size of what it takes off."""
    x = x - basis @ (basis.T @ x)
    return x - basis @ (basis.T @ x)


def _reachable(L: Array, left: Array, terms: Array) -> Array:
    """A residual without what no x removes of it, which is rounding: taken off each row as a part of its terms.

    With W the terms this is v = W² L (Lᵀ W² L)⁻¹ Lᵀ ``left``, the smallest ‖W⁻¹ v‖. A row of small terms beside
    large ones would else have to make up for their rounding.
    """
    if not L.shape[1] or not terms.any():
        return left
    share = np.linalg.lstsq((terms[:, None] * L).T, L.T @ left, rcond=None)[0]
    return left - terms * share


def _orthonormal(basis: Array) -> Array:
    """The same space. B R⁻¹ keeps zeros, which in other units are no rounding."""
    for _ in range(2 if basis.shape[1] else 0):
        basis = basis / np.linalg.norm(basis, axis=0)
        found: Any = scipy.linalg.qr(basis, mode="economic", check_finite=False)
        R = np.where(abs(found[1]) > ROUNDING, found[1], 0.0)
        if abs(np.diagonal(R)).min() < INDEPENDENT:
            return found[0]
        basis = scipy.linalg.solve_triangular(R, basis.T, trans=1, check_finite=False).T
    return basis


def _largest(residual: Array, terms: Array, least: Any) -> float:
    """The largest residual relative to its terms, which count for at least this part of the largest of the column."""
    if not residual.size:
        return 0.0
    terms = np.maximum(terms, least * terms.max(axis=0))
    return float((abs(residual) / np.where(terms > 0, terms, 1.0)).max())
