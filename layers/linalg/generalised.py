"""A generalised inverse of a sparse matrix, and its null spaces, whatever the scales of rows and columns.

Rows with a single entry are solved first, columns with a single entry last; with rows and columns in this order

    M = [T₁  0   0  ]
        [A₂₁ T₂  A₂₃]      T₁, T₂ diagonal,
        [A₃₁ 0   A₃₃]

so that M has the rank of A₃₃ and 2 more for each such pair. A bound that is active takes a variable and its own
multiplier out in this way. What nothing connects in A₃₃ is decomposed apart, equilibrated, by QR with column pivots.

Of rows that would do alike the largest of the caller's is taken, and of columns: the null vectors that the others
stand for are then their own entries above all, and no two of them nearly parallel in the caller's units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Three = tuple[Indices, Indices, Indices]

EPSILON = float(np.finfo(np.float64).eps)
#: a pivot of an equilibrated matrix below this multiple of its order and of rounding is zero, one above so many times
#: that is none; what lies between is in doubt
ZERO, DOUBT = 10.0, 1e3
#: the power of two up to which columns that would do alike may differ
ALIKE = 3
#: passes of the scaling by maxima; steps of that by averages, and the power of two that it may leave
PASSES, AVERAGES, BALANCED = 6, 60, 0.1


def components(M: Any) -> list[tuple[Indices, Indices]]:
    """Rows and columns of the parts of a matrix that nothing connects; rows and columns of zeros are in none."""
    height, width = M.shape
    i, j = M.nonzero()
    if not i.size:
        return []
    graph = sp.coo_array((np.ones(i.size, dtype=bool), (i, height + j)), shape=(height + width,) * 2)
    count, label = connected_components(graph, directed=False)
    if count == 1:
        return [(np.arange(height), np.arange(width))]
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.searchsorted(label[order], np.arange(1, count)))
    return [(part[part < height], part[part >= height] - height) for part in parts if part.size > 1]


def part_of(M: Any, rows: Indices, columns: Indices) -> Any:
    """The rows and columns of a dense or sparse matrix, in increasing order."""
    if rows.size == M.shape[0] and columns.size == M.shape[1]:
        return M
    return M[rows][:, columns]


@dataclass(frozen=True)
class DenseInverse:
    """RMS = QR Pᵀ of one part, R and S powers of two.

    Attributes
    ----------
    rows, columns : array
        Of A₃₃.
    R, S : array
        The scales.
    Q, triangle, pivots : array
        The decomposition.
    rank : int
    doubtful : bool
        Whether some pivot is neither clearly zero nor clearly not.
    """

    rows: Indices
    columns: Indices
    R: Array
    S: Array
    Q: Array
    triangle: Array
    pivots: Indices
    rank: int
    doubtful: bool

    @classmethod
    def of(cls, M: Array, rows: Indices, columns: Indices, doubtful: bool) -> DenseInverse:
        """Decompose; ``doubtful`` pivots count as zero or not."""
        R, S = equilibrate(M)
        weight = _preference(S)
        found: Any = scipy.linalg.qr(R[:, None] * M * (S * weight), pivoting=True, check_finite=False)
        Q, triangle, pivots = found
        triangle = triangle / weight[pivots]
        size = abs(np.diagonal(triangle))
        bound = ZERO * max(M.shape) * EPSILON * size.max()
        clear, told = int((size > DOUBT * bound).sum()), int((size > bound).sum())
        return cls(rows, columns, R, S, Q, triangle, pivots, clear if doubtful else told, clear < told)

    def apply(self, r: Array) -> Array:
        """A solution of M x = r where there is one."""
        k = self.rank
        top = self.Q[:, :k].T @ (self.R * r)
        x = np.zeros(self.columns.size)
        x[self.pivots[:k]] = scipy.linalg.solve_triangular(self.triangle[:k, :k], top, check_finite=False)
        return self.S * x

    @property
    def N(self) -> Array:
        """Null space of M."""
        k = self.rank
        N = np.zeros((self.columns.size, self.columns.size - k))
        if N.shape[1]:
            N[self.pivots[:k]] = -scipy.linalg.solve_triangular(
                self.triangle[:k, :k], self.triangle[:k, k:], check_finite=False
            )
            N[self.pivots[k:], np.arange(N.shape[1])] = 1.0
        return self.S[:, None] * _cleaned(N)

    @property
    def L(self) -> Array:
        """Null space of Mᵀ, each vector with an entry that the others do not have."""
        L = self.Q[:, self.rank :]
        if L.shape[1]:
            weighed = _preference(1 / self.R) * L.T
            found: Any = scipy.linalg.qr(weighed, mode="r", pivoting=True, check_finite=False)
            pivots = found[1][: L.shape[1]]
            L = scipy.linalg.solve(L[pivots].T, L.T, check_finite=False).T
        return self.R[:, None] * _cleaned(L)


@dataclass(frozen=True)
class GeneralisedInverse:
    """M⁻, and bases of the null spaces of M and Mᵀ.

    Attributes
    ----------
    M : sparse matrix
    rows, columns : tuple of array
        The three groups of each.
    T1, T2 : array
    parts : list of DenseInverse
        Of A₃₃.
    N, L : array
        By columns.
    """

    M: Any
    rows: Three
    columns: Three
    T1: Array
    T2: Array
    parts: list[DenseInverse]
    N: Array
    L: Array

    @classmethod
    def of(cls, M: Any, *, doubtful: bool = False) -> GeneralisedInverse:
        """Of a connected matrix, dense or sparse by rows; pivots in doubt count as zero with ``doubtful``."""
        rows, columns, T1, T2 = _grouped(M)
        A33 = part_of(M, rows[2], columns[2])
        whole = A33.shape == M.shape and A33.shape[0] * A33.shape[1] > 0
        places = [(np.arange(M.shape[0]), np.arange(M.shape[1]))] if whole else components(A33)
        parts = [DenseInverse.of(_dense(part_of(A33, i, j)), i, j, doubtful) for i, j in places]
        N3 = assembled(A33.shape[1], [(part.columns, part.N) for part in parts])
        L3 = assembled(A33.shape[0], [(part.rows, part.L) for part in parts])
        N, L = np.zeros((M.shape[1], N3.shape[1])), np.zeros((M.shape[0], L3.shape[1]))
        N[columns[2]], L[rows[2]] = N3, L3
        if N3.shape[1] and T2.size:
            N[columns[1]] = -(M[rows[1]] @ N) / T2[:, None]
        if L3.shape[1] and T1.size:
            L[rows[0]] = -(M.T[columns[0]] @ L) / T1[:, None]
        return cls(M, rows, columns, T1, T2, parts, N, L)

    @property
    def doubtful(self) -> bool:
        """Whether the rank of some part is in doubt."""
        return any(part.doubtful for part in self.parts)

    def apply(self, r: Array) -> Array:
        """M⁻ r."""
        x = np.zeros(self.M.shape[1])
        x[self.columns[0]] = r[self.rows[0]] / self.T1
        left = (r - self.M @ x)[self.rows[2]]
        third = np.zeros(self.columns[2].size)
        for part in self.parts:
            third[part.columns] = part.apply(left[part.rows])
        x[self.columns[2]] = third
        x[self.columns[1]] = (r - self.M @ x)[self.rows[1]] / self.T2
        return x


def _preference(scale: Array) -> Array:
    """Powers of two from 1 for the smallest scale down to 2⁻³ for the largest."""
    place = np.unique(scale, return_inverse=True)[1]
    return np.exp2(-np.round(ALIKE * place / max(place.max(initial=0), 1)))


def _cleaned(basis: Array) -> Array:
    """Rounding among the entries set to zero: in other units it would be an entry among others."""
    size = abs(basis)
    return np.where(size > ZERO * EPSILON * size.max(axis=0, initial=0.0), basis, 0.0)


def _dense(M: Any) -> Array:
    return M.toarray() if sp.issparse(M) else M


def _grouped(M: Any) -> tuple[Three, Three, Array, Array]:
    """Rows and columns in the three groups, T₁ and T₂: one row for each column of a pair, and the other way round."""
    height, width = M.shape
    i, j = M.nonzero()
    values = np.asarray(M[i, j])
    first_rows, first_columns, T1 = _single(i, j, values, height)
    rows, columns = np.ones(height, dtype=bool), np.ones(width, dtype=bool)
    rows[first_rows] = columns[first_columns] = False
    rest = rows[i] & columns[j]
    last_columns, last_rows, T2 = _single(j[rest], i[rest], values[rest], width)
    rows[last_rows] = columns[last_columns] = False
    return (
        (first_rows, last_rows, np.flatnonzero(rows)),
        (first_columns, last_columns, np.flatnonzero(columns)),
        T1,
        T2,
    )


def _single(i: Indices, j: Indices, values: Array, height: int) -> tuple[Indices, Indices, Array]:
    """Rows with one entry, the largest for each column, with their columns and entries; M is given by its entries."""
    alone = np.flatnonzero(np.bincount(i, minlength=height)[i] == 1)
    alone = alone[np.argsort(-abs(values[alone]), kind="stable")]
    columns, place = np.unique(j[alone], return_index=True)
    chosen = alone[place]
    return i[chosen], columns, values[chosen]


def assembled(size: int, parts: list[tuple[Indices, Array]]) -> Array:
    """Bases of parts side by side, and unit vectors where no part is."""
    inside = np.concatenate([where for where, _ in parts]) if parts else np.zeros(0, dtype=np.int64)
    outside = np.setdiff1d(np.arange(size), inside)
    parts = [*parts, (outside, np.eye(outside.size))]
    whole = np.zeros((size, sum(basis.shape[1] for _, basis in parts)))
    start = 0
    for where, basis in parts:
        whole[where, start : start + basis.shape[1]] = basis
        start += basis.shape[1]
    return whole


def equilibrate(M: Any) -> tuple[Array, Array]:
    """Powers of two R, S such that rows and columns of RMS, dense or sparse, have a largest entry near one.

    Before that, the logarithms of the entries are brought near zero on the average (Curtis & Reid 1972): of all
    scalings with unit maxima this finds one in which the blocks of a saddle point have one size.
    """
    i, j = M.nonzero()
    logs = np.log2(abs(np.asarray(M[i, j])))
    a, b = _averaged(i, j, logs, M.shape)
    height, width = M.shape
    for _ in range(PASSES):
        a = 0.5 * (a - _largest_of(i, logs + b[j], height))
        b = 0.5 * (b - _largest_of(j, logs + a[i], width))
    return np.exp2(a.round()), np.exp2(b.round())


def _averaged(i: Indices, j: Indices, logs: Array, shape: tuple[int, int]) -> tuple[Array, Array]:
    """a and b with the least Σ (logs + aᵢ + bⱼ)², by conjugate gradients: along a chain the scales add up."""
    height, width = shape
    count = np.r_[np.bincount(i, None, height), np.bincount(j, None, width)].clip(min=1)

    def sums(of_rows: Array, of_columns: Array) -> Array:
        return np.r_[np.bincount(i, of_rows, height), np.bincount(j, of_columns, width)]

    x, left = np.zeros(height + width), -sums(logs, logs)
    step, size = np.zeros_like(x), 1.0
    for number in range(AVERAGES):
        turned = left / count
        size, before = float(left @ turned), size
        if size <= i.size * BALANCED**2:
            break
        step = turned + (size / before if number else 0.0) * step
        along = step[i] + step[height + j]
        x = x + (size / float(along @ along)) * step
        left = -sums(logs + x[i] + x[height + j], logs + x[i] + x[height + j])
    return x[:height], x[height:]


def _largest_of(target: Indices, values: Array, size: int) -> Array:
    largest = np.full(size, -np.inf)
    np.maximum.at(largest, target, values)
    return np.where(np.isfinite(largest), largest, 0.0)
