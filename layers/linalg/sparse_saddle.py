"""Sparse symmetric systems K = [H Cᵀ; C −E], H ⪰ 0 and E ≥ 0 diagonal, one at a time: LDLᵀ without pivoting.

K is equilibrated and its diagonal raised by ρ above and −ρ below. The result F is quasi-definite, so that it has a
factorisation in every order (Vanderbei 1995), among them the one of least fill; iterative refinement against K takes
the trace of ρ off again. Where K has eigenvalues far below ρ that takes for ever. LU with pivoting needs no shift, for
more fill, and tells such a K from a singular one; where that is dear, GMRES with F⁻¹ goes on from the refinement. The
null space of K is a product of one of x and one of y, because H ⪰ 0 and E ⪰ 0: that of [H; C], and that of [Cᵀ; −E].
No basis of it is formed: a vector is projected by a solve.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np
import qdldl
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, gmres, splu

Array = NDArray[np.float64]

#: ρ of an equilibrated matrix, and by how much it is raised, how often, where rounding makes a pivot of the wrong sign
SHIFT, RAISE, RAISES = 1e-8, 100.0, 3
#: passes of the scaling
PASSES = 4
#: corrections of a solve, the part of a residual that each has to take off, and the residual that needs none
CORRECTIONS, GAIN, FINE = 30, 0.7, 1e-16
#: the part of the terms of its neighbours that counts for a row with a right-hand side of zero, and with another one
LEAST_TERMS, LEAST_GIVEN = 1e-5, 1e-12
#: the part of the largest given in its part of K that counts for every row: the shift lets through a 1e-8 of what is
#: given from one row to the next, also where the answer is zero
LEAKED = 1e-14
#: what K takes a null vector to is this multiple of its size and of rounding; more is in doubt
NULL = 10 * float(np.finfo(np.float64).eps)
#: what a solve with K leaves of a vector that was multiplied by K, if K is regular
LEFT = 1e-6
#: entries of what is lost beyond this part of the largest are where null vectors have any
SUPPORT = 1e-13
#: what K does to a vector of its null space is at most this part of it
NOTHING = 1e-12
#: a residual of this part of what was given asks for LU with pivoting; it is tried where the factor of LDLᵀ has so many
#: times the entries of K at most, for its own has more
COARSE, MOST_FILL = 1e-10, 10
#: cycles of GMRES, powers in each, the part of a residual where fewer are enough, and of what was given that needs none
CYCLES, POWERS, FALL, SHARP = 4, 30, 1e-8, 1e-14
#: K is regular where no pivot of LU is smaller than this, and no vector of x grows by more than that: C has that
#: condition, and y its square; what is dependent has a pivot of rounding
PIVOT, GROWTH = 1e-8, 1e9


class SparseSaddle:
    """The factorised system.

    Parameters
    ----------
    H : sparse matrix, shape ``(n, n)``
        Symmetric positive semidefinite.
    C : sparse matrix, shape ``(k, n)``
    E : array, shape ``(k,)``, optional
        Zeros if left out.

    Attributes
    ----------
    K : sparse matrix
        In the caller's units.
    scale : array, shape ``(n + k,)``
        Powers of two.
    shift : array, shape ``(n + k,)``
        What was added to the diagonal of the equilibrated matrix.
    usable : bool
        Whether there is a factorisation.
    entries : int
        Of its factor.

    Notes
    -----
    Cost: the squares of the entries in the columns of the factor, added up; QDLDL (Stellato et al. 2020) with AMD.
    """

    def __init__(self, H: Any, C: Any, E: Array | None = None) -> None:
        k, self.n = C.shape
        size = self.n + k
        low = sp.diags_array(np.zeros(k) if E is None else -E)
        self.K: Any = sp.block_array([[H, C.T], [C, low]], format="csc")
        self.scale = _symmetric_scale(self.K)
        columns = np.repeat(np.arange(size), np.diff(self.K.indptr))
        scaled = self.K.copy()
        scaled.data = self.K.data * self.scale[self.K.indices] * self.scale[columns]
        self._scaled = scaled
        self._upper = sp.triu(scaled + sp.diags_array(np.full(size, np.finfo(float).tiny)), format="csc")
        signs = np.concatenate([np.ones(self.n), -np.ones(k)])
        self._factor, self.shift = None, signs
        rho = SHIFT
        for _ in range(RAISES):
            self.shift = rho * signs
            raised = self._upper + sp.diags_array(self.shift)
            try:
                self._factor = qdldl.Solver(sp.csc_matrix(raised), upper=True)
                break
            except RuntimeError:
                rho *= RAISE
        self.usable = self._factor is not None or self._pivoted is not None

    def solve(self, r: Array, corrections: int = CORRECTIONS) -> Array:
        """K⁻¹ r in the caller's units; where K is singular, any vector that K takes to r if there is one."""
        return self.scale * self._refined(self.scale * r, corrections)

    def _refined(self, r: Array, corrections: int) -> Array:
        x, left = self._corrected(self._factor, r, corrections)
        if self._dear:
            return self._minimised(x, left, SHARP * abs(r).max(initial=0.0))
        size = abs(left).max(initial=0.0)
        coarse = size > COARSE * abs(r).max(initial=0.0) and not self._unseen(left)
        if coarse and self._pivoted is not None:
            other, after = self._corrected(self._pivoted, r, corrections)
            x = other if abs(after).max() < size else x
        return x

    def _minimised(self, x: Array, left: Array, bound: float) -> Array:
        """x with what it has ``left`` solved for by F⁻¹ times a few powers of K F⁻¹ (GMRES, Saad & Schultz 1986).

        All but the few eigenvalues of K that are no larger than ρ become one there, so a few powers are enough.
        """
        factor, make = cast(Any, self._factor), cast(Any, LinearOperator)

        def moved(u: Array) -> Array:
            return self._scaled @ factor.solve(u)

        operator = make(self._scaled.shape, matvec=moved, dtype=np.float64)
        for _ in range(CYCLES):
            size = abs(left).max(initial=0.0)
            if not size > bound or self._unseen(left):
                break
            step = factor.solve(gmres(operator, left, rtol=FALL, restart=POWERS, maxiter=1)[0])
            after = left - self._scaled @ step
            if not abs(after).max() < size:
                break
            x, left = x + step, after
        return x

    def _unseen(self, v: Array) -> bool:
        """Whether K takes v to nothing: it is in the null space."""
        return bool(abs(self._scaled @ v).max(initial=0.0) <= NOTHING * abs(v).max(initial=0.0))

    def _corrected(self, factor: Any, r: Array, corrections: int) -> tuple[Array, Array]:
        """An answer by `factor` after iterative refinement, and its residual."""
        if factor is None:
            return np.zeros_like(r), r
        x = factor.solve(r)
        left, bound = r - self._scaled @ x, FINE * abs(r).max(initial=0.0)
        size = abs(left).max(initial=0.0)
        for _ in range(corrections):
            if not size > bound:
                break
            trial = x + factor.solve(left)
            after = r - self._scaled @ trial
            smaller = abs(after).max(initial=0.0)
            if not smaller < size:
                break
            x, left, gained, size = trial, after, smaller < GAIN * size, smaller
            if not gained:
                break
        return x, left

    @cached_property
    def entries(self) -> int:
        """Of the factor of LDLᵀ, the lower half."""
        return 0 if self._factor is None else int(self._factor.factors()[0].nnz)

    @property
    def _dear(self) -> bool:
        """Whether LU would be large."""
        return self._factor is not None and self.entries > MOST_FILL * self.K.nnz

    @cached_property
    def _pivoted(self) -> Any:
        """LU with pivoting (SuperLU, Li 2005); None where it would be large, or K is not clearly regular."""
        if self.scale.size > 2 * self.n or self._dear:
            return None  # dependent for sure
        try:
            factor = splu(sp.csc_matrix(self._scaled))
        except RuntimeError:
            return None
        if not abs(factor.U.diagonal()).min(initial=1.0) >= PIVOT:
            return None
        probe = np.where(np.arange(self.scale.size) < self.n, _probe(self.scale.size), 0.0)
        grown = abs(factor.solve(probe)).max(initial=0.0)
        return factor if grown <= GROWTH * abs(probe).max(initial=0.0) else None

    @property
    def singular(self) -> bool:
        """Whether K is: what it does not see of a vector does not come back."""
        return not self.usable or not abs(self._lost).max(initial=0.0) <= LEFT

    @cached_property
    def _lost(self) -> Array:
        """What does not come back of a vector that was multiplied by K, equilibrated: it is in the null space."""
        probe = _probe(self.scale.size)
        lost = probe - self._refined(self._scaled @ probe, CORRECTIONS)
        if abs(lost).max(initial=0.0) > LEFT and not self._unseen(lost) and self._pivoted is not None:
            # every residual is small where K is nearly singular, and what comes back of y is not much
            self._factor = self._pivoted
            return np.zeros_like(lost)
        return lost

    def error(self, x: Array, r: Array, before: Array | None = None) -> float:
        """Largest entry of K x − r relative to the terms of its row, those of r ``before`` a projection among them.

        Where what should be zero is rounding, the terms of connected rows count for a part, in equilibrated units.
        """
        before = r if before is None else before
        terms, near = self.terms(x, abs(r) + abs(before))
        x, r = x / self.scale, self.scale * r
        terms = np.maximum(terms, np.where(before == 0, LEAST_TERMS, LEAST_GIVEN) * near)
        given = np.zeros(self.parts.max(initial=0) + 1)
        np.maximum.at(given, self.parts, abs(r))
        terms = np.maximum(terms, LEAKED * given[self.parts])
        left = abs(self._scaled @ x - r) / np.where(terms > 0, terms, 1.0)
        return float(left.max(initial=0.0)) if np.isfinite(left).all() else np.inf

    @cached_property
    def parts(self) -> NDArray[np.int32]:
        """The number of the part of each row, among those that nothing connects."""
        return connected_components(self.K, directed=False)[1]

    def terms(self, x: Array, r: Array) -> tuple[Array, Array]:
        """The size of the terms of each row of K x = r, and of those of connected rows, in equilibrated units."""
        size = abs(self._scaled)
        terms = abs(self.scale * r) + size @ abs(x / self.scale)
        near = np.maximum(terms, size @ terms)
        return terms, np.maximum(near, size @ near)

    def _terms(self, V: Array) -> Array:
        """The largest row of |K| |v| for each column v, in equilibrated units."""
        return (abs(self._scaled) @ abs(V)).max(axis=0, initial=0.0)

    def null_part(self, v: Array) -> Array:
        """The orthogonal projection of v on the null space of K, in the caller's units.

        v − e with the shortest e that M takes to M v, for the x of the null space with M = [H; C], for the y with
        [Cᵀ; −E]. In these systems singular values are squared; what K still sees of the answer is taken off by K.

        Notes
        -----
        Cost: a factorisation of each of the two the first time, unless nothing is lost there, and two solves with each.
        """
        found = np.zeros_like(v)
        for own, seen in zip((slice(0, self.n), slice(self.n, v.size)), self._seen, strict=True):
            if seen is None:
                continue
            part = np.zeros_like(v)
            part[own] = seen.unseen(v[own])
            left = self.solve(self.K @ part)[own]
            found[own] = part[own] - (left - seen.unseen(left))
        return found

    @cached_property
    def null_space_told(self) -> bool:
        """Whether the null space is there to rounding: K takes what is in it to nothing, and loses nothing else."""
        if not self.usable:
            return False
        numbers = np.arange(1.0, self.scale.size + 1)
        probe = self.scale * np.cos(numbers * numbers)
        lost = probe - self.solve(self.K @ probe)
        within = self.null_part(lost)
        seen, terms = abs(self._scaled @ (within / self.scale)), abs(self._scaled) @ abs(within / self.scale)
        if seen.max(initial=0.0) > NULL * self.scale.size * terms.max(initial=0.0):
            return False
        return bool(abs((lost - within) / self.scale).max(initial=0.0) <= LEFT)

    @cached_property
    def _seen(self) -> list[_Rows | None]:
        """The columns of K that multiply x, and those that multiply y; None where K loses nothing."""
        halves = (slice(0, self.n), slice(self.n, self.scale.size))
        size = abs(self._lost)
        return [
            _Rows(self.K[:, own], size[own] > SUPPORT * size[own].max())
            if size[own].max(initial=0.0) > LEFT
            else None
            for own in halves
        ]


