"""Linear algebra in rational numbers: python-flint's matrices between arrays of numpy.

A float is a rational number, so the data that the layer gets are known here without any rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import numpy as np
from flint import fmpq, fmpq_mat

Array = np.ndarray


def matrix(values: Array) -> fmpq_mat:
    """The very numbers of a matrix of floats."""
    return fmpq_mat(*values.shape, [_rational(v) for v in values.ravel().tolist()])


def column(values: Iterable[float]) -> fmpq_mat:
    """The very numbers of a vector of floats."""
    entries = [_rational(v) for v in values]
    return fmpq_mat(len(entries), 1, entries)


def _rational(value: float) -> fmpq:
    if value == int(value):
        return fmpq(int(value))
    return fmpq(*value.as_integer_ratio())


def floats(M: fmpq_mat) -> Array:
    """The nearest floats, in the shape of the matrix."""
    return np.array([_float(v) for v in M.entries()]).reshape(M.nrows(), M.ncols())


def _float(value: fmpq) -> float:
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("inf")


def zeros(rows: int, columns: int) -> fmpq_mat:
    """A matrix of zeros."""
    return fmpq_mat(rows, columns)


def stack(blocks: list[list[fmpq_mat]]) -> fmpq_mat:
    """The matrix of these blocks."""
    rows: list[list[fmpq]] = []
    for line in blocks:
        parts = [block.tolist() for block in line]
        rows += [list(chain.from_iterable(part[i] for part in parts)) for i in range(line[0].nrows())]
    return fmpq_mat(len(rows), sum(block.ncols() for block in blocks[0]), list(chain.from_iterable(rows)))


def rows(M: fmpq_mat, index: Iterable[int]) -> fmpq_mat:
    """Some rows."""
    table = M.tolist()
    chosen = [table[i] for i in index]
    return fmpq_mat(len(chosen), M.ncols(), list(chain.from_iterable(chosen)))


def rank(M: fmpq_mat) -> int:
    """The rank, which is exact."""
    return M.rank() if M.nrows() and M.ncols() else 0


def independent_rows(M: fmpq_mat) -> list[int]:
    """The first rows that span all of them."""
    if not (M.nrows() and M.ncols()):
        return []
    reduced, found = M.transpose().rref()
    table = reduced.tolist()
    return [next(j for j, v in enumerate(table[i]) if v != 0) for i in range(found)]


def pseudo_inverse(M: fmpq_mat) -> fmpq_mat:
    """M⁺ = Fᵀ (F Fᵀ)⁻¹ (CᵀC)⁻¹ Cᵀ of a factorisation M = CF of full rank: the pivot columns, and the echelon form."""
    reduced, found = M.rref()
    if not found:
        return zeros(M.ncols(), M.nrows())
    C = rows(M.transpose(), independent_rows(M.transpose())).transpose()
    F = rows(reduced, range(found))
    return F.transpose() * (F * F.transpose()).inv() * (C.transpose() * C).inv() * C.transpose()


def semidefinite(M: fmpq_mat) -> bool:
    """Whether a symmetric matrix is positive semidefinite: by elimination, where a zero pivot needs a row of zeros."""
    table = M.tolist()
    for i in range(len(table)):
        pivot, row = table[i][i], table[i][i:]
        if pivot < 0 or (pivot == 0 and any(v != 0 for v in row)):
            return False
        for k in range(i + 1, len(table) if pivot != 0 else i):
            factor = table[k][i] / pivot
            table[k] = [v - factor * u for v, u in zip(table[k], table[i], strict=True)]
    return True
