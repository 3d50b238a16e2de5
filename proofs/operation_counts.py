r"""Operations of a factorisation and of a solve.

Statement. Without pivoting, blocking or sparsity, the LU factorisation of an n × n matrix takes
n(n − 1)(4n + 1)/6 = 2n³/3 + O(n²) operations, and the two substitutions with its factors take 2n² − n.

Literature. Golub & Van Loan (2013), §3.2.

Check. Elimination and substitution are run with numbers that count themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy

from proofs.common import generator, relative_error
from proofs.ledger import check

SOURCE = "Golub & Van Loan (2013), §3.2"


def lu_operations(n: int) -> int:
    """The printed n(n − 1)(4n + 1)/6."""
    return n * (n - 1) * (4 * n + 1) // 6


def solve_operations(n: int) -> int:
    """The printed 2n² − n."""
    return 2 * n * n - n


class Counted:
    """A number that adds one to `Counted.operations` for every arithmetic operation with it."""

    operations = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def _new(self, value: float) -> Counted:
        Counted.operations += 1
        return Counted(value)

    def __sub__(self, other: Counted) -> Counted:
        return self._new(self.value - other.value)

    def __mul__(self, other: Counted) -> Counted:
        return self._new(self.value * other.value)

    def __truediv__(self, other: Counted) -> Counted:
        return self._new(self.value / other.value)


def counted_factor_and_solve(matrix: np.ndarray, rhs: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Operations of elimination without pivoting, of the two substitutions, and the solution."""
    n = len(rhs)
    U = [[Counted(float(value)) for value in row] for row in matrix]
    y = [Counted(float(value)) for value in rhs]
    Counted.operations = 0
    for j in range(n):
        for i in range(j + 1, n):
            U[i][j] = U[i][j] / U[j][j]
            for k in range(j + 1, n):
                U[i][k] = U[i][k] - U[i][j] * U[j][k]
    factor, Counted.operations = Counted.operations, 0
    for i in range(n):
        for j in range(i):
            y[i] = y[i] - U[i][j] * y[j]
    for i in reversed(range(n)):
        for j in range(i + 1, n):
            y[i] = y[i] - U[i][j] * y[j]
        y[i] = y[i] / U[i][i]
    return factor, Counted.operations, np.array([value.value for value in y])


@check(
    item=10,
    statement="LU takes n(n − 1)(4n + 1)/6 operations, a solve with its factors 2n² − n",
    source=SOURCE,
    strength="numeric",
    tolerance=0.0,
)
def counts(instances: int) -> Iterator[float]:
    """Numbers that count themselves, n = 1, 2, …"""
    yield from _count_errors(instances, lu_operations)


@counts.negative("the count of Cholesky's factorisation, about n³/3")
def _cholesky(instances: int) -> Iterator[float]:
    yield from _count_errors(instances, lambda n: n * (n + 1) * (2 * n + 1) // 6)


def _count_errors(instances: int, formula: Callable[[int], int]) -> Iterator[float]:
    for n in range(1, instances + 1):
        rng = generator("counts", n)
        matrix, rhs = rng.normal(size=(n, n)) + 2 * n * np.eye(n), rng.normal(size=n)
        factor, solve, x = counted_factor_and_solve(matrix, rhs)
        assert relative_error(matrix @ x, rhs) < 1e-10
        yield float(abs(factor - formula(n)) + abs(solve - solve_operations(n)))


def _summed(instances: int, updates: int) -> Iterator[float]:
    n, i = sympy.symbols("n i", integer=True, positive=True)
    # Step n − i of the elimination: i divisions, and i² entries with `updates` operations each.
    factor = sympy.summation(i + updates * i**2, (i, 1, n - 1)) - n * (n - 1) * (4 * n + 1) / 6
    substitution: Any = sympy.summation(2 * i, (i, 1, n - 1))
    solve = 2 * substitution + n - (2 * n**2 - n)
    yield from (float(sympy.simplify(expression) != 0) for expression in (factor, solve))


@check(
    item=10,
    statement="Σ (i + 2i²) = n(n − 1)(4n + 1)/6 and 2 Σ 2i + n = 2n² − n, for symbolic n",
    source=SOURCE,
    strength="symbolic",
    tolerance=0.0,
    instances=2,
)
def counts_in_symbols(instances: int) -> Iterator[float]:
    """The two sums over the steps of elimination and of substitution."""
    yield from _summed(instances, 2)


@counts_in_symbols.negative("one operation for each updated entry")
def _one_operation(instances: int) -> Iterator[float]:
    yield from _summed(instances, 1)