class _Rows:
    """A matrix M whose null space vectors are projected on; they are zero off ``support``."""

    def __init__(self, M: Any, support: Any) -> None:
        self.support = np.flatnonzero(support)
        M = M.tocsc()[:, self.support].tocsr()
        self.M = M[np.flatnonzero(np.diff(M.indptr))]
        self.saddle = SparseSaddle(sp.eye_array(self.M.shape[1]), self.M)

    def unseen(self, v: Array) -> Array:
        """v without the shortest e with M e = M v: [I Mᵀ; M 0] (e, w) = (0, M v)."""
        own, found = v[self.support], np.zeros_like(v)
        step = self.saddle.solve(np.concatenate([0.0 * own, self.M @ own]))
        found[self.support] = own - step[: own.size]
        return found


def _probe(size: int) -> Array:
    """A vector that is in no subspace of interest."""
    numbers = np.arange(1.0, size + 1)
    return np.sin(numbers * numbers)


def multiplications(H: Any, C: Any) -> float:
    """How many a factorisation of [H Cᵀ; C −E] takes, whatever the values: half the square of the fill of each column.

    H and C are patterns: matrices whose values are of no account.
    """
    k, n = C.shape
    pattern = sp.block_array(
        [[_ones(H) + n * sp.eye_array(n), None], [_ones(C), -n * sp.eye_array(k)]], format="csc"
    )
    factor = qdldl.Solver(sp.csc_matrix(pattern.T), upper=True)
    fill = np.diff(factor.factors()[0].indptr).astype(np.float64)
    return float((fill * (fill + 3.0)).sum() / 2)


def _ones(M: Any) -> Any:
    return sp.coo_array((np.ones(M.nnz), M.tocoo().coords), shape=M.shape)


def _symmetric_scale(K: Any) -> Array:
    """Powers of two d such that rows of diag(d) K diag(d) have a largest entry near one (Ruiz 2001)."""
    size = K.shape[0]
    d = np.ones(size)
    filled = np.flatnonzero(np.diff(K.indptr))
    if not filled.size:
        return d
    values, starts = abs(K.data), K.indptr[filled]
    columns = np.repeat(np.arange(size), np.diff(K.indptr))
    for _ in range(PASSES):
        largest = np.maximum.reduceat(values * d[K.indices] * d[columns], starts)
        d[filled] /= np.sqrt(np.where(largest > 0, largest, 1.0))
    return np.exp2(np.log2(d).round())
